"""The weights that a run starts from, and the card of those that it publishes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_pvs.errors import InputError
from napari_pvs.network.m2ss import M2SS
from napari_pvs.network.weights import ModelCard, content_of, fingerprint, load, starter_path
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.data.prepared import PreparedSubject
from napari_pvs.training.runs.folder import START
from napari_pvs.training.validation import Validation


@dataclass(frozen=True)
class Start:
    """What a run starts from; by default random weights.

    Attributes
    ----------
    content
        The weights file as it was read; None for random weights.
    network
        The network loaded from it.
    threshold
        The threshold at which its mask is best.
    id
        Id of the weights; see `fingerprint`.
    """

    content: bytes | None = None
    network: M2SS | None = None
    threshold: float = 0.5
    id: str | None = None


def load_start(config: TrainingConfig, run: Path | None = None) -> Start:
    """Load the weights to start from, if the configuration names any.

    The file is read once, so that what is checked, copied into the run and trained is the same.

    Parameters
    ----------
    config
        The run's configuration; ``starter`` stands for the package's own weights.
    run
        The run's folder. If it has a copy of the weights, that is used, since the original may
        have changed.

    Raises
    ------
    InputError
        The weights are unusable, or for another network than the method's.
    """
    if config.weights is None:
        return Start()
    path = starter_path() if str(config.weights) == "starter" else config.weights
    if run is not None and (run / START).is_file():
        path = run / START
    content = content_of(path)
    network, about = load(path, content)
    if network.config.multiscale != config.network.multiscale:
        raise InputError(
            f"weights {config.weights} are for another network than method {config.method}; "
            "choose the method they were trained with."
        )
    return Start(content, network, about.threshold, fingerprint(path, content))


def card(
    name: str,
    config: TrainingConfig,
    epoch: int,
    result: Validation,
    validated: Sequence[PreparedSubject],
    learnt: Sequence[PreparedSubject],
    start: Start,
) -> ModelCard:
    """Make the card of published weights: how they were made, and how accurate they are.

    Parameters
    ----------
    name, config
        Of the run.
    epoch
        Epoch after which they are saved.
    result
        Result of the validation.
    validated, learnt
        Subjects that the weights were validated and trained on.
    start
        What the run started from.
    """
    sizes = [edge for subject in (*validated, *learnt) for edge in subject.voxel_size]
    return ModelCard(
        name=name,
        voxel_size_mm=(min(0.65, *sizes), max(1.1, *sizes)),
        threshold=result.threshold,
        training={
            "config": json.loads(config.model_dump_json()),
            "epoch": epoch,
            "from": start.id,
        },
        accuracy={"validation": result.measures | {"subjects": len(validated)}},
    )
