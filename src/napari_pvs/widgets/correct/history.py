"""Undo and redo of decisions, in one order with the edits that napari keeps of the labels."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from napari_pvs.correction.items import Decision
from napari_pvs.correction.neighbourhood import Point
from napari_pvs.widgets.viewer.typed import LabelsLayer


@dataclass(frozen=True, eq=False)
class Step:
    """A decision that can be undone.

    Attributes
    ----------
    point
        Where it was made, in voxels of the layer.
    before, after
        What was decided there before, and since.
    edit
        napari's record of the voxels that it has changed; None where it has changed none.
    newest
        napari's newest record when it was made.
    """

    point: Point
    before: tuple[Decision, ...]
    after: tuple[Decision, ...]
    edit: object
    newest: object


class History:
    """Decisions about one layer, in the order in which they were made.

    napari keeps the edits of voxels; a decision that has changed some is tied to its edit, one that
    has changed none to the edit before it.

    Parameters
    ----------
    layer
        The labels.
    """

    def __init__(self, layer: LabelsLayer) -> None:
        self.layer = layer
        self._done: list[Step] = []
        self._undone: list[Step] = []

    def newest(self) -> object:
        """napari's newest record of an edit, or None."""
        steps = self.layer._undo_history
        return steps[-1][0] if steps else None

    def record(
        self,
        point: Point,
        before: tuple[Decision, ...],
        after: tuple[Decision, ...],
        edited: bool,
    ) -> None:
        """Remember a decision that was just made; what was undone before is not redone any more."""
        newest = self.newest()
        self._done.append(Step(point, before, after, newest if edited else None, newest))
        self._undone.clear()
        self.layer._redo_history.clear()

    def undo(self) -> Step | None:
        """Undo the last decision or edit; return the decision, None where it was an edit."""
        undo, redo = self.layer._undo_history, self.layer._redo_history
        while self._done:
            step = self._done[-1]
            if step.edit is None:
                came_last = step.newest is not None and (
                    _last(undo, step.newest) or _among(redo, step.newest)
                )
                if not came_last and undo:
                    break  # an edit came after it
                return self._move(self._done, self._undone)
            if _last(undo, step.edit):
                self.layer.undo()
                return self._move(self._done, self._undone)
            if _among(undo, step.edit):
                break
            self._done.pop()  # it was undone by other means, or napari has no record any more
        self.layer.undo()
        return None

    def redo(self) -> Step | None:
        """Redo what was undone last; return the decision, None where it was an edit."""
        undo, redo = self.layer._undo_history, self.layer._redo_history
        if self._undone:
            step = self._undone[-1]
            if step.edit is not None and _last(redo, step.edit):
                self.layer.redo()
                return self._move(self._undone, self._done)
            at_its_place = not undo if step.newest is None else _last(undo, step.newest)
            if step.edit is None and at_its_place:
                return self._move(self._undone, self._done)
            if not _among(redo, step.edit or step.newest):
                self._undone.clear()  # an edit has come since
        self.layer.redo()
        return None

    @staticmethod
    def _move(source: list[Step], to: list[Step]) -> Step:
        step = source.pop()
        to.append(step)
        return step


def _last(steps: Sequence[Sequence[object]], record: object) -> bool:
    """Whether a record belongs to the newest of napari's steps."""
    return bool(steps) and any(one is record for one in steps[-1])


def _among(steps: Iterable[Sequence[object]], record: object) -> bool:
    return any(one is record for step in steps for one in step)
