"""Agreement per PVS: which were found, which are false, and their sizes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.evaluation.overlap import Mask, Overlap, masks_inside, overlap
from napari_pvs.scans.masks import Box, Voxels, box_of, connected_components, voxels_of

SIZE_LIMITS_MM3 = (5.0, 10.0, 15.0)
SIZE_NAMES = ("<5", "5-10", "10-15", ">15")
"""Size classes of PVS, mm³; a limit belongs to the larger class."""
MINIMUM_IOU = 0.1


@dataclass(frozen=True)
class Rates:
    """Counts of PVS, and the rates that follow from them; None where a rate is undefined."""

    n_reference: int
    n_found: int
    """Reference PVS that were found."""
    n_predicted: int
    n_true: int
    """Predicted PVS that are not false."""

    @property
    def recall(self) -> float | None:
        """Share of the reference PVS that were found."""
        return self.n_found / self.n_reference if self.n_reference else None

    @property
    def precision(self) -> float | None:
        """Share of the predicted PVS that are not false."""
        return self.n_true / self.n_predicted if self.n_predicted else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of recall and precision: 0 if one side is empty, None if both are."""
        if not self.n_reference and not self.n_predicted:
            return None
        recall, precision = self.recall or 0.0, self.precision or 0.0
        return 2 * recall * precision / (recall + precision) if recall + precision else 0.0

    def __add__(self, other: "Rates") -> "Rates":
        """Counts pooled over both."""
        return Rates(
            self.n_reference + other.n_reference,
            self.n_found + other.n_found,
            self.n_predicted + other.n_predicted,
            self.n_true + other.n_true,
        )


@dataclass(frozen=True)
class Detection:
    """Detection of PVS in one subject, leniently and strictly, overall and by size.

    By size, recall counts the reference PVS of that size and precision the predicted PVS of that
    size, since a false PVS has no counterpart in the reference. The order is that of
    ``SIZE_NAMES``.
    """

    lenient: Rates
    strict: Rates
    lenient_by_size: tuple[Rates, ...]
    strict_by_size: tuple[Rates, ...]


def detection(
    prediction: NDArray[Any],
    reference: NDArray[Any],
    voxel_volume: float,
    region: NDArray[Any] | None = None,
) -> Detection:
    """Compare the 26-connected PVS of two masks.

    Lenient: a reference PVS is found if one of its voxels is predicted; a predicted PVS is false if
    it shares no voxel with the reference. Strict: pairs with an intersection over union of at least
    0.1 are matched one to one, largest overlap first (ties: larger intersection over union); PVS
    left unmatched are missed or false.

    Parameters
    ----------
    prediction, reference
        3D masks of the same shape; labels above 0 are PVS.
    voxel_volume
        In mm³.
    region
        Both masks are restricted to it before single PVS are identified.

    Raises
    ------
    ValueError
        The shapes differ.
    """
    predicted, true = masks_inside(prediction, reference, region)
    predicted_label, predicted_size = _components(predicted)
    true_label, true_size = _components(true)

    common = predicted & true
    pairs, shared = np.unique(
        np.stack([predicted_label[common], true_label[common]]).astype(np.int64) - 1,
        axis=1,
        return_counts=True,
    )
    touching = np.zeros(predicted_size.size, dtype=bool)
    found = np.zeros(true_size.size, dtype=bool)
    touching[pairs[0]] = True
    found[pairs[1]] = True
    matched, matched_true = _match(pairs, shared, predicted_size, true_size)

    sizes = _size_class(predicted_size * voxel_volume), _size_class(true_size * voxel_volume)
    return Detection(
        lenient=_rates(found, touching),
        strict=_rates(matched_true, matched),
        lenient_by_size=_by_size(found, touching, sizes),
        strict_by_size=_by_size(matched_true, matched, sizes),
    )


def _components(mask: Mask) -> tuple[NDArray[np.integer[Any]], NDArray[np.int64]]:
    """Labels 1..n of the 26-connected components and their sizes in voxels."""
    label, n = connected_components(mask)
    return label, np.bincount(label[mask], minlength=n + 1)[1:]


def _match(
    pairs: NDArray[np.int64],
    shared: NDArray[np.int64],
    predicted_size: NDArray[np.int64],
    true_size: NDArray[np.int64],
) -> tuple[Mask, Mask]:
    """Which predicted and which reference components have a partner of their own."""
    iou = shared / (predicted_size[pairs[0]] + true_size[pairs[1]] - shared)
    order = np.lexsort((-iou, -shared))
    matched = np.zeros(predicted_size.size, dtype=bool)
    matched_true = np.zeros(true_size.size, dtype=bool)
    for first, second in pairs[:, order[iou[order] >= MINIMUM_IOU]].T:
        if not matched[first] and not matched_true[second]:
            matched[first] = matched_true[second] = True
    return matched, matched_true


def _size_class(volume_mm3: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    # a volume may miss a limit by rounding, especially with a file's float32 affine
    return np.searchsorted(np.array(SIZE_LIMITS_MM3), volume_mm3 * (1 + 1e-6), side="right")


def _rates(found: Mask, right: Mask) -> Rates:
    return Rates(found.size, int(found.sum()), right.size, int(right.sum()))


def _by_size(found: Mask, right: Mask, sizes: Sequence[NDArray[np.int64]]) -> tuple[Rates, ...]:
    return tuple(_rates(found[sizes[1] == i], right[sizes[0] == i]) for i in range(len(SIZE_NAMES)))


Index = tuple[int, int, int]


@dataclass(frozen=True)
class Spot:
    """A PVS that only one of two masks has."""

    volume_mm3: float
    index: Index
    """The voxel nearest to its centre."""


@dataclass(frozen=True)
class Agreement:
    """How a mask agrees with a reference, voxelwise and (leniently) per PVS.

    `missed` are reference PVS without any predicted voxel, `false` are predicted PVS without any
    reference voxel; the largest come first.
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

    The numbers equal those of `overlap`, and of `detection` by its lenient rule.

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


TRUE, FALSE, MISSED = 1, 2, 3
"""What `told_apart` calls voxels."""


def told_apart(prediction: NDArray[Any], reference: NDArray[Any]) -> NDArray[np.uint8]:
    """Mark the PVS of two masks as found by both or by one, by `detection`'s lenient rule.

    Parameters
    ----------
    prediction, reference
        Three axes, same shape; above 0 is PVS.

    Returns
    -------
    Of the same shape: `TRUE` in predicted PVS that touch the reference, `FALSE` in other predicted
    PVS, `MISSED` in PVS of the reference that have no predicted voxel, else 0.

    Examples
    --------
    >>> row = np.array([1, 1, 0, 1, 0, 0])[None, None]
    >>> told_apart(row, np.array([0, 1, 0, 0, 0, 1])[None, None])[0, 0].tolist()
    [1, 1, 0, 2, 0, 3]
    """
    where = [_inside(part, None) for part in (prediction, reference)]
    box = _box_of(where)
    predicted, true = (_Parts(points, box) for points in where)
    marks = np.zeros(prediction.shape, np.uint8)
    part = marks[box]
    part[predicted.where] = TRUE
    part[predicted.among(predicted.apart_from(true))] = FALSE
    part[true.among(true.apart_from(predicted))] = MISSED
    return marks


def _inside(mask: NDArray[Any], region: NDArray[np.bool_] | None) -> Voxels:
    """Return the voxels of a mask inside a region: few, about one in a thousand of a brain."""
    x, y, z = where = voxels_of(mask > 0)
    if region is None:
        return where
    inside = region[where]
    return x[inside], y[inside], z[inside]


def _box_of(where: Iterable[Voxels]) -> Box:
    """Return the smallest box around all points; a single voxel if there are none."""
    joined = [np.concatenate(axes) for axes in zip(*where, strict=True)]
    if not len(joined[0]):
        return box_of((0, 0, 0), (1, 1, 1))
    low = [int(axis.min()) for axis in joined]
    return box_of(low, [int(axis.max()) + 1 for axis in joined])


class _Parts:
    """The 26-connected components of a mask, which is given by its points, in a box."""

    def __init__(self, points: Voxels, box: Box) -> None:
        self._corner = np.array([side.start for side in box])
        self.mask = np.zeros([side.stop - side.start for side in box], bool)
        self.where = tuple(axis - start for axis, start in zip(points, self._corner, strict=True))
        self.mask[self.where] = True
        self._label, self.n = connected_components(self.mask)
        self._ids = self._label[self.where]

    def apart_from(self, other: "_Parts") -> NDArray[np.int64]:
        """Numbers of the components that share no voxel with the other mask."""
        apart = np.ones(self.n + 1, bool)
        apart[self._label[other.where]] = False
        apart[0] = False
        return np.flatnonzero(apart)

    def among(self, numbers: NDArray[np.int64]) -> Voxels:
        """Where some of the parts are, in the box."""
        wanted = np.zeros(self.n + 1, bool)
        wanted[numbers] = True
        x, y, z = (axis[wanted[self._ids]] for axis in self.where)
        return x, y, z

    def spots(self, numbers: NDArray[np.int64], voxel_volume: float) -> tuple[Spot, ...]:
        """Size and central voxel of some components, the largest first."""
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
