"""Counting the PVS of files: a mask, or the labels of a study."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from glob import escape
from pathlib import Path
from typing import TypeVar

import numpy as np

from napari_pvs.burden.count import Counted, count
from napari_pvs.burden.regions import FREESURFER, NONE, TEMPLATE, Numbering, read_map, read_regions
from napari_pvs.errors import InputError, InputWarning
from napari_pvs.evaluation.matching import subject_of
from napari_pvs.scans.checks import Placed
from napari_pvs.scans.grid import Grid
from napari_pvs.scans.pvs import read_on, read_pvs, warn_of_outside
from napari_pvs.scans.regions import Regions, fit_regions
from napari_pvs.scans.scan import Scan
from napari_pvs.study.bids import EVERYBODY, Selection, StudySubject, scan_of, survey
from napari_pvs.study.derivatives import folder_of, mask_of
from napari_pvs.study.labels import LabelStore
from napari_pvs.study.paths import derived
from napari_pvs.workers import HERE, Workers, each

Made = TypeVar("Made")


@dataclass(frozen=True)
class Source:
    """Which masks of a study to take.

    Attributes
    ----------
    wanted
        Of which subjects.
    out
        BIDS derivative with the masks; None for labels and predictions of the study itself.
    """

    wanted: Selection = EVERYBODY
    out: Path | None = None

    def derivative(self, study: Path) -> Path:
        """Where segmentations of the study lie, and what was found out about its scans."""
        return folder_of(study) if self.out is None else self.out


OWN = Source()


def count_mask(
    mask: Path,
    *,
    regions: Path | None = None,
    names: Numbering = FREESURFER,
    brain: Path | None = None,
    subject: str | None = None,
    state: str | None = None,
) -> Counted:
    """Count the PVS of a mask, as `count`.

    Parameters
    ----------
    mask
        Labels above 0 are PVS.
    regions
        Label map of the brain, on any grid in the same world space.
    names
        What its numbers mean, such as from `read_names`.
    brain
        Brain mask, on any such grid; for the share that PVS have of the brain.
    subject, state
        For the tables; by default, the subject is taken from the mask's path.

    Raises
    ------
    InputError
        A file is unusable, or in another place.
    """
    volume = read_pvs(mask)
    placed = Placed.turned(str(mask), volume.data, volume.affine)
    grid = placed.grid
    inside = None if brain is None else read_map(brain, grid) > 0
    if inside is not None and not inside.any():
        raise InputError(f"{brain} is empty where the PVS are; give the brain mask of this scan.")
    if inside is not None:
        present = placed.data > 0
        warn_of_outside(
            int(np.count_nonzero(present)),
            int(np.count_nonzero(present & inside)),
            f"{mask}: {{}} voxels of PVS are outside the brain mask {brain}, and are counted; "
            "check both.",
        )
    return count(
        np.ascontiguousarray(placed.data > 0),
        grid,
        subject=_named(mask) if subject is None else subject,
        state=state,
        regions=None if regions is None else read_regions(regions, grid, names),
        brain=inside,
    )


def count_on_scan(
    mask: Path,
    scan: Scan,
    *,
    regions: Regions | None = None,
    subject: str | None = None,
    state: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Counted:
    """Count the PVS of a mask by the template's regions, as `fit_regions` lays them over the scan.

    Parameters
    ----------
    mask
        On the voxels of the scan.
    scan
        T1, T2 or both, with its brain.
    regions
        Those of the scan, where they are known.
    subject, state
        As for `count_mask`.
    progress
        As for `fit_regions`.

    Raises
    ------
    InputError
        The mask is unusable or on other voxels, or as `fit_regions`.
    """
    labels = read_on(mask, scan.grid, scan.source.path or "the scan")
    if regions is None:
        regions = fit_regions(scan, progress)
        for text in regions.doubts:
            warnings.warn(text, InputWarning, stacklevel=2)
    name = _named(mask) if subject is None else subject
    return count(
        np.ascontiguousarray(labels > 0), scan.grid,
        subject=name, state=state, regions=regions, brain=scan.brain,
    )  # fmt: skip


def _named(mask: Path) -> str:
    return subject_of(Path(mask).absolute()) or Path(mask).name.partition(".")[0]


def count_study(
    study: Path,
    *,
    regions: str = TEMPLATE,
    names: Numbering = FREESURFER,
    skipped: Callable[[str], None],
    failed: Callable[[str, str], None],
    workers: Workers = HERE,
    progress: Callable[[int, int], None] | None = None,
    source: Source = OWN,
) -> Iterator[Counted]:
    """Count the PVS of each subject's label or, if it has none yet, of its newest prediction.

    Parameters
    ----------
    study
        BIDS dataset.
    regions
        `TEMPLATE`, `NONE`, or how the names of the subjects' label maps end, such as
        ``desc-aseg_dseg``; they may be in any derivative.
    names
        As for `count_mask`.
    skipped
        Called with each subject that has neither.
    failed
        Called with each subject whose files cannot be used, and why; the others are still counted.
    workers
        Who does it.
    progress
        Called with the number of subjects done, and of all.
    source
        Whose masks, and which.

    Raises
    ------
    InputError
        It is not a study, or ``regions`` is a path.
    """
    if "/" in regions or "\\" in regions:
        raise InputError(
            f"{regions} is the path of one file; for a study, give the end of the names of the "
            "subjects' label maps."
        )
    study = Path(study).absolute()  # workers may have been started elsewhere
    return each_mask(
        study,
        partial(_counted, study, regions, names, source.derivative(study)),
        skipped=skipped,
        failed=failed,
        workers=workers,
        progress=progress,
        source=source,
    )


def each_mask(
    study: Path,
    make: Callable[[StudySubject, Path, str], Made],
    *,
    skipped: Callable[[str], None],
    failed: Callable[[str, str], None],
    workers: Workers = HERE,
    progress: Callable[[int, int], None] | None = None,
    source: Source = OWN,
) -> Iterator[Made]:
    """Make something of the mask of each subject of a study; what fails for one stops no other.

    Parameters
    ----------
    study
        BIDS dataset.
    make
        Called with the subject, its mask that counts, and its state; must be picklable unless the
        workers are this process.
    skipped, failed, workers, progress, source
        As for `count_study`.

    Raises
    ------
    InputError
        It is not a study.
    """
    seen = survey(study, source.wanted)
    for text in seen.notes:
        warnings.warn(text, InputWarning, stacklevel=2)
    for name, why in seen.refused:
        failed(name, why)
    outcomes = each(partial(_made, study, make, source.out), seen.found, workers)
    for done, (subject, outcome) in enumerate(zip(seen.found, outcomes, strict=True), start=1):
        if outcome.why:
            failed(subject.name, outcome.why)
        elif outcome.value is None:
            skipped(subject.name)
        else:
            yield outcome.value[0]
        if progress is not None:
            progress(done, len(seen.found))


def _made(
    study: Path,
    make: Callable[[StudySubject, Path, str], Made],
    out: Path | None,
    subject: StudySubject,
) -> tuple[Made] | None:
    found = _countable(study, subject) if out is None else _segmented(out, subject)
    return None if found is None else (make(subject, *found),)


def _countable(study: Path, subject: StudySubject) -> tuple[Path, str] | None:
    """Return the mask of a subject that counts, and its state; None where there is none.

    It is the label or, where there is none yet, the newest prediction.
    """
    if subject.label is not None:
        return subject.label, str(subject.state)
    store = LabelStore(study, subject.name)
    made = store.predicted()
    # also where a rater has begun: what is drawn so far is no label yet
    return None if made is None else (store.path(made), "segmented")


def _segmented(out: Path, subject: StudySubject) -> tuple[Path, str] | None:
    mask = mask_of(out, subject.name)
    return (mask, "segmented") if mask.is_file() else None


def of_subject(counted: Counted, subject: StudySubject, state: str) -> Counted:
    """Note in a count the state of the label, and which scans there are: T1 alone finds fewer."""
    scans = "+".join(kind for kind, path in (("T1", subject.t1), ("T2", subject.t2)) if path)
    rows = (replace(row, state=state, scans=scans) for row in counted.burden)
    return replace(counted, burden=tuple(rows))


def _counted(
    study: Path,
    regions: str,
    names: Numbering,
    keep_in: Path,
    subject: StudySubject,
    mask: Path,
    state: str,
) -> Counted:
    return of_subject(_count(study, regions, names, keep_in, subject, mask), subject, state)


def _count(
    study: Path, regions: str, names: Numbering, keep_in: Path, subject: StudySubject, mask: Path
) -> Counted:
    if regions == TEMPLATE:
        scan = scan_of(subject, keep_in=keep_in)
        try:
            laid = fit_regions(scan)
        except InputError as error:  # it has PVS all the same
            warnings.warn(
                f"{subject.name} is counted without regions: {error}", InputWarning, stacklevel=2
            )
        else:
            for text in laid.doubts:
                warnings.warn(f"{subject.name}: {text}", InputWarning, stacklevel=2)
            return count_on_scan(mask, scan, regions=laid, subject=subject.name)
    of_map = None if regions in (TEMPLATE, NONE) else _map_of(study, subject, regions)
    return count_mask(mask, regions=of_map, names=names, brain=subject.brain, subject=subject.name)


def regions_of_map(
    study: Path, subject: StudySubject, ending: str, grid: Grid, names: Numbering
) -> Regions:
    """Read the regions of a subject's label map, found as `count_study` does.

    Raises
    ------
    InputError
        There is none, or two, or as `read_regions`.
    """
    return read_regions(_map_of(study, subject, ending), grid, names)


def _map_of(study: Path, subject: StudySubject, ending: str) -> Path:
    inside = Path(*subject.name.split("_")) / "anat"
    stem = "*_" + escape(ending.removesuffix(".gz").removesuffix(".nii").removesuffix(".mgz"))
    # on a template's grid the regions are not where the subject's are
    scan = subject.t1 or subject.t2
    found = list(derived(study, subject.name, stem, templates=False, scan=scan))
    if len(found) > 1:
        raise InputError(f"{found[0]} and {found[1]} could both be meant; keep one of them.")
    if not found:
        raise InputError(
            f"{study} has no derivatives/*/{inside}/{stem}.nii.gz for {subject.name}; add it, or "
            "leave --regions out."
        )
    return found[0]
