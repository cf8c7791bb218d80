"""What the docks are made of."""

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QFrame,
    QGroupBox,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_pvs.widgets import closing, collection
from napari_pvs.widgets.autosave import autosave_of
from napari_pvs.widgets.canvas import camera_of
from napari_pvs.widgets.layers import display_index
from napari_pvs.widgets.session import Session, session_of, unwrapped
from napari_pvs.widgets.turns import Steps
from napari_pvs.widgets.worker import Job

WIDTH = 320
"""Narrowest dock that still shows everything, pixels."""
SCANS_KEY, PREDICTIONS_KEY = "T", "Shift-T"

_TINTS = {"error": "rgba(220, 60, 60, 70)", "warning": "rgba(220, 160, 30, 70)"}


class Dock(QWidget):
    """Base of the docks: a column that scrolls, and the viewer's session.

    Parameters
    ----------
    viewer
        As napari hands it to a widget.
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.session: Session = session_of(viewer)
        self.autosave = autosave_of(self.session)  # whichever dock is open, edits are kept
        self.autosave.told.connect(self._on_told)
        self._told = ""
        closing.guard(self.session, self.autosave)
        collection.hold(self, self.session.viewer.layers)
        self._job: Job | None = None
        bind_keys(self.session)
        column = QWidget()
        self.body = QVBoxLayout(column)
        self.body.setContentsMargins(4, 4, 4, 4)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(column)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(area)
        self.setMinimumWidth(WIDTH)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)

    def group(self, title: str) -> QFormLayout:
        """Add a titled box and return its layout."""
        box = QGroupBox(title)
        form = QFormLayout(box)
        form.setContentsMargins(6, 14, 6, 6)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        self.body.addWidget(box)
        return form

    @property
    def busy(self) -> bool:
        """Whether the dock's job is running."""
        return self._job is not None and self._job.running

    def run(self, job: Job) -> Job:
        """Start a job, in place of one that may be running."""
        self._cancel()
        self._job = job
        return job.start()

    def show_steps(self, steps: Steps) -> None:
        """Show what the job has found, a piece in each turn; for a slot of its `finished`."""
        self._job.go_on(steps)

    def stop(self) -> None:
        """End what the dock has started, because it goes."""
        self._cancel()

    def _on_told(self, kind: str, text: str) -> None:
        """Tell why edits could not be saved, until they are."""
        notice: Notice | None = getattr(self, "notice", None)  # not before the dock has one
        if notice is None:
            return
        if kind in ("error", "warning"):
            self._told = text
            (notice.error if kind == "error" else notice.warn)(text)
        elif notice.text() == self._told:
            notice.clear()

    def _cancel(self) -> None:
        if self._job is not None:
            self._job.cancel()

    def event(self, event: QEvent) -> bool:
        """End the job when napari takes the dock out of its window, or deletes it."""
        taken = event.type() == QEvent.Type.ParentChange and self.parent() is None
        if taken or event.type() == QEvent.Type.DeferredDelete:
            self.stop()
            collection.release(self)
        return super().event(event)


class Notice(QLabel):
    """A line of text that stays until the next one; empty, it takes no room."""

    def __init__(self) -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.PlainText)  # messages hold names of files
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        # a path without spaces must not widen the dock
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.kind = ""
        self.clear()

    def clear(self) -> None:
        """Say nothing."""
        self._show("", "")

    def say(self, text: str) -> None:
        """Say how it goes."""
        self._show("info", text)

    def warn(self, text: str) -> None:
        """Say what looks doubtful."""
        self._show("warning", text)

    def error(self, text: str) -> None:
        """Say what went wrong, with the remedy."""
        self._show("error", text)

    def _show(self, kind: str, text: str) -> None:
        self.kind = kind
        tint = _TINTS.get(kind)
        self.setStyleSheet(
            f"background-color: {tint}; border-radius: 3px; padding: 4px;" if tint else ""
        )
        self.setText(text)
        self.setVisible(bool(text))


class Button(QPushButton):
    """A button that, while it is disabled, says why; it is as narrow as its text allows.

    Parameters
    ----------
    text
        On the button.
    tip
        What it does.
    slot
        What a click calls, without arguments.
    """

    def __init__(self, text: str, tip: str, slot: Callable[[], Any]) -> None:
        super().__init__(text)
        self._tip = tip
        self.setMinimumWidth(self.fontMetrics().horizontalAdvance(text) + 10)
        self.clicked.connect(lambda: slot())
        self.allow_if(None)

    def allow_if(self, reason: str | None) -> None:
        """Enable the button, or disable it for a reason."""
        allow(self, self._tip, reason)


def allow(widget: QWidget, tip: str, reason: str | None) -> None:
    """Enable a widget, or disable it and let its tooltip say why."""
    widget.setEnabled(reason is None)
    widget.setToolTip(tip if reason is None else f"{tip}\n\nNot now: {reason}")


class LayerBox(QComboBox):
    """Choice of one of the viewer's layers of a type; layers are kept as objects.

    Parameters
    ----------
    session
        Of the viewer.
    kind
        Type of the layers.
    none
        Text of the first entry, which chooses no layer.
    """

    def __init__(self, session: Session, kind: type, none: str) -> None:
        super().__init__()
        self._session, self._kind, self._none = session, kind, none
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(8)
        self._layers: list[Any] = []
        events = session.viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered, events.changed):
            event.connect(self._fill)
        self._fill()

    def layer(self) -> Any:
        """The chosen layer, or None."""
        index = self.currentIndex() - 1
        return self._layers[index] if 0 <= index < len(self._layers) else None

    def choose(self, layer: Any) -> None:
        """Choose a layer, or none, without a signal."""
        self._show(layer)

    def _fill(self, _: Any = None) -> None:
        chosen = self.layer()
        self._show(chosen)
        if self.layer() is not chosen:  # it was deleted
            self.currentIndexChanged.emit(0)

    def _show(self, chosen: Any) -> None:
        """List the layers that there are now, and choose one."""
        blocked = self.blockSignals(True)
        for layer in self._layers:
            layer.events.name.disconnect(self._fill)
        layers = [unwrapped(layer) for layer in self._session.viewer.layers]
        self._layers = [layer for layer in layers if isinstance(layer, self._kind)]
        self.clear()
        self.addItem(self._none)
        for at, layer in enumerate(self._layers, start=1):
            self.addItem(layer.name)
            layer.events.name.connect(self._fill)
            if layer is chosen:
                self.setCurrentIndex(at)
        self.blockSignals(blocked)


def jump(session: Session, index: tuple[int, int, int], zoom: float | None = None) -> None:
    """Show a voxel (x, y, z) of the scan's grid in the middle of the view.

    Parameters
    ----------
    session
        Whose viewer moves.
    index
        On the grid of the session's scan.
    zoom
        Pixels of the canvas per mm; None leaves the zoom.
    """
    layer = session.t2 if session.t2 is not None else session.t1
    if session.scan is not None and layer is not None:
        show_voxel(session.viewer, layer, display_index(index, session.scan), zoom)


def show_voxel(
    viewer: Any, layer: Any, index: tuple[int, int, int], zoom: float | None = None
) -> None:
    """Show a voxel of a layer's data in the middle of the view; `zoom` as in `jump`."""
    dims = viewer.dims
    camera = camera_of(viewer)
    world = layer.data_to_world(index)
    first = dims.ndim - len(world)
    dims.set_point(list(range(first, dims.ndim)), list(world))
    shown = [float(world[axis - first]) for axis in dims.displayed]
    camera.center = (*[0.0] * (3 - len(shown)), *shown)
    if zoom is not None:
        camera.zoom = zoom


def blink_scans(session: Session) -> None:
    """Show T1 in place of T2, or T2 in place of T1."""
    _blink(session.t2, session.t1)


def blink_predictions(session: Session) -> None:
    """Show the previous prediction in place of the newest, or the other way round."""
    newest = list(session.predictions.values())[-2:]
    if len(newest) == 2:
        _blink(newest[1].layer, newest[0].layer)


def bind_keys(session: Session) -> None:
    """Bind the keys that blink to the viewer, whichever layer is active."""
    viewer = session.viewer
    for key, call in ((SCANS_KEY, blink_scans), (PREDICTIONS_KEY, blink_predictions)):
        viewer.bind_key(key, lambda viewer, call=call: call(session_of(viewer)), overwrite=True)


def _blink(first: Any, second: Any) -> None:
    if first is not None and second is not None:
        show_second = first.visible
        first.visible, second.visible = not show_second, show_second
