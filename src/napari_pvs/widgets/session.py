"""What one viewer is working on: its scan, predictions, the labels being corrected, the reference.

The docks share it, so that none looks for a layer by its name. Layers are kept as objects, so
renaming and reordering them change nothing, and a layer that is deleted leaves its place empty.
"""

import weakref
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_pvs.scans.scan import Scan
from napari_pvs.study.bids import StudySubject
from napari_pvs.widgets import collection
from napari_pvs.widgets.canvas import make_current
from napari_pvs.widgets.edits import Edits
from napari_pvs.widgets.kept import EDITED, UNCHANGED, Kept
from napari_pvs.widgets.layers import KEY, from_display, layer_array, mask_layer, role_of
from napari_pvs.widgets.prediction import Prediction

LINKED = (
    "affine", "depiction", "interpolation2d", "interpolation3d", "rotate", "scale", "shear",
    "translate",
)  # fmt: skip
"""What T1 and T2 have in common: their place, and how voxels are drawn. Each has its own contrast,
opacity and visibility."""

_sessions: "weakref.WeakKeyDictionary[Any, Session]" = weakref.WeakKeyDictionary()


def session_of(viewer: Any) -> "Session":
    """Return the session of a viewer; the first call makes it and looks at the viewer's layers.

    Parameters
    ----------
    viewer
        As napari hands it to a widget, in its proxy or not.
    """
    viewer = unwrapped(viewer)
    if viewer not in _sessions:
        _sessions[viewer] = Session(viewer)
    return _sessions[viewer]


def unwrapped(thing: Any) -> Any:
    """Take napari's proxy off a viewer or layer: what is kept is compared by identity."""
    return getattr(thing, "__wrapped__", thing)


class Session(QObject):
    """State of one viewer. Get it by `session_of`; listen to its signals, which carry nothing.

    Attributes
    ----------
    scan
        What is segmented and corrected, or None. It stays while its T1 or its T2 layer does.
    t1, t2
        Its image layers; None where not given or deleted.
    predictions
        By weights id, the newest last; one goes when its layer is deleted.
    labels
        The Labels layer being corrected, on the scan's grid; above 0 is PVS. The plugin's own are
        uint8 masks.
    reference
        The Labels layer that metrics compare with.
    study, subject
        The BIDS folder and the subject of it that is shown; None outside a study.
    weights
        File of the weights that made the newest prediction, also of the scan before; None for the
        starter's.
    """

    scan_changed = Signal()
    """Another scan, or none; one of its layers came or went."""
    prediction_changed = Signal()
    """A prediction came, went, or got another mask."""
    labels_changed = Signal()
    """Another layer is being corrected, or none."""
    labels_edited = Signal()
    """Voxels of `labels` changed, by paint, fill, undo, redo, `data_setitem` or new data; or they
    are about to, so look at them a moment later."""
    kept_changed = Signal()
    """The labels were edited, or a file holds them now; see `kept`."""
    reference_changed = Signal()
    """Another reference layer, or none."""
    study_changed = Signal()
    """Another study or subject."""
    study_written = Signal()
    """A subject's files changed; whoever wrote them sends it."""

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self._viewer = weakref.ref(viewer)
        self.scan: Scan | None = None
        self.t1: Image | None = None
        self.t2: Image | None = None
        self.predictions: dict[str, Prediction] = {}
        self.labels: Labels | None = None
        self.reference: Labels | None = None
        self.study: Path | None = None
        self.subject: StudySubject | None = None
        self.weights: Path | None = None
        self._kept: weakref.WeakKeyDictionary[Labels, Kept] = weakref.WeakKeyDictionary()
        self._edits: Edits | None = None
        viewer.layers.events.inserted.connect(self._on_inserted)
        viewer.layers.events.removing.connect(partial(make_current, self._viewer))
        viewer.layers.events.removed.connect(self._on_removed)
        for layer in viewer.layers:
            self.adopt(layer)

    @property
    def viewer(self) -> Any:
        """The napari viewer, without proxy."""
        viewer = self._viewer()
        if viewer is None:
            raise RuntimeError("the viewer of this session is gone")
        return viewer

    @property
    def prediction(self) -> Prediction | None:
        """The newest prediction."""
        return next(reversed(self.predictions.values()), None)

    @property
    def kept(self) -> Kept:
        """Where the labels are kept; those that only the viewer has are never taken out of it."""
        return UNCHANGED if self.labels is None else self._kept.get(self.labels, UNCHANGED)

    def set_kept(self, layer: Labels, kept: Kept) -> None:
        """Tell where a layer's labels are kept now; autosave does."""
        self._kept[layer] = kept
        if layer is self.labels:
            self.kept_changed.emit()

    def set_scan(self, scan: Scan | None) -> None:
        """Work on another scan; nothing known of the old one is kept, its layers stay."""
        self.scan, self.t1, self.t2 = scan, None, None
        had = bool(self.predictions)
        self.predictions.clear()
        self.set_labels(None)
        self.set_reference(None)
        if had:
            self.prediction_changed.emit()
        self.scan_changed.emit()

    def adopt(self, layer: Layer) -> None:
        """Take a layer that says what it is: a scan opened as sample data, a duplicate not."""
        role = role_of(layer)
        scan = layer.metadata.get(KEY, {}).get("scan")
        if role in ("T1", "T2") and scan is not None:
            if scan is not self.scan:
                self.set_scan(scan)
            slot = role.lower()
            if getattr(self, slot) is None:
                setattr(self, slot, layer)
                self._link()
                self.scan_changed.emit()
        elif role == "reference" and self.reference is None and self._fits(layer):
            self.set_reference(layer)
        elif role == "labels" and self.labels is None and self._fits(layer):
            self.set_labels(layer)

    def set_study(self, study: Path | None, subject: StudySubject | None) -> None:
        """Tell which study is open and which of its subjects is shown."""
        self.study, self.subject = study, subject
        self.study_changed.emit()

    def add_prediction(self, prediction: Prediction) -> None:
        """Keep a prediction as the newest; its layer must be in the viewer."""
        self.predictions.pop(prediction.weights_id, None)
        self.predictions[prediction.weights_id] = prediction
        self.weights = prediction.file
        self.prediction_changed.emit()

    def set_labels(self, layer: Any) -> None:
        """Correct another layer, or none.

        Raises
        ------
        InputError
            The layer does not lie on the scan's voxels.
        """
        layer = unwrapped(layer)
        if layer is self.labels:
            return
        if layer is not None:
            self._check(layer)
        if self._edits is not None:
            self._edits.close()
        self.labels, self._edits = layer, None
        if layer is not None:
            self._edits = Edits(layer, self)
            self._edits.edited.connect(self._on_edit)
        self.labels_changed.emit()

    def set_reference(self, layer: Any) -> None:
        """Compare with another layer, or none.

        Raises
        ------
        InputError
            The layer does not lie on the scan's voxels.
        """
        layer = unwrapped(layer)
        if layer is self.reference:
            return
        if layer is not None:
            self._check(layer)
        self.reference = layer
        self.reference_changed.emit()

    def new_labels(self, labels: NDArray[Any] | None = None, name: str = "PVS labels") -> Labels:
        """Add a labels layer on the scan's grid and correct it.

        Parameters
        ----------
        labels
            Mask or labels, shape of the grid; empty where None.
        name
            What the layer list shows.
        """
        scan = self._known_scan()
        mask = np.zeros(scan.grid.shape, bool) if labels is None else labels
        data, meta, _ = mask_layer(mask, scan, name, "labels")
        layer = self.viewer.add_labels(data, **meta)
        self.set_labels(layer)
        return layer

    def copy_prediction(self) -> int:
        """Bring the newest prediction's mask into the labels, as one undo step.

        What the user has set stays: voxels painted or erased and, in labels that were not made by
        copying, every voxel that is labelled.

        Returns
        -------
        How many voxels changed.
        """
        prediction = self.prediction
        if prediction is None:
            raise RuntimeError("there is no prediction to copy")
        if self.labels is None:
            self.new_labels()
        return self._edits.write(prediction.layer.data > 0)

    def array(self, layer: Labels) -> NDArray[Any]:
        """Return a view of a layer's voxels on the scan's grid (X, Y, Z)."""
        return layer_array(layer.data, self._known_scan(), layer.name)

    def _known_scan(self) -> Scan:
        if self.scan is None:
            raise RuntimeError("the session has no scan")
        return self.scan

    def _check(self, layer: Labels) -> None:
        if self.scan is not None:
            layer_array(layer.data, self.scan, layer.name)

    def _on_inserted(self, event: Any) -> None:
        self.adopt(event.value)

    def _link(self) -> None:
        """Let what is done to the place of T1 be done to T2; napari unlinks what is deleted."""
        layers = self.viewer.layers
        if self.t1 in layers and self.t2 in layers:
            layers.link_layers([self.t1, self.t2], LINKED)

    def _fits(self, layer: Layer) -> bool:
        return self.scan is not None and from_display(layer.data).shape == self.scan.grid.shape

    def _on_removed(self, event: Any) -> None:
        layer = event.value
        collection.let_go(layer)
        if layer is self.labels:
            self.set_labels(None)
        if layer is self.reference:
            self.set_reference(None)
        gone = [key for key, one in self.predictions.items() if one.layer is layer]
        for key in gone:
            del self.predictions[key]
        if gone:
            self.prediction_changed.emit()
        if layer is self.t1 or layer is self.t2:
            self.t1 = None if layer is self.t1 else self.t1
            self.t2 = None if layer is self.t2 else self.t2
            if self.t1 is None and self.t2 is None:
                self.set_scan(None)
            else:
                self.scan_changed.emit()

    def _on_edit(self) -> None:
        self.set_kept(self.labels, EDITED)
        self.labels_edited.emit()
