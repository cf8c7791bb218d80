"""Counting the PVS of files: a mask, or the labels of a study."""

import warnings
from collections.abc import Callable, Iterator
from glob import escape
from pathlib import Path

import numpy as np

from napari_pvs.burden.count import Counted, count
from napari_pvs.burden.regions import FREESURFER, Names, read_map, read_regions
from napari_pvs.errors import InputError, InputWarning
from napari_pvs.evaluation.matching import subject_of
from napari_pvs.files import sentence
from napari_pvs.scans.checks import Placed
from napari_pvs.scans.pvs import read_pvs, warn_of_outside
from napari_pvs.study.bids import StudySubject, survey
from napari_pvs.study.labels import LabelStore
from napari_pvs.study.paths import derived


def count_mask(
    mask: Path,
    *,
    regions: Path | None = None,
    names: Names = FREESURFER,
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
        Its regions, such as from `read_names`.
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
    if subject is None:
        subject = subject_of(Path(mask).absolute()) or Path(mask).name.partition(".")[0]
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
        subject=subject,
        state=state,
        regions=None if regions is None else read_regions(regions, grid, names),
        brain=inside,
    )


def count_study(
    study: Path,
    *,
    regions: str | None = None,
    names: Names = FREESURFER,
    skipped: Callable[[str], None],
    failed: Callable[[str, str], None],
) -> Iterator[Counted]:
    """Count the PVS of each subject's label or, if it has none yet, of its newest prediction.

    Parameters
    ----------
    study
        BIDS dataset.
    regions
        How the names of the subjects' label maps end, such as ``desc-aseg_dseg``; they may be in
        any derivative.
    names
        As for `count_mask`.
    skipped
        Called with each subject that has neither.
    failed
        Called with each subject whose files cannot be used, and why; the others are still counted.

    Raises
    ------
    InputError
        It is not a study, or ``regions`` is a path.
    """
    if regions is not None and ("/" in regions or "\\" in regions):
        raise InputError(
            f"{regions} is the path of one file; for a study, give the end of the names of the "
            "subjects' label maps."
        )
    seen = survey(study)
    for text in seen.notes:
        warnings.warn(text, InputWarning, stacklevel=2)
    for name, why in seen.refused:
        failed(name, why)
    for subject in seen.found:
        path, state = subject.label, str(subject.state)
        try:
            if path is None:
                store = LabelStore(study, subject.name)
                made = store.predicted()
                if made is None:
                    skipped(subject.name)
                    continue
                # also if a rater has begun: a draft is not a label yet
                path, state = store.path(made), "segmented"
            counted = count_mask(
                path,
                regions=None if regions is None else _map_of(study, subject, regions),
                names=names,
                brain=subject.brain,
                subject=subject.name,
                state=state,
            )
        except (InputError, OSError) as error:
            failed(subject.name, sentence(error))
            continue
        yield counted


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
