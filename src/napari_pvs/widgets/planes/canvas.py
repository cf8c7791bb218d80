"""The canvas of one plane, and what is drawn over napari's own."""

import contextlib
import inspect
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QEvent, QObject, QPointF, QRectF, QSize, Qt
from qtpy.QtGui import (
    QColor,
    QFocusEvent,
    QKeyEvent,
    QMouseEvent,
    QPaintDevice,
    QPainter,
    QPaintEvent,
    QPen,
    QPixmap,
    QWheelEvent,
)
from qtpy.QtWidgets import QApplication, QSizePolicy, QWidget

from napari_pvs.widgets.background.debounce import Debouncer
from napari_pvs.widgets.planes import picture
from napari_pvs.widgets.planes.picture import Point, View, lattice
from napari_pvs.widgets.planes.planes import STILL, Planes
from napari_pvs.widgets.planes.stroke import Stroke, brush_outline
from napari_pvs.widgets.preferences import preferences
from napari_pvs.widgets.viewer.orientation import POSTERIOR, turn_of, upright
from napari_pvs.widgets.viewer.typed import LabelsLayer, Viewer

_CLICK = 120  # what one notch of a wheel says
_ZOOM = 1.2  # of one notch
TOOLS = ("paint", "erase", "fill", "pick")
"""napari's tools of labels that planes know."""


@contextlib.contextmanager
def painting(device: QPaintDevice) -> Iterator[QPainter]:
    """Paint on something; where that fails Qt would end the process if the painter were left."""
    painter = QPainter(device)
    try:
        yield painter
    finally:
        painter.end()


@dataclass
class Mouse:
    """What the callbacks of a layer are told of the mouse, as napari tells it."""

    type: str
    pos: NDArray[np.float64]
    position: tuple[float, ...]
    button: int = 1
    modifiers: tuple[str, ...] = ()
    view_direction: None = None
    dims_displayed: tuple[int, ...] = ()
    handled: bool = False


class PlaneCanvas(QWidget):
    """Shows one plane. The mouse does there what it does in napari's own canvas.

    Parameters
    ----------
    planes
        What all planes have in common.
    axis
        Of the data; the plane lies across it.
    keys
        The widget that is given the keys: napari's canvas.
    """

    def __init__(self, planes: Planes, axis: int, keys: QWidget | None) -> None:
        super().__init__()
        self._planes, self._keys = planes, keys
        self.axis = self.rows = self.columns = 0
        self.centre = (0.0, 0.0)
        self._pressed: QPointF | None = None
        self._dragged = False
        self._last = QPointF()
        self._button = Qt.MouseButton.NoButton
        self._running: list[Iterator[object]] = []
        self._event: Mouse | None = None
        self._stroke: Stroke | None = None
        self._hover: QPointF | None = None
        self._turned = 0
        self._key: tuple[object, ...] = ()  # of what is drawn
        self._pixmap = QPixmap()
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.setMinimumSize(120, 100)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setToolTip("")
        planes.changed.connect(self.update)
        planes.moved.connect(self._follow)
        planes.jumped.connect(self._centre_on)
        planes.zoomed.connect(self._on_zoomed)
        self.show_plane(axis)

    def show_plane(self, axis: int) -> None:
        """Show the plane across another axis."""
        self.axis = axis
        self.rows, self.columns = (one for one in range(3) if one != axis)
        self._centre_on(self._planes.point)

    def sizeHint(self) -> QSize:
        """Room enough for a head."""
        return QSize(300, 280)

    @property
    def view(self) -> View:
        """What the canvas shows."""
        size = max(self.width(), 1), max(self.height(), 1)
        turn = upright(self.rows, self.columns, self._planes.radiological)
        zoom = self._planes.fit(size, self.rows, self.columns) * self._planes.zoom
        return View(self.rows, self.columns, turn, self.centre, zoom, size)

    def place(self, at: QPointF) -> Point:
        """Return the place under a pixel."""
        return self.view.place(at.x(), at.y(), self._planes.point[self.axis])

    def paintEvent(self, _: QPaintEvent | None) -> None:
        """Draw everything."""
        view, planes = self.view, self._planes
        seen = self._drawn(view)
        with painting(self) as painter:
            painter.drawPixmap(0, 0, seen)
            if planes.session.scan is None:
                return
            picture.draw_crosshair(painter, view, planes.point)
            self._draw_brush(painter, view)
            picture.draw_letters(painter, view, planes.title(self.axis, short=view.size[0] < 320))

    def _drawn(self, view: View) -> QPixmap:
        """Return images and labels; those of before, where a step in another plane was made."""
        planes, ratio = self._planes, self.devicePixelRatioF()
        key = view, planes.point[self.axis], planes.generation, ratio
        if key != self._key:
            self._pixmap = QPixmap(self.size() * ratio)
            self._pixmap.setDevicePixelRatio(ratio)
            self._pixmap.fill(Qt.GlobalColor.black)
            with painting(self._pixmap) as painter:
                planes.draw_pictures(painter, view)
                planes.draw_outlines(painter, view)
            self._key = key
        return self._pixmap

    def _draw_brush(self, painter: QPainter, view: View) -> None:
        layer = self._tool_layer()
        grid = None if layer is None else lattice(layer)
        if layer is None or grid is None or self._hover is None:
            return
        if layer.mode in ("paint", "erase"):
            centre = grid.origin + np.array(grid.index(self.place(self._hover))) * grid.step
            mask, corner = brush_outline(layer, self.axis)
            place = picture.Lattice(centre + corner * grid.step, grid.step)
            picture.draw_border(painter, view, mask, place, QPen(QColor(255, 255, 255), 1))

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Begin a stroke, a click or a drag."""
        if event is None:
            return
        self._button, self._last = event.button(), event.position()
        self._pressed, self._dragged = event.position(), False
        if event.button() != Qt.MouseButton.LeftButton:
            return
        layer = self._tool_layer()
        if layer is not None and not event.modifiers():
            self._stroke = Stroke(layer, self.axis)
            self._stroke.to(self.place(event.position()))
            return
        self._begin(event)

    def mouseDoubleClickEvent(self, event: QMouseEvent | None) -> None:
        """A quick second click is one more."""
        self.mousePressEvent(event)

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Go on with a stroke or a drag; tell what lies under the mouse."""
        if event is None:
            return
        at = event.position()
        self._hover = at
        self._planes.session.viewer.status = self._planes.status(self.place(at))
        if self._stroke is not None:
            self._stroke.to(self.place(at))
        elif self._pressed is not None:
            self._tell("mouse_move", at)
            away = at - self._pressed
            self._dragged |= max(abs(away.x()), abs(away.y())) > STILL
            if self._dragged:
                self._drag(at)
        elif self._tool_layer() is not None:
            self.update()
        self._last = at

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:
        """End a stroke or a drag; a press and release in one place is a click."""
        if event is None:
            return
        clicked = self._pressed is not None and not self._dragged
        self._pressed = None
        if self._stroke is not None:
            self._stroke.end()
            self._stroke = None
        elif event.button() == Qt.MouseButton.LeftButton:
            place = self.place(event.position())
            self._tell("mouse_release", event.position())
            if clicked:
                self._planes.go(place)

    def leaveEvent(self, _: QEvent | None) -> None:
        """Show no brush any more."""
        self._hover = None
        self.update()

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        """Step through slices, or zoom."""
        if event is None:
            return
        if preferences().planes.wheel_steps != bool(
            event.modifiers() & Qt.KeyboardModifier.ControlModifier
        ):
            self._turned += event.angleDelta().y()
            steps = int(self._turned / _CLICK)
            self._turned -= steps * _CLICK
            self._planes.step(self.axis, -steps if self.axis == POSTERIOR else steps)
        else:
            self._zoom_at(event.position(), _ZOOM ** (event.angleDelta().y() / _CLICK))
        event.accept()

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Hand the key to napari's canvas, as if it had the focus."""
        self._hand_on(event)

    def keyReleaseEvent(self, event: QKeyEvent | None) -> None:
        """Hand it on."""
        self._hand_on(event)

    def focusOutEvent(self, event: QFocusEvent | None) -> None:
        """Show labels again: the release of the key that hides them goes elsewhere."""
        self._planes.hide(False)
        super().focusOutEvent(event)

    def _hand_on(self, event: QKeyEvent | None) -> None:
        if self._keys is not None and event is not None:
            QApplication.sendEvent(self._keys, event)

    def _tool_layer(self) -> LabelsLayer | None:
        """Return the selected labels where a tool of napari's is in hand, else None."""
        layer: LabelsLayer | None = self._planes.session.viewer.layers.selection.active
        if layer is None or layer.mode not in TOOLS or not hasattr(layer, "selected_label"):
            return None
        return layer if layer.editable and layer.visible else None

    def _begin(self, event: QMouseEvent) -> None:
        """Tell the selected layer of a press, so that a click does what it does elsewhere."""
        layer = self._planes.session.viewer.layers.selection.active
        self._running.clear()
        if layer is None or getattr(layer, "mode", "") != "pan_zoom":
            return
        at = event.position()
        dims = self._planes.session.viewer.dims
        first = dims.ndim - 3
        shift = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        control = bool(event.modifiers() & Qt.KeyboardModifier.ControlModifier)
        self._event = Mouse(
            "mouse_press",
            np.array([at.x(), at.y()]),
            self._position(at),
            modifiers=("Shift",) * shift + ("Control",) * control,
            dims_displayed=(first + self.rows, first + self.columns),
        )
        for call in list(layer.mouse_drag_callbacks):
            made = call(layer, self._event)
            if inspect.isgenerator(made):
                with contextlib.suppress(StopIteration):
                    next(made)
                    self._running.append(made)

    def _tell(self, kind: str, at: QPointF) -> None:
        event = self._event
        if event is None:
            return
        event.type, event.pos = kind, np.array([at.x(), at.y()])
        event.position = self._position(at)
        for call in list(self._running):
            try:
                next(call)
            except StopIteration:
                self._running.remove(call)
        if kind == "mouse_release":
            self._running.clear()
            self._event = None

    def _position(self, at: QPointF) -> tuple[float, ...]:
        dims = self._planes.session.viewer.dims
        return (*map(float, dims.point[: dims.ndim - 3]), *self.place(at))

    def _drag(self, at: QPointF) -> None:
        moved = at - self._last
        if self._button == Qt.MouseButton.RightButton:
            self._zoom_at(None, _ZOOM ** (-moved.y() / 20))
            return
        view = self.view
        across, down = view.turn.signs
        self.centre = (
            self.centre[0] - down * moved.y() / view.zoom,
            self.centre[1] - across * moved.x() / view.zoom,
        )
        self.update()

    def _zoom_at(self, at: QPointF | None, by: float) -> None:
        """Zoom all planes, and keep a pixel where it is."""
        before = self._planes.point if at is None else self.place(at)
        self._planes.set_zoom(self._planes.zoom * by)
        if at is None or self._planes.whole:
            return
        after = self.place(at)
        self.centre = (
            self.centre[0] + before[self.rows] - after[self.rows],
            self.centre[1] + before[self.columns] - after[self.columns],
        )
        self.update()

    def _on_zoomed(self) -> None:
        if self._planes.whole:
            self._centre_all()
        else:
            self._follow()

    def _centre_all(self) -> None:
        low, high = zip(*map(self._planes.extent, (self.rows, self.columns)), strict=True)
        self.centre = (low[0] + high[0]) / 2, (low[1] + high[1]) / 2
        self.update()

    def _centre_on(self, place: Point) -> None:
        if self._planes.whole:
            self._centre_all()
        else:
            self.centre = place[self.rows], place[self.columns]
            self.update()

    def _follow(self) -> None:
        """Keep the crosshair in sight."""
        view, at = self.view, self._planes.point
        x, y = view.screen(at[self.rows], at[self.columns])
        inside = QRectF(self.rect()).adjusted(20, 20, -20, -20).contains(QPointF(x, y))
        if self._planes.whole or inside or self._pressed is not None:
            self.update()
        else:
            self._centre_on(at)


def native_canvas(viewer: Viewer) -> QWidget | None:
    """Return napari's canvas; None where the viewer has no window."""
    window = getattr(viewer, "window", None)
    canvas = getattr(getattr(window, "_qt_viewer", None), "canvas", None)
    native = getattr(canvas, "native", None)
    return native if isinstance(native, QWidget) else None


def draw_over(planes: Planes) -> None:
    """Draw outlines and letters over napari's own canvas, from now on; once is enough."""
    canvas = native_canvas(planes.session.viewer)
    if canvas is not None and canvas.findChild(Overlay) is None:
        Overlay(planes, canvas)


class Overlay(QWidget):
    """Outlines, letters and crosshair over napari's own canvas, which gets the mouse.

    Parameters
    ----------
    planes
        What all planes have in common.
    canvas
        napari's.
    """

    def __init__(self, planes: Planes, canvas: QWidget) -> None:
        super().__init__(canvas)
        self._planes, self._canvas = planes, canvas
        self._turned = 0
        self._fit_soon = Debouncer(0, self._fit, self)
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setAttribute(Qt.WidgetAttribute.WA_NoSystemBackground)
        canvas.installEventFilter(self)
        for signal in (planes.changed, planes.moved, planes.zoomed, planes.panned):
            signal.connect(self.update)
        self.resize(canvas.size())
        self.show()
        planes.beside(partial(_size_of, weakref.ref(canvas)))

    @property
    def view(self) -> View | None:
        """What napari's canvas shows; None where that is no plane."""
        viewer = self._planes.session.viewer
        dims = viewer.dims
        first = dims.ndim - 3
        if dims.ndisplay != 2 or first < 0 or min(dims.order[-3:]) < first:
            return None
        if self._planes.session.scan is None or viewer.canvas.grid.enabled:
            return None
        camera = viewer.scene.camera
        rows, columns = (axis - first for axis in dims.order[-2:])
        centre = float(camera.center[-2]), float(camera.center[-1])
        size = max(self.width(), 1), max(self.height(), 1)
        return View(rows, columns, turn_of(viewer), centre, float(camera.zoom), size)

    def paintEvent(self, _: QPaintEvent | None) -> None:
        """Draw what lies over the images."""
        view, planes = self.view, self._planes
        if view is None:
            return
        with painting(self) as painter:
            planes.draw_outlines(painter, view)
            if planes.crosshair:
                picture.draw_crosshair(painter, view, planes.point)
            picture.draw_letters(painter, view, planes.title(view.normal))

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Keep napari's size; while planes are open, the wheel steps through slices."""
        if event is None or watched is not self._canvas:
            return False
        if event.type() == QEvent.Type.Resize:
            self.resize(self._canvas.size())
            self._fit_soon.throttle()  # napari takes the new size after this
        elif event.type() == QEvent.Type.FocusOut:
            self._planes.hide(False)  # the release of the key that hides goes elsewhere
        elif isinstance(event, QWheelEvent):
            return self._on_wheel(event)
        return False

    def _fit(self) -> None:
        """Show all of the scan where all of it was shown before the canvas became another size."""
        if self.view is not None and self._planes.whole:
            self._planes.session.viewer.reset_view()
        self._planes.measure()

    def _on_wheel(self, event: QWheelEvent) -> bool:
        view = self.view
        control = bool(event.modifiers() & Qt.KeyboardModifier.ControlModifier)
        if view is None or not self._planes.crosshair or not preferences().planes.wheel_steps:
            return False
        turned = event.angleDelta().y()
        if control:
            self._zoom_at(view, event.position(), _ZOOM ** (turned / _CLICK))
            return True
        self._turned += turned
        steps = int(self._turned / _CLICK)
        self._turned -= steps * _CLICK
        self._planes.step(view.normal, -steps if view.normal == POSTERIOR else steps)
        return True

    def _zoom_at(self, view: View, at: QPointF, by: float) -> None:
        camera = self._planes.session.viewer.scene.camera
        depth = self._planes.point[view.normal]
        before = view.place(at.x(), at.y(), depth)
        self._planes.set_zoom(self._planes.zoom * by)
        now = self.view
        if now is not None:
            after = now.place(at.x(), at.y(), depth)
            row, column = (before[one] - after[one] for one in (view.rows, view.columns))
            camera.center = (0.0, now.centre[0] + row, now.centre[1] + column)


def _size_of(known: "weakref.ref[QWidget]") -> tuple[int, int]:
    """Return the size of a canvas, which must not be kept by what the viewer keeps."""
    canvas = known()
    return (800, 600) if canvas is None else (max(canvas.width(), 1), max(canvas.height(), 1))
