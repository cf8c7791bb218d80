"""From probabilities to single PVS: threshold, 26-connected components, and their table."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_pvs.inference.shape import curved_lengths, moments, rod
from napari_pvs.scans.grid import Grid
from napari_pvs.scans.masks import Box, bounding_box, connected_components


@dataclass(frozen=True)
class Pvs:
    """One connected PVS; a row of ``pvs.tsv``.

    Length and diameter are those of `shape.rod`, the curved length is `shape.curved_lengths`.
    """

    id: int
    voxels: int
    volume_mm3: float
    length_mm: float
    curved_length_mm: float
    diameter_mm: float
    x_mm: float
    y_mm: float
    z_mm: float
    mean_probability: float


def least_voxels(min_volume_mm3: float, voxel_volume: float) -> int:
    """Return how many voxels a PVS of the smallest volume has, at least one.

    Both volumes in mm³.

    Examples
    --------
    >>> least_voxels(1.0, 0.512), least_voxels(1.0, 0.99999994), least_voxels(0.0, 1.0)
    (2, 1, 1)
    """
    # files store affines as float32, so a voxel of 1 mm³ in an oblique scan may come out smaller
    return max(1, math.ceil(min_volume_mm3 / voxel_volume * (1 - 1e-6)))


def label(
    probability: NDArray[np.floating] | NDArray[np.bool_],
    threshold: float,
    min_volume_mm3: float,
    voxel_volume: float,
) -> NDArray[np.int32]:
    """Number the PVS: 26-connected voxels at or above a threshold, the largest first.

    Parameters
    ----------
    probability
        (X, Y, Z) score per voxel.
    threshold
        Smallest score of a PVS voxel.
    min_volume_mm3
        Smaller components are left out.
    voxel_volume
        In mm³.

    Returns
    -------
    int32 (X, Y, Z): 0 background, 1 the largest PVS, and so on.
    """
    above = probability >= threshold
    # few voxels are PVS, so only this line goes through the whole volume
    voxels = np.flatnonzero(above)
    found, _ = connected_components(above)
    ids = np.take(found, voxels)
    del found  # before another array of its size is made
    sizes = np.bincount(ids, minlength=1)
    keep = np.flatnonzero(sizes >= least_voxels(min_volume_mm3, voxel_volume))
    order = keep[np.argsort(-sizes[keep], kind="stable")]
    renumber = np.zeros(len(sizes), np.int32)
    renumber[order] = np.arange(1, len(order) + 1, dtype=np.int32)
    return _put(renumber[ids], voxels, above.shape)


def round_ones(
    labels: NDArray[np.int32],
    voxel_size: tuple[float, float, float],
    max_width_mm: float | None,
) -> NDArray[np.int32]:
    """Tell which components are wider than a PVS and not long, as lesions are.

    A PVS is a tube at most 3 mm wide. The axes of a component are four standard deviations of its
    voxels along their principal directions (for a ball, its diameter times 0.9); the middle one
    is its width. Round is what is wider than ``max_width_mm`` and less than twice as long as wide.
    Components of fewer than 8 voxels have no shape and never are.

    Parameters
    ----------
    labels
        As from `label`.
    voxel_size
        In mm.
    max_width_mm
        None: no component is.

    Returns
    -------
    Their numbers, ascending.
    """
    if max_width_mm is None:
        return np.zeros(0, np.int32)
    found = moments(labels, np.diag(voxel_size))
    wide = _round(found.sizes, found.variances, max_width_mm)
    wide[0] = False
    return np.flatnonzero(wide).astype(np.int32)


def is_round(
    points: NDArray[np.integer], voxel_size: tuple[float, float, float], max_width_mm: float
) -> bool:
    """Tell whether one component is wide and round, as `round_ones` does.

    Parameters
    ----------
    points
        (n, 3), its voxels.
    voxel_size
        In mm, in the order of the points' columns.
    """
    if len(points) < _SHAPELESS:
        return False
    spread = np.cov(points * np.array(voxel_size), rowvar=False, bias=True)
    variances = np.linalg.eigvalsh(spread + np.diag(np.square(voxel_size)) / 12)
    return bool(_round(np.array([len(points)]), variances[None], max_width_mm)[0])


_SHAPELESS = 8  # voxels, below which a component has no shape


def _round(
    sizes: NDArray[np.integer], variances: NDArray[np.floating], max_width_mm: float
) -> NDArray[np.bool_]:
    axes = 4 * np.sqrt(variances)
    width, length = axes[:, 1], axes[:, 2]
    return np.asarray((sizes >= _SHAPELESS) & (width > max_width_mm) & (length < 2 * width))


def drop_round(
    labels: NDArray[np.int32],
    voxel_size: tuple[float, float, float],
    max_width_mm: float | None,
) -> NDArray[np.int32]:
    """Leave out the components that `round_ones` names; number the others anew, in their order."""
    if max_width_mm is None:
        return labels
    voxels = np.flatnonzero(labels)
    ids = np.take(labels, voxels)
    keep = np.bincount(ids, minlength=1) > 0
    keep[[0, *round_ones(labels, voxel_size, max_width_mm)]] = False
    renumber = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
    return _put(renumber[ids], voxels, labels.shape)


LEAST_WITHIN = 0.25
"""Share of a component's voxels in a region from which on `within` keeps it."""


def within(
    probability: NDArray[np.float32],
    region: NDArray[np.bool_],
    threshold: float,
    min_volume_mm3: float,
    voxel_volume: float,
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Keep the components that lie in a region, whole, and leave out the others, whole.

    The border of the region is coarser than a PVS is wide: cut off there, PVS would lose voxels
    and sulci keep some.

    Parameters
    ----------
    probability
        (X, Y, Z) score per voxel.
    region
        Where PVS can be.
    threshold
        At which components are told apart.
    min_volume_mm3, voxel_volume
        As for `label`.

    Returns
    -------
    The scores, 0 in components of which less than `LEAST_WITHIN` lies in the region, and outside it
    where no other component is; and those components, as from `label`.
    """
    every = label(probability, threshold, 0, voxel_volume)
    voxels = np.flatnonzero(every)
    ids = np.take(every, voxels)
    sizes = np.bincount(ids, minlength=1)
    inside = np.bincount(ids, np.take(region, voxels), minlength=1)
    keep = inside >= LEAST_WITHIN * sizes
    stays = region.copy()
    np.put(stays, voxels, keep[ids])
    gone = ~keep & (sizes >= least_voxels(min_volume_mm3, voxel_volume))
    numbers = np.where(gone, np.cumsum(gone), 0).astype(np.int32)
    return probability * stays, _put(numbers[ids], voxels, every.shape)


def table(
    labels: NDArray[np.int32], probability: NDArray[np.floating] | NDArray[np.bool_], grid: Grid
) -> list[Pvs]:
    """Measure every PVS of a label image.

    Parameters
    ----------
    labels
        As from `label`.
    probability
        Score per voxel.
    grid
        Of both; its affine makes centroids in scanner millimetres.
    """
    edges, corner = grid.affine[:3, :3], grid.affine[:3, 3]
    found = moments(labels, edges)
    where = np.unravel_index(found.voxels, labels.shape)
    total = np.bincount(found.ids, probability[where], minlength=1)
    curved = curved_lengths(np.stack(where, axis=-1), found.ids, edges)
    rows = []
    for number in np.flatnonzero(found.sizes):
        voxels = int(found.sizes[number])
        volume = voxels * grid.voxel_volume
        length, diameter = rod(float(found.variances[number, 2]), volume)
        x, y, z = edges @ found.centres[number] + corner
        rows.append(
            Pvs(
                id=int(number),
                voxels=voxels,
                volume_mm3=round(volume, 4),
                length_mm=round(length, 3),
                curved_length_mm=round(_known(float(curved[number]), length), 3),
                diameter_mm=round(diameter, 3),
                x_mm=round(float(x), 3),
                y_mm=round(float(y), 3),
                z_mm=round(float(z), 3),
                mean_probability=round(float(total[number]) / voxels, 4),
            )
        )
    return rows


def _known(curved: float, straight: float) -> float:
    """Return the curved length, or the straight one of a PVS in several pieces."""
    return curved if math.isfinite(curved) else straight


def _put(
    numbers: NDArray[np.int32], voxels: NDArray[np.intp], shape: tuple[int, ...]
) -> NDArray[np.int32]:
    """Write numbers into an array of zeros at voxels given by their position in C order."""
    out = np.zeros(shape, np.int32)
    np.put(out, voxels, numbers)
    return out


LOWEST = 0.02
"""Smallest threshold that can be set afterwards; most of the brain is below it."""


def likely(probability: NDArray[np.float32], threshold: float = LOWEST) -> Box:
    """Return the box of all voxels that this threshold, or any from `LOWEST`, can select."""
    found = probability >= min(threshold, LOWEST)
    return bounding_box(found) if found.any() else (slice(0, 1), slice(0, 1), slice(0, 1))
