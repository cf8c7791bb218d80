"""The review queue: which PVS to look at first, why, and what the rater decided."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict

from napari_pvs.correction.click import WIDTH_MM
from napari_pvs.correction.component_index import Entry
from napari_pvs.correction.neighbourhood import Point, VoxelSize
from napari_pvs.inference.components import is_round, least_voxels
from napari_pvs.scans.masks import Box, Voxels, bounding_box, box_of, distance_inside, voxels_of

Kind = Literal["found", "missed", "excluded", "disputed"]
Verdict = Literal["accept", "reject", "skip"]
Cue = Literal["uncertain", "threshold-sensitive", "possibly missed", "excluded by shape",
              "disputed", "touches a lesion", "wide and round", "large", "likely",
              "no prediction"]  # fmt: skip
DOUBTFUL: tuple[Cue, ...] = (
    "uncertain", "threshold-sensitive", "touches a lesion", "wide and round"
)  # fmt: skip
"""Cues of PVS of the mask that may be none."""

MARGIN = 0.1
"""How far the threshold is moved to see whether a PVS is stable."""
LARGE_SHARE = 0.05
"""A PVS is large from this share of the volume of all PVS on."""


class Decision(BaseModel):
    """What a rater decided about one PVS, or noted of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    point: Point
    """The voxel of the PVS with the highest probability, on the scan's grid."""
    kind: Kind
    verdict: Verdict | None
    """None where there is a note alone."""
    rater: str = ""
    time: AwareDatetime
    note: str = ""


class Review(BaseModel):
    """All decisions about one scan; saved as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["napari-pvs-review/1"] = "napari-pvs-review/1"
    decisions: tuple[Decision, ...] = ()


@dataclass(eq=False)
class Item:
    """A PVS to look at; it is the same object for as long as it is edited.

    Attributes
    ----------
    kind
        ``found`` is in the mask or was; ``missed`` perhaps should be; ``excluded`` is above the
        threshold, but was left out for its shape; ``disputed`` is in the labels of one of two
        raters.
    point
        Its voxel of highest probability.
    index
        Its voxels, as indexes of the mask, in the array's order: those in the mask now, or the
        last that were, or those that may belong to it.
    mean_probability
        Of its voxels; NaN without a prediction.
    uncertainty
        0 (sure) to 1: mean entropy of its voxels, bits, with the threshold counted as one half.
    instability
        Change of its volume between thresholds 0.1 lower and higher, over its volume.
    voxel_volume
        In mm³.
    volume_share, count_share
        Of the volume and of the number of all PVS, 0 to 1.
    number
        Of the component in the mask; None where it is in none.
    lesion
        It lies in a lesion of the scan's map, or beside one.
    round
        The scan has no map of lesions, and its shape is that of one; see `is_round`.
    grown
        The voxels of a missed one are those that a click would add.
    drawn
        It came into the mask while it was reviewed.
    rater
        Who has a disputed one.
    decision
        What was decided about it last, if the mask has not taken it back since.
    """

    kind: Kind
    point: Point
    index: Voxels
    mean_probability: float
    uncertainty: float
    instability: float
    voxel_volume: float
    volume_share: float
    count_share: float
    number: int | None = None
    lesion: bool = False
    round: bool = False
    grown: bool = False
    drawn: bool = False
    rater: str = ""
    decision: Decision | None = None

    @property
    def present(self) -> bool:
        """Whether it is in the mask."""
        return self.number is not None

    @property
    def voxels(self) -> int:
        """Their number."""
        return len(self.index[0])

    @property
    def volume_mm3(self) -> float:
        """Of all its voxels."""
        return self.voxels * self.voxel_volume

    @property
    def verdict(self) -> Verdict | None:
        """What holds now: the mask has the last word."""
        given = None if self.decision is None else self.decision.verdict
        if self.present:
            return None if given == "reject" else given
        if self.kind == "found":
            return "reject"
        return None if given == "accept" else given

    @property
    def note(self) -> str:
        """What the rater wrote about it."""
        return "" if self.decision is None else self.decision.note

    @property
    def doubt(self) -> float:
        """Uncertainty or instability, whichever is larger, 0 to 1.

        1 where shape excludes it, raters disagree, or it may be a lesion.
        """
        if self.kind in ("excluded", "disputed"):
            return 1.0
        if self.kind == "found" and (self.lesion or self.round):
            return 1.0
        return max(self.uncertainty, min(1.0, self.instability / 2))

    @property
    def priority(self) -> float:
        """Its doubt times its mean share of the reported volume and count."""
        return self.doubt * (self.volume_share + self.count_share) / 2

    @property
    def cue(self) -> Cue:
        """Why it is worth a look, in a word or two."""
        if self.kind == "missed":
            return "possibly missed"
        if self.kind == "excluded":
            return "excluded by shape"
        if self.kind == "disputed":
            return "disputed"
        if self.lesion:
            return "touches a lesion"
        if self.round:
            return "wide and round"
        if np.isnan(self.mean_probability):
            return "no prediction"
        if self.instability / 2 > self.uncertainty:
            return "threshold-sensitive"
        if self.uncertainty > 0.5:
            return "uncertain"
        return "large" if self.volume_share >= LARGE_SHARE else "likely"

    @property
    def reason(self) -> str:
        """The cue with its numbers."""
        words = {
            "threshold-sensitive": f"Threshold-sensitive (±{MARGIN:g})",
            "no prediction": "Drawn, no prediction",
            "large": "Large",
            "likely": "Likely a PVS",
            "disputed": f"Only {self.rater} has it",
            "wide and round": "Wide and round, as lesions are",
        }
        said = words.get(self.cue, self.cue.capitalize())
        if self.lesion and self.cue != "touches a lesion":
            said += ", touches a lesion"
        if not np.isnan(self.mean_probability) and self.cue != "threshold-sensitive":
            said += f" (probability {self.mean_probability:.2f})"
        return f"{said}; {self.volume_mm3:.1f} mm³"


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

    def same_as(self, other: "Focus") -> bool:
        """Whether the rater is asked the same about the same voxels."""
        same = (self.kind, self.box) == (other.kind, other.box)
        return same and np.array_equal(self.mask, other.mask)

    @property
    def centre(self) -> tuple[float, float, float]:
        """The middle of its voxels, in voxels of the scan's grid."""
        x, y, z = (float(axis.mean()) for axis in self.voxels)
        return x, y, z

    @property
    def voxels(self) -> Voxels:
        """Its voxels, as indexes of an array on the scan's grid."""
        x, y, z = (
            axis + side.start for axis, side in zip(np.nonzero(self.mask), self.box, strict=True)
        )
        return x, y, z


class Queue:
    """The items still to be reviewed, in order, and the decisions about the others.

    It follows the mask: each connected PVS is one item, what the mask holds no longer was rejected,
    also by eraser, and a rejection that is undone is open again. A decision is about the PVS that
    holds its point now.

    Parameters
    ----------
    items
        From `candidates`.
    review
        Earlier decisions.
    mask
        As for `candidates`.
    entries
        Its connected PVS, by number.
    scale
        As for `candidates`.
    before
        The queue that this one replaces: what was rejected from the mask is still listed.
    """

    def __init__(
        self,
        items: Sequence[Item],
        review: Review,
        mask: NDArray[Any],
        entries: Mapping[int, Entry],
        scale: "Scale",
        before: "Queue | None" = None,
    ) -> None:
        self._scale = scale
        self._decisions = {one.point: one for one in review.decisions}
        self._candidates = [item for item in items if item.kind != "found"]
        self._found = _matched([item for item in items if item.kind == "found"], entries)
        self._shape = mask.shape
        if before is not None:
            self._found |= {
                key: item for key, item in before._found.items()
                if not item.present and key not in entries
            }  # fmt: skip
        self._first = len(entries)
        missing = [key for key in entries if key not in self._found]
        for item in measured(missing, entries, mask, scale):
            self._found[_number(item)] = item
        self._settle(mask)

    @property
    def items(self) -> list[Item]:
        """All items, in order; candidates that are labelled are no candidates any more."""
        return self._items

    @property
    def review(self) -> Review:
        """All decisions, to be saved."""
        return Review(decisions=tuple(self._decisions.values()))

    @property
    def outgrown(self) -> bool:
        """Whether there are more than twice the PVS that the items of the start are shares of."""
        return sum(item.present for item in self._items) > 2 * max(self._first, 1)

    @property
    def pending(self) -> list[Item]:
        """What is left; what was skipped comes last, in the order it was skipped."""
        left = [item for item in self._items if item.verdict is None]
        skipped = [item for item in self._items if item.verdict == "skip"]
        return left + sorted(skipped, key=_decided_at)

    @property
    def reviewed(self) -> int:
        """How many were accepted or rejected."""
        return sum(item.verdict in ("accept", "reject") for item in self._items)

    def follow(
        self,
        mask: NDArray[Any],
        entries: Mapping[int, Entry],
        gone: Iterable[int] = (),
        new: Iterable[int] = (),
    ) -> None:
        """Follow an edit.

        Parameters
        ----------
        mask
            After the edit.
        entries
            Its connected PVS.
        gone, new
            What `ComponentIndex.update` has returned: numbers that are gone, and those that are
            new or have other voxels.
        """
        for key in gone:
            if key in self._found:
                self._found[key].number = None
        for fresh in measured(new, entries, mask, self._scale):
            known = self._found.get(_number(fresh))
            if known is None:
                fresh.drawn = True
                self._found[_number(fresh)] = fresh
            else:
                vars(known).update(vars(fresh) | {"drawn": known.drawn})
        self._settle(mask)

    def decide(
        self, item: Item, verdict: Verdict, rater: str, time: datetime, kind: Kind | None = None
    ) -> None:
        """Remember a decision; it replaces an earlier one.

        ``kind`` is what was decided about where that is not what the item is now: one that was
        disputed is found once it is accepted.
        """
        self._keep(item, verdict=verdict, rater=rater, time=time, kind=kind or item.kind)

    def write_note(self, item: Item, note: str, rater: str, time: datetime) -> None:
        """Remember a note; a decision stays as it is."""
        known = item.decision
        if known is None:
            self._keep(item, verdict=None, rater=rater, time=time, kind=item.kind, note=note)
        else:
            self._decisions[known.point] = known.model_copy(update={"note": note, "time": time})
            self._assign()

    def known(self, item: Item) -> tuple[Decision, ...]:
        """All that was decided about a PVS, for `replace`."""
        return tuple(
            one for one in self._decisions.values() if one.point in {item.point, *self._at(item)}
        )

    def replace(self, out: Sequence[Decision], back: Sequence[Decision]) -> None:
        """Take decisions back, and bring back those that were there before."""
        for one in out:
            self._decisions.pop(one.point, None)
        self._decisions |= {one.point: one for one in back}
        self._assign()

    def item_of(self, number: int) -> Item | None:
        """The item of a connected PVS of the mask."""
        return self._found.get(number)

    def _keep(self, item: Item, **values: Any) -> None:
        note = values.pop("note", item.note)
        for point in self._at(item):
            self._decisions.pop(point, None)
        self._decisions[item.point] = Decision(point=item.point, note=note, **values)
        self._assign()

    def _at(self, item: Item) -> list[Point]:
        """Points of decisions that lie in an item."""
        voxels = set(zip(*(axis.tolist() for axis in item.index), strict=True))
        return [point for point in self._decisions if point in voxels]

    def _settle(self, mask: NDArray[Any]) -> None:
        """List what there is now, in order."""
        items = [item for item in self._candidates if not mask[item.index].any()]
        there = {voxel for item in items for voxel in self._voxels(item)}
        for item in self._found.values():
            # what went with an edit undone, into another PVS, or is a candidate again, is none
            undone = item.drawn and not self._rejected(item)
            if item.present or not (
                undone or self._flat(item.point) in there or mask[item.index].any()
            ):
                items.append(item)
        self._items = sorted(items, key=lambda item: -item.priority)
        self._assign()

    def _rejected(self, item: Item) -> bool:
        return any(self._decisions[point].verdict == "reject" for point in self._at(item))

    def _voxels(self, item: Item) -> list[int]:
        flat: list[int] = np.ravel_multi_index(item.index, self._shape).tolist()
        return flat

    def _assign(self) -> None:
        """Find the item that holds the point of each decision; of several, the last counts."""
        for item in self._items:
            item.decision = None
        if not self._decisions or not self._items:
            return
        owner = np.repeat(np.arange(len(self._items)), [item.voxels for item in self._items])
        flat = np.concatenate(
            [np.ravel_multi_index(item.index, self._shape) for item in self._items]
        )
        order = np.argsort(flat, kind="stable")
        flat, owner = flat[order], owner[order]
        inside = [one for one in self._decisions.values() if self._inside(one.point)]
        for one in sorted(inside, key=lambda one: one.time):
            at = int(np.searchsorted(flat, self._flat(one.point)))
            if at < len(flat) and flat[at] == self._flat(one.point):
                self._items[owner[at]].decision = one

    def _inside(self, point: Point) -> bool:
        return all(0 <= i < n for i, n in zip(point, self._shape, strict=True))

    def _flat(self, point: Point) -> int:
        return int(np.ravel_multi_index(point, self._shape))


def _number(item: Item) -> int:
    if item.number is None:
        raise ValueError("the item is in no mask")
    return item.number


def _decided_at(item: Item) -> float:
    return 0.0 if item.decision is None else item.decision.time.timestamp()


def _matched(items: Sequence[Item], entries: Mapping[int, Entry]) -> dict[int, Item]:
    """Give items the numbers of their components; what is none any more is left out."""
    by_first = {_first(entry.index): entry for entry in entries.values()}
    found = {}
    for item in items:
        entry = by_first.get(_first(item.index))
        if entry is not None and all(map(np.array_equal, entry.index, item.index)):
            item.number = entry.id
            found[entry.id] = item
    return found


def _first(index: Voxels) -> Point:
    x, y, z = (int(axis[0]) for axis in index)
    return x, y, z


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
    parts = _connected(present)
    sizes = np.bincount(parts[present], minlength=1)
    total = _Total(int(sizes[1:].sum()), int(np.count_nonzero(sizes[1:])))
    extra = _disputed(disputed or {}, box, scale, total)
    if probability is None:
        found = _items("found", parts, present, np.zeros(len(sizes)), scale, origin, total)
        return sorted(found + extra, key=lambda item: -item.priority)
    # what joins a PVS at the lower threshold is shared among the PVS that it joins
    wide = _connected((probability >= scale.low) | present)
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
        parts = _connected(left_out)
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
    wide = _connected((scale.probability[box] >= scale.low) | present)
    first = _first(index)
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
        parts = _connected(mask[box])
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
    parts = _connected((probability >= MISSED_SHARE * scale.threshold) | present)
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


def _connected(mask: NDArray[np.bool_]) -> NDArray[Any]:
    import cc3d

    return np.asarray(cc3d.connected_components(mask, connectivity=26))


def _entropy(p: NDArray[np.floating[Any]], threshold: float) -> NDArray[np.float64]:
    """Entropy in bits, after scaling the odds so that the threshold becomes one half."""
    p = np.clip(np.asarray(p, np.float64), 1e-6, 1 - 1e-6)
    odds = p / (1 - p) * (1 - threshold) / threshold
    q = np.clip(odds / (1 + odds), 1e-9, 1 - 1e-9)
    return np.asarray(-(q * np.log2(q) + (1 - q) * np.log2(1 - q)))
