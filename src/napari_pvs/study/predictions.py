"""Predictions for a study's subjects: drafts that nobody has reviewed."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from napari_pvs.errors import InputError, InputWarning
from napari_pvs.inference.config import SegmentConfig
from napari_pvs.inference.predictor import Predictor
from napari_pvs.inference.segment import Segmentation, predictor_of, segment_scan
from napari_pvs.scans.derivative import describe
from napari_pvs.study import derivatives
from napari_pvs.study.bids import EVERYBODY, Selection, StudySubject, scan_of, survey
from napari_pvs.study.labels import LabelStore
from napari_pvs.study.paths import require
from napari_pvs.workers import HERE, Workers, each


@dataclass(frozen=True)
class Predicted:
    """The outcome for one subject of ``total``.

    Attributes
    ----------
    name
        The subject.
    total
        How many subjects the study has.
    count, volume_mm3
        Number and volume of its PVS; None if it was not segmented.
    why
        Why it was not; empty if it has been segmented with these weights before.
    """

    name: str
    total: int
    count: int | None = None
    volume_mm3: float | None = None
    why: str = ""


Page = Callable[[Segmentation, SegmentConfig], str]
"""Makes the report of a segmentation; must be picklable for other processes."""


@dataclass(frozen=True)
class Output:
    """Where segmentations go instead of into the study, which is then only read.

    Attributes
    ----------
    out
        BIDS derivative.
    page
        Makes the report beside each; None for no reports.
    """

    out: Path
    page: Page | None = None


def segment_study(
    study: Path,
    config: SegmentConfig,
    again: bool = False,
    workers: Workers = HERE,
    *,
    wanted: Selection = EVERYBODY,
    output: Output | None = None,
) -> Iterator[Predicted]:
    """Segment the subjects of a study with one network.

    Each mask is saved as a draft, and with its probabilities in the study's own derivative. An
    unusable scan does not stop the others.

    Parameters
    ----------
    study
        BIDS dataset.
    config
        Weights, threshold and so on; its scan paths are ignored.
    again
        Include subjects that already have a prediction by these weights.
    workers
        Who does it.
    wanted
        Whom to segment.
    output
        Where to write instead of into the study.

    Raises
    ------
    InputError
        No study, unusable weights, a method other than the network, or a study or output folder
        that cannot be written, or that another tool or version has written.
    """
    if config.method != "network":
        raise InputError(
            f"method {config.method} segments single scans; give one with --t1 or --t2."
        )
    study = Path(study).absolute()  # workers may have been started elsewhere
    if config.weights is not None:
        config = config.model_copy(update={"weights": config.weights.absolute()})
    if output is not None:
        output = replace(output, out=output.out.absolute())
        derivatives.require_ours(output.out, study, again)
    seen = survey(study, wanted)
    for text in seen.notes:
        warnings.warn(text, InputWarning, stacklevel=2)
    total = len(seen.found) + len(seen.refused)
    predictor = predictor_of(config)  # refuses bad weights before the work is shared
    describe(output.out if output else derivatives.folder_of(study), derivatives.TITLE, study)
    call = partial(_segmented, study, config, again, output)
    if workers == HERE:
        call = partial(_segmented, study, config, again, output, predictor=predictor)
    for one, outcome in zip(seen.found, each(call, seen.found, workers), strict=True):
        told = Predicted(one.name, total)
        if outcome.why:
            require(study)  # if it is gone, all subjects would fail
            told = replace(told, why=outcome.why)
        elif outcome.value is not None:
            count, volume = outcome.value
            told = replace(told, count=count, volume_mm3=volume)
        yield told
    for name, why in seen.refused:
        yield Predicted(name, total, why=why)


def _segmented(
    study: Path,
    config: SegmentConfig,
    again: bool,
    output: Output | None,
    one: StudySubject,
    predictor: Predictor | None = None,
) -> tuple[int, float] | None:
    """Segment a subject; return number and volume of its PVS, None if that was done before."""
    predictor = predictor or _shared_predictor(config)
    if not again and predictor.weights_id == _weights_before(study, output, one.name):
        return None
    out = derivatives.folder_of(study) if output is None else output.out
    scan = scan_of(one, config.device, keep_in=out, register=config.register_t2)
    result = segment_scan(scan, config, predictor)
    page = output.page(result, config) if output and output.page else None
    derivatives.write(result, out, study, one, config, page)
    if output is None:
        keep(result, study, one.name)  # last: by it the subject is known as segmented
    return len(result.table), sum(row.volume_mm3 for row in result.table)


def _weights_before(study: Path, output: Output | None, name: str) -> str | None:
    """Return the id of the weights that have segmented a subject."""
    if output is not None:
        return derivatives.weights_of(output.out, name)
    before = LabelStore(study, name).predicted()
    return None if before is None else before.weights_id


@lru_cache(maxsize=1)
def _shared_predictor(config: SegmentConfig) -> Predictor:
    """Return the predictor of a worker, which segments many subjects with it."""
    return predictor_of(config)


def keep(result: Segmentation, study: Path, name: str) -> None:
    """Save a mask as a draft revision of a subject, unless its newest prediction is the same.

    Raises
    ------
    InputError
        The study cannot be written, or a revision's sidecar is damaged.
    """
    store = LabelStore(study, name)
    mask = result.scan.to_source(result.labels > 0)
    newest = store.predicted()
    again = newest is not None and newest.weights_id == result.origin["weights_id"]
    with suppress(InputError):  # save it even if the older image is damaged
        if newest is not None and again and np.array_equal(store.load(newest).data > 0, mask):
            return
    store.save(
        mask,
        result.scan.source,
        author=f"napari-pvs, {result.origin['weights']}",
        origin="predicted",
        state="draft",
        weights_id=result.origin["weights_id"],
    )
