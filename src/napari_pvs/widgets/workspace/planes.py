"""The Planes dock: the two planes that napari's own view does not show, and their switches."""

from napari.layers import Labels
from qtpy.QtCore import Qt
from qtpy.QtGui import QHideEvent, QShowEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QLabel,
    QSizePolicy,
    QSplitter,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel

from napari_pvs.widgets.dock import SCANS_KEY, attend
from napari_pvs.widgets.parts.controls import LayerBox
from napari_pvs.widgets.planes.canvas import PlaneCanvas, native_canvas
from napari_pvs.widgets.planes.planes import FILL_KEY, HIDE_KEY, planes_of
from napari_pvs.widgets.state.session import session_of
from napari_pvs.widgets.viewer.orientation import POSTERIOR, RIGHT
from napari_pvs.widgets.viewer.typed import Viewer


class PlanesDock(QWidget):
    """Two planes beside napari's view, linked to it.

    Parameters
    ----------
    napari_viewer
        Given by napari.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.session = session_of(napari_viewer)
        attend(self.session)
        self.planes = planes_of(self.session)
        keys = native_canvas(self.session.viewer)
        self.canvases = [PlaneCanvas(self.planes, axis, keys) for axis in (POSTERIOR, RIGHT)]
        halves = QSplitter(Qt.Orientation.Vertical)
        halves.setChildrenCollapsible(False)
        for canvas in self.canvases:
            halves.addWidget(canvas)
        column = QVBoxLayout(self)
        column.setContentsMargins(2, 2, 2, 2)
        column.setSpacing(2)
        column.addLayout(self._build_switches())
        self._build_comparison()
        column.addWidget(self.against)
        column.addWidget(self.counts)
        column.addWidget(halves, 1)
        self.setMinimumWidth(240)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.planes.switched.connect(self._show_switches)
        self.session.scan_changed.connect(self._show_switches)
        events = self.session.viewer.dims.events
        for event in (events.order, events.ndisplay):
            event.connect(self._choose)
        self._choose()
        self._show_switches()

    def _build_switches(self) -> QHBoxLayout:
        self.fill = QCheckBox("Fill")
        self.fill.setToolTip(f"Fill labels, not only outline them. Key {FILL_KEY}.")
        self.fill.toggled.connect(self._on_fill)
        self.radiological = QCheckBox("Radiological")
        self.radiological.setToolTip(
            "The patient's right is on the left of the screen. Off: the neurological convention."
        )
        self.radiological.toggled.connect(self._on_convention)
        self.keys = QElidingLabel(f"{SCANS_KEY}: T1/T2 · {HIDE_KEY}: hide")
        self.keys.setToolTip(
            f"{SCANS_KEY} shows T1 in place of T2, or T2 in place of T1; labels are hidden for as "
            f"long as {HIDE_KEY} is held. Keys work while a plane has the focus."
        )
        self.keys.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.fill)
        row.addWidget(self.radiological)
        row.addWidget(self.keys, 1)
        return row

    def _build_comparison(self) -> None:
        self.against = LayerBox(self.session, Labels, "Compare with …")
        self.against.setToolTip(
            "Draw the labels that are corrected, or the newest prediction, in the colours of a "
            "comparison with other labels: a reference, another rater's, another prediction."
        )
        self.against.currentIndexChanged.connect(self._on_against)
        self.counts = QLabel()
        self.counts.setTextFormat(Qt.TextFormat.RichText)
        self.counts.setToolTip(
            "PVS in both (solid line), only in the labels or prediction (dashed), and only in "
            "what it is compared with (dotted)."
        )

    def _on_fill(self, on: bool) -> None:
        if on != self.planes.fill:
            self.planes.fill = on

    def _on_convention(self, on: bool) -> None:
        self.planes.radiological = on

    def _on_against(self, _: int) -> None:
        layer = self.against.layer()
        if layer is not self.planes.against:
            self.planes.compare(layer)

    def _show_switches(self) -> None:
        for box, on in (
            (self.fill, self.planes.fill),
            (self.radiological, self.planes.radiological),
        ):
            if box.isChecked() != on:
                box.setChecked(on)
        self.against.choose(self.planes.against)
        legend = self.planes.legend()
        spans = [f'<span style="color: {colour}">■</span> {text}' for colour, text in legend]
        self.counts.setText(" ".join(spans))
        self.counts.setVisible(bool(spans))

    def _choose(self, _: object = None) -> None:
        """Show the planes that napari's view does not."""
        dims = self.session.viewer.dims
        first = dims.ndim - 3
        shown = dims.order[-3] - first if first >= 0 and dims.ndisplay == 2 else 0
        others = [axis for axis in range(3) if axis != shown][:2]
        for canvas, axis in zip(self.canvases, others, strict=True):
            canvas.show_plane(axis)

    def showEvent(self, event: QShowEvent | None) -> None:
        """Draw the crosshair in napari's view too."""
        super().showEvent(event)
        self.planes.link(True)

    def hideEvent(self, event: QHideEvent | None) -> None:
        """Leave napari's view alone."""
        super().hideEvent(event)
        self.planes.link(False)
