"""Agreement of two masks, quick enough to follow every stroke, and where they disagree."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.evaluation.detection import Rates
from napari_pvs.evaluation.overlap import Overlap, overlap
from napari_pvs.scans.masks import bounding_box

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
    either = (prediction > 0) | (reference > 0)
    box = bounding_box(either) if either.any() else (slice(0, 1),) * 3
    masks = [part[box] > 0 for part in (prediction, reference)]
    if region is not None:
        masks = [mask & region[box] for mask in masks]
    corner = np.array([part.start for part in box])
    predicted, true = (_Parts(mask, corner) for mask in masks)
    false, missed = predicted.apart_from(true), true.apart_from(predicted)
    return Agreement(
        voxels=overlap(masks[0], masks[1], voxel_volume),
        pvs=Rates(true.n, true.n - len(missed), predicted.n, predicted.n - len(false)),
        missed=true.spots(missed, voxel_volume),
        false=predicted.spots(false, voxel_volume),
    )


class _Parts:
    """The 26-connected parts of a mask."""

    def __init__(self, mask: NDArray[np.bool_], corner: NDArray[np.int64]) -> None:
        import cc3d

        self._corner, self._shape = corner, mask.shape
        # where it is, once: of all voxels of a brain, one in a thousand
        self.where = np.flatnonzero(mask)
        label, self.n = cc3d.connected_components(
            np.ascontiguousarray(mask), connectivity=26, return_N=True
        )
        self._label = np.asarray(label).ravel()
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
        points = np.stack(np.unravel_index(self.where[chosen], self._shape), 1)
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
