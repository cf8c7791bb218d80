"""The review queue: what is left to look at, in order, and what the rater decided."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.correction.candidates import Scale, first_voxel, measured
from napari_pvs.correction.component_index import Entry
from napari_pvs.correction.items import Decision, Item, Kind, Review, Verdict
from napari_pvs.correction.neighbourhood import Point


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
        scale: Scale,
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
    by_first = {first_voxel(entry.index): entry for entry in entries.values()}
    found = {}
    for item in items:
        entry = by_first.get(first_voxel(item.index))
        if entry is not None and all(map(np.array_equal, entry.index, item.index)):
            item.number = entry.id
            found[entry.id] = item
    return found
