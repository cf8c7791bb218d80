"""The weights that a run starts from, and the card of those that it publishes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_pvs.errors import InputError
from napari_pvs.network.m2ss import M2SS
from napari_pvs.network.weights import ModelCard, fingerprint, load, starter_path
from napari_pvs.training.agreement import Agreement
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.data.prepared import PreparedSubject
from napari_pvs.training.runs.folder import START
from napari_pvs.training.validation import Validation


@dataclass(frozen=True)
class Start:
    """What a run starts from; random weights where nothing is said.

    Attributes
    ----------
    path
        File of the weights; None for random ones.
    network
        As it was loaded.
    threshold
        By which its mask is best.
    id
        Of the weights; see `fingerprint`.
    card
        Their own; None for random weights.
    """

    path: Path | None = None
    network: M2SS | None = None
    threshold: float = 0.5
    id: str | None = None
    card: ModelCard | None = None

    def answer_at_threshold(self, subject: PreparedSubject) -> float:
        """Return the network's answer from which a voxel of a scan is PVS."""
        if self.card is None:
            return self.threshold
        pairs = zip(("T1", "T2"), subject.images, strict=True)
        return self.card.answer_at_threshold(tuple(name for name, image in pairs if image.any()))

    def learnt_of(self, study: Path) -> tuple[str, ...]:
        """Return the scans of a study that the weights have learnt from without any label.

        They have no role in the study, since a run without labels gives none.
        """
        about = {} if self.card is None else self.card.training
        config = about.get("config")
        if not isinstance(config, dict) or "unlabelled" not in about:
            return ()
        there = self.path is not None and study in self.path.absolute().parents
        same = there or Path(str(config.get("study"))) == study
        return tuple(map(str, about["unlabelled"])) if same else ()


def load_start(config: TrainingConfig, run: Path | None = None) -> Start:
    """Load the weights to start from, if the configuration names any.

    Parameters
    ----------
    config
        Of the run; ``starter`` means the weights of the package.
    run
        Its folder. Its own copy of the weights is taken where there is one, since the original
        may have changed.

    Raises
    ------
    InputError
        They are unusable, or of another network than the method's.
    """
    if config.weights is None:
        return Start()
    path = starter_path() if str(config.weights) == "starter" else config.weights
    if run is not None and (run / START).is_file():
        path = run / START
    network, about = load(path)
    if network.config.multiscale != config.network.multiscale:
        raise InputError(
            f"weights {config.weights} are of another network than method {config.method}; "
            "choose the method they were trained with."
        )
    return Start(path, network, about.threshold, fingerprint(path), about)


def card(
    name: str,
    config: TrainingConfig,
    epoch: int,
    result: Validation,
    validated: Sequence[PreparedSubject],
    learnt: Sequence[PreparedSubject],
    start: Start,
) -> ModelCard:
    """Make the card of weights: how they were made, and what they reached.

    Parameters
    ----------
    name
        Of the run.
    config
        Of the run.
    epoch
        After which they were saved.
    result
        What the validation found.
    validated, learnt
        Subjects of the validation, and those that the weights were trained on.
    start
        What the run started from.
    """
    training = _training(config, epoch, start)
    accuracy = {"validation": result.measures | {"subjects": len(validated)}}
    return _card(name, result.threshold, (*validated, *learnt), training, accuracy)


def card_without_labels(
    name: str,
    config: TrainingConfig,
    epoch: int,
    result: Agreement,
    learnt: Sequence[PreparedSubject],
    start: Start,
) -> ModelCard:
    """Make the card of weights that were adapted without a label: they have no measured accuracy.

    Parameters are those of `card`. It lists who was learnt from, for runs that start from them.
    """
    training = _training(config, epoch, start)
    training["unlabelled"] = [subject.name for subject in learnt]
    training["agreement"] = {"with": start.id, "dsc": result.dsc, "found": result.found}
    return _card(name, result.threshold, learnt, training, {})


def _training(config: TrainingConfig, epoch: int, start: Start) -> dict[str, Any]:
    return {"config": json.loads(config.model_dump_json()), "epoch": epoch, "from": start.id}


def _card(
    name: str,
    threshold: float,
    known: Sequence[PreparedSubject],
    training: dict[str, Any],
    accuracy: dict[str, Any],
) -> ModelCard:
    sizes = [edge for subject in known for edge in subject.voxel_size]
    return ModelCard(
        name=name,
        voxel_size_mm=(min(0.65, *sizes), max(1.1, *sizes)),
        threshold=threshold,
        training=training,
        accuracy=accuracy,
    )
