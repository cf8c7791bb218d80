"""Reports of what is on disk: of one segmentation, or of a study."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from napari_pvs.burden.count import Counted
from napari_pvs.burden.files import OWN, Source, each_mask, of_subject, regions_of_map
from napari_pvs.burden.regions import FREESURFER, NONE, TEMPLATE, Numbering
from napari_pvs.errors import InputError
from napari_pvs.evaluation.compare import SubjectScore, score
from napari_pvs.evaluation.matching import subject_of
from napari_pvs.files import write_text
from napari_pvs.inference.components import label
from napari_pvs.inference.config import SegmentConfig
from napari_pvs.inference.segment import Segmentation
from napari_pvs.network.weights import read
from napari_pvs.report import cohort
from napari_pvs.report.cohort import Row
from napari_pvs.report.subject import Findings, SubjectReport, report
from napari_pvs.report.trust import TRAINING, Ranges
from napari_pvs.scans.pvs import read_on
from napari_pvs.scans.regions import Regions, fit_regions
from napari_pvs.scans.scan import Scan
from napari_pvs.study.bids import StudySubject, scan_of
from napari_pvs.study.derivatives import page_of
from napari_pvs.study.labels import LabelStore
from napari_pvs.workers import HERE, Workers

INDEX = "index.html"
"""The page of a cohort, beside those of its subjects."""
_RANGES = TypeAdapter(Ranges)


def of_segmentation(result: Segmentation, config: SegmentConfig) -> str:
    """Return the page of a scan that was just segmented, as HTML."""
    path = result.scan.source.path
    name = "a scan"
    if path is not None:
        name = subject_of(Path(path).absolute()) or Path(path).name.partition(".")[0]
    origin = {key.replace("_", " "): str(value) for key, value in result.origin.items()}
    origin |= {"threshold": f"{result.threshold:.3f}"}
    origin |= {
        f"{kind} file": str(given)
        for kind, given in (("T1", config.t1), ("T2", config.t2))
        if given is not None
    }
    made = report(
        Findings(
            name,
            result.scan,
            result.labels,
            result.probability,
            result.regions,
            "see the warnings.",
            origin,
            _training(config),
        )
    )
    return made.html


def of_mask(
    scan: Scan,
    mask: NDArray[np.bool_],
    *,
    name: str,
    origin: Mapping[str, str],
    regions: Regions | None = None,
    weights: Path | None = None,
) -> SubjectReport:
    """Make the page of a mask in memory.

    Parameters
    ----------
    scan, mask
        The mask is on the scan's grid.
    name, origin
        As in `Findings`.
    regions
        Where they are known; the template is registered otherwise.
    weights
        That made the mask; None for the starter weights.
    """
    why = ""
    if regions is None:
        try:
            regions = fit_regions(scan)
        except InputError as error:
            why = str(error)
    labels = label(np.ascontiguousarray(mask), 1, 0.0, scan.grid.voxel_volume)
    training = _training(SegmentConfig(weights=weights))
    return report(Findings(name, scan, labels, None, regions, why, origin, training))


def _training(config: SegmentConfig) -> Ranges | None:
    """Return what is known of the intensities that the weights were trained on."""
    if config.method != "network" or config.weights is None:
        return TRAINING
    found = read(config.weights)[1].training.get("intensities")
    try:
        return _RANGES.validate_python(found)
    except ValidationError:  # earlier weights do not tell
        return None


def report_study(
    study: Path,
    *,
    regions: str = TEMPLATE,
    names: Numbering = FREESURFER,
    skipped: Callable[[str], None],
    failed: Callable[[str, str], None],
    workers: Workers = HERE,
    progress: Callable[[int, int], None] | None = None,
    source: Source = OWN,
) -> Iterator[tuple[Row, str]]:
    """Make the page of each subject that has a label or a prediction.

    Parameters
    ----------
    study, regions, names, skipped, failed, workers, progress, source
        As for `burden.files.count_study`.

    Yields
    ------
    What the cohort's page needs, and the subject's page.

    Raises
    ------
    InputError
        No study.
    """
    study = Path(study).absolute()  # workers may have been started elsewhere
    return each_mask(
        study,
        partial(_of_subject, study, regions, names, source.derivative(study)),
        skipped=skipped,
        failed=failed,
        workers=workers,
        progress=progress,
        source=source,
    )


def _of_subject(
    study: Path,
    regions: str,
    names: Numbering,
    keep_in: Path,
    subject: StudySubject,
    mask: Path,
    state: str,
) -> tuple[Row, str]:
    scan = scan_of(subject, keep_in=keep_in)
    marked = np.ascontiguousarray(read_on(mask, scan.grid, subject.t1 or subject.t2) > 0)
    labels = label(marked, 1, 0.0, scan.grid.voxel_volume)
    laid: Regions | None = None
    why = "none were asked for."
    if regions == TEMPLATE:
        try:
            laid = fit_regions(scan)
        except InputError as error:
            why = str(error)
    elif regions != NONE:
        laid = regions_of_map(study, subject, regions, scan.grid, names)
    origin = {"mask": str(mask), "state": state}
    made = report(Findings(subject.name, scan, labels, None, laid, why, origin, TRAINING))
    counted = of_subject(made.counted, subject, state)
    compared = None
    if state != "segmented":  # otherwise the mask is a prediction itself
        compared = _compared(study, subject, mask, marked, scan)
    return Row(subject.name, state, made.light, made.checks, counted, compared), made.html


def _compared(
    study: Path, subject: StudySubject, mask: Path, marked: NDArray[np.bool_], scan: Scan
) -> SubjectScore | None:
    """Compare the newest prediction with the label that came after it, or that was there.

    As `evaluate` does: inside the brain, and not where the label is the prediction itself.
    """
    store = LabelStore(study, subject.name)
    predicted = store.predicted()
    if predicted is None or store.path(predicted) == mask:
        return None
    try:
        found = read_on(store.path(predicted), scan.grid, subject.t1 or subject.t2) > 0
    except InputError:  # of other voxels: it was made of another scan
        return None
    compared = score(
        found,
        marked,
        scan.grid.voxel_size,
        subject=subject.name,
        region=scan.brain,
        voxel_volume=scan.grid.voxel_volume,
    )
    return None if compared.identical else compared


def write_study(
    study: Path,
    out: Path,
    *,
    regions: str = TEMPLATE,
    names: Numbering = FREESURFER,
    skipped: Callable[[str], None],
    failed: Callable[[str, str], None],
    workers: Workers = HERE,
    progress: Callable[[int, int], None] | None = None,
    source: Source = OWN,
) -> tuple[list[Path], list[Counted]]:
    """Write a page for each subject into a folder as it is made, and that of the cohort last.

    Parameters
    ----------
    study, regions, names, skipped, failed, workers, progress, source
        As for `report_study`.
    out
        The folder; pages of the same names are replaced, unless it is the derivative itself.

    Returns
    -------
    The pages, of which the last is `INDEX`, and what was counted. None where there was no subject.
    """
    rows: list[Row] = []
    written: list[Path] = []
    left_out: list[tuple[str, str]] = []

    def fail(name: str, why: str) -> None:
        left_out.append((name, why))
        failed(name, why)

    def skip(name: str) -> None:
        left_out.append((name, "no label and no prediction yet"))
        skipped(name)

    pages = report_study(
        study, regions=regions, names=names, skipped=skip, failed=fail,
        workers=workers, progress=progress, source=source,
    )  # fmt: skip
    for row, html in pages:
        path = page_of(out, row.name)
        if source.out != out or not path.exists():  # that of the segmentation shows more
            write_text(path, html)
        written.append(path)
        rows.append(row)
    if rows:
        title = Path(study).resolve().name or str(study)
        links = {row.name: page_of(out, row.name).name for row in rows}
        write_text(out / INDEX, cohort.report(title, rows, links, left_out))
        written.append(out / INDEX)
    return written, [row.counted for row in rows]
