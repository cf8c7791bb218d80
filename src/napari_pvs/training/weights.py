"""The weights that a run starts from, and those that it publishes."""

import json
from collections.abc import Sequence
from pathlib import Path

from napari_pvs.errors import InputError
from napari_pvs.network.m2ss import M2SS
from napari_pvs.network.weights import ModelCard, fingerprint, load, starter_path
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.data.prepared import PreparedSubject
from napari_pvs.training.runs.folder import START
from napari_pvs.training.validation import Validation


def card(
    run: Path,
    config: TrainingConfig,
    epoch: int,
    result: Validation,
    subjects: Sequence[PreparedSubject],
    learnt: Sequence[PreparedSubject] = (),
) -> ModelCard:
    """Make the card of weights: how they were made, and what they reached.

    ``run`` is the folder they are written to. ``subjects`` are those of the validation, ``learnt``
    those that they were trained on.
    """
    origin = start_path(config, run)
    sizes = [edge for subject in (*subjects, *learnt) for edge in subject.voxel_size]
    return ModelCard(
        name=run.name,
        voxel_size_mm=(min(0.65, *sizes), max(1.1, *sizes)),
        threshold=result.threshold,
        training={
            "config": json.loads(config.model_dump_json()),
            "epoch": epoch,
            "from": fingerprint(origin) if origin is not None else None,
        },
        accuracy={"validation": result.measures | {"subjects": len(subjects)}},
    )


def start_path(config: TrainingConfig, run: Path | None = None) -> Path | None:
    """Return the file of the weights to start from: the copy in the run's folder, once it is there.

    ``starter`` means those of the package. None where the run starts from random weights.
    """
    if config.weights is None:
        return None
    if run is not None and (run / START).is_file():
        return run / START
    return starter_path() if str(config.weights) == "starter" else config.weights


def start(config: TrainingConfig, run: Path | None = None) -> tuple[M2SS | None, float]:
    """Load the weights to start from, if the configuration names any; `run` as in `start_path`.

    Returns
    -------
    The network, None where the run starts from random weights, and its threshold.

    Raises
    ------
    InputError
        They are unusable, or of another network than the method's.
    """
    path = start_path(config, run)
    if path is None:
        return None, 0.5
    network, about = load(path)
    if network.config.multiscale != config.network.multiscale:
        raise InputError(
            f"weights {config.weights} are of another network than method {config.method}; "
            "choose the method they were trained with."
        )
    return network, about.threshold
