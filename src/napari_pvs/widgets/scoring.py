"""Agreement of two masks, quick enough to follow every stroke, and where they disagree."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.evaluation.detection import Rates
from napari_pvs.evaluation.overlap import Overlap, overlap
from napari_pvs.scans.masks import Box, Voxels, box_of, voxels_of

Index = tuple[int, int, int]


@dataclass(frozen=True)
class Spot:
    """A PVS that only one of two masks has."""

    volume_mm3: float
    index: Index
    """Its voxel nearest to its centre."""


@dataclass(frozen=True)
class Agreement:
    """How a mask agrees with a reference, voxelwise and (leniently) per PVS.

    `missed` are PVS of the reference without a predicted voxel, `false` predicted PVS without a
    voxel of the reference; the largest first.
    """

    voxels: Overlap
    pvs: Rates
    missed: tuple[Spot, ...]
    false: tuple[Spot, ...]


def agreement(
    prediction: NDArray[Any],
    reference: NDArray[Any],
    voxel_volume: float,
    region: NDArray[np.bool_] | None = None,
) -> Agreement:
    """Compare two masks.

    The numbers are those of `evaluation.overlap` and of `evaluation.detection`'s lenient rule.

    Parameters
    ----------
    prediction, reference
        Three axes, same shape; above 0 is PVS.
    voxel_volume
        In mm³.
    region
        Only voxels inside count.
    """
    where = [_inside(part, region) for part in (prediction, reference)]
    box = _box_of(where)
    predicted, true = (_Parts(points, box) for points in where)
    false, missed = predicted.apart_from(true), true.apart_from(predicted)
    return Agreement(
        voxels=overlap(predicted.mask, true.mask, voxel_volume),
        pvs=Rates(true.n, true.n - len(missed), predicted.n, predicted.n - len(false)),
        missed=true.spots(missed, voxel_volume),
        false=predicted.spots(false, voxel_volume),
    )


def _inside(mask: NDArray[Any], region: NDArray[np.bool_] | None) -> Voxels:
    """Where a mask is: of all voxels of a brain, one in a thousand."""
    x, y, z = where = voxels_of(mask > 0)
    if region is None:
        return where
    inside = region[where]
    return x[inside], y[inside], z[inside]


def _box_of(where: Iterable[Voxels]) -> Box:
    """Return the smallest box around all of the points; one voxel where there are none."""
    joined = [np.concatenate(axes) for axes in zip(*where, strict=True)]
    if not len(joined[0]):
        return box_of((0, 0, 0), (1, 1, 1))
    low = [int(axis.min()) for axis in joined]
    return box_of(low, [int(axis.max()) + 1 for axis in joined])


class _Parts:
    """The 26-connected parts of a mask, given by its points, in a box."""

    def __init__(self, points: Voxels, box: Box) -> None:
        import cc3d

        self._corner = np.array([side.start for side in box])
        self.mask = np.zeros([side.stop - side.start for side in box], bool)
        self.where = tuple(axis - start for axis, start in zip(points, self._corner, strict=True))
        self.mask[self.where] = True
        self._label, self.n = cc3d.connected_components(self.mask, connectivity=26, return_N=True)
        self._ids = self._label[self.where]

    def apart_from(self, other: "_Parts") -> NDArray[np.int64]:
        """Numbers of the parts that share no voxel with the other mask."""
        apart = np.ones(self.n + 1, bool)
        apart[self._label[other.where]] = False
        apart[0] = False
        return np.flatnonzero(apart)

    def spots(self, numbers: NDArray[np.int64], voxel_volume: float) -> tuple[Spot, ...]:
        """Size and middle of some parts, the largest first."""
        wanted = np.zeros(self.n + 1, bool)
        wanted[numbers] = True
        chosen = wanted[self._ids]
        ids = self._ids[chosen]
        points = np.stack([axis[chosen] for axis in self.where], 1)
        sizes = np.bincount(ids, minlength=self.n + 1)
        with np.errstate(invalid="ignore"):
            centres = np.stack(
                [np.bincount(ids, axis, minlength=self.n + 1) / sizes for axis in points.T], -1
            )
        away = np.square(points - centres[ids]).sum(1)
        order = np.lexsort((away, ids, -sizes[ids]))
        _, first = np.unique(ids[order], return_index=True)
        return tuple(
            Spot(float(sizes[ids[i]] * voxel_volume), _index(points[i] + self._corner))
            for i in order[np.sort(first)]
        )


def _index(point: NDArray[np.int64]) -> Index:
    x, y, z = point.tolist()
    return x, y, z
