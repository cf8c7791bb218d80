"""Agreement per PVS: which were found, which are false, and how large they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.evaluation.overlap import Mask, masks_inside

SIZE_LIMITS_MM3 = (5.0, 10.0, 15.0)
SIZE_NAMES = ("<5", "5-10", "10-15", ">15")
"""Sizes of PVS in mm³; a limit belongs to the larger class."""
MINIMUM_IOU = 0.1


@dataclass(frozen=True)
class Rates:
    """Counts of PVS and the rates that follow; None where a rate is undefined."""

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

    By size, recall is over the reference PVS of that size and precision over the predicted PVS
    of that size, since a false PVS has no reference to take a size from. The order is that of
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

    Lenient: a reference PVS is found when one voxel of it is predicted; a predicted PVS is false
    when it touches no reference voxel. Strict: pairs with an intersection over union of at least
    0.1 are matched one-to-one, the largest overlap first (then the larger union ratio); what is
    left unmatched is missed or false.

    Parameters
    ----------
    prediction, reference
        3D masks of the same shape; labels above 0 are PVS.
    voxel_volume
        In mm³.
    region
        Both masks are cut to it before the PVS are told apart.

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
    import cc3d

    label, n = cc3d.connected_components(mask, connectivity=26, return_N=True)
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
    # A volume may miss a limit by rounding, in particular from a file's float32 affine.
    return np.searchsorted(np.array(SIZE_LIMITS_MM3), volume_mm3 * (1 + 1e-6), side="right")


def _rates(found: Mask, right: Mask) -> Rates:
    return Rates(found.size, int(found.sum()), right.size, int(right.sum()))


def _by_size(found: Mask, right: Mask, sizes: Sequence[NDArray[np.int64]]) -> tuple[Rates, ...]:
    return tuple(_rates(found[sizes[1] == i], right[sizes[0] == i]) for i in range(len(SIZE_NAMES)))
