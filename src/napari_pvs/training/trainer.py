"""One training run: config in, run folder out; it can be stopped, killed and resumed."""

import json
import logging
from dataclasses import asdict
from pathlib import Path
from shutil import copyfile
from typing import TYPE_CHECKING

from napari_pvs.errors import InputError
from napari_pvs.files import TEMPORARY, atomic, write_text
from napari_pvs.network.device import pick
from napari_pvs.study.bids import StudySubject, stray_labels, survey
from napari_pvs.study.roles import assign
from napari_pvs.study.roles import read as read_roles
from napari_pvs.study.split import Split, split
from napari_pvs.training.cohort import Cohort
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.control import taken_over
from napari_pvs.training.distributed import World, joined
from napari_pvs.training.folder import (
    CHECKPOINT,
    CONFIG,
    LOCK,
    SPLIT,
    START,
    read_config,
    read_split,
    require_study,
)
from napari_pvs.training.loop import Run

if TYPE_CHECKING:
    import torch

    from napari_pvs.training.state import State

log = logging.getLogger(__name__)


def train(
    config: TrainingConfig,
    out: Path,
    roles: Split | None = None,
    labels: dict[str, str] | None = None,
) -> Path:
    """Train a network and write it to a new run folder; see `napari_pvs.training.folder`.

    Under torchrun, every process calls it, and they train together.

    Parameters
    ----------
    config
        What to do.
    out
        A new or empty folder; it may hold the ``config.json`` of this run.
    roles
        Who trains and who validates, for a run that leaves the roles of the study alone; as the
        study keeps them where None.
    labels
        Stamps of the labels to begin with, by subject; those of now where None. Other subjects
        are unlabelled.

    Returns
    -------
    Path of the best weights.

    Raises
    ------
    InputError
        The folder is in use, the study cannot be trained on, the disk is full, or the loss became
        NaN or infinite.
    """
    from napari_pvs.training.forecast import require_memory
    from napari_pvs.training.validation import start

    config = config.absolute()
    device = pick(config.device)
    with joined(device) as world:
        out = world.lead(lambda: _unused(Path(out)))  # one folder, though names may hold the time
        world.in_turn(lambda: start(config))
        memory = world.lead(lambda: require_memory(config, device, world))
        cohort = _open(config, roles, labels, world)
        # wrong input leaves no folder behind
        with world.holding(taken_over(out)):
            world.lead(lambda: _describe(out, config, cohort.roles))
            state = _at_start(config, out, device, world)
            return Run(out, cohort, state).go("hello", memory_forecast=memory.needed)


def resume(out: Path, epochs: int | None = None, labels: dict[str, str] | None = None) -> Path:
    """Go on with a run where its last checkpoint was written, with any number of processes.

    Parameters
    ----------
    out
        Its folder.
    epochs
        A longer (or shorter) run than it was to be; its learning rate follows the new length.
    labels
        Stamps of labels that the checkpoint does not know: of who validates.

    Returns
    -------
    Path of the best weights.

    Raises
    ------
    InputError
        No run, one that is still going on, a damaged one, or as `train`.
    """
    out = Path(out)
    config = read_config(out)
    require_study(config, out)
    device = pick(config.device)
    with joined(device) as world, world.holding(taken_over(out)):
        state = _at_start(config, out, device, world)
        if world.lead((out / CHECKPOINT).is_file):
            world.in_turn(lambda: state.load(out / CHECKPOINT))
        state.config = world.lead(lambda: _of_length(out, state, epochs))
        world.same(state.digest(), "checkpoint")
        roles = world.lead(lambda: read_split(out))
        cohort = Cohort(config.study, roles, config.semi_supervised, world)
        cohort.open((labels or {}) | state.progress.labels, resumed=True)
        return Run(out, cohort, state).go("resumed")


def _unused(out: Path) -> Path:
    if out.exists() and (not out.is_dir() or not all(map(_of_a_beginning, out.iterdir()))):
        raise InputError(
            f"{out} exists and is not an empty folder; name a new one, or go on with --resume."
        )
    return out


def _of_a_beginning(path: Path) -> bool:
    """Whether a run that was killed before it had its roles may have left this file."""
    return path.name in (CONFIG, LOCK, START) or path.name.startswith(TEMPORARY)


def _describe(out: Path, config: TrainingConfig, roles: Split) -> None:
    from napari_pvs.training.validation import start_path

    if (out / SPLIT).exists():  # begun by another process since `_unused`
        raise InputError(f"{out} holds another run by now; name a new folder.")
    origin = start_path(config)
    if origin is not None:  # whoever resumes the run needs them, whatever became of the original
        with atomic(out / START) as temporary:
            copyfile(origin, temporary)
    write_text(out / CONFIG, config.model_dump_json(indent=2) + "\n")
    write_text(out / SPLIT, json.dumps(asdict(roles), indent=2) + "\n")


def _at_start(config: TrainingConfig, out: Path, device: "torch.device", world: World) -> "State":
    """Return a state before its first step, from the run's own copy of the weights.

    The original may have changed since it was looked at.
    """
    from napari_pvs.training.state import State
    from napari_pvs.training.validation import start

    network, threshold = world.in_turn(lambda: start(config, out))
    state = State(config, device, network, world)
    state.progress.threshold = threshold
    return state


def _of_length(out: Path, state: "State", epochs: int | None) -> TrainingConfig:
    """Return the configuration with another length, and keep it."""
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
    """Load who takes part, then freeze their roles: wrong input freezes nothing."""
    named = (config.validation, config.test, config.seed)

    def plan() -> tuple[list[StudySubject], Split]:
        seen = survey(config.study)
        everybody = list(seen.found)
        for text in seen.notes:
            log.warning("%s", text)
        for path in stray_labels(config.study, everybody):
            log.warning(
                "%s is not learnt from: it lies beside no *_T1w or *_T2w scan, or is not named "
                "*_desc-pvs_mask.",
                path,
            )
        return everybody, roles or split(everybody, *named, read_roles(config.study))

    everybody, planned = world.lead(plan)
    cohort = Cohort(config.study, planned, config.semi_supervised, world)
    cohort.open(labels)
    if roles is None:
        study, semi = config.study, config.semi_supervised
        frozen = world.lead(lambda: assign(everybody, *named, root=study, unlabelled=semi))
        if frozen.validation != planned.validation or frozen.test != planned.test:
            return _open(config, frozen, labels, world)  # another run of the study was quicker
    return cohort
