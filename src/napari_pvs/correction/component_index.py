"""The single PVS of a mask that is being edited, updated at a cost that depends on the edit."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.correction.neighbourhood import Point
from napari_pvs.scans.masks import Voxels, bounding_box, connected_components

_Part = tuple[Voxels, Point, Point]

_MANY = 50_000
"""More changed voxels than this, and everything is labelled again."""


@dataclass(frozen=True, eq=False)
class Entry:
    """One PVS.

    Attributes
    ----------
    id
        Stays while the PVS is edited; of parts of one PVS, the largest keeps it. A PVS that comes
        back where one has gone, as by undo, has that one's.
    index
        Its voxels, as a numpy index.
    """

    id: int
    index: Voxels

    @property
    def voxels(self) -> int:
        """Number of voxels."""
        return len(self.index[0])

    @property
    def point(self) -> Point:
        """The voxel of the PVS nearest to its centre."""
        points = np.stack(self.index, 1)
        x, y, z = points[np.square(points - points.mean(0)).sum(1).argmin()]
        return int(x), int(y), int(z)


class ComponentIndex:
    """The 26-connected components of a mask, numbered from the largest.

    Parameters
    ----------
    mask
        (X, Y, Z), above 0 is PVS.
    before
        Of the labels that these replace: a PVS that was in them keeps its number.

    Examples
    --------
    >>> mask = np.zeros((9, 9, 9), bool)
    >>> mask[1, 1, 1:4] = mask[7, 7, 7] = True
    >>> [entry.voxels for entry in ComponentIndex(mask).entries.values()]
    [3, 1]
    """

    def __init__(self, mask: NDArray[Any], before: "ComponentIndex | None" = None) -> None:
        self.entries: dict[int, Entry] = {}
        self._boxes: dict[int, tuple[Point, Point]] = {}
        self._next = itertools.count(1)
        self._left: dict[int, Entry] = {}  # by the number that it would have again
        if before is not None:
            self._next = before._next
            self._left = before._left | before.entries
        self._count_anew(mask)

    def update(self, mask: NDArray[Any], changed: Voxels) -> tuple[set[int], set[int]]:
        """Update the index after an edit.

        Parameters
        ----------
        mask
            After the edit.
        changed
            Voxels that entered or left the mask.

        Returns
        -------
        Ids that no longer exist, and ids that are new or whose voxels have changed.
        """
        if not len(changed[0]):
            return set(), set()
        if len(changed[0]) > _MANY:
            return self._count_anew(mask)
        touched = self._near(changed)
        voxels = [self.entries[key].index for key in touched]
        low = [min(int(index[axis].min()) for index in (*voxels, changed)) for axis in range(3)]
        high = [max(int(index[axis].max()) for index in (*voxels, changed)) for axis in range(3)]
        owner = np.zeros([b - a + 1 for a, b in zip(low, high, strict=True)], np.int64)
        part = np.zeros(owner.shape, bool)
        here = _shift(changed, low)
        part[here] = mask[changed] > 0
        for key, index in zip(touched, voxels, strict=True):
            there = _shift(index, low)
            owner[there] = key
            part[there] = mask[index] > 0
        old = {key: self._drop(key) for key in touched}
        new: set[int] = set()
        for index, *box in _parts(part, (low[0], low[1], low[2])):
            counts = np.bincount(owner[_shift(index, low)])
            counts[0] = 0
            key = int(counts.argmax())
            if not counts[key] or key not in old:
                known = self._came_back([index], mask.shape)[0]
                key = next(self._next) if known is None else known
            before_it = old.pop(key, None)
            self._add(Entry(key, index), box)
            if before_it is None or not _same(before_it.index, index):
                new.add(key)
        self._left |= old
        return set(old), new

    def at(self, point: Point) -> int | None:
        """Id of the PVS that a voxel belongs to, or None."""
        for key in self._near(_as_index(point), margin=0):
            index = self.entries[key].index
            if np.all([axis == i for axis, i in zip(index, point, strict=True)], axis=0).any():
                return key
        return None

    def _count_anew(self, mask: NDArray[Any]) -> tuple[set[int], set[int]]:
        """Look at the whole mask; return what `update` does."""
        old = self.entries
        self._left |= old
        self.entries, self._boxes = {}, {}
        parts = _parts(mask > 0, (0, 0, 0))
        new = set()
        keys = self._came_back([index for index, *_ in parts], mask.shape)
        for (index, *box), known in zip(parts, keys, strict=True):
            key = next(self._next) if known is None else known
            self._add(Entry(key, index), box)
            if key not in old or not _same(old[key].index, index):
                new.add(key)
        return set(old) - set(self.entries), new

    def _came_back(self, parts: list[Voxels], shape: tuple[int, ...]) -> list[int | None]:
        """Numbers that parts had before: of what has gone, each takes what it shares most with."""
        found: list[int | None] = [None] * len(parts)
        if not self._left or not parts:
            return found
        keys = list(self._left)
        boxes = np.array([_ends(self._left[key].index) for key in keys])
        shares = []
        for part, index in enumerate(parts):
            low, high = _ends(index)
            near = ((boxes[:, 0] <= high) & (boxes[:, 1] >= low)).all(1)
            for n in np.flatnonzero(near).tolist():
                one, two = (
                    np.ravel_multi_index(voxels, shape)
                    for voxels in (index, self._left[keys[n]].index)
                )
                share = len(np.intersect1d(one, two, assume_unique=True))
                if share:
                    shares.append((share, n, part))
        # of two that share as much, the older number: it was there first
        for _, at, part in sorted(shares, key=lambda one: (-one[0], one[1])):
            if found[part] is None and keys[at] in self._left:
                found[part] = keys[at]
                del self._left[keys[at]]
        return found

    def _add(self, entry: Entry, box: list[Point]) -> None:
        self.entries[entry.id] = entry
        self._boxes[entry.id] = box[0], box[1]

    def _drop(self, key: int) -> Entry:
        del self._boxes[key]
        return self.entries.pop(key)

    def _near(self, index: Voxels, margin: int = 1) -> list[int]:
        """Ids of the PVS whose box is within ``margin`` voxels of the box around some voxels."""
        if not self._boxes:
            return []
        boxes = np.array(list(self._boxes.values()))
        low = np.array([axis.min() for axis in index]) - margin
        high = np.array([axis.max() for axis in index]) + margin
        hit = ((boxes[:, 0] <= high) & (boxes[:, 1] >= low)).all(1)
        keys = list(self._boxes)
        return [keys[i] for i in np.flatnonzero(hit)]


def _parts(mask: NDArray[np.bool_], origin: Point) -> list[_Part]:
    """Voxels and box corners of each connected component, the largest first."""
    if not mask.any():
        return []
    box = bounding_box(mask)  # saves half of the volume or more
    parts, _ = connected_components(mask[box])
    where = np.flatnonzero(parts > 0)
    numbers = parts.ravel()[where]
    order = np.argsort(numbers, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(numbers)[1:])[:-1]])
    index, low, high = [], [], []
    for axis, side, start in zip(
        np.unravel_index(where[order], parts.shape), box, origin, strict=True
    ):
        shifted = axis + side.start + start
        index.append(np.split(shifted, starts[1:]))
        low.append(np.minimum.reduceat(shifted, starts).tolist())
        high.append(np.maximum.reduceat(shifted, starts).tolist())
    found = zip(*index, strict=True), zip(*low, strict=True), zip(*high, strict=True)
    return sorted(zip(*found, strict=True), key=lambda part: -len(part[0][0]))


def _ends(index: Voxels) -> tuple[list[int], list[int]]:
    """Lowest and highest index of some voxels along each axis."""
    return [int(axis.min()) for axis in index], [int(axis.max()) for axis in index]


def _shift(index: Voxels, low: list[int]) -> Voxels:
    x, y, z = (axis - start for axis, start in zip(index, low, strict=True))
    return x, y, z


def _same(one: Voxels, two: Voxels) -> bool:
    return len(one[0]) == len(two[0]) and all(map(np.array_equal, one, two))


def _as_index(point: Point) -> Voxels:
    x, y, z = (np.array([i]) for i in point)
    return x, y, z
