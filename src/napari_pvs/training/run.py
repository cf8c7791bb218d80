"""A training run, from a configuration to a run folder; it can be stopped, killed and resumed."""

import json
import logging
from dataclasses import asdict
from pathlib import Path
from shutil import copyfile
from typing import TYPE_CHECKING

from napari_pvs.errors import InputError
from napari_pvs.files import TEMPORARY, atomic, write_text
from napari_pvs.network.device import pick
from napari_pvs.study.bids import StudySubject, person_of, stray_labels, survey
from napari_pvs.study.roles import Role, Split, assign
from napari_pvs.study.roles import read as read_roles
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.data.cohort import Cohort
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
        Of the run.
    out
        A new or empty folder; it may hold the ``config.json`` of this run.
    roles
        Who trains, validates and is tested, for a run that ignores the roles recorded in the
        study; these are used if None.
    labels
        Stamps of the labels to begin with, by subject; other subjects count as unlabelled. The
        current labels if None.

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
        out = world.lead(lambda: _unused(Path(out)))  # the same for all: its name may have the time
        origin = world.in_turn(lambda: load_start(config)).path
        memory = world.lead(lambda: require_memory(config, device, world))
        cohort = _open(config, roles, labels, world)
        if cohort.label_free:
            config = config.without_labels()
        # wrong input leaves no folder behind
        with world.holding(taken_over(out)):
            world.lead(lambda: _describe(out, config, cohort.roles, origin))
            state, start = _at_start(config, out, device, world)
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
        Stamps of labels that the checkpoint does not have: those of the validation.

    Returns
    -------
    Path of the best weights.

    Raises
    ------
    InputError
        Not a run, or one that is running or damaged; or as for `train`.
    """
    out = Path(out)
    config = read_config(out)
    require_study(config, out)
    from napari_pvs.training.loop import Run

    device = pick(config.device)
    with joined(device) as world, world.holding(taken_over(out)):
        state, start = _at_start(config, out, device, world)
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
            f"{out} exists and is not an empty folder; name a new one, or go on with --resume."
        )
    return out


def _of_a_beginning(path: Path) -> bool:
    """Return whether this file may be from a run that was killed before it had its roles."""
    return path.name in (CONFIG, LOCK, START) or path.name.startswith(TEMPORARY)


def _describe(out: Path, config: TrainingConfig, roles: Split, origin: Path | None) -> None:
    if (out / SPLIT).exists():  # another process has started a run here since `_unused`
        raise InputError(f"{out} holds another run by now; name a new folder.")
    if origin is not None:  # needed to resume the run, whatever becomes of the original
        with atomic(out / START) as temporary:
            copyfile(origin, temporary)
    write_text(out / CONFIG, config.model_dump_json(indent=2) + "\n")
    write_text(out / SPLIT, json.dumps(asdict(roles), indent=2) + "\n")


def _at_start(
    config: TrainingConfig, out: Path, device: "torch.device", world: World
) -> "tuple[State, Start]":
    """Return the state before the first step, and the run's own copy of the weights in it."""
    from napari_pvs.training.state import State
    from napari_pvs.training.weights import load_start

    start = world.in_turn(lambda: load_start(config, out))
    state = State(config, device, start.network, world)
    state.progress.threshold = start.threshold
    return state, start


def _of_length(out: Path, state: "State", epochs: int | None) -> TrainingConfig:
    """Return the configuration with its new length, and write it."""
    config = state.config
    if epochs is None or epochs == config.epochs:
        return config
    done = state.progress.step / config.steps
    if epochs <= done:
        raise InputError(
            f"{out} has done {done:.4g} of {config.epochs} epochs; give more with --epochs, or "
            "leave it out."
        )
    config = config.model_copy(update={"epochs": epochs})
    write_text(out / CONFIG, config.model_dump_json(indent=2) + "\n")
    return config


def _open(
    config: TrainingConfig, roles: Split | None, labels: dict[str, str] | None, world: World
) -> Cohort:
    """Load the subjects, then record their roles, so that wrong input records nothing."""
    from napari_pvs.training.weights import load_start

    named = (config.validation, config.test, config.seed)
    learnt = {person_of(name) for name in load_start(config).learnt_of(config.study)}

    def plan() -> tuple[list[StudySubject], Split]:
        seen = survey(config.study)
        everybody = list(seen.found)
        for text in seen.notes:
            log.warning("%s", text)
        for path in stray_labels(config.study, everybody):
            log.warning(
                "%s is not learnt from: it has no *_T1w or *_T2w scan beside it, or is not named "
                "*_desc-pvs_mask.",
                path,
            )
        known = dict.fromkeys(learnt, _UNLABELLED) | read_roles(config.study)
        return everybody, roles or roles_of(config, everybody, known)

    everybody, planned = world.lead(plan)
    cohort = Cohort(config.study, planned, config.semi_supervised, world)
    cohort.open(labels)
    # a run without labels gives nobody a role: its weights know whom they have learnt from
    if roles is None and not cohort.label_free:
        study, semi = config.study, config.semi_supervised
        frozen = world.lead(
            lambda: assign(everybody, *named, root=study, unlabelled=semi, learnt=learnt)
        )
        if frozen.validation != planned.validation or frozen.test != planned.test:
            return _open(config, frozen, labels, world)  # another run has just recorded others
    return cohort
