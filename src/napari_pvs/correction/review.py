"""Which PVS to look at first, why, and what was decided."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict

from napari_pvs.correction.neighbourhood import Point
from napari_pvs.inference.components import least_voxels
from napari_pvs.scans.masks import Box, Voxels, bounding_box, box_of, voxels_of

Kind = Literal["found", "missed"]
Verdict = Literal["accept", "reject", "skip"]

MARGIN = 0.1
"""How far the threshold is moved to see whether a PVS is stable."""


class Decision(BaseModel):
    """What a rater decided about one PVS."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    point: Point
    """The voxel of the PVS that the network was surest of, on the scan's grid."""
    kind: Kind
    verdict: Verdict
    rater: str = ""
    time: AwareDatetime


class Review(BaseModel):
    """All decisions about one scan; kept as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["napari-pvs-review/1"] = "napari-pvs-review/1"
    decisions: tuple[Decision, ...] = ()


@dataclass(frozen=True)
class Item:
    """A PVS to look at.

    Attributes
    ----------
    kind
        ``found`` is in the mask, ``missed`` perhaps should be.
    point
        Its voxel of highest probability.
    voxels, volume_mm3, mean_probability
        Of the PVS; of a missed one, of the voxels that may belong to it.
    uncertainty
        0 (sure) to 1: mean entropy of its voxels, bits, where the threshold counts as one half.
    instability
        Change of its volume between thresholds 0.1 lower and higher, over its volume.
    volume_share, count_share
        Of the volume and of the number of all PVS, 0 to 1.
    """

    kind: Kind
    point: Point
    voxels: int
    volume_mm3: float
    mean_probability: float
    uncertainty: float
    instability: float
    volume_share: float
    count_share: float

    @property
    def doubt(self) -> float:
        """Uncertainty or instability, whichever is larger, 0 to 1."""
        return max(self.uncertainty, min(1.0, self.instability / 2))

    @property
    def priority(self) -> float:
        """Share of the reported volume and count, averaged, that hangs on it and is in doubt."""
        return self.doubt * (self.volume_share + self.count_share) / 2

    @property
    def reason(self) -> str:
        """Why this one, in a sentence."""
        size = f"{self.volume_mm3:.1f} mm³, {100 * self.volume_share:.1f} % of the volume"
        if self.kind == "missed":
            return f"Perhaps missed: mean probability {self.mean_probability:.2f}, {size}."
        if np.isnan(self.mean_probability):
            return f"No prediction to compare with: {size}."
        if self.instability / 2 > self.uncertainty:
            return (
                f"Its volume changes by {100 * self.instability:.0f} % when the threshold moves "
                f"by {MARGIN:g} to either side; {size}."
            )
        sure = "The network is unsure" if self.uncertainty > 0.5 else "The network is fairly sure"
        return f"{sure} (mean probability {self.mean_probability:.2f}); {size}."


@dataclass(frozen=True, eq=False)
class Focus:
    """The voxels that the rater is asked about: what is outlined, and what a decision touches.

    Attributes
    ----------
    kind
        ``item`` is in the labels; ``missed`` perhaps should be.
    box
        Where ``mask`` lies, on the scan's grid (X, Y, Z).
    mask
        bool, the box's shape; read-only.
    """

    kind: Literal["item", "missed"]
    box: Box
    mask: NDArray[np.bool_]

    @classmethod
    def of(cls, kind: Literal["item", "missed"], voxels: Voxels) -> "Focus":
        """Return the focus on some voxels, at least one, of the scan's grid."""
        low = [int(axis.min()) for axis in voxels]
        box = box_of(low, [int(axis.max()) + 1 for axis in voxels])
        mask = np.zeros([side.stop - side.start for side in box], bool)
        mask[tuple(axis - start for axis, start in zip(voxels, low, strict=True))] = True
        mask.flags.writeable = False
        return cls(kind, box, mask)

    @property
    def centre(self) -> tuple[float, float, float]:
        """The middle of its voxels, in voxels of the scan's grid."""
        x, y, z = (
            float(axis.mean()) + side.start
            for axis, side in zip(np.nonzero(self.mask), self.box, strict=True)
        )
        return x, y, z

    @property
    def voxels(self) -> Voxels:
        """Its voxels, as indexes of an array on the scan's grid."""
        x, y, z = (
            axis + side.start for axis, side in zip(np.nonzero(self.mask), self.box, strict=True)
        )
        return x, y, z


class Queue:
    """The items still to be looked at, in order, and what was decided about the others.

    The mask has the last word: what it holds no longer was rejected, also by eraser, and a
    rejection that is undone is open again.

    Parameters
    ----------
    items
        From `candidates`.
    review
        Earlier decisions.
    mask
        As for `candidates`.
    """

    def __init__(self, items: Sequence[Item], review: Review, mask: NDArray[Any]) -> None:
        self.items = list(items)
        self._first = self._found()
        self._decisions = {decision.point: decision for decision in review.decisions}
        self.look(mask)

    @property
    def review(self) -> Review:
        """All decisions, to be kept."""
        return Review(decisions=tuple(self._decisions.values()))

    @property
    def outgrown(self) -> bool:
        """Whether there are more than twice the PVS that the items of the start are shares of."""
        return self._found() > 2 * self._first

    @property
    def pending(self) -> list[Item]:
        """What is left; what was skipped comes last."""
        verdicts = [self.verdict(item) for item in self.items]
        left = [item for item, one in zip(self.items, verdicts, strict=True) if one is None]
        skipped = [item for item, one in zip(self.items, verdicts, strict=True) if one == "skip"]
        turn = {point: n for n, point in enumerate(self._decisions)}
        return left + sorted(skipped, key=lambda item: turn[item.point])

    def _found(self) -> int:
        return sum(item.kind == "found" for item in self.items)

    def add(self, items: Sequence[Item], mask: NDArray[Any]) -> None:
        """Put what came into the mask among the items, by its priority; they keep their order."""
        self.items = sorted([*self.items, *items], key=lambda item: -item.priority)
        self.look(mask)

    def look(self, mask: NDArray[Any]) -> None:
        """See what the mask holds after an edit."""
        self._present = {item.point for item in self.items if mask[item.point] > 0}

    def verdict(self, item: Item) -> Verdict | None:
        """What was decided about an item."""
        decision = self._decisions.get(item.point)
        verdict = None if decision is None else decision.verdict
        present = item.point in self._present
        if present != (item.kind == "found"):
            return "accept" if present else "reject"
        undone = "reject" if present else "accept"
        return None if verdict == undone else verdict

    def decide(self, item: Item, verdict: Verdict, rater: str, time: datetime) -> None:
        """Remember a decision; it replaces an earlier one."""
        self._decisions.pop(item.point, None)  # the last skipped has the last turn
        self._decisions[item.point] = Decision(
            point=item.point, kind=item.kind, verdict=verdict, rater=rater, time=time
        )

    def accept(self, point: Point, rater: str, time: datetime) -> None:
        """Remember that a PVS was put there by someone who looked; it need not be an item yet."""
        self._decisions[point] = Decision(
            point=point, kind="found", verdict="accept", rater=rater, time=time
        )


MISSED_SHARE = 0.4
"""A PVS that was perhaps missed exceeds this share of the threshold."""
MOST_MISSED = 200
_AROUND = 24  # voxels around an edit: as long as PVS are


@dataclass(frozen=True, eq=False)
class _View:
    """What items are measured by."""

    probability: NDArray[np.floating[Any]] | None
    threshold: float
    voxel_volume: float
    sizes: NDArray[np.int64]  # of the PVS in the mask
    known: Sequence[Point]
    origin: Point  # of the arrays in the volume


def candidates(
    mask: NDArray[Any],
    probability: NDArray[np.floating[Any]] | None,
    threshold: float,
    voxel_volume: float,
    min_volume_mm3: float = 1.0,
    known: Sequence[Point] = (),
) -> list[Item]:
    """List the PVS to look at, the most doubtful and influential first.

    Parameters
    ----------
    mask
        (X, Y, Z), above 0 is PVS; 26-connected parts are single PVS.
    probability
        (X, Y, Z); where None, the largest come first and none counts as missed.
    threshold
        The one that masks are made with.
    voxel_volume
        In mm³.
    min_volume_mm3
        Smaller candidates of missed PVS are left out; at most 200 are listed.
    known
        Points of earlier decisions; an item that holds one carries it on as its own point.
    """
    present = mask > 0
    shown = present
    if probability is not None:
        shown = present | (probability >= MISSED_SHARE * threshold)
    if not shown.any():
        return []
    box = bounding_box(shown)  # the rest of a volume is half of it or more
    present = present[box]
    probability = None if probability is None else probability[box]
    parts = _connected(present)
    sizes = np.bincount(parts[present], minlength=1)
    origin = (box[0].start, box[1].start, box[2].start)
    view = _View(probability, threshold, voxel_volume, sizes, known, origin)
    if probability is None:
        return _items("found", parts, present, sizes, np.zeros(len(sizes)), view)
    # what joins a PVS at the lower threshold is shared among the PVS that it joins
    low = max(threshold - MARGIN, MISSED_SHARE * threshold)
    wide = _connected((probability >= low) | present)
    room = np.bincount(wide.ravel())
    taken = np.bincount(wide[present], minlength=len(room))
    home = np.zeros(len(sizes), np.int64)
    home[parts[present]] = wide[present]
    at_low = sizes * room[home] / np.maximum(taken[home], 1)
    sure = probability[present] >= threshold + MARGIN
    at_high = np.bincount(parts[present], sure, minlength=len(sizes))
    unstable = (at_low - at_high) / np.maximum(sizes, 1)
    found = _items("found", parts, present, sizes, unstable, view)
    missed = _missed(present, probability, min_volume_mm3, view)
    return sorted(found + missed[:MOST_MISSED], key=lambda item: -item.priority)


def arrived(
    mask: NDArray[np.bool_],
    changed: NDArray[np.bool_],
    probability: NDArray[np.floating[Any]] | None,
    threshold: float,
    voxel_volume: float,
    there: Sequence[Point],
    known: Sequence[Point] = (),
) -> list[Item]:
    """List the PVS that came into a mask by an edit; little is looked at where little has changed.

    Parameters
    ----------
    mask
        (X, Y, Z) bool, after the edit.
    changed
        (X, Y, Z), where it differs from before.
    probability, threshold, voxel_volume
        As for `candidates`.
    there
        Points of the items that are listed already: a PVS that holds one is not new.
    known
        As for `candidates`.
    """
    from scipy.ndimage import binary_dilation

    if not changed.any() or not mask.any():
        return []
    sides = zip(bounding_box(changed), mask.shape, strict=True)
    box = tuple(slice(max(s.start - _AROUND, 0), min(s.stop + _AROUND, n)) for s, n in sides)
    parts = _connected(mask[box])
    cut = {number for i, axis in _faces(box, mask) for number in np.unique(parts.take(i, axis))}
    whole = mask[box] & ~np.isin(parts, list(cut))
    near = binary_dilation(changed[box], np.ones((3, 3, 3)))
    if (near & mask[box] & ~whole).any():  # it goes on outside
        box, whole = (slice(None),) * 3, mask
    origin = (box[0].start or 0, box[1].start or 0, box[2].start or 0)
    score = None if probability is None else probability[box]
    listed = {_moved(point, origin, -1) for point in there}
    carried = [*(_moved(point, origin, -1) for point in known), *listed]
    found = candidates(whole, score, threshold, voxel_volume, known=carried)
    new = [item for item in found if item.kind == "found" and item.point not in listed]
    total, share = np.count_nonzero(mask) * voxel_volume, 1 / (len(there) + len(new) or 1)
    return [
        replace(
            item,
            point=_moved(item.point, origin),
            volume_share=item.volume_mm3 / total,
            count_share=share,
        )
        for item in new
    ]


def _moved(point: Point, origin: Point, sign: int = 1) -> Point:
    (x, y, z), (a, b, c) = point, origin
    return x + sign * a, y + sign * b, z + sign * c


def _faces(box: Any, mask: NDArray[Any]) -> list[tuple[int, int]]:
    """Index and axis of the faces of a box that lie inside the volume."""
    faces = []
    for axis, (side, n) in enumerate(zip(box, mask.shape, strict=True)):
        faces += [(0, axis)] if side.start > 0 else []
        faces += [(-1, axis)] if side.stop < n else []
    return faces


def _missed(
    present: NDArray[np.bool_],
    probability: NDArray[np.floating[Any]],
    min_volume_mm3: float,
    view: _View,
) -> list[Item]:
    parts = _connected((probability >= MISSED_SHARE * view.threshold) | present)
    sizes = np.bincount(parts.ravel())
    above = np.bincount(parts[probability >= view.threshold], minlength=len(sizes))
    sizes[0] = 0
    sizes[np.unique(parts[present])] = 0  # beside a PVS: that PVS's doubt
    least = least_voxels(min_volume_mm3, view.voxel_volume)
    sizes[sizes < least] = 0
    sizes[above >= least] = 0  # was left out for its shape, or by the user
    return _items("missed", parts, (sizes > 0)[parts], sizes, np.zeros(len(sizes)), view)


def _items(
    kind: Kind,
    parts: NDArray[Any],
    where: NDArray[np.bool_],
    sizes: NDArray[np.int64],
    unstable: NDArray[np.float64],
    view: _View,
) -> list[Item]:
    """Measure the numbered parts inside ``where``, which have ``sizes``."""
    index = voxels_of(where)
    numbers = parts[index]
    if not len(numbers):
        return []
    if view.probability is None:
        p, entropy = np.full(len(numbers), np.nan), np.ones(len(numbers))
    else:
        p = view.probability[index]
        entropy = _entropy(p, view.threshold)
    count = np.maximum(sizes, 1)
    mean = np.bincount(numbers, p, minlength=len(sizes)) / count
    doubt = np.bincount(numbers, entropy, minlength=len(sizes)) / count
    order = np.lexsort((-p, numbers))
    starts = np.searchsorted(numbers[order], np.arange(len(sizes)))
    peaks = order[np.minimum(starts, len(order) - 1)]
    index = (index[0] + view.origin[0], index[1] + view.origin[1], index[2] + view.origin[2])
    known = {point: tuple(np.subtract(point, view.origin)) for point in view.known}
    inside = {point: at for point, at in known.items() if _holds(where, at)}
    earlier = {int(parts[at]): point for point, at in inside.items()}
    total = max(int(view.sizes[1:].sum()), 1)
    pvs = max(int(np.count_nonzero(view.sizes[1:])), 1)
    items = []
    for n in np.flatnonzero(sizes).tolist():
        peak = peaks[n]
        items.append(
            Item(
                kind=kind,
                point=earlier.get(
                    n, (int(index[0][peak]), int(index[1][peak]), int(index[2][peak]))
                ),
                voxels=int(sizes[n]),
                volume_mm3=float(sizes[n] * view.voxel_volume),
                mean_probability=float(mean[n]),
                uncertainty=float(doubt[n]),
                instability=float(unstable[n]),
                volume_share=float(sizes[n] / total),
                count_share=1 / pvs,
            )
        )
    return sorted(items, key=lambda item: -item.priority)


def _holds(mask: NDArray[np.bool_], at: tuple[Any, ...]) -> bool:
    inside = all(0 <= i < n for i, n in zip(at, mask.shape, strict=True))
    return inside and bool(mask[at])


def _connected(mask: NDArray[np.bool_]) -> NDArray[Any]:
    import cc3d

    return np.asarray(cc3d.connected_components(mask, connectivity=26))


def _entropy(p: NDArray[np.floating[Any]], threshold: float) -> NDArray[np.float64]:
    """Entropy in bits after the odds are scaled so that the threshold becomes one half."""
    p = np.clip(np.asarray(p, np.float64), 1e-6, 1 - 1e-6)
    odds = p / (1 - p) * (1 - threshold) / threshold
    q = np.clip(odds / (1 + odds), 1e-9, 1 - 1e-9)
    return np.asarray(-(q * np.log2(q) + (1 - q) * np.log2(1 - q)))
