"""Where windows lie: the paper's overlapping grid, and few large windows."""

from collections.abc import Iterator
from itertools import product
from math import ceil

import numpy as np
from numpy.typing import NDArray

from napari_pvs.scans.grid import Shape
from napari_pvs.scans.masks import Box, bounding_box


def starts(size: int, patch: int, stride: int) -> list[int]:
    """Return the starts along one axis; the last patch ends at the last voxel.

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


def tiles(mask: NDArray[np.bool_], limit: int, halo: int, factor: int) -> Iterator[tuple[Box, Box]]:
    """Cut the mask's bounding box into few tiles, each computed with a halo around it.

    Parameters
    ----------
    mask
        What must be covered; tiles without a voxel of it are left out.
    limit
        Most voxels of a tile with its halo, before rounding to ``factor``; tiles are not cut
        below twice the halo.
    halo
        Voxels computed around a tile and thrown away, because they lack context.
    factor
        Windows start at a multiple of it, so that pooling sees the same pairs of voxels
        whatever the tiles, and are a multiple of it where the array allows, to save padding.

    Yields
    ------
    Window to compute, and tile inside it to keep, both in the array's voxels.
    """
    whole = bounding_box(mask)
    size = [s.stop - s.start for s in whole]
    parts = [1, 1, 1]

    def cost() -> int:
        edges = [
            min(length, ceil(n / p) + 2 * halo)
            for n, p, length in zip(size, parts, mask.shape, strict=True)
        ]
        return int(np.prod(edges))

    while cost() > limit and max(n / p for n, p in zip(size, parts, strict=True)) > 2 * halo:
        longest = max(range(3), key=lambda axis: size[axis] / parts[axis])
        parts[longest] += 1
    cuts = [
        np.linspace(s.start, s.stop, p + 1).round().astype(int)
        for s, p in zip(whole, parts, strict=True)
    ]
    for index in product(*(range(p) for p in parts)):
        tile = tuple(slice(int(c[i]), int(c[i + 1])) for c, i in zip(cuts, index, strict=True))
        if not mask[tile].any():
            continue
        tight = bounding_box(mask[tile])
        tile = tuple(
            slice(t.start + u.start, t.start + u.stop) for t, u in zip(tile, tight, strict=True)
        )
        window = []
        for edge, length in zip(tile, mask.shape, strict=True):
            low, high = max(0, edge.start - halo), min(length, edge.stop + halo)
            low -= low % factor
            high = min(length, high + (low - high) % factor)
            window.append(slice(low, high))
        yield (window[0], window[1], window[2]), (tile[0], tile[1], tile[2])
