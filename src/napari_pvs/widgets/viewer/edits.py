"""Which voxels of a labels layer the user has set."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_pvs.scans.masks import voxels_of
from napari_pvs.widgets.background.debounce import Debouncer
from napari_pvs.widgets.viewer.typed import LabelsLayer

Known = tuple[NDArray[np.bool_], NDArray[np.bool_]]
"""What a layer held, and which of its voxels the user has set."""


class Edits(QObject):
    """Follows the edits of one layer.

    Parameters
    ----------
    layer
        The layer to follow.
    parent
        The session.
    by_user
        Whether voxels labelled from the start count as set by the user.
    known
        What `close` returned when the layer was followed before.
    """

    edited = Signal()
    """Voxels changed, or are about to: napari announces `data_setitem` before it is done."""

    def __init__(
        self,
        layer: LabelsLayer,
        parent: QObject,
        by_user: bool = True,
        known: Known | None = None,
    ) -> None:
        super().__init__(parent)
        self._layer = layer
        self._version = version(layer)
        self._before, self._touched = layer.data > 0, np.zeros(layer.data.shape, bool)
        if known is not None and known[0].shape == self._before.shape:
            self._touched |= known[1] | since(known, layer)
        elif by_user:
            self._touched |= self._before
        self._writing = False
        self._later = Debouncer(0, self._settle, self)
        self._events = {"paint": self._on_paint, "data": self._look, "set_data": self._look}
        for name, call in self._events.items():
            getattr(layer.events, name).connect(call)

    def close(self) -> Known:
        """Stop following the layer; return what to resume with."""
        if self._later.pending:
            self._settle()
        for name, call in self._events.items():
            getattr(self._layer.events, name).disconnect(call)
        self.deleteLater()
        return self._before, self._touched

    def notice(self) -> None:
        """Tell of voxels that were set without napari's knowing, as ``layer.data[where] = 1``."""
        now = self._layer.data
        if self._later.pending or now.shape != self._before.shape:
            return
        if not np.array_equal(now > 0, self._before):
            self._settle()
            self._tell()

    def write(self, mask: NDArray[np.bool_]) -> int:
        """Set the voxels that the user has not set, as one undo step; return how many changed.

        Undo and redo of it count as nobody's decision either.
        """
        self._settle()
        where = voxels_of((mask != self._before) & ~self._touched)
        if len(where[0]):
            self._writing = True
            try:
                put(self._layer, where, mask[where].astype(self._layer.data.dtype))
            finally:
                self._writing = False
            self._settle(by_user=False)
        return len(where[0])

    def _on_paint(self, _: object) -> None:
        if not self._writing:
            self._later.throttle()  # when it is done
        self._tell()

    def _look(self, _: object) -> None:
        # undo and redo fire set_data alone, and so does every move to another slice
        seen = version(self._layer)
        if seen != self._version:
            self._settle(by_user=seen[-1] != self._version[-1])
            self._tell()

    def _tell(self) -> None:
        self._version = version(self._layer)
        self.edited.emit()

    def _settle(self, by_user: bool = True) -> None:
        """Attribute what changed since the last time to the user, or to no one."""
        self._later.cancel()
        now = self._layer.data > 0
        if now.shape != self._before.shape:
            self._touched = now.copy()
        elif by_user:
            self._touched |= now != self._before
        self._before = now


def since(known: Known, layer: LabelsLayer) -> NDArray[np.bool_]:
    """Return which voxels changed while a layer was not followed; all, if its shape changed."""
    now = layer.data > 0
    return now != known[0] if now.shape == known[0].shape else np.ones(now.shape, bool)


def put(layer: LabelsLayer, where: tuple[NDArray[Any], ...], values: Any) -> None:
    """Set voxels of a layer as one undo step, and make the layer visible.

    On a hidden layer napari's `data_setitem` raises after the voxels are set.
    """
    layer.visible = True
    layer.data_setitem(where, values)


def version(layer: LabelsLayer) -> tuple[int, ...]:
    """Return a key that changes with edits, undo, redo and new data; the array comes last."""
    kinds = layer._undo_history, layer._redo_history
    # napari keeps so many steps and no more, so their number alone would stand still
    newest = (id(steps[-1]) if steps else 0 for steps in kinds)
    return *map(len, kinds), *newest, id(layer.data)
