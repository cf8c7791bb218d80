"""What one viewer is working on: its scan, predictions, the labels being corrected, the reference.

The docks share it, so that none looks for a layer by its name. Layers are kept as objects, so
renaming and reordering them change nothing, and a layer that is deleted leaves its place empty.
"""

import weakref
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_pvs.correction.items import Focus
from napari_pvs.errors import InputError
from napari_pvs.jobs.scratch import Folder
from napari_pvs.scans.display import from_display
from napari_pvs.scans.regions import Regions
from napari_pvs.scans.scan import Scan
from napari_pvs.study.bids import StudySubject
from napari_pvs.widgets.preferences import follow, preferences, rater
from napari_pvs.widgets.state.cover import Cover, reveals
from napari_pvs.widgets.state.prediction import Prediction
from napari_pvs.widgets.viewer.canvas import add, make_current
from napari_pvs.widgets.viewer.edits import Edits, Known, since
from napari_pvs.widgets.viewer.layers import (
    KEY,
    forget,
    layer_array,
    made_by,
    mask_layer,
    record_origin,
    record_source,
    require_grid,
    require_place,
    require_scan,
    role_of,
)
from napari_pvs.widgets.viewer.typed import Event, ImageLayer, LabelsLayer, Layer, Viewer

LINKED = (
    "affine", "depiction", "interpolation2d", "interpolation3d", "rotate", "scale", "shear",
    "translate",
)  # fmt: skip
"""What T1 and T2 have in common: their place, and how voxels are drawn. Each has its own contrast,
opacity and visibility."""

_PLACE = ("scale", "translate", "rotate", "shear", "affine")
"""Events of a layer that moves."""
_sessions: "weakref.WeakKeyDictionary[Viewer, Session]" = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class SaveState:
    """Where a layer's labels are saved, and whether the last edits are.

    Attributes
    ----------
    state
        ``unchanged`` since they were loaded or made; ``edited``: the last edits are in the viewer
        alone; ``draft``: on disk, and offered when the scan is opened again; ``saved``: as the
        user's final answer.
    text
        That, for the dock.
    """

    state: Literal["unchanged", "edited", "draft", "saved"]
    text: str

    @classmethod
    def draft(cls, time: datetime) -> "SaveState":
        """All edits are in a draft of this time."""
        return cls("draft", f"Draft saved {time.astimezone():%H:%M}; not final.")

    @classmethod
    def revision(cls, number: int) -> "SaveState":
        """They are a final revision."""
        return cls("saved", f"Saved as revision {number}.")

    @classmethod
    def file(cls, name: str) -> "SaveState":
        """They were exported from outside a study."""
        return cls("saved", f"Saved as {name}.")


BLIND = "blind mode is on (the Correct dock)."
"""Why something is not possible."""
UNCHANGED = SaveState("unchanged", "No unsaved edits.")
EDITED = SaveState("edited", "Autosaving…")


def session_of(viewer: Viewer) -> "Session":
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
    """Take napari's proxy off a viewer or layer, because they are compared by identity."""
    return getattr(thing, "__wrapped__", thing)


def _unlink(*pair: weakref.ref[ImageLayer]) -> None:
    """Unlink layers whose viewer was closed: napari would keep them in memory for good."""
    from napari.experimental import unlink_layers

    alive = [layer for layer in (one() for one in pair) if layer is not None]
    if len(alive) == len(pair):
        unlink_layers(alive)


class Session(QObject):
    """State of one viewer. Get it by `session_of`; listen to its signals, which carry nothing.

    Attributes
    ----------
    scan
        What is segmented and corrected, or None. It stays while its T1 or its T2 layer does.
    t1, t2
        Its image layers; None where not given or deleted.
    predictions
        By weights id, the one that is shown last; one goes when its layer is deleted.
    labels
        The Labels layer being corrected, on the scan's grid; above 0 is PVS. The plugin's own are
        uint8 masks.
    reference
        The Labels layer that metrics compare with.
    regions, regions_folder
        Of the scan, once they were found, and the folder that holds their arrays.
    focus
        What the rater is asked about, or None; `set_focus` changes it.
    study, subject
        The BIDS folder and the subject of it that is shown; None outside a study.
    opened
        The study that was opened last: `study`, or one of which no subject is shown yet.
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
    labels_filled = Signal()
    """A prediction's mask or an earlier draft was brought into `labels`; who did it sends it."""
    save_state_changed = Signal()
    """The labels were edited, or a file holds them now; see `save_state`."""
    blind_changed = Signal()
    """Blind mode was switched on or off; see `blind`."""
    labels_moved = Signal()
    """Scale, place or rotation of `labels` changed; see `misplaced`."""
    labels_deleted = Signal(object)
    """The user has deleted `labels` from the viewer: the layer."""
    reference_changed = Signal()
    """Another reference layer, or none."""
    regions_changed = Signal()
    """The scan's regions were found, or there are none any more."""
    focus_changed = Signal()
    """The rater is asked about other voxels, or about none; `focus` says which."""
    study_changed = Signal()
    """Another study or subject."""
    study_opened = Signal()
    """Another study was opened."""
    study_written = Signal()
    """A subject's files changed, so that lists of subjects may; whoever wrote them sends it."""
    study_labelled = Signal()
    """A subject's label changed, which training uses; whoever wrote it sends it."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = weakref.ref(viewer)
        self.scan: Scan | None = None
        self.t1: ImageLayer | None = None
        self.t2: ImageLayer | None = None
        self.predictions: dict[str, Prediction] = {}
        self.labels: LabelsLayer | None = None
        self.reference: LabelsLayer | None = None
        self.regions: Regions | None = None
        self.regions_folder: Folder | None = None
        self.focus: Focus | None = None
        self.study: Path | None = None
        self.subject: StudySubject | None = None
        self.opened: Path | None = None
        self.weights: Path | None = None
        self._left: weakref.WeakValueDictionary[int, Scan] = weakref.WeakValueDictionary()
        self._save_states: weakref.WeakKeyDictionary[LabelsLayer, SaveState]
        self._save_states = weakref.WeakKeyDictionary()
        self._edits: Edits | None = None
        self._blind = False
        self._rater = ""
        self._cover = Cover()
        self._masks: weakref.WeakKeyDictionary[LabelsLayer, bool] = weakref.WeakKeyDictionary()
        self._corrected_on: weakref.WeakKeyDictionary[LabelsLayer, str]
        self._corrected_on = weakref.WeakKeyDictionary()
        self._set_by_user: weakref.WeakKeyDictionary[LabelsLayer, Known]
        self._set_by_user = weakref.WeakKeyDictionary()
        viewer.layers.events.inserted.connect(self._on_inserted)
        viewer.layers.events.removing.connect(partial(make_current, self._viewer))
        viewer.layers.events.removed.connect(self._on_removed)
        follow("correct", self._on_preference)
        for layer in viewer.layers:
            self.adopt(layer)

    @property
    def viewer(self) -> Viewer:
        """The napari viewer, without proxy."""
        viewer = self._viewer()
        if viewer is None:
            raise RuntimeError("the viewer of this session is gone")
        return viewer

    @property
    def prediction(self) -> Prediction | None:
        """The one that is shown: what sliders, counts, clicks and copies are of.

        None in blind mode.
        """
        return None if self.blind else next(reversed(self.predictions.values()), None)

    @property
    def no_prediction(self) -> str | None:
        """Why there is no prediction to work with; None where there is one."""
        if self.prediction is not None:
            return None
        return BLIND if self.blind else "segment the scan first."

    @property
    def blind(self) -> bool:
        """Whether predictions, references and other raters' labels are hidden from the rater."""
        return self._blind

    @blind.setter
    def blind(self, on: bool) -> None:
        if preferences().correct.blind != on:
            preferences().correct.blind = on
        if self._blind == on:
            return
        self._blind = on
        self._apply_blind()

    def _apply_blind(self) -> None:
        """Hide what a blind rater must not see, and show the rest."""
        self._cover.lift(self.viewer.layers)
        if self._blind:
            if self.labels is not None and reveals(self.labels):
                self.set_labels(None)
            for layer in self.viewer.layers:
                self._cover.hide(layer)
        self.prediction_changed.emit()
        self.blind_changed.emit()

    @property
    def save_state(self) -> SaveState:
        """Where the labels are saved; those that only the viewer has are never taken out of it."""
        return UNCHANGED if self.labels is None else self._save_states.get(self.labels, UNCHANGED)

    @property
    def shown_subject(self) -> StudySubject | None:
        """The study's subject whose scan is shown; None where the scan is from elsewhere."""
        scan, subject = self.scan, self.subject
        if self.study is None or subject is None or scan is None or scan.source.path is None:
            return None
        return subject if scan.source.path in (subject.t1, subject.t2) else None

    @property
    def name(self) -> str:
        """What files and tables call the scan: its subject, or the name of its file."""
        subject = self.shown_subject
        if subject is not None:
            return subject.name
        path = None if self.scan is None else self.scan.source.path
        return "scan" if path is None else path.name.split(".")[0]

    def require_scan(self) -> Scan:
        """Return the scan, where there must be one."""
        if self.scan is None:
            raise RuntimeError("the session has no scan")
        return self.scan

    def require_labels(self) -> LabelsLayer:
        """Return the labels, where there must be some."""
        if self.labels is None:
            raise RuntimeError("the session has no labels")
        return self.labels

    def set_save_state(self, layer: LabelsLayer, state: SaveState) -> None:
        """Set where a layer's labels are saved; autosave calls this."""
        self._save_states[layer] = state
        if layer is self.labels:
            self.save_state_changed.emit()

    def forget(self, layer: LabelsLayer) -> None:
        """Forget what was recorded for a layer that now shows another subject."""
        self._cover.forget(layer)
        self._save_states.pop(layer, None)
        self._masks.pop(layer, None)
        self._corrected_on.pop(layer, None)
        self._set_by_user.pop(layer, None)
        forget(layer)

    def set_scan(self, scan: Scan | None) -> None:
        """Work on another scan; forget the old one, but leave its layers."""
        if self.scan is not None:
            self._left[id(self.scan)] = self.scan
        self.scan, self.t1, self.t2 = scan, None, None
        had = bool(self.predictions)
        for one in self.predictions.values():
            one.layer.events.visible.disconnect(self._on_visible)
        self.predictions.clear()
        self.set_regions(None, None)
        self.set_focus(None)
        self.set_labels(None)
        self.set_reference(None)
        if had:
            self.prediction_changed.emit()
        self.scan_changed.emit()

    def set_regions(self, regions: Regions | None, folder: Folder | None) -> None:
        """Set the regions of the scan, and the folder that holds them."""
        changed = regions is not self.regions
        self.regions, self.regions_folder = regions, folder
        if changed:
            self.regions_changed.emit()

    def set_focus(self, focus: Focus | None) -> None:
        """Ask the rater about other voxels, or about none."""
        if focus is not self.focus:
            self.focus = focus
            self.focus_changed.emit()

    def set_study(self, study: Path | None, subject: StudySubject | None) -> None:
        """Set the open study and which of its subjects is shown."""
        self.study, self.subject = study, subject
        self.study_changed.emit()
        if study is not None:
            self.open_study(study)

    def open_study(self, study: Path) -> None:
        """Set the study to work on; what is shown may still be of another."""
        if study != self.opened:
            self.opened = study
            self.study_opened.emit()

    def notice(self) -> None:
        """Take note of voxels of the labels that were set without napari's knowing."""
        if self._edits is not None:
            self._edits.notice()

    def unsaved(self) -> list[LabelsLayer]:
        """Return the labels whose edits are in no file."""
        self.notice()
        viewer = self._viewer()
        there = () if viewer is None else viewer.layers
        edited: list[LabelsLayer] = [
            one for one, state in self._save_states.items() if state == EDITED
        ]
        edited += [one for one in self._set_by_user if one not in edited and self._aside(one)]
        return [one for one in edited if one in there]

    def add_prediction(self, prediction: Prediction) -> None:
        """Keep a prediction as the newest; its layer must be in the viewer."""
        before = self.predictions.pop(prediction.weights_id, None)
        if before is not None:
            before.layer.events.visible.disconnect(self._on_visible)
        self.predictions[prediction.weights_id] = prediction
        prediction.layer.events.visible.connect(self._on_visible)
        self.weights = prediction.file
        if self.blind:
            self._cover.hide(prediction.layer, later=True)
        self.prediction_changed.emit()

    def show_prediction(self, prediction: Prediction) -> None:
        """Show a prediction in place of the others, and work with it; in blind mode, do nothing."""
        if self.blind:
            return
        changed = prediction is not self.prediction
        if changed:  # first: layers that are shown and hidden are heard of
            self.predictions[prediction.weights_id] = self.predictions.pop(prediction.weights_id)
            self.weights = prediction.file
        for other in list(self.predictions.values()):
            if other.layer.visible != (other is prediction):
                other.layer.visible = other is prediction
        if changed:
            self.prediction_changed.emit()

    def set_labels(self, layer: LabelsLayer | None) -> None:
        """Correct another layer, or none.

        Raises
        ------
        InputError
            The layer does not lie on the scan's voxels, or it is a prediction's.
        """
        layer = unwrapped(layer)
        if layer is self.labels:
            return
        if layer is not None:
            self._require_own(layer)
            if self.blind and reveals(layer):
                raise InputError(
                    f"the layer {layer.name!r} is hidden in blind mode; choose labels of your own."
                )
        self.notice()
        if self._edits is not None and self.labels is not None:
            self._set_by_user[self.labels] = self._edits.close()
            for name in _PLACE:
                getattr(self.labels.events, name).disconnect(self._on_moved)
        if layer is not None and self._aside(layer):
            self.set_save_state(layer, EDITED)
        self.labels, self._edits = layer, None
        self.set_focus(None)
        if layer is not None:
            if role_of(layer) == "reference":
                layer.editable = True
            if self._came_from_another_scan(layer):
                forget(layer)  # what was saved of it was of another scan
            known = self._set_by_user.get(layer)
            self._edits = Edits(layer, self, by_user=made_by(layer) is None, known=known)
            self._edits.edited.connect(self._on_edit)
            for name in _PLACE:
                getattr(layer.events, name).connect(self._on_moved)
            if layer not in self._masks:
                self._masks[layer] = bool(layer.data.max(initial=0) <= 1)
        self.labels_changed.emit()

    def set_reference(self, layer: LabelsLayer | None) -> None:
        """Compare with another layer, or none.

        Raises
        ------
        InputError
            The layer does not lie on the scan's voxels.
        """
        layer = unwrapped(layer)
        if layer is self.reference:
            return
        if layer is not None and self.scan is not None:
            require_grid(layer, self.scan)
        self.reference = layer
        self.reference_changed.emit()

    def new_labels(
        self, labels: NDArray[Any] | None = None, name: str = "PVS labels"
    ) -> LabelsLayer:
        """Add a labels layer on the scan's grid and correct it.

        Parameters
        ----------
        labels
            Mask or labels, shape of the grid; empty where None.
        name
            What the layer list shows.
        """
        scan = self.require_scan()
        if labels is None:  # in the layer's own order, so that zeros are not copied
            labels = from_display(np.zeros(scan.grid.shape[::-1], np.uint8))
        data, meta, _ = mask_layer(labels, scan, name, "labels")
        layer: LabelsLayer = Labels(data, **meta)
        add(self.viewer, layer, self)
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
        layer = self.labels or self.new_labels()
        record_origin(layer, prediction.weights_id)
        if self._edits is None:
            raise RuntimeError("the labels are not followed")
        changed = self._edits.write(prediction.layer.data > 0)
        self.labels_filled.emit()
        return changed

    def array(self, layer: LabelsLayer) -> NDArray[Any]:
        """Return a view of a layer's voxels on the scan's grid (X, Y, Z)."""
        return layer_array(layer.data, self.require_scan(), layer.name)

    def adopt(self, layer: Layer) -> None:
        """Adopt a layer whose metadata say what it is, such as a scan opened as sample data."""
        preferences()  # who is blind is so before the first layer
        role = role_of(layer)
        if self.blind:
            self._cover.hide(layer)
        if role in ("T1", "T2") and isinstance(layer, Image):
            self._adopt_image(layer, layer.metadata[KEY].get("scan"))
        elif not isinstance(layer, Labels):  # a copy that was made an image
            return
        elif role == "reference" and self.reference is None and self.fits(layer):
            self.set_reference(layer)
        elif self.blind and reveals(layer):
            return
        elif role == "labels" and self.labels is None and self.fits(layer):
            with suppress(InputError):  # of another scan, or moved off this one
                self.set_labels(layer)

    def _on_preference(self) -> None:
        other, self._rater = rater() != self._rater, rater()
        if other and self._blind and preferences().correct.blind:
            self._apply_blind()  # who is blind is somebody else
        self.blind = preferences().correct.blind

    def _adopt_image(self, layer: ImageLayer, scan: Scan | None) -> None:
        if scan is None:
            return
        if scan is not self.scan:
            if self.scan is not None and self._left.get(id(scan)) is scan:  # an old copy
                return
            self.set_scan(scan)
        slot = "t1" if role_of(layer) == "T1" else "t2"
        if getattr(self, slot) is not None:
            return
        setattr(self, slot, layer)
        layers, pair = self.viewer.layers, [one for one in (self.t1, self.t2) if one is not None]
        if len(pair) == 2 and all(one in layers for one in pair):  # napari unlinks what is deleted
            layers.link_layers(pair, LINKED)
            gone = weakref.finalize(self.viewer, _unlink, *map(weakref.ref, pair))
            gone.atexit = False
        self.scan_changed.emit()

    def _release(self, layer: Layer) -> None:
        """Clear the place of a deleted layer."""
        if layer is self.labels:
            self.set_labels(None)
            self.labels_deleted.emit(layer)
        if layer is self.reference:
            self.set_reference(None)
        gone = [key for key, one in self.predictions.items() if one.layer is layer]
        for key in gone:
            self.predictions.pop(key).layer.events.visible.disconnect(self._on_visible)
        if gone:
            self.prediction_changed.emit()
        if layer is self.t1 or layer is self.t2:
            self.t1 = None if layer is self.t1 else self.t1
            self.t2 = None if layer is self.t2 else self.t2
            if self.t1 is None and self.t2 is None:
                self.set_scan(None)
            else:
                self.scan_changed.emit()

    def fits(self, layer: Layer) -> bool:
        """Whether a layer is one of labels on the scan's voxels."""
        if self.scan is None or not isinstance(layer, Labels):
            return False
        try:
            require_grid(layer, self.scan)
        except InputError:
            return False
        return True

    def _require_own(self, layer: LabelsLayer) -> None:
        """Refuse the layer of a prediction, and one on another grid."""
        if any(one.layer is layer for one in self.predictions.values()):
            raise InputError(
                f"the layer {layer.name!r} is a prediction, which the sliders change; use Copy "
                "prediction to labels and correct the copy."
            )
        if self.scan is not None:
            require_grid(layer, self.scan)
            require_place(layer, self.scan)
            subject = self.shown_subject
            also = () if subject is None else (subject.t1, subject.t2)
            require_scan(layer, self.scan, also)
            record_source(layer, self.scan.source)

    def _came_from_another_scan(self, layer: LabelsLayer) -> bool:
        """Whether labels were corrected on another scan before."""
        if self.scan is None:
            return False
        here = str(self.scan.source.path or id(self.scan))
        before, self._corrected_on[layer] = self._corrected_on.get(layer, here), here
        return before != here

    def misplaced(self) -> str:
        """Say why the labels do not lie on their scan; empty where they do."""
        if self.labels is None or self.scan is None:
            return ""
        try:
            require_place(self.labels, self.scan)
        except InputError as error:
            return str(error)
        return ""

    def is_mask(self, layer: LabelsLayer) -> bool:
        """Whether labels were a mask when they came: a value above 1 is a slip."""
        return self._masks.get(layer, False)

    def _aside(self, layer: LabelsLayer) -> bool:
        """Whether a layer was edited while another was being corrected."""
        known = None if layer is self.labels else self._set_by_user.get(layer)
        return known is not None and bool(since(known, layer).any())

    def _on_visible(self, _: object = None) -> None:
        """Work with the prediction that the user shows by napari's own buttons."""
        shown = [one for one in self.predictions.values() if one.layer.visible]
        if len(shown) == 1 and shown[0] is not self.prediction:
            self.show_prediction(shown[0])

    def _on_inserted(self, event: Event) -> None:
        self.adopt(event.value)

    def _on_removed(self, event: Event) -> None:
        self._release(event.value)

    def _on_moved(self, _: object = None) -> None:
        self.labels_moved.emit()

    def _on_edit(self) -> None:
        self.set_save_state(self.require_labels(), EDITED)
        self.labels_edited.emit()
