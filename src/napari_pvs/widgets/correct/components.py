"""The connected PVS of the session's labels, followed edit by edit; table and queue share it."""

import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_pvs.correction.component_index import ComponentIndex, Entry
from napari_pvs.scans.masks import Voxels, box_of, voxels_of
from napari_pvs.scans.scan import Scan
from napari_pvs.widgets.background.debounce import Debouncer
from napari_pvs.widgets.state.session import Session

PAUSE_MS = 80
"""How long after an edit it is looked at; a stroke is one edit. A decision looks at once."""
_NONE: Voxels = (np.zeros(0, np.intp),) * 3


class Components(QObject):
    """Follows the labels of a session.

    Parameters
    ----------
    session
        Of the viewer.
    parent
        Owner.

    Attributes
    ----------
    index
        The PVS of the labels, in the axes of the layer; None where there are no labels.
    mask
        What it is of.
    edited
        Numbers of the PVS that the user has changed since the labels were loaded or filled.
    filling
        What is being looked at came from a prediction or a draft, not from the user.
    """

    replaced = Signal()
    """Other labels, or none: all is anew."""
    changed = Signal(object, object)
    """After an edit: numbers of the PVS that are gone, and of those that are new or differ."""
    followed = Signal()
    """An edit was looked at, whether it has changed a PVS or not."""

    def __init__(self, session: Session, parent: QObject) -> None:
        super().__init__(parent)
        self._session = session
        self.index: ComponentIndex | None = None
        self.mask: NDArray[np.bool_] | None = None
        self.edited: set[int] = set()
        self.filling = False
        self._start_mask: NDArray[np.bool_] | None = None
        self._before: tuple[weakref.ref[Scan], ComponentIndex] | None = None
        self._later = Debouncer(PAUSE_MS, self.follow, self)
        session.labels_edited.connect(self._later.throttle)
        session.labels_changed.connect(self.start)
        session.labels_filled.connect(self._on_filled)
        self.start()

    @property
    def entries(self) -> dict[int, Entry]:
        """The PVS of the labels, by number."""
        return {} if self.index is None else self.index.entries

    def start(self) -> None:
        """Look at the labels anew; PVS of the same scan keep their numbers."""
        layer, scan = self._session.labels, self._session.scan
        self._later.cancel()
        self.index = self.mask = self._start_mask = None
        self.edited = set()
        if layer is not None and layer.data.ndim == 3:
            before = None
            if self._before is not None and self._before[0]() is scan:
                before = self._before[1]
            self.mask = self._start_mask = layer.data > 0
            self.index = ComponentIndex(self.mask, before)
            if scan is not None:
                self._before = weakref.ref(scan), self.index
        self.replaced.emit()

    def follow(self) -> Voxels:
        """Look at what was edited; return the voxels that entered or left the labels since."""
        self._later.cancel()
        layer = self._session.labels
        if layer is None or self.mask is None or self.index is None:
            return _NONE
        now = layer.data > 0
        if now.shape != self.mask.shape:
            self.start()
            return _NONE
        changed = voxels_of(now != self.mask)
        if len(changed[0]):
            gone, new = self.index.update(now, changed)
            self.mask = now
            self.edited -= gone | new
            self.edited |= {key for key in new if self._differs(self.entries[key].index)}
            self.changed.emit(gone, new)
        self.followed.emit()
        return changed

    def at(self, point: tuple[int, int, int]) -> int | None:
        """Number of the PVS at a voxel of the labels' data, as they are now."""
        self.follow()
        return None if self.index is None else self.index.at(point)

    def _on_filled(self) -> None:
        """A prediction or a draft went into the labels: no one's edit."""
        self.filling = True
        try:
            self.follow()
        finally:
            self.filling = False
        self._start_mask, self.edited = self.mask, set()
        self.followed.emit()

    def _differs(self, index: Voxels) -> bool:
        """Whether a PVS, or what touched it, was edited."""
        from scipy.ndimage import binary_dilation

        before, now = self._start_mask, self.mask
        if before is None or now is None or before.shape != now.shape:
            return True
        low = [max(int(axis.min()) - 1, 0) for axis in index]
        box = box_of(low, [int(axis.max()) + 2 for axis in index])
        own = np.zeros(now[box].shape, bool)
        own[tuple(axis - start for axis, start in zip(index, low, strict=True))] = True
        near: Any = binary_dilation(own, np.ones((3, 3, 3), bool))
        return bool((near & (before[box] != now[box])).any())
