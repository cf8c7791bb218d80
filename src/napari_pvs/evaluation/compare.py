"""All measures of one subject or one cohort, from arrays or from files."""

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.errors import InputError, InputWarning
from napari_pvs.evaluation import matching
from napari_pvs.evaluation.detection import Rates, detection
from napari_pvs.evaluation.overlap import average_precision, overlap, surface_dice
from napari_pvs.files import require_there, sentence
from napari_pvs.scans.grid import Grid, from_ras, to_ras
from napari_pvs.scans.nifti import Volume, read_labels, read_volume
from napari_pvs.scans.pvs import read_pvs, warn_of_outside


@dataclass(frozen=True)
class SubjectScore:
    """All measures of one subject; None where a measure is undefined.

    If both masks are empty, DSC, surface DSC and F1 are 1; ``both_empty`` marks such subjects.
    """

    subject: str
    both_empty: bool
    dsc: float
    recall: float | None
    precision: float | None
    avd_percent: float | None
    surface_dsc: float
    auprc: float | None
    lenient_f1: float
    lenient_recall: float | None
    lenient_precision: float | None
    strict_f1: float
    strict_recall: float | None
    strict_precision: float | None
    count_predicted: int
    count_reference: int
    volume_predicted_mm3: float
    volume_reference_mm3: float
    lenient_by_size: tuple[Rates, ...]
    """In the order of ``detection.SIZE_NAMES``."""
    strict_by_size: tuple[Rates, ...]
    identical: bool = False
    """The masks are the same, and not empty: one was most likely made from the other."""
    ceiling_dsc: float | None = None
    """Oracle ceiling, where the true fluid fraction is known (phantoms)."""


def score(
    prediction: NDArray[Any],
    reference: NDArray[Any],
    voxel_size: Sequence[float],
    *,
    subject: str,
    region: NDArray[Any] | None = None,
    probability: NDArray[np.floating] | None = None,
    voxel_volume: float | None = None,
) -> SubjectScore:
    """All measures of one subject.

    Parameters
    ----------
    prediction, reference
        3D masks of the same shape; labels above 0 are PVS.
    voxel_size
        Along each axis, mm.
    subject
        Name in the tables.
    region
        Only voxels where it is above 0 count.
    probability
        For the AUPRC, 0 to 1.
    voxel_volume
        In mm³; None for the product of the edges, which is too large for a sheared grid.

    Raises
    ------
    ValueError
        The shapes differ.
    """
    volume = math.prod(voxel_size) if voxel_volume is None else voxel_volume
    voxels = overlap(prediction, reference, volume, region)
    pvs = detection(prediction, reference, volume, region)
    return SubjectScore(
        subject=subject,
        both_empty=voxels.both_empty,
        dsc=voxels.dsc,
        recall=voxels.recall,
        precision=voxels.precision,
        avd_percent=voxels.avd_percent,
        surface_dsc=surface_dice(prediction, reference, voxel_size, region=region),
        auprc=None if probability is None else average_precision(probability, reference, region),
        lenient_f1=1.0 if pvs.lenient.f1 is None else pvs.lenient.f1,
        lenient_recall=pvs.lenient.recall,
        lenient_precision=pvs.lenient.precision,
        strict_f1=1.0 if pvs.strict.f1 is None else pvs.strict.f1,
        strict_recall=pvs.strict.recall,
        strict_precision=pvs.strict.precision,
        count_predicted=pvs.lenient.n_predicted,
        count_reference=pvs.lenient.n_reference,
        volume_predicted_mm3=voxels.volume_predicted_mm3,
        volume_reference_mm3=voxels.volume_reference_mm3,
        lenient_by_size=pvs.lenient_by_size,
        strict_by_size=pvs.strict_by_size,
        identical=not voxels.both_empty and np.array_equal(prediction > 0, reference > 0),
    )


@dataclass(frozen=True)
class Comparison:
    """Scores of a cohort and the subjects found on one side only."""

    scores: tuple[SubjectScore, ...]
    only_predicted: tuple[str, ...] = ()
    only_reference: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    """Subjects that could not be compared, each with the sentence that says why."""
    identical: tuple[str, ...] = ()
    """Subjects that were left out, because a mask that is scored against itself proves nothing."""


def compare(
    prediction: Path,
    reference: Path,
    region: Path | None = None,
    probability: Path | None = None,
) -> Comparison:
    """Score one mask file against another, or a folder of masks against another.

    Parameters
    ----------
    prediction, reference, region, probability
        As for `compare_files`, or for `compare_folders`.

    Raises
    ------
    InputError
        One is not there, or they are a file and a folder; or as those two.
    """
    require_there(prediction, reference)
    if prediction.is_dir() != reference.is_dir():
        raise InputError(
            f"{prediction} and {reference} are a file and a folder; give two files or two folders."
        )
    if prediction.is_dir():
        return compare_folders(prediction, reference, region, probability)
    return Comparison((compare_files(prediction, reference, region, probability),))


def compare_files(
    prediction: Path,
    reference: Path,
    region: Path | None = None,
    probability: Path | None = None,
) -> SubjectScore:
    """Score one mask file against another.

    The grids must be the same, but their axes may be flipped or in another order.

    Parameters
    ----------
    prediction, reference
        NIfTI masks or label images (labels above 0 are PVS).
    region, probability
        NIfTI files for ``score``.

    Raises
    ------
    InputError
        A file cannot be read, is not a mask, or is on another grid than the reference; the region
        is empty; a probability is outside 0 to 1.
    """
    true = read_pvs(reference)
    inside = None if region is None else _onto(read_labels(region), true)
    if inside is not None and not (inside > 0).any():
        raise InputError(f"{region} is empty; give a mask that is non-zero in the region to score.")
    soft = None if probability is None else _onto(read_volume(probability, constant=True), true)
    if soft is not None and not (soft.min() > -0.01 and soft.max() < 1.01):  # int16 may overshoot
        raise InputError(f"{probability} has values outside 0 to 1; give a probability map.")
    if inside is not None:
        marked = true.data > 0
        warn_of_outside(
            int(np.count_nonzero(marked)),
            int(np.count_nonzero(marked & (inside > 0))),
            f"{reference}: {{}} voxels lie outside {region} and are not scored; check both.",
        )
    grid = Grid(true.shape, true.affine)
    return score(
        _onto(read_pvs(prediction), true),
        true.data,
        grid.voxel_size,
        subject=matching.subject_of(reference.absolute()) or reference.name.partition(".")[0],
        region=inside,
        probability=soft,
        voxel_volume=grid.voxel_volume,
    )


def compare_folders(
    prediction: Path,
    reference: Path,
    region: Path | None = None,
    probability: Path | None = None,
) -> Comparison:
    """Score a folder of masks against another, matched by subject (and session).

    Parameters
    ----------
    prediction, reference
        Folders with one mask per subject, with ``sub-XX`` (and ``ses-YY``) in the name of the file
        or of a parent folder. They may contain other files, see ``matching.find``.
    region, probability
        Folders with the region masks and probability maps of every matched subject.

    Raises
    ------
    InputError
        No subject matches, or no pair can be compared.
    """
    ours = matching.find(prediction, matching.MASKS)
    theirs = matching.find(reference, matching.MASKS)
    matched = matching.match(ours.files, theirs.files)
    refused = theirs.refused | ours.refused
    if not matched.pairs and not refused:
        raise InputError(
            f"{prediction} and {reference} have no subject in common; "
            "name the files of both sub-XX_..._mask.nii.gz."
        )
    regions = _companions(region, matching.REGIONS, matched, refused)
    probabilities = _companions(probability, matching.PROBABILITIES, matched, refused)
    scores: list[SubjectScore] = []
    identical: dict[str, SubjectScore] = {}
    for subject, (predicted, true) in matched.pairs.items():
        if subject in refused:
            continue
        try:
            one = compare_files(predicted, true, regions.get(subject), probabilities.get(subject))
        except (InputError, OSError) as error:
            refused[subject] = sentence(error)
            continue
        if one.identical:
            identical[subject] = replace(one, subject=subject)
        else:
            scores.append(replace(one, subject=subject))
    if not scores and identical:
        warnings.warn(
            f"{prediction} and {reference} have the same masks, so every score is perfect and says "
            "nothing; give references that were not copied from the predictions.",
            InputWarning,
            stacklevel=2,
        )
        scores, identical = list(identical.values()), {}
    if not scores:
        raise InputError(" ".join(f"{name}: {why}" for name, why in sorted(refused.items())))
    return Comparison(
        tuple(scores),
        _without(matched.only_first, refused),
        _without(matched.only_second, refused),
        tuple(sorted(refused.items())),
        tuple(identical),
    )


def _without(names: Sequence[str], refused: Iterable[str]) -> tuple[str, ...]:
    """Leave out refused subjects, with or without their session."""
    sides = [f"{name}_" for name in refused]
    return tuple(
        name
        for name in names
        if not any(f"{name}_".startswith(one) or one.startswith(f"{name}_") for one in sides)
    )


def _onto(volume: Volume, reference: Volume) -> NDArray[Any]:
    """Return the voxels in the reference's axis order; nothing is interpolated."""
    grid, wanted = (Grid(one.shape, one.affine) for one in (volume, reference))
    if grid.same_as(wanted):
        return volume.data
    data, affine = to_ras(volume.data, volume.affine)
    turned, wanted_affine = to_ras(reference.data, reference.affine)
    if not Grid(data.shape, affine).same_as(Grid(turned.shape, wanted_affine)):
        raise InputError(
            f"{volume.path} and {reference.path} do not have the same voxels "
            f"({_describe(grid)} and {_describe(wanted)}); resample the first onto the second."
        )
    return from_ras(data, reference.affine)


def _describe(grid: Grid) -> str:
    shape = "x".join(str(n) for n in grid.shape)
    origin = ", ".join(f"{x:g}" for x in grid.affine[:3, 3])
    return f"{shape} of {'x'.join(f'{x:.3g}' for x in grid.voxel_size)} mm at {origin}"


def _companions(
    folder: Path | None,
    finder: matching.Finder,
    matched: matching.Matched,
    refused: dict[str, str],
) -> dict[str, Path]:
    """Return the file of every matched subject; a subject without one is added to ``refused``."""
    if folder is None:
        return {}
    masks = {subject: pair[0] for subject, pair in matched.pairs.items()}
    there = matching.find(folder, finder)
    found = matching.match(masks, there.files)
    for subject in found.only_first:
        missing = f"{folder} has no suitable file for {subject}; add one named after the subject."
        refused.setdefault(subject, there.refused.get(subject, missing))
    return {subject: pair[1] for subject, pair in found.pairs.items()}
