"""Voxelwise agreement of a PVS mask with a reference."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.scans.masks import bounding_box

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Overlap:
    """Voxel overlap of one subject; None where a measure is undefined.

    If both masks are empty, they agree fully (``dsc`` 1); ``both_empty`` marks such subjects, so
    that they can be counted separately.
    """

    dsc: float
    recall: float | None
    """Share of the reference that was found; None without a reference."""
    precision: float | None
    """Share of the prediction that is correct; None without a prediction."""
    avd_percent: float | None
    """Absolute volume difference, 100 |Vp - Vr| / Vr; None without a reference."""
    volume_predicted_mm3: float
    volume_reference_mm3: float
    n_voxels_predicted: int
    n_voxels_reference: int
    n_voxels_common: int
    both_empty: bool


def masks_inside(
    prediction: NDArray[Any], reference: NDArray[Any], region: NDArray[Any] | None
) -> tuple[Mask, Mask]:
    """Return prediction and reference as bool masks (label > 0), false outside the region.

    Raises
    ------
    ValueError
        The shapes differ.
    """
    _check_shapes(prediction, reference, region)
    if region is None:
        return prediction > 0, reference > 0
    inside = region > 0
    return (prediction > 0) & inside, (reference > 0) & inside


def overlap(
    prediction: NDArray[Any],
    reference: NDArray[Any],
    voxel_volume: float,
    region: NDArray[Any] | None = None,
) -> Overlap:
    """Dice similarity coefficient (DSC), recall, precision and volume difference.

    Parameters
    ----------
    prediction, reference
        Masks of the same shape; labels above 0 are PVS.
    voxel_volume
        In mm³.
    region
        Only voxels where it is above 0 count; the whole array by default.

    Raises
    ------
    ValueError
        The shapes differ.
    """
    predicted, true = masks_inside(prediction, reference, region)
    n_predicted = int(np.count_nonzero(predicted))
    n_true = int(np.count_nonzero(true))
    n_common = int(np.count_nonzero(predicted & true))
    both_empty = n_predicted + n_true == 0
    return Overlap(
        dsc=1.0 if both_empty else 2 * n_common / (n_predicted + n_true),
        recall=n_common / n_true if n_true else None,
        precision=n_common / n_predicted if n_predicted else None,
        avd_percent=100 * abs(n_predicted - n_true) / n_true if n_true else None,
        volume_predicted_mm3=n_predicted * voxel_volume,
        volume_reference_mm3=n_true * voxel_volume,
        n_voxels_predicted=n_predicted,
        n_voxels_reference=n_true,
        n_voxels_common=n_common,
        both_empty=both_empty,
    )


def surface_dice(
    prediction: NDArray[Any],
    reference: NDArray[Any],
    voxel_size: Sequence[float],
    tolerance_mm: float = 1.0,
    region: NDArray[Any] | None = None,
) -> float:
    """Normalised surface distance: the share of both surfaces that is close to the other one.

    A surface consists of the mask voxels with a face neighbour outside the mask (voxels at the
    border of the array included). The result is the share of the surface voxels of both masks whose
    centre is at most ``tolerance_mm`` from the centre of a surface voxel of the other mask. This is
    MONAI's ``compute_surface_dice`` without subvoxels, after Nikolov et al. 2018
    (arXiv:1809.04430). If both masks are empty it is 1, if one is empty 0.

    Parameters
    ----------
    prediction, reference
        Masks of the same shape; labels above 0 are PVS.
    voxel_size
        Along each axis, mm.
    tolerance_mm
        Largest distance that still counts as agreement.
    region
        Both masks are cut to it first.

    Raises
    ------
    ValueError
        The shapes differ.
    """
    predicted, true = masks_inside(prediction, reference, region)
    surfaces = _surface(predicted, voxel_size), _surface(true, voxel_size)
    total = len(surfaces[0]) + len(surfaces[1])
    if total == 0:
        return 1.0
    near = _n_near(surfaces[0], surfaces[1], tolerance_mm)
    near += _n_near(surfaces[1], surfaces[0], tolerance_mm)
    return near / total


def average_precision(
    probability: NDArray[np.floating],
    reference: NDArray[Any],
    region: NDArray[Any] | None = None,
) -> float | None:
    """Area under the precision-recall curve of a probability map (AUPRC).

    The step-wise sum of (R_n - R_{n-1}) P_n over all distinct probabilities, without
    interpolation, as in scikit-learn's ``average_precision_score``.

    Returns
    -------
    0 to 1, or None when the reference is empty.

    Raises
    ------
    ValueError
        The shapes differ, or a probability is not a number.
    """
    _check_shapes(probability, reference, region)
    everywhere = slice(None) if region is None else region > 0
    score = probability[everywhere].ravel()
    true = (reference[everywhere] > 0).ravel()
    if np.isnan(score).any():
        raise ValueError("the probability map has NaN voxels")
    if not true.any():
        return None
    # below the faintest true voxel recall stays 1, so those voxels need no sorting
    kept = score >= score[true].min()
    score, true = score[kept], true[kept]
    order = np.argsort(score)[::-1]
    score = score[order]
    last_of_tie = np.append(np.flatnonzero(score[1:] != score[:-1]), score.size - 1)
    n_found = np.cumsum(true[order])[last_of_tie]
    precision = n_found / (last_of_tie + 1)
    return float(np.sum(np.diff(n_found, prepend=0) * precision) / n_found[-1])


def _check_shapes(*arrays: NDArray[Any] | None) -> None:
    shapes = {array.shape for array in arrays if array is not None}
    if len(shapes) > 1:
        raise ValueError(f"the arrays differ in shape: {sorted(shapes)}")


def _surface(mask: Mask, voxel_size: Sequence[float]) -> NDArray[np.float64]:
    """Centres of the surface voxels in mm, shape (n, 3)."""
    from scipy import ndimage

    if not mask.any():
        return np.empty((0, 3))
    box = bounding_box(mask)
    cut = mask[box]
    voxels = np.argwhere(cut & ~ndimage.binary_erosion(cut))
    corner = np.array([part.start for part in box])
    return np.asarray((voxels + corner) * np.asarray(voxel_size, dtype=float))


def _n_near(points: NDArray[np.float64], others: NDArray[np.float64], tolerance_mm: float) -> int:
    """Count the points within the tolerance of another; for few points, a tree beats a map."""
    from scipy.spatial import KDTree

    if not len(points) or not len(others):
        return 0
    # the tree's bound is exclusive, and 3 x 0.333 must not miss 1 by rounding
    bound = tolerance_mm * (1 + 1e-6) + 1e-9
    distance, _ = KDTree(others).query(points, distance_upper_bound=bound)
    return int(np.count_nonzero(np.isfinite(distance)))
