"""A training run, from a configuration to a run folder; it can be stopped, killed and resumed."""

import json
import logging
import warnings
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from napari_pvs.errors import InputError, InputWarning
from napari_pvs.files import TEMPORARY, atomic, write_text
from napari_pvs.network.device import pick
from napari_pvs.study.bids import StudySubject, person_of, survey
from napari_pvs.study.registrations import CACHE
from napari_pvs.study.roles import Role, Split, assign
from napari_pvs.study.roles import read as read_roles
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.data.cohort import Cohort
from napari_pvs.training.data.prepared import load
from napari_pvs.training.data.roles import roles_of
from napari_pvs.training.distributed.join import joined
from napari_pvs.training.distributed.world import World
from napari_pvs.training.runs.control import taken_over
from napari_pvs.training.runs.folder import (
    CHECKPOINT,
    CONFIG,
    LOCK,
    SPLIT,
    START,
    read_config,
    read_split,
    require_study,
)

if TYPE_CHECKING:
    import torch

    from napari_pvs.training.state import State
    from napari_pvs.training.weights import Start

log = logging.getLogger(__name__)
_UNLABELLED: Role = "unlabelled"


def train(
    config: TrainingConfig,
    out: Path,
    roles: Split | None = None,
    labels: dict[str, str] | None = None,
) -> Path:
    """Train a network in a new run folder; see `napari_pvs.training.runs.folder`.

    Under torchrun every process calls this, and they train together.

    Parameters
    ----------
    config
        The run's configuration.
    out
        A new or empty folder; it may contain this run's ``config.json``.
    roles
        The split, for a run that ignores the roles recorded in the study; None uses those.
    labels
        Stamps of the labels to begin with, by subject; all other subjects count as unlabelled.
        None uses the current labels.

    Returns
    -------
    Path of the best weights.

    Raises
    ------
    InputError
        The folder is in use, the study cannot be trained on, the disk is full, or the loss became
        NaN or infinite.
    """
    from napari_pvs.training.loop import Run
    from napari_pvs.training.plan import require_memory
    from napari_pvs.training.weights import load_start

    config = config.absolute()
    device = pick(config.device)
    with joined(device) as world:
        # the processes may disagree, if the default name with its time was made in each
        out = world.lead(lambda: _unused(Path(out)))
        start = world.in_turn(lambda: load_start(config))
        world.same(start.id, "start weights")
        memory = world.lead(lambda: require_memory(config, device, world))
        cohort = _open(config, roles, labels, start, world)
        if cohort.label_free:
            config = config.without_labels()
        config.require_epochs()
        # only now is the folder made, so that wrong input leaves none behind
        with world.holding(taken_over(out)):
            world.lead(lambda: _describe(out, config, cohort.roles, start))
            state = _state_of(config, start, device, world)
            return Run(out, cohort, state, start).go("hello", memory_forecast=memory.needed)


def resume(out: Path, epochs: int | None = None, labels: dict[str, str] | None = None) -> Path:
    """Resume a run from its last checkpoint, with any number of processes.

    Parameters
    ----------
    out
        Its folder.
    epochs
        New length of the run in epochs; the learning rate follows it. Unchanged if None.
    labels
        Stamps of labels that are not in the checkpoint: those of the validation.

    Returns
    -------
    Path of the best weights.

    Raises
    ------
    InputError
        The folder is not a run, or the run is in progress or damaged; or as for `train`.
    """
    out = Path(out)
    config = read_config(out)
    require_study(config, out)
    from napari_pvs.training.loop import Run
    from napari_pvs.training.weights import load_start

    device = pick(config.device)
    with joined(device) as world, world.holding(taken_over(out)):
        start = world.in_turn(lambda: load_start(config, out))
        state = _state_of(config, start, device, world)
        if world.lead((out / CHECKPOINT).is_file):
            world.in_turn(lambda: state.load(out / CHECKPOINT))
        state.config = world.lead(lambda: _of_length(out, state, epochs))
        world.same(state.digest(), "checkpoint")
        roles = world.lead(lambda: read_split(out))
        cohort = Cohort(config.study, roles, config.semi_supervised, world)
        cohort.open((labels or {}) | state.progress.labels, resumed=True)
        return Run(out, cohort, state, start).go("resumed")


def _unused(out: Path) -> Path:
    if out.exists() and (not out.is_dir() or not all(map(_of_a_beginning, out.iterdir()))):
        raise InputError(
            f"{out} exists and is not an empty folder; name a new one, or continue with --resume."
        )
    return out


def _of_a_beginning(path: Path) -> bool:
    """Tell whether a file may be left from a run that was killed before it had a split."""
    return path.name in (CONFIG, LOCK, START) or path.name.startswith(TEMPORARY)


def _describe(out: Path, config: TrainingConfig, roles: Split, start: "Start") -> None:
    if (out / SPLIT).exists():  # another process has started a run here since `_unused`
        raise InputError(f"{out} now contains another run; name a new folder.")
    if start.content is not None:  # so that the run can be resumed without the original
        with atomic(out / START) as temporary:
            temporary.write_bytes(start.content)
    write_text(out / CONFIG, config.model_dump_json(indent=2) + "\n")
    write_text(out / SPLIT, json.dumps(asdict(roles), indent=2) + "\n")


def _state_of(
    config: TrainingConfig, start: "Start", device: "torch.device", world: World
) -> "State":
    """Return the state before the first step."""
    from napari_pvs.training.state import State

    state = State(start.settled(config), device, start.network, world)
    state.progress.threshold = start.threshold
    return state


def _of_length(out: Path, state: "State", epochs: int | None) -> TrainingConfig:
    """Set the new length in the configuration, and save it."""
    config = state.config
    if epochs is None or epochs == config.epochs:
        return config
    done = state.progress.step / config.steps
    if epochs <= done:
        raise InputError(
            f"{out} has finished {done:.4g} of {config.epochs} epochs; give more with --epochs, or "
            "leave it out."
        )
    config = config.model_copy(update={"epochs": epochs})
    write_text(out / CONFIG, config.model_dump_json(indent=2) + "\n")
    return config


def _open(
    config: TrainingConfig,
    roles: Split | None,
    labels: dict[str, str] | None,
    start: "Start",
    world: World,
) -> Cohort:
    """Load the subjects, and only then record their roles, so that wrong input records nothing."""
    learned = {person_of(name) for name in start.learned}

    def plan() -> tuple[list[StudySubject], Split]:
        seen = survey(config.study)
        everybody = list(seen.found)
        for text in seen.notes:
            log.warning("%s", text)
        return (everybody, roles) if roles else _drawn(config, everybody, learned)

    everybody, planned = world.lead(plan)
    cohort = Cohort(config.study, planned, config.semi_supervised, world)
    cohort.open(labels)
    # a run without labels gives nobody a role; the card of its weights lists its scans
    if roles is None and not cohort.label_free:
        study, semi = config.study, config.semi_supervised
        named = (config.validation, config.test, config.seed)
        frozen = world.lead(
            lambda: assign(everybody, *named, root=study, unlabelled=semi, learned=learned)
        )
        if frozen.validation != planned.validation or frozen.test != planned.test:
            return _open(
                config, frozen, labels, start, world
            )  # another run has just recorded its own
    return cohort


def _drawn(
    config: TrainingConfig, everybody: list[StudySubject], learned: Iterable[str]
) -> tuple[list[StudySubject], Split]:
    """Draw the roles of a new run, leaving out validation subjects that cannot be read.

    Persons who were named or have validated before are kept, so that scores stay comparable.

    Returns
    -------
    The subjects that can have a role, and their roles.
    """
    known = dict.fromkeys(learned, _UNLABELLED) | read_roles(config.study)
    why = ""
    while True:
        try:
            roles = roles_of(config, everybody, known)
        except InputError as error:
            raise InputError(f"{error}{why}") from error
        drawn = [one for one in everybody if one.name in roles.validation]
        bad: set[str] = set()
        for one in [] if config.validation else drawn:
            if one.person in known:
                continue
            try:
                with warnings.catch_warnings():  # `Cohort` loads it again, and tells
                    warnings.simplefilter("ignore", InputWarning)
                    load(one, config.study / CACHE)
            except InputError as error:
                bad.add(one.person)
                why += f" {one.name}: {error}"
        if not bad:
            return everybody, roles
        everybody = [one for one in everybody if one.person not in bad]
