"""The Correct dock: brush, clicks, review queue, table of PVS, autosave and saving."""

from functools import partial

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QSizePolicy

from napari_pvs.correction.evidence import SEEN
from napari_pvs.errors import InputError
from napari_pvs.scans.display import to_display
from napari_pvs.scans.masks import Voxels
from napari_pvs.widgets.background.debounce import Debouncer
from napari_pvs.widgets.correct.clicks import Clicker, Mode
from napari_pvs.widgets.correct.components import Components
from napari_pvs.widgets.correct.keys import Binding, Key, listed, voxel_under
from napari_pvs.widgets.correct.pvs_table import PvsTable
from napari_pvs.widgets.correct.raters import RatersPanel
from napari_pvs.widgets.correct.review_queue import QueuePanel
from napari_pvs.widgets.correct.sittings import SittingPanel
from napari_pvs.widgets.dock import Dock
from napari_pvs.widgets.parts.controls import Button, LayerBox, Notice, allow, section, sentence
from napari_pvs.widgets.parts.saving import OfferPanel, SavingPanel
from napari_pvs.widgets.preferences import follow, preferences
from napari_pvs.widgets.state.segmentation import COPY_TIP, copy_to_labels
from napari_pvs.widgets.viewer.typed import LabelsLayer, MouseEvent, Viewer

BRUSHES_MM = (1, 2, 3)
"""Widths of PVS."""
_MODE = "mode"  # topic of what is said of it
_EDIT = "edit"  # topic of what is said of the last click or step; it goes with the next one
_PLACE = "place"
_NO_LABELS = "make labels first: New, or Copy prediction to labels."
AHEAD_MS = 2000
"""How long labels are there before clicks are prepared for; leafing through subjects is quicker."""
MODES: dict[Mode, tuple[str, str, str]] = {
    "add": ("Add", "A", "Click a PVS to add it, grown in 3D."),
    "remove": ("Remove", "R", "Click a PVS to delete it."),
    "split": ("Split", "S", "Click where one PVS should become two."),
    "more": ("Grow", "G", "Click a PVS to grow it by a third."),
    "less": ("Shrink", "H", "Click a PVS to shrink it by a third."),
}


class Correct(Dock):
    """Correct the labels of the scan that is loaded.

    Parameters
    ----------
    napari_viewer
        Given by napari.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer)
        self.mode: Mode | None = None
        self._binding: Binding | None = None
        self._stopped = False
        self.clicker = Clicker(self.session, self)
        self.offer = OfferPanel(self.autosave)
        self.body.addWidget(self.offer)
        self._build_labels()
        self._build_tools()
        self._build_review()
        # what was said of an edit goes with the next one; napari tells of an edit before that
        self.session.labels_edited.connect(self._on_edit)
        self.session.labels_changed.connect(self._on_edit)
        self.session.labels_moved.connect(self._on_moved)
        for speaker in (self.clicker.said, self.queue.said, self.raters.said):
            speaker.connect(lambda text: self.notice.say(text, _EDIT))
        self.queue.worked.connect(self._on_worked)
        self.clicker.asked.connect(self._ask)
        self.clicker.failed.connect(lambda text: self.notice.error(text, _EDIT))
        self.clicker.done.connect(self._on_clicked)
        for changed in (
            self.session.labels_changed,
            self.session.prediction_changed,
            self.session.scan_changed,
            self.session.study_changed,
            self.session.blind_changed,
        ):
            changed.connect(self.check)
        # a new layer becomes the labels before the list of layers shows it
        self._check_soon = Debouncer(0, self.check, self)
        self.session.labels_changed.connect(self._check_soon.throttle)
        self._ahead = Debouncer(AHEAD_MS, self._warm, self)
        self._bind()
        self.session.labels_changed.connect(self._bind)
        self.session.labels_changed.connect(self._ahead.throttle)
        self.session.viewer.layers.selection.events.active.connect(self._show_mode)
        self.autosave.look()
        self._ahead.throttle()
        self.check()

    def check(self) -> None:
        """Enable what can be done now."""
        scan, layer = self.session.scan, self.session.labels
        no_scan = "load a scan first." if scan is None else None
        no_labels = no_scan or (_NO_LABELS if layer is None else None)
        self.choice.choose(layer)
        allow(self.choice, "The labels layer being corrected.", no_scan)
        self.new.allow_if(no_scan)
        self.copy.allow_if(no_scan or self.session.no_prediction)
        for button in (*self.brushes, self.eraser, *self.modes.values()):
            button.allow_if(no_labels)
        self.saving.check(no_labels)
        self.hint.say(sentence(no_labels)) if no_labels else self.hint.clear()

    def set_mode(self, mode: Mode | None) -> None:
        """Choose what a click on the labels does; None: it puts a PVS under review."""
        self.mode = mode
        self.queue.outline(None)
        layer = self.session.labels
        if mode is not None and layer is not None:
            layer.mode = "pan_zoom"
            self.session.viewer.layers.selection.active = layer
            if mode in ("add", "more", "less"):
                self.clicker.warm()
        self._show_mode()
        if mode is not None:
            self.notice.say(MODES[mode][2], _MODE)

    def paint(self, width_mm: float) -> None:
        """Take the brush, as wide as a PVS."""
        layer = self.session.require_labels()
        self.set_mode(None)
        self._set_dimensions()
        preferences().correct.brush_mm = float(width_mm)
        self._set_brush(layer)
        if layer.selected_label == 0:
            layer.selected_label = 1
        self.session.viewer.layers.selection.active = layer
        layer.mode = "paint"

    def erase(self) -> None:
        """Take the eraser, as wide as the brush."""
        layer = self.session.require_labels()
        self.set_mode(None)
        self._set_dimensions()
        self.session.viewer.layers.selection.active = layer
        layer.mode = "erase"

    def stop(self) -> None:
        """End what the dock has started, and save what is dirty."""
        super().stop()
        stopped, self._stopped = self._stopped, True
        self._ahead.cancel()
        if not stopped:
            self.sittings.stop()
        self.clicker.stop()
        self.queue.stop()
        self.autosave.flush()
        if self._binding is not None:
            self._binding.release()
            self._binding = None

    def _build_labels(self) -> None:
        form = self.group("Labels")
        self.choice = LayerBox(self.session, Labels, "none")
        self.choice.activated.connect(self._choose)
        self.new = Button("New", "Add empty labels and correct them.", self._new)
        self.copy = Button("Copy prediction to labels", COPY_TIP, self._copy)
        self.hint = Notice()
        form.addRow(self.choice)
        form.addRow(self.new)
        form.addRow(self.copy)
        form.addRow(self.hint)

    def _build_tools(self) -> None:
        form = self.group("Tools")
        self.brushes = [
            Button(f"{mm} mm", f"Brush of {mm} mm.", partial(self.paint, mm)) for mm in BRUSHES_MM
        ]
        self.eraser = Button("Eraser", "An eraser as wide as the brush.", self.erase)
        form.addRow(_in_row(*self.brushes, self.eraser))
        self.in_3d = QCheckBox("Brush and eraser in 3D")
        self.in_3d.setToolTip("Use a ball instead of a disc in the current slice.")
        self.in_3d.toggled.connect(self._on_3d)
        follow("correct", self._show_preferences)
        form.addRow(self.in_3d)
        self.modes: dict[Mode, Button] = {}
        for mode, (title, key, tip) in MODES.items():
            self.modes[mode] = Button(title, f"{tip} Key {key}.", partial(self._toggle, mode))
            self.modes[mode].setCheckable(True)
        form.addRow(QLabel("Click a PVS to"))
        buttons = list(self.modes.values())
        form.addRow(_in_row(*buttons[:3]))
        form.addRow(_in_row(*buttons[3:]))

    def _build_review(self) -> None:
        self.components = Components(self.session, self)
        self.queue = QueuePanel(self.session, self.components, self.clicker, self.autosave)
        self.group("Review").addRow(self.queue)
        self.table = PvsTable(self.session, self.components, self.queue)
        self.group("All PVS").addRow(self.table)
        self.raters = RatersPanel(self.session, self.queue)
        self.group("Second rater").addRow(self.raters)
        self.saving = SavingPanel(self.session, self.autosave)
        self.group("Save").addRow(self.saving)
        self.sittings = SittingPanel(self.session, self.queue, self.autosave)
        self.group("Work on this subject").addRow(self.sittings)
        self.keys = QLabel(listed(self._keys()))
        self.keys.setTextFormat(Qt.TextFormat.RichText)
        self.keys.setWordWrap(True)
        self.body.addWidget(section("Keys", "All keys of this dock.", self.keys))
        self.body.addStretch()

    def _keys(self) -> list[Key]:
        modes = [
            Key(key, tip.rstrip("."), partial(self._toggle, mode))
            for mode, (_, key, tip) in MODES.items()
        ]
        queue = self.queue
        return [
            *modes,
            Key("J", "Start the review; next PVS without deciding", queue.move_on, True),
            Key("Y", "Accept the PVS under review", queue.yes, True),
            Key("N", "Reject it", queue.no, True),
            Key("K", "Skip it", queue.later, True),
            Key("B", "Previous PVS", queue.move_back, True),
            Key("U", "Next uncertain PVS", partial(queue.move_to, "uncertain"), True),
            Key("M", "Next PVS possibly missed", partial(queue.move_to, "missed"), True),
            Key("L", "Next largest PVS", partial(queue.move_to, "large"), True),
            Key("C", "Write a note", queue.write_note, True),
            Key("Ctrl-Z", "Undo the last decision or edit", queue.undo, True),
            Key("Ctrl-Shift-Z", "Redo it", queue.redo, True),
        ]

    def _bind(self) -> None:
        if self._binding is not None:
            self._binding.layer.events.mode.disconnect(self._on_layer_mode)
            self._binding.release()
        layer, self._binding = self.session.labels, None
        self.set_mode(None)
        if layer is not None and not self._stopped:
            self._set_brush(layer)  # napari's own is as wide as a ventricle
            self._set_dimensions()
            self._binding = Binding(
                layer,
                self._keys(),
                self._on_click,
                self.session.viewer,
                lambda: self._in_hand,
                [one for one in (self.session.t1, self.session.t2) if one is not None],
            )
            layer.events.mode.connect(self._on_layer_mode)

    def _warm(self) -> None:
        """Make the network ready before the first click, for who has begun to correct."""
        if self.isVisible() and self.clicker.reason is None:
            self.clicker.warm()

    def _set_brush(self, layer: LabelsLayer) -> None:
        size = min(self.session.scan.grid.voxel_size) if self.session.scan else 1.0
        layer.brush_size = max(1, round(preferences().correct.brush_mm / size))

    @property
    def _in_hand(self) -> bool:
        """Whether a click carries the tool out: napari tells the layer that is selected alone."""
        labels = self.session.labels
        return self.mode is not None and self.session.viewer.layers.selection.active is labels

    def _show_mode(self, _: object = None) -> None:
        if not self._stopped:
            for name, button in self.modes.items():
                button.setChecked(name == self.mode and self._in_hand)
            if not self._in_hand:
                self.notice.take_back(_MODE)

    def _on_edit(self) -> None:
        self.notice.take_back(_EDIT)

    def _on_worked(self, what: str) -> None:
        """A decision is a step of undo too: what was said of the step before goes."""
        if what == "decision":
            self.notice.take_back(_EDIT)

    def _on_moved(self) -> None:
        """Say at once that labels were moved: they cannot be saved so."""
        why = self.session.misplaced()
        if why:
            self.notice.warn(sentence(why), _PLACE)
        else:
            self.notice.take_back(_PLACE)

    def _ask(self, text: str, voxels: Voxels) -> None:
        """Outline what a click would add, and say what speaks against it."""
        self.queue.outline(voxels)
        self.notice.warn(text, _EDIT)

    def _toggle(self, mode: Mode) -> None:
        self.set_mode(None if self.mode == mode and self._in_hand else mode)

    def _on_layer_mode(self, _: object = None) -> None:
        """Another tool was taken, by napari's own buttons or keys."""
        if self._binding is not None and self._binding.layer.mode != "pan_zoom":
            self.set_mode(None)

    def _on_click(self, layer: LabelsLayer, event: MouseEvent) -> None:
        point = voxel_under(layer, event, partial(self._along, layer))
        if point is None:
            if self.mode is not None:
                self.notice.error("Nothing here. To add a PVS without a prediction, use 2D.", _EDIT)
        elif self.mode is None:
            item = self.queue.item_at(point) if layer.data[point] else None
            if item is not None:
                self.queue.show_item(item, move=False)  # it is in view already
            elif layer.data[point]:
                self.table.select(point)
        else:
            self.clicker.click(self.mode, point)

    def _on_clicked(self, mode: Mode, point: tuple[int, int, int]) -> None:
        """Select the row of what was clicked, unless it is that of a PVS under review."""
        if self.queue.item is None:
            self.table.select(point)

    def _along(self, layer: LabelsLayer, line: NDArray[np.int_]) -> int | None:
        """Choose the voxel that a click in 3D means, of those in line with it."""
        if self.mode != "add":
            hit = np.flatnonzero(layer.data[tuple(line.T)])
            return int(hit[0]) if len(hit) else None
        prediction = self.session.prediction
        if prediction is None:
            return None
        score = to_display(prediction.probability)[tuple(line.T)]
        return int(score.argmax()) if score.max() >= SEEN else None

    def _choose(self) -> None:
        try:
            self.session.set_labels(self.choice.layer())
        except InputError as error:
            self.notice.error(str(error))
        self.check()

    def _new(self) -> None:
        self.session.new_labels()

    def _copy(self) -> None:
        self.notice.say(copy_to_labels(self.session), _EDIT)

    def _show_preferences(self) -> None:
        self.in_3d.setChecked(preferences().correct.brush_3d)

    def _on_3d(self, on: bool) -> None:
        preferences().correct.brush_3d = on
        self._set_dimensions()

    def _set_dimensions(self) -> None:
        if self.session.labels is not None:
            self.session.labels.n_edit_dimensions = 3 if self.in_3d.isChecked() else 2


def _in_row(*buttons: Button) -> QHBoxLayout:
    row = QHBoxLayout()
    row.setSpacing(3)
    for button in buttons:
        button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        # the canvas keeps the focus, so that its keys work after a click on a button
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        row.addWidget(button)
    return row
