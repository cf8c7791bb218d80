"""The surroundings of a voxel: boxes, balls and connected components.

Arrays may have any axis order, the same for all arguments of a call.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.errors import InputError
from napari_pvs.scans.masks import Box, connected_components

Point = tuple[int, int, int]
VoxelSize = tuple[float, float, float]

SNAP_MM = 1.5
"""How far a click may miss its PVS."""


def around(point: Point, shape: tuple[int, ...], reach: tuple[int, int, int]) -> Box:
    """Return the box that extends ``reach`` voxels around a point, clipped to the volume."""
    x, y, z = (
        slice(max(0, i - r), min(n, i + r + 1)) for i, n, r in zip(point, shape, reach, strict=True)
    )
    return x, y, z


def snap(point: Point, mask: NDArray[Any], voxel_size: VoxelSize) -> Point:
    """Return the voxel of the mask nearest to a point, at most 1.5 mm away.

    Raises
    ------
    InputError
        There is no such voxel.
    """
    x, y, z = (int(SNAP_MM / edge) for edge in voxel_size)
    box = around(point, mask.shape, (x, y, z))
    squared = squared_mm(mask[box].shape, inside(point, box), voxel_size)
    squared[mask[box] == 0] = np.inf
    best = unravel(int(squared.argmin()), squared.shape)
    if squared[best] > SNAP_MM**2:
        raise InputError("there is no PVS at this point; click on one.")
    x, y, z = (i + s.start for i, s in zip(best, box, strict=True))
    return x, y, z


def component_at(point: Point, mask: NDArray[Any]) -> tuple[NDArray[np.bool_], Box]:
    """Return the 26-connected component of a mask at one of its voxels, and its box."""
    reach = 16
    while True:
        box = around(point, mask.shape, (reach,) * 3)
        part = connected(mask[box] > 0, inside(point, box))
        cut = False
        for axis, (side, n) in enumerate(zip(box, mask.shape, strict=True)):
            hit = np.flatnonzero(part.any(axis=tuple(a for a in range(3) if a != axis)))
            last = side.stop - side.start - 1
            cut |= bool((side.start > 0 and hit[0] == 0) or (side.stop < n and hit[-1] == last))
        if not cut:
            return part, box
        reach *= 2


def connected(mask: NDArray[np.bool_], seed: Point) -> NDArray[np.bool_]:
    """Return the 26-connected component of a mask at one of its voxels."""
    parts, _ = connected_components(mask)
    return np.asarray(parts == parts[seed], bool)


def ball(
    shape: tuple[int, ...], at: Point, radius_mm: float, voxel_size: VoxelSize
) -> NDArray[np.bool_]:
    """Mark the voxels at most ``radius_mm`` from the voxel ``at``."""
    return squared_mm(shape, at, voxel_size) <= radius_mm**2


def squared_mm(shape: tuple[int, ...], at: Point, voxel_size: VoxelSize) -> NDArray[np.float64]:
    """Squared distance from a voxel, mm²."""
    x, y, z = (
        np.square((np.arange(n) - float(i)) * edge)
        for n, i, edge in zip(shape, at, voxel_size, strict=True)
    )
    total: NDArray[np.float64] = x[:, None, None] + y[:, None] + z
    return total


def inside(point: Point, box: Box) -> Point:
    """Index of a voxel within a box."""
    x, y, z = (int(i - side.start) for i, side in zip(point, box, strict=True))
    return x, y, z


def unravel(flat: int, shape: tuple[int, ...]) -> Point:
    """Index of a voxel from its position in the flattened array."""
    x, y, z = (int(i) for i in np.unravel_index(flat, shape))
    return x, y, z
