"""Which PVS to look at: those of a mask and those that it may miss, measured by a map."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.correction.click import WIDTH_MM
from napari_pvs.correction.component_index import Entry
from napari_pvs.correction.items import MARGIN, Item, Kind
from napari_pvs.correction.neighbourhood import Point, VoxelSize
from napari_pvs.inference.components import is_round, least_voxels
from napari_pvs.scans.masks import (
    Box,
    Voxels,
    bounding_box,
    box_of,
    connected_components,
    distance_inside,
    voxels_of,
)

MISSED_SHARE = 0.4
"""A PVS that may have been missed exceeds this share of the threshold."""
MOST_MISSED = 200
_AROUND = 12  # voxels around a PVS in which its neighbours at a lower threshold are looked for


@dataclass(frozen=True, eq=False)
class Scale:
    """What items are measured by.

    Attributes
    ----------
    probability
        (X, Y, Z), in the axes of the mask; None where there is no prediction.
    threshold
        The one that masks are made with.
    voxel_volume
        In mm³.
    voxel_size
        In mm, in the order of the mask's axes; None where shapes are not judged.
    lesions
        bool (X, Y, Z), from `beside`; None where the scan has no map of lesions.
    """

    probability: NDArray[np.floating[Any]] | None
    threshold: float
    voxel_volume: float
    voxel_size: VoxelSize | None = None
    lesions: NDArray[np.bool_] | None = None

    @property
    def low(self) -> float:
        """The lower threshold, at which a PVS is looked at again."""
        return max(self.threshold - MARGIN, MISSED_SHARE * self.threshold)


def beside(lesions: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a map of lesions with the voxels that touch them by a face, an edge or a corner."""
    out = np.array(lesions)
    if out.any():
        box = bounding_box(out, 1)
        out[box] = distance_inside(~out[box], (1, 1, 1)) < _CORNER
    return out


_CORNER = 1.8  # voxels; a corner is 1.73 away, the next but one 2


@dataclass(frozen=True)
class _Total:
    """Of all PVS in the mask."""

    voxels: int
    count: int


def candidates(
    mask: NDArray[Any],
    scale: Scale,
    min_volume_mm3: float = 1.0,
    excluded: NDArray[np.bool_] | None = None,
    disputed: Mapping[str, NDArray[np.bool_]] | None = None,
) -> list[Item]:
    """List the PVS to review, the most doubtful and influential first.

    Parameters
    ----------
    mask
        (X, Y, Z), above 0 is PVS; 26-connected parts are single PVS.
    scale
        Without a probability, the largest come first and none counts as missed.
    min_volume_mm3
        Smaller candidates of missed PVS are left out; at most 200 are listed.
    excluded
        (X, Y, Z), above the threshold, but left out of the prediction's mask for their shape.
    disputed
        By rater, (X, Y, Z): PVS that only this one of two has. Then nothing is possibly missed or
        excluded, because the question is another one.
    """
    present, probability = mask > 0, scale.probability
    shown = np.logical_or.reduce([present, *(disputed or {}).values()])
    if probability is not None:
        shown |= probability >= MISSED_SHARE * scale.threshold
    if not shown.any():
        return []
    box = bounding_box(shown)  # saves half of the volume or more
    present = present[box]
    probability = None if probability is None else probability[box]
    origin = (box[0].start, box[1].start, box[2].start)
    parts, _ = connected_components(present)
    sizes = np.bincount(parts[present], minlength=1)
    total = _Total(int(sizes[1:].sum()), int(np.count_nonzero(sizes[1:])))
    extra = _disputed(disputed or {}, box, scale, total)
    if probability is None:
        found = _items("found", parts, present, np.zeros(len(sizes)), scale, origin, total)
        return sorted(found + extra, key=lambda item: -item.priority)
    # what joins a PVS at the lower threshold is shared among the PVS that it joins
    wide, _ = connected_components((probability >= scale.low) | present)
    room = np.bincount(wide.ravel())
    taken = np.bincount(wide[present], minlength=len(room))
    home = np.zeros(len(sizes), np.int64)
    home[parts[present]] = wide[present]
    at_low = sizes * room[home] / np.maximum(taken[home], 1)
    sure = probability[present] >= scale.threshold + MARGIN
    at_high = np.bincount(parts[present], sure, minlength=len(sizes))
    unstable = (at_low - at_high) / np.maximum(sizes, 1)
    more = scale, origin, total
    found = _items("found", parts, present, unstable, *more)
    if disputed is not None:
        return sorted(found + extra, key=lambda item: -item.priority)
    left_out = None if excluded is None else excluded[box] & ~present
    parts, missed = _missed(present, probability, min_volume_mm3, scale, left_out)
    extra = _items("missed", parts, missed, np.zeros(parts.max() + 1), *more)[:MOST_MISSED]
    if left_out is not None and left_out.any():
        parts, _ = connected_components(left_out)
        extra += _items("excluded", parts, left_out, np.zeros(parts.max() + 1), *more)
    return sorted(found + extra, key=lambda item: -item.priority)


def measured(
    keys: Iterable[int], entries: Mapping[int, Entry], mask: NDArray[Any], scale: Scale
) -> list[Item]:
    """Measure some of a mask's connected PVS, as `candidates` does; looks around each alone."""
    total = _Total(sum(entry.voxels for entry in entries.values()), len(entries))
    items = []
    for key in keys:
        index = entries[key].index
        item = _item("found", index, _instability(index, mask, scale), scale, total)
        item.number = key
        items.append(item)
    return items


def _instability(index: Voxels, mask: NDArray[Any], scale: Scale) -> float:
    if scale.probability is None:
        return 0.0
    low = [max(int(axis.min()) - _AROUND, 0) for axis in index]
    high = [int(axis.max()) + 1 + _AROUND for axis in index]
    box = box_of(low, high)
    present = mask[box] > 0
    wide, _ = connected_components((scale.probability[box] >= scale.low) | present)
    first = first_voxel(index)
    joined = wide == wide[first[0] - low[0], first[1] - low[1], first[2] - low[2]]
    share = len(index[0]) / np.count_nonzero(joined & present)
    at_high = np.count_nonzero(scale.probability[index] >= scale.threshold + MARGIN)
    return float(np.count_nonzero(joined) * share - at_high) / len(index[0])


def _disputed(
    disputed: Mapping[str, NDArray[np.bool_]], box: Box, scale: Scale, total: _Total
) -> list[Item]:
    """Return the PVS that one of two raters has, with this rater's name."""
    found = []
    origin = (box[0].start, box[1].start, box[2].start)
    for rater, mask in disputed.items():
        parts, _ = connected_components(mask[box])
        steady = np.zeros(parts.max(initial=0) + 1)
        for item in _items("disputed", parts, mask[box], steady, scale, origin, total):
            item.rater = rater
            found.append(item)
    return found


def _missed(
    present: NDArray[np.bool_],
    probability: NDArray[np.floating[Any]],
    min_volume_mm3: float,
    scale: Scale,
    left_out: NDArray[np.bool_] | None,
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Number the parts that no PVS of the mask is in, and tell which may be PVS."""
    parts, _ = connected_components((probability >= MISSED_SHARE * scale.threshold) | present)
    sizes = np.bincount(parts.ravel())
    above = np.bincount(parts[probability >= scale.threshold], minlength=len(sizes))
    sizes[0] = 0
    sizes[np.unique(parts[present])] = 0  # beside a PVS: that PVS's doubt
    if left_out is not None:
        sizes[np.unique(parts[left_out])] = 0  # listed as that
    least = least_voxels(min_volume_mm3, scale.voxel_volume)
    sizes[sizes < least] = 0
    sizes[above >= least] = 0  # was rejected
    return parts, (sizes > 0)[parts]


def _items(
    kind: Kind,
    parts: NDArray[Any],
    where: NDArray[np.bool_],
    unstable: NDArray[np.float64],
    scale: Scale,
    origin: Point,
    total: _Total,
) -> list[Item]:
    """Measure the numbered parts inside ``where``."""
    inner = voxels_of(where)
    numbers = parts[inner]
    if not len(numbers):
        return []
    order = np.argsort(numbers, kind="stable")
    starts = np.flatnonzero(np.diff(numbers[order], prepend=-1))[1:]
    columns = [
        np.split(axis[order] + start, starts) for axis, start in zip(inner, origin, strict=True)
    ]
    first = numbers[order][np.concatenate([[0], starts])]
    items = [
        _item(kind, (x, y, z), float(unstable[number]), scale, total)
        for x, y, z, number in zip(*columns, first.tolist(), strict=True)
    ]
    return sorted(items, key=lambda item: -item.priority)


def _item(kind: Kind, index: Voxels, unstable: float, scale: Scale, total: _Total) -> Item:
    if scale.probability is None:
        p, doubt, peak = np.array([np.nan]), 1.0, 0
    else:
        p = scale.probability[index]
        doubt, peak = float(_entropy(p, scale.threshold).mean()), int(p.argmax())
    judged = None if scale.lesions is not None else scale.voxel_size  # a map tells better
    return Item(
        kind=kind,
        point=(int(index[0][peak]), int(index[1][peak]), int(index[2][peak])),
        index=index,
        mean_probability=float(p.mean()),
        uncertainty=doubt,
        instability=unstable,
        voxel_volume=scale.voxel_volume,
        volume_share=len(index[0]) / max(total.voxels, 1),
        count_share=1 / max(total.count, 1),
        lesion=scale.lesions is not None and bool(scale.lesions[index].any()),
        round=judged is not None and is_round(np.stack(index, 1), judged, WIDTH_MM),
    )


def _entropy(p: NDArray[np.floating[Any]], threshold: float) -> NDArray[np.float64]:
    """Entropy in bits, after scaling the odds so that the threshold becomes one half."""
    p = np.clip(np.asarray(p, np.float64), 1e-6, 1 - 1e-6)
    odds = p / (1 - p) * (1 - threshold) / threshold
    q = np.clip(odds / (1 + odds), 1e-9, 1 - 1e-9)
    return np.asarray(-(q * np.log2(q) + (1 - q) * np.log2(1 - q)))


def first_voxel(index: Voxels) -> Point:
    """Return the first voxel of an index, in the array's order."""
    x, y, z = (int(axis[0]) for axis in index)
    return x, y, z
