"""What all planes of a viewer have in common: where they are, what is outlined, how it is turned.

A place is where the viewer's sliders are. All planes go through it; a slice step, a click and a
jump to a PVS move it, in whichever plane.
"""

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtGui import QColor, QPainter

from napari_pvs.evaluation.detection import FALSE, MISSED, TRUE, told_apart
from napari_pvs.scans.display import place_text, scanner_mm, to_display
from napari_pvs.scans.masks import Box, bounding_box, connected_components
from napari_pvs.scans.scan import Scan
from napari_pvs.widgets.background.debounce import Debouncer
from napari_pvs.widgets.background.thread import Background
from napari_pvs.widgets.planes import picture
from napari_pvs.widgets.planes.picture import Lattice, Line, Point, View, lattice
from napari_pvs.widgets.preferences import follow, preferences
from napari_pvs.widgets.state.session import Session
from napari_pvs.widgets.viewer.canvas import follow_jumps
from napari_pvs.widgets.viewer.edits import version
from napari_pvs.widgets.viewer.layers import role_of
from napari_pvs.widgets.viewer.orientation import NAMES, Upright
from napari_pvs.widgets.viewer.typed import Event, LabelsLayer, Layer, MouseEvent

FILLED = 0.5
"""Opacity of labels that are filled."""
HIDE_KEY, FILL_KEY = "Q", "Shift+Q"
PAUSE_MS = 250
"""How long after an edit a comparison follows."""
STILL = 4
"""Pixels that the mouse may move between press and release of a click."""
_OUTLINED = ("prediction", "labels", "reference", "rater", "lesions")
_DRAWN = (
    "visible", "opacity", "blending", "contrast_limits", "gamma", "colormap", "interpolation2d",
    "data", "paint", "labels_update", "scale", "translate",
)  # fmt: skip
"""Events of a layer after which it looks otherwise."""
_WHOLE = 1.06  # below this zoom, relative to all of the scan, planes stay in the middle
_DASHED, _DOTTED = Qt.PenStyle.DashLine, Qt.PenStyle.DotLine
# told apart by their lines too, for who sees colours otherwise
_COMPARED = (
    (TRUE, Line(QColor(picture.TRUE))),
    (FALSE, Line(QColor(picture.FALSE), _DASHED)),
    (MISSED, Line(QColor(picture.MISSED), _DOTTED)),
)
_FOCUS = {
    "item": Line(QColor(picture.FOCUS), wide=True),
    "missed": Line(QColor(picture.FOCUS), _DASHED, wide=True),
}


def planes_of(session: Session) -> "Planes":
    """Return the planes of a session; the first call makes them."""
    return session.findChild(Planes) or Planes(session)


class Planes(QObject):
    """The planes of one viewer. Get them by `planes_of`.

    Parameters
    ----------
    session
        Its owner.

    Attributes
    ----------
    zoom
        Of all planes, relative to what shows all of the scan.
    hidden
        Whether labels are hidden for as long as a key is held.
    against
        The labels that those of the session are compared with; None: no comparison.
    crosshair
        Whether it is drawn; see `link`.
    generation
        Goes up with whatever looks otherwise but for place and zoom.
    counts
        PVS that are true, false and missed in the comparison, None without one.
    """

    changed = Signal()
    """Something looks otherwise."""
    panned = Signal()
    """napari's own view was moved."""
    moved = Signal()
    """The planes go through another place."""
    jumped = Signal(object)
    """They do, and are to be centred on it: a place."""
    zoomed = Signal()
    """The zoom is another."""
    switched = Signal()
    """A switch was set: fill, convention, or what is compared."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        self.zoom = 1.0
        self._zooming = False
        self.hidden = False
        self.crosshair = False
        self.generation = 0
        self.against: LabelsLayer | None = None
        self.counts: tuple[int, int, int] | None = None
        self._versions: weakref.WeakKeyDictionary[LabelsLayer, tuple[int, ...]]
        self._versions = weakref.WeakKeyDictionary()
        self._scan: Scan | None = None
        self._brain: Box | None = None
        self._marks: NDArray[np.uint8] | None = None
        self._turn = 0
        self._dimmed: list[tuple[weakref.ref[Layer], float]] = []
        self._canvas_size: Callable[[], tuple[int, int]] | None = None
        self._thread = Background(self)
        viewer = session.viewer
        self._upright = Upright(viewer, self, radiological=True)  # until preferences are known
        self._compare_soon = Debouncer(PAUSE_MS, self._compare, self)
        for changed in (session.labels_edited, session.labels_changed, session.prediction_changed):
            changed.connect(self._on_compared)
        session.focus_changed.connect(self._redraw)
        session.blind_changed.connect(self._on_blind)
        session.scan_changed.connect(self._on_scan)
        follow_jumps(viewer, self._on_jump)
        follow("planes", self._on_preference)
        dims, camera = viewer.dims.events, viewer.scene.camera.events
        dims.current_step.connect(self._on_step)
        dims.order.connect(self._on_layer)
        dims.ndisplay.connect(self._on_view)
        camera.zoom.connect(self._on_zoom)
        camera.center.connect(self._on_camera)
        viewer.mouse_drag_callbacks.append(self._on_mouse)
        viewer.layers.events.inserted.connect(self._on_inserted)
        viewer.layers.events.removed.connect(self._on_removed)
        viewer.layers.events.reordered.connect(self._on_layer)
        for layer in viewer.layers:
            self._attend(layer)
        self._find_brain()
        self._say_where()

    @property
    def session(self) -> Session:
        """Whose planes they are."""
        return self._session

    @property
    def point(self) -> Point:
        """The place that all planes go through."""
        z, y, x = (float(one) for one in ([0.0] * 3 + list(self._session.viewer.dims.point))[-3:])
        return z, y, x

    @property
    def radiological(self) -> bool:
        """Whether the patient's right is on the left."""
        return self._upright.radiological

    @radiological.setter
    def radiological(self, on: bool) -> None:
        if on != self.radiological:
            preferences().planes.radiological = on
            self._upright.radiological = on
            self.switched.emit()
            self._redraw()

    @property
    def fill(self) -> bool:
        """Whether labels are filled, not outlined alone."""
        on: bool = preferences().planes.fill
        return on

    @fill.setter
    def fill(self, on: bool) -> None:
        preferences().planes.fill = on
        self._fill_all()
        self.switched.emit()

    def beside(self, canvas_size: Callable[[], tuple[int, int]]) -> None:
        """Draw outlines over napari's own canvas, whose size is told in pixels, from now on."""
        self._canvas_size = canvas_size
        self._fill_all()
        self._on_zoom()

    def go(self, place: Point) -> None:
        """Let all planes go through a place."""
        dims = self._session.viewer.dims
        first = dims.ndim - 3
        dims.set_point(list(range(first, dims.ndim)), list(place))

    def step(self, axis: int, steps: int) -> None:
        """Go some slices along an axis of the data."""
        dims = self._session.viewer.dims
        at = dims.ndim - 3 + axis
        dims.set_current_step(at, dims.current_step[at] + steps)

    def set_zoom(self, zoom: float) -> None:
        """Zoom all planes, napari's own too."""
        self.zoom = min(max(zoom, 0.2), 60.0)
        self._zooming = True
        try:
            self._session.viewer.scene.camera.zoom = self.zoom * self._fit()
        finally:
            self._zooming = False
        self.zoomed.emit()

    @property
    def whole(self) -> bool:
        """Whether all of the scan is shown, or more."""
        return self.zoom < _WHOLE

    def extent(self, axis: int) -> tuple[float, float]:
        """Return where the brain begins and ends along an axis, mm; all data, without a scan."""
        grid = self._grid()
        if grid is None or self._brain is None:
            return self._range(axis)
        side = self._brain[axis]
        low, step = float(grid.origin[axis]), float(grid.step[axis])
        return low + (side.start - 0.5) * step, low + (side.stop - 0.5) * step

    def fit(self, size: tuple[int, int], rows: int, columns: int) -> float:
        """Return the pixels per mm at which all of a plane's brain is shown on a canvas."""
        return _fitted(size, [self.extent(columns), self.extent(rows)])

    def _range(self, axis: int) -> tuple[float, float]:
        dims = self._session.viewer.dims
        if dims.ndim < 3:
            return 0.0, 1.0
        low, high, step = (float(one) for one in dims.range[dims.ndim - 3 + axis])
        return low - step / 2, high + step / 2

    def title(self, axis: int, short: bool = False) -> str:
        """Return the name of the plane across an axis, and where it lies; short, that alone."""
        found = self._millimetres()
        where = "" if found is None else f"{_side(axis, found[axis])} mm"
        return where if short else f"{NAMES[axis]} · {where}".rstrip(" ·")

    def legend(self) -> list[tuple[str, str]]:
        """Return the colours of the comparison, and what they mean; empty without one."""
        if self.against is None or self.counts is None:
            return []
        right, false, missed = self.counts
        return [
            (picture.TRUE, f"true {right}"),
            (picture.FALSE, f"false {false}"),
            (picture.MISSED, f"missed {missed}"),
        ]

    def status(self, place: Point) -> str:
        """Say where a place is, and what the selected layer holds there."""
        scan, index = self._session.scan, self.scan_index(place)
        if scan is None or index is None:
            return ""
        text = place_text(index, scan)
        layer = self._session.viewer.layers.selection.active
        grid = None if layer is None else lattice(layer)
        if layer is None or grid is None:
            return text
        at = grid.index(place)
        inside = all(0 <= i < n for i, n in zip(at, layer.data.shape, strict=True))
        return f"{text} · {layer.name} {layer.data[at]:.4g}" if inside else text

    def scan_index(self, place: Point) -> tuple[float, float, float] | None:
        """Return the voxel of the scan's layers at a place; between voxels, a fraction."""
        grid = self._grid()
        if grid is None:
            return None
        z, y, x = ((np.array(place) - grid.origin) / grid.step).tolist()
        return z, y, x

    def link(self, on: bool) -> None:
        """Draw the crosshair in napari's own view, because other planes are beside it, or not."""
        self.crosshair = on
        self._redraw()

    def compare(self, other: LabelsLayer | None) -> None:
        """Compare the session's labels, or its prediction, with others; None: no more.

        In blind mode there is nothing to compare with.
        """
        other = None if self._session.blind else other
        self.against, self.counts, self._marks = other, None, None
        self._compare()
        self.switched.emit()
        self._redraw()

    @property
    def compared(self) -> LabelsLayer | None:
        """What is compared: the labels that are corrected or, without any, the prediction."""
        session = self._session
        if session.labels is not None and session.labels is not self.against:
            return session.labels
        return None if session.prediction is None else session.prediction.layer

    def hide(self, on: bool) -> None:
        """Hide all labels for a while, or show them again as they were."""
        if on == self.hidden:
            return
        self.hidden = on
        if on:
            for layer in self._session.viewer.layers:
                if isinstance(layer, Labels) and layer.opacity > 0:
                    self._dimmed.append((weakref.ref(layer), layer.opacity))
                    layer.opacity = 0
        else:
            for known, opacity in self._dimmed:
                layer = known()
                if layer is not None:
                    layer.opacity = opacity
            self._dimmed.clear()
        self._redraw()

    def toggle_fill(self) -> None:
        """Fill labels, or outline them alone."""
        self.fill = not self.fill

    def draw_pictures(self, painter: QPainter, view: View) -> None:
        """Draw the images, and labels as far as they are filled."""
        layers = [
            layer
            for layer in self._session.viewer.layers
            if not (self.hidden and isinstance(layer, Labels))
        ]
        picture.draw_layers(painter, view, self.point, layers)

    def draw_outlines(self, painter: QPainter, view: View) -> None:
        """Draw the borders of labels, of the comparison, and of what is under review."""
        if self.hidden:
            return
        at, grid = self.point, self._grid()
        marks = self._marks
        replaced = () if marks is None else (self.against, self.compared)
        for layer in self._session.viewer.layers:
            if layer.visible and role_of(layer) in _OUTLINED and layer not in replaced:
                picture.draw_outline(painter, view, at, layer)
        if grid is None:
            return
        if marks is not None:
            picture.draw_volume(painter, view, at, marks, grid, _COMPARED)
        focus = self._session.focus
        if focus is not None and self._session.scan is not None:
            mask, corner = _displayed(focus.box, focus.mask, self._session.scan)
            place = Lattice(grid.origin + corner * grid.step, grid.step)
            picture.draw_volume(painter, view, at, mask, place, [(True, _FOCUS[focus.kind])])

    def _grid(self) -> Lattice | None:
        layer = self._session.t2 if self._session.t2 is not None else self._session.t1
        return None if layer is None else lattice(layer)

    def _find_brain(self) -> None:
        """Find the box of the brain, in voxels of the layers."""
        scan = self._session.scan
        if scan is self._scan:
            return
        self._scan, self._brain = scan, None
        if scan is not None and scan.brain.any():
            self._brain = bounding_box(to_display(scan.brain), 2)
            self.zoomed.emit()

    def _millimetres(self) -> tuple[float, float, float] | None:
        """Where the planes lie: mm to superior, anterior and right of the scanner's origin."""
        scan, index = self._session.scan, self.scan_index(self.point)
        if scan is None or index is None:
            return None
        right, anterior, superior = scanner_mm([round(one) for one in index], scan)
        return superior, anterior, right

    def _say_where(self) -> None:
        """Let the sliders speak of millimetres; the number beside them is the slice's."""
        found, dims = self._millimetres(), self._session.viewer.dims
        if found is None or dims.ndim < 3:
            return
        said = [f"{_side(axis, found[axis])} mm" for axis in range(3)]
        labels = (*dims.axis_labels[: dims.ndim - 3], *said)
        if labels != tuple(dims.axis_labels):
            dims.axis_labels = labels

    def _attend(self, layer: Layer) -> None:
        for name in _DRAWN:
            event = getattr(layer.events, name, None)
            if event is not None:
                event.connect(self._on_layer)
        if isinstance(layer, Labels):  # undo tells nothing else, but so does each slice step
            layer.events.set_data.connect(self._on_set_data)
            self._versions[layer] = version(layer)
        _speak(layer, weakref.ref(self))
        self._fill(layer)

    def _fill(self, layer: Layer) -> None:
        if self._canvas_size is not None and role_of(layer) in _OUTLINED:
            solid = self.fill or self._session.viewer.dims.ndisplay == 3
            layer.opacity = FILLED if solid else 0.0

    def _fill_all(self) -> None:
        for layer in self._session.viewer.layers:
            self._fill(layer)
        self._redraw()

    def _fit(self) -> float:
        dims = self._session.viewer.dims
        first = dims.ndim - 3
        rows, columns = (axis - first for axis in dims.order[-2:])
        size = (800, 600) if self._canvas_size is None else self._canvas_size()
        if min(first, rows, columns) < 0:
            return 1.0
        return _fitted(size, [self._range(columns), self._range(rows)])  # as napari does

    def measure(self) -> None:
        """Take the zoom from napari's view, whose canvas may be another size now."""
        self._on_zoom()

    def _on_zoom(self, _: object = None) -> None:
        if not self._zooming and self._session.viewer.dims.ndisplay == 2:
            self.zoom = float(self._session.viewer.scene.camera.zoom) / self._fit()
            self.zoomed.emit()

    def _on_camera(self, _: object = None) -> None:
        self.panned.emit()

    def _redraw(self) -> None:
        self.generation += 1
        self.changed.emit()

    def _on_mouse(self, _: object, event: MouseEvent) -> Iterator[None]:
        """A click in napari's own view moves the crosshair there, as in the other planes."""
        layer = self._session.viewer.layers.selection.active
        plain = event.button == 1 and not event.modifiers and len(event.dims_displayed) == 2
        if not plain or not self.crosshair or getattr(layer, "mode", "pan_zoom") != "pan_zoom":
            return
        start = np.array(event.pos)
        yield
        still = True
        while event.type == "mouse_move":
            still = still and bool(np.abs(np.array(event.pos) - start).max() <= STILL)
            yield
        if still and len(event.position) >= 3:
            z, y, x = (float(one) for one in event.position[-3:])
            self.go((z, y, x))

    def _on_jump(self, place: tuple[float, ...], _: float | None) -> None:
        if len(place) == 3:
            self.jumped.emit(place)

    def _on_step(self, _: object = None) -> None:
        self._say_where()
        self.moved.emit()

    def _on_view(self, _: object = None) -> None:
        self._fill_all()  # in 3D there are no outlines

    def _on_preference(self) -> None:
        self._upright.radiological = preferences().planes.radiological
        self._fill_all()
        self.switched.emit()

    def _on_layer(self, event: Event | None = None) -> None:
        layer = getattr(event, "source", None)
        if layer is not None and layer in (self.against, self.compared):
            self._is_other(layer)
        self._redraw()

    def _on_set_data(self, event: Event) -> None:
        if self._is_other(event.source):
            self._redraw()

    def _is_other(self, layer: LabelsLayer) -> bool:
        """Tell whether labels have been edited since; those that are compared are so again."""
        now = version(layer)
        if self._versions.get(layer) == now:
            return False
        self._versions[layer] = now
        if self.against is not None and layer in (self.against, self.compared):
            self._compare_soon.throttle()
        return True

    def _on_inserted(self, event: Event) -> None:
        self._attend(event.value)
        self._say_where()
        self._redraw()

    def _on_removed(self, event: Event) -> None:
        if event.value is self.against:
            self.compare(None)
        self._redraw()

    def _on_blind(self) -> None:
        if self._session.blind:
            self.compare(None)

    def _on_scan(self) -> None:
        self._find_brain()
        if self.against is not None and self.against not in self._session.viewer.layers:
            self.compare(None)
        self._say_where()
        self._on_compared()
        self._redraw()

    def _on_compared(self) -> None:
        if self.against is not None:
            self._compare_soon.throttle()
        self._redraw()

    def _compare(self) -> None:
        self._turn += 1
        turn, one, other = self._turn, self.compared, self.against
        if one is None or other is None or one.data.shape != other.data.shape:
            self._marks, self.counts = None, None
            self.switched.emit()
            return
        masks = one.data > 0, other.data > 0

        def find() -> tuple[NDArray[np.uint8], tuple[int, int, int]]:
            marks = told_apart(*masks)
            return marks, _counted(marks)

        def take(found: tuple[NDArray[np.uint8], tuple[int, int, int]]) -> None:
            if turn == self._turn:
                self._marks, self.counts = found
                self.switched.emit()
                self._redraw()

        self._thread.submit(find, take)


def _fitted(size: tuple[int, int], sides: list[tuple[float, float]]) -> float:
    """Return the pixels per mm that show sides (low, high) on a canvas, with a margin."""
    pairs = zip(size, sides, strict=True)
    return max(0.95 * min(n / max(high - low, 1e-6) for n, (low, high) in pairs), 1e-3)


def _counted(marks: NDArray[np.uint8]) -> tuple[int, int, int]:
    true, false, missed = (connected_components(marks == mark)[1] for mark in (TRUE, FALSE, MISSED))
    return true, false, missed


def _side(axis: int, millimetres: float) -> str:
    return f"{'SAR'[axis]} {millimetres:.1f}"


def _displayed(
    box: tuple[slice, slice, slice], mask: NDArray[np.bool_], scan: Scan
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Turn a part of the scan's grid into its layers' order; return it and its first voxel."""
    x, y, z = box
    return to_display(mask), np.array([z.start, scan.grid.shape[1] - y.stop, x.start], float)


def _speak(layer: Layer, planes: "weakref.ref[Planes]") -> None:
    """Let the status bar speak of the scanner's millimetres where napari speaks of its own."""
    if "get_status" in vars(layer):
        return
    known, napari_says = weakref.ref(layer), type(layer).get_status

    def get_status(position: Any = None, **given: Any) -> dict[str, str]:
        said: dict[str, str] = napari_says(known(), position, **given)
        mine = planes()
        scan = None if mine is None else mine.session.scan
        if mine is None or scan is None or position is None or not given.get("world"):
            return said
        index = mine.scan_index(tuple(float(one) for one in position[-3:]))  # type: ignore[arg-type]
        if index is not None and len(position) >= 3:
            where = place_text(index, scan)
            said["coordinates"] = where + said.get("coordinates", "").partition("]")[2]
            said["coords"] = where
        return said

    layer.get_status = get_status
