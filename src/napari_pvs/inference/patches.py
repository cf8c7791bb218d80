"""Where to put windows: on the paper's overlapping grid, a few large ones, or a sample."""

from collections.abc import Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from napari_pvs.scans.grid import Shape
from napari_pvs.scans.masks import Box, bounding_box, box_of, moved, voxels_in

_PAYS = 0.9  # cut a window that is small enough only if less than this share remains to compute
_WINDOW = 200_000  # an additional window costs as much time as computing this many voxels


def starts(size: int, patch: int, stride: int) -> list[int]:
    """Return the first voxels of patches along an axis; the last patch ends at the last voxel.

    Examples
    --------
    >>> starts(176, 32, 16)
    [0, 16, 32, 48, 64, 80, 96, 112, 128, 144]
    """
    if size <= patch:
        return [0]
    return [*range(0, size - patch, stride), size - patch]


def grid(shape: Shape, patch: int = 32, stride: int = 16) -> list[Box]:
    """Make the paper's grid: cubes of ``patch`` voxels every ``stride`` voxels.

    Examples
    --------
    >>> len(grid((176, 192, 240)))
    1540
    """
    axes = [starts(size, patch, stride) for size in shape]
    return [
        (slice(x, x + patch), slice(y, y + patch), slice(z, z + patch))
        for x, y, z in product(*axes)
    ]


def sample(mask: NDArray[np.bool_], count: int, edge: int) -> list[Box]:
    """Return cubes whose middles are spread evenly over the voxels of a mask, in memory order.

    They are as many for every mask, may overlap, and lie inside the array, which may cut them.

    Examples
    --------
    >>> sample(np.ones((8, 1, 1), bool), 2, 4)
    [(slice(0, 4, None), slice(0, 1, None), slice(0, 1, None)), \
(slice(4, 8, None), slice(0, 1, None), slice(0, 1, None))]
    """
    inside = np.flatnonzero(mask)
    middles = inside[((np.arange(count) + 0.5) * len(inside) / count).astype(int)]
    places = np.stack(np.unravel_index(middles, mask.shape), axis=1)
    last = np.maximum(0, np.array(mask.shape) - edge)
    low = np.clip(places - edge // 2, 0, last)
    high = np.minimum(low + edge, mask.shape)
    return [box_of(*ends) for ends in zip(low.tolist(), high.tolist(), strict=True)]


def tiles(mask: NDArray[np.bool_], limit: int, halo: int, factor: int) -> Iterator[tuple[Box, Box]]:
    """Cover a mask with tiles, each computed with a halo around it, at the lowest cost.

    Boxes around the mask are halved repeatedly: as long as a window has too many voxels, and where
    the two windows of the halves, each as tight as its part of the mask allows, have clearly fewer
    voxels in total.

    Parameters
    ----------
    mask
        What to cover; at least one voxel.
    limit
        Maximum number of voxels in a window; tiles are not cut below twice the halo.
    halo
        Voxels computed around a tile and then discarded, because they lack context.
    factor
        Windows start at a multiple of it, so that pooling groups the same voxels whatever the
        tiles. If the array allows, their size is a multiple of it too, to save padding.

    Yields
    ------
    Window to compute, and tile inside it to keep, both in voxels of the array.
    """
    whole = bounding_box(mask)
    waiting = [whole]
    while waiting:
        tile = waiting.pop()
        inner = bounding_box(mask[tile])
        tile = moved(inner, [side.start for side in tile])
        edges = [
            _window(t.start, t.stop, halo, factor, n) for t, n in zip(tile, mask.shape, strict=True)
        ]
        window = box_of(*zip(*edges, strict=True))
        cut = _cut(mask, tile, voxels_in(window), limit, halo, factor)
        if cut is None:
            yield window, tile
            continue
        axis, at = cut
        for low, high in ((at, tile[axis].stop), (tile[axis].start, at)):
            part = list(tile)
            part[axis] = slice(low, high)
            waiting.append((part[0], part[1], part[2]))


def _cut(
    mask: NDArray[np.bool_], tile: Box, own: int, limit: int, halo: int, factor: int
) -> tuple[int, int] | None:
    """Choose axis and voxel of the cheapest cut; None if no cut pays off.

    Cuts are at multiples of ``factor``. A part above the limit is charged for the halos of the
    further cuts it needs, and each additional window for its fixed cost.
    """
    best: tuple[float, int, int] | None = None
    for axis in range(3):
        if own > limit and tile[axis].stop - tile[axis].start <= max(1, 2 * halo):
            continue
        low, high = tile[axis].start, tile[axis].stop
        at = np.arange((low // factor + 1) * factor, high, factor)
        if own > limit:  # near the middle; cutting off tips would take many cuts
            middle = at[np.abs(2 * at - low - high) <= (high - low) / 2]
            at = middle if len(middle) else at
        if not len(at):
            continue
        cost = np.full(len(at), float(_WINDOW))
        for side in (0, 1):
            cost += _estimate(*_parts(mask, tile, axis, at, side, halo, factor), limit, halo)
        least = int(cost.argmin())
        if best is None or cost[least] < best[0]:
            best = float(cost[least]), axis, int(at[least])
    if best is None or (own <= limit and best[0] >= _PAYS * own):
        return None
    return best[1], best[2]


def _parts(
    mask: NDArray[np.bool_],
    tile: Box,
    axis: int,
    at: NDArray[np.int_],
    side: int,
    halo: int,
    factor: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Number of voxels, and the three edges, of the window on one side of every cut ``at``."""
    edges = []
    for other in range(3):
        n = mask.shape[other]
        if other == axis:
            low = np.full(len(at), tile[axis].start) if side == 0 else at
            high = at if side == 0 else np.full(len(at), tile[axis].stop)
        else:
            third = 3 - axis - other
            flat = np.asarray(mask[tile].any(axis=third))
            flat = flat if axis < other else flat.T
            if side:
                flat = flat[::-1]
            reached = np.logical_or.accumulate(flat, axis=0)
            taken = at - tile[axis].start if side == 0 else tile[axis].stop - at
            reached = reached[taken - 1]
            low = tile[other].start + reached.argmax(1)
            high = tile[other].stop - reached[:, ::-1].argmax(1)
        low = np.maximum(0, low - halo) // factor * factor
        length = -(-(np.minimum(n, high + halo) - low) // factor) * factor
        edges.append(np.minimum(n - low, length).astype(np.float64))
    stacked = np.stack(edges)
    return stacked.prod(0), stacked


def _estimate(
    voxels: NDArray[np.float64], edges: NDArray[np.float64], limit: int, halo: int
) -> NDArray[np.float64]:
    """Cost of a part, including the halos of the further cuts that its size requires."""
    cuts = np.ceil(voxels / limit) - 1
    return np.asarray(voxels + cuts * (_WINDOW + 2 * halo * voxels / edges.max(0)))


def _window(start: int, stop: int, halo: int, factor: int, length: int) -> tuple[int, int]:
    low = max(0, start - halo) // factor * factor
    high = min(length, stop + halo)
    return low, min(length, high + (low - high) % factor)
