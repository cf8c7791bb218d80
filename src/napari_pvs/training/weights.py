"""The weights that a run starts from, and the card of those that it publishes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_pvs.errors import InputError
from napari_pvs.network.m2ss import M2SS
from napari_pvs.network.weights import (
    ModelCard,
    content_of,
    fingerprint,
    load,
    read,
    starter_path,
)
from napari_pvs.scans.intensity import modalities
from napari_pvs.training.agreement import Agreement
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.data.prepared import PreparedSubject
from napari_pvs.training.runs.folder import SPLIT, START, read_split
from napari_pvs.training.validation import Validation

_SAMPLE = 20  # subjects whose intensities are told


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
    card
        Their model card; None for random weights.
    learned
        Scans of the study that they, or the members of an ensemble, have been trained on.
    """

    content: bytes | None = None
    network: M2SS | None = None
    threshold: float = 0.5
    id: str | None = None
    card: ModelCard | None = None
    learned: tuple[str, ...] = ()

    def settled(self, config: TrainingConfig) -> TrainingConfig:
        """Return the configuration with the batch statistics that the run takes."""
        if config.statistics != "auto":
            return config
        taken = "fixed" if self.network is None else self.network.config.statistics
        return config.model_copy(update={"statistics": taken})

    def answer_at_threshold(self, subject: PreparedSubject) -> float:
        """Return the network's answer from which a voxel of a scan is PVS."""
        if self.card is None:
            return self.threshold
        return self.card.answer_at_threshold(modalities(subject.images))


def learned_in(config: TrainingConfig, run: Path | None = None) -> dict[str, Path]:
    """Return the scans of a study that a run's start weights or ensemble have been trained on.

    They may have no role in the study: a run without labels gives none, nor does a
    cross-validation.

    Parameters
    ----------
    config
        Of the run; its study is the one that is meant.
    run
        The run's folder, if it exists; members of its ensemble may be gone by now.

    Returns
    -------
    For the name of each such scan, the weights.

    Raises
    ------
    InputError
        A file of weights is unusable.
    """
    given = config.weights
    files = {} if given is None or str(given) == "starter" else {given: _copied(given, run)}
    if config.teacher == "ensemble":
        files |= {path: path for path in config.members if run is None or path.is_file()}
    study, out = config.study.absolute(), dict[str, Path]()
    for path, held in files.items():
        for name in _learned(read(held)[1], study, path.absolute()):
            out.setdefault(name, path)
    return out


def _copied(weights: Path, run: Path | None) -> Path:
    """Return the run's copy of its start weights, since the original may have changed."""
    return run / START if run is not None and (run / START).is_file() else weights


def _learned(about: ModelCard, study: Path, path: Path) -> tuple[str, ...]:
    """Return the scans of a study that these weights were trained on."""
    told = about.training
    config, names = told.get("config"), told.get("learned", told.get("unlabelled"))
    if not isinstance(config, dict):
        return ()
    if study not in path.parents and Path(str(config.get("study"))) != study:
        return ()
    if names is None and (path.parent / SPLIT).is_file():  # earlier cards do not tell
        split = read_split(path.parent)
        names = (*split.train, *split.unlabelled)
    return tuple(map(str, names or ()))


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
    learned = tuple(learned_in(config, run))
    if config.weights is None:
        return Start(learned=learned)
    path = starter_path() if str(config.weights) == "starter" else config.weights
    path = _copied(path, run)
    content = content_of(path)
    network, about = load(path, content)
    if network.config.multiscale != config.network.multiscale:
        raise InputError(
            f"weights {config.weights} are for another network than method {config.method}; "
            "choose the method they were trained with."
        )
    if config.statistics != "auto":
        network.config = network.config.model_copy(update={"statistics": config.statistics})
    return Start(content, network, about.threshold, fingerprint(path, content), about, learned)


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
    training = _training(config, epoch, learnt, start)
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

    Parameters are those of `card`.
    """
    training = _training(config, epoch, learnt, start)
    training["unlabelled"] = [subject.name for subject in learnt]
    training["agreement"] = {"with": start.id, "dsc": result.dsc, "found": result.found}
    card = _card(name, result.threshold, learnt, training, {})
    return card.model_copy(update={"thresholds": result.thresholds})


def _training(
    config: TrainingConfig, epoch: int, learnt: Sequence[PreparedSubject], start: Start
) -> dict[str, Any]:
    """Tell how weights were made; of whom, for runs that start from them."""
    return {
        "config": json.loads(config.model_dump_json()),
        "epoch": epoch,
        "from": start.id,
        "learned": sorted({*start.learned, *(subject.name for subject in learnt)}),
    }


def _card(
    name: str,
    threshold: float,
    known: Sequence[PreparedSubject],
    training: dict[str, Any],
    accuracy: dict[str, Any],
) -> ModelCard:
    sizes = [edge for subject in known for edge in subject.voxel_size]
    training = training | {"intensities": _intensities(known[:: max(1, -(-len(known) // _SAMPLE))])}
    return ModelCard(
        name=name,
        voxel_size_mm=(min(0.65, *sizes), max(1.1, *sizes)),
        threshold=threshold,
        training=training,
        accuracy=accuracy,
    )


def _intensities(known: Sequence[PreparedSubject]) -> dict[str, dict[str, tuple[float, float]]]:
    """Tell by modality between which values each percentile of these subjects lies."""
    out: dict[str, dict[str, tuple[float, float]]] = {}
    for name in ("T1", "T2"):
        rows = [subject.percentiles[name] for subject in known if name in subject.percentiles]
        if rows:
            columns = {key: [row[key] for row in rows] for key in rows[0]}
            out[name] = {
                key: (round(min(values), 2), round(max(values), 2))
                for key, values in columns.items()
            }
    return out
