"""One training run: config in, run folder out; it can be stopped, killed and resumed."""

import json
from dataclasses import asdict
from pathlib import Path

from napari_pvs.errors import InputError
from napari_pvs.files import write_text
from napari_pvs.network.device import pick
from napari_pvs.study.bids import subjects
from napari_pvs.study.roles import assign
from napari_pvs.study.roles import read as read_roles
from napari_pvs.study.split import Split, split
from napari_pvs.training.cohort import Cohort
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.folder import (
    CHECKPOINT,
    CONFIG,
    SPLIT,
    locked,
    read_config,
    read_split,
)
from napari_pvs.training.loop import Run


def train(config: TrainingConfig, out: Path, roles: Split | None = None) -> Path:
    """Train a network and write it to a new run folder; see `napari_pvs.training.folder`.

    Parameters
    ----------
    config
        What to do.
    out
        A new or empty folder; it may hold the ``config.json`` of this run.
    roles
        Who trains and who validates, for a run that leaves the roles of the study alone; as the
        study keeps them where None.

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

    out = Path(out)
    if out.exists() and (not out.is_dir() or any(p.name != CONFIG for p in out.iterdir())):
        raise InputError(
            f"{out} exists and is not an empty folder; name a new one, or go on with --resume."
        )
    network, device = start(config), pick(config.device)
    memory = require_memory(config, device)
    cohort = _open(config, roles)
    # wrong input leaves no folder behind
    write_text(out / CONFIG, config.model_dump_json(indent=2) + "\n")
    write_text(out / SPLIT, json.dumps(asdict(cohort.roles), indent=2) + "\n")
    with locked(out):
        from napari_pvs.training.state import State

        said = {"memory_forecast": memory.needed}
        return Run(out, cohort, State(config, device, network)).go("hello", **said)


def resume(out: Path, epochs: int | None = None) -> Path:
    """Go on with a run where its last checkpoint was written.

    Parameters
    ----------
    out
        Its folder.
    epochs
        A longer (or shorter) run than it was to be; its learning rate follows the new length.

    Returns
    -------
    Path of the best weights.

    Raises
    ------
    InputError
        No run, one that is still going on, a damaged one, or as `train`.
    """
    from napari_pvs.training.validation import start

    out = Path(out)
    config = read_config(out)
    with locked(out):
        if epochs is not None and epochs != config.epochs:
            config = config.model_copy(update={"epochs": epochs})
            write_text(out / CONFIG, config.model_dump_json(indent=2) + "\n")
        from napari_pvs.training.state import State

        state = State(config, pick(config.device), start(config))
        if (out / CHECKPOINT).is_file():
            state.load(out / CHECKPOINT)
        cohort = Cohort(config.study, read_split(out), config.semi_supervised)
        cohort.open(state.progress.labels)
        return Run(out, cohort, state).go("resumed")


def _open(config: TrainingConfig, roles: Split | None) -> Cohort:
    """Load who takes part, then freeze their roles: wrong input freezes nothing."""
    everybody = subjects(config.study)
    named = (config.validation, config.test, config.seed)
    planned = roles or split(everybody, *named, read_roles(config.study))
    cohort = Cohort(config.study, planned, config.semi_supervised)
    cohort.open()
    if roles is None:
        frozen = assign(everybody, *named, root=config.study, unlabelled=config.semi_supervised)
        if frozen.validation != planned.validation or frozen.test != planned.test:
            return _open(config, frozen)  # another run of the study was quicker
    return cohort
