"""Draws one plane of a viewer's layers: images, labels and their outlines, crosshair and letters.

napari draws one plane in its own canvas. The others are drawn here from the same layers, so that
nothing is copied or kept in step: what is painted, hidden, or set brighter in one is so in all.
Labels are outlined along the borders of their voxels. napari's own contour lies inside the labels
and is a voxel wide: of a PVS two voxels wide it leaves nothing to see.
"""

import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray
from qtpy.QtCore import QLineF, QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QFont, QImage, QPainter, QPen

from napari_pvs.widgets.viewer.orientation import Turn, letters
from napari_pvs.widgets.viewer.typed import Event, ImageLayer, LabelsLayer, Layer

Point = tuple[float, float, float]
"""A place in the viewer's coordinates: mm to superior, posterior and right."""

FOCUS = "#ff5fd2"
TRUE, FALSE, MISSED = "#2fd0a5", "#ff6a3d", "#ffe14d"
"""Of a comparison."""
CROSSHAIR = QColor(120, 190, 255, 150)
_GAP = 14  # pixels around the middle of the crosshair that stay free
_BLENDING = {
    "additive": QPainter.CompositionMode.CompositionMode_Plus,
    "minimum": QPainter.CompositionMode.CompositionMode_Darken,
    "multiplicative": QPainter.CompositionMode.CompositionMode_Multiply,
}


@dataclass(frozen=True)
class View:
    """What a canvas shows of which plane.

    Attributes
    ----------
    rows, columns
        The axes of the data that run down and across.
    turn
        Which way.
    centre
        Of the canvas: mm along rows and columns.
    zoom
        Pixels per mm.
    size
        Of the canvas: width and height in pixels.
    """

    rows: int
    columns: int
    turn: Turn
    centre: tuple[float, float]
    zoom: float
    size: tuple[int, int]

    @property
    def normal(self) -> int:
        """The axis across the plane."""
        return 3 - self.rows - self.columns

    def screen(self, row: float, column: float) -> tuple[float, float]:
        """Return the pixel of a place (mm along rows and columns): x and y."""
        across, down = self.turn.signs
        x = self.size[0] / 2 + across * (column - self.centre[1]) * self.zoom
        y = self.size[1] / 2 + down * (row - self.centre[0]) * self.zoom
        return x, y

    def place(self, x: float, y: float, depth: float) -> Point:
        """Return the place under a pixel, on the plane at some depth along its normal."""
        across, down = self.turn.signs
        found = [depth] * 3
        found[self.columns] = self.centre[1] + across * (x - self.size[0] / 2) / self.zoom
        found[self.rows] = self.centre[0] + down * (y - self.size[1] / 2) / self.zoom
        return found[0], found[1], found[2]


@dataclass(frozen=True)
class Lattice:
    """Where the voxels of a layer lie: the place of the first one, and the steps to the next."""

    origin: NDArray[np.float64]
    step: NDArray[np.float64]

    def index(self, place: Point) -> tuple[int, int, int]:
        """Return the voxel nearest to a place; it may lie outside the layer."""
        z, y, x = np.rint((np.array(place) - self.origin) / self.step).astype(int).tolist()
        return z, y, x


_lattices: "weakref.WeakKeyDictionary[Layer, Lattice | None]" = weakref.WeakKeyDictionary()
_PLACED = ("scale", "translate", "rotate", "shear", "affine", "units")


def lattice(layer: Layer) -> Lattice | None:
    """Return where the voxels of a layer lie; None where it has no three upright axes."""
    if layer not in _lattices:  # asking napari takes a millisecond
        for name in _PLACED:
            event = getattr(layer.events, name, None)
            if event is not None:
                event.connect(_forget)
        _lattices[layer] = _look(layer)
    return _lattices[layer]


def _forget(event: Event) -> None:
    _lattices[event.source] = _look(event.source)


def _look(layer: Layer) -> Lattice | None:
    if not isinstance(layer, (Image, Labels)) or layer.ndim != 3:
        return None
    if getattr(layer, "multiscale", False) or getattr(layer, "rgb", False):
        return None
    origin = np.array(layer.data_to_world((0, 0, 0)), float)
    steps = np.array([layer.data_to_world(one) for one in np.eye(3)], float) - origin
    step = np.diag(steps)
    if (step <= 0).any() or not np.allclose(steps, np.diag(step), atol=1e-6 * step.max()):
        return None
    return Lattice(origin, step)


def draw_layers(painter: QPainter, view: View, at: Point, layers: Iterable[Layer]) -> None:
    """Draw the slices of images and labels, the first layer lowest.

    Parameters
    ----------
    painter, view
        Of the canvas.
    at
        Where the plane lies; its coordinate along the plane's normal counts.
    layers
        Of napari.
    """
    for layer in layers:
        found = _slice(layer, view, at) if layer.visible and layer.opacity > 0 else None
        if found is None:
            continue
        data, grid = found
        argb = (
            _labels(layer, data)
            if isinstance(layer, Labels)
            else _image(cast("ImageLayer", layer), data)
        )
        across, down = view.turn.signs
        argb = np.ascontiguousarray(argb[::down, ::across])
        height, width = argb.shape
        raw = argb.tobytes()  # must live as long as the image
        image = QImage(raw, width, height, 4 * width, _PREMULTIPLIED)
        painter.setOpacity(layer.opacity)
        painter.setCompositionMode(_BLENDING.get(str(layer.blending), _OVER))
        smooth = str(getattr(layer, "interpolation2d", "nearest")) != "nearest"
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, smooth)
        painter.drawImage(_box(view, grid, (height, width)), image)
    painter.setOpacity(1)
    painter.setCompositionMode(_OVER)


_PREMULTIPLIED = QImage.Format.Format_ARGB32_Premultiplied
_OVER = QPainter.CompositionMode.CompositionMode_SourceOver


def _slice(layer: Layer, view: View, at: Point) -> tuple[NDArray[Any], Lattice] | None:
    """Return the voxels of a layer in a plane, and where they lie."""
    grid = lattice(layer)
    if grid is None or not isinstance(layer.data, np.ndarray):
        return None
    k = grid.index(at)[view.normal]
    if not 0 <= k < layer.data.shape[view.normal]:
        return None
    return layer.data.take(k, view.normal), grid


def _box(view: View, grid: Lattice, shape: tuple[int, int]) -> QRectF:
    rows, columns = view.rows, view.columns
    low = grid.origin - grid.step / 2
    one = view.screen(low[rows], low[columns])
    two = view.screen(
        low[rows] + shape[0] * grid.step[rows], low[columns] + shape[1] * grid.step[columns]
    )
    return QRectF(QPointF(*map(float, one)), QPointF(*map(float, two))).normalized()


def _packed(colours: NDArray[Any]) -> NDArray[np.uint32]:
    """Turn RGBA of 0 to 1 into Qt's premultiplied ARGB."""
    rgba = np.clip(np.asarray(colours, np.float64), 0, 1)
    rgba[..., :3] *= rgba[..., 3:]
    r, g, b, a = np.rint(255 * np.moveaxis(rgba, -1, 0)).astype(np.uint32)
    packed: NDArray[np.uint32] = (a << 24) | (r << 16) | (g << 8) | b
    return packed


def _image(layer: ImageLayer, data: NDArray[Any]) -> NDArray[np.uint32]:
    low, high = (float(one) for one in layer.contrast_limits)
    shades = np.linspace(0, 1, 256) ** float(layer.gamma)
    table = _packed(layer.colormap.map(shades))
    scaled = (data.astype(np.float32) - low) * (255 / max(high - low, 1e-12))
    np.clip(np.nan_to_num(scaled, copy=False), 0, 255, out=scaled)
    found: NDArray[np.uint32] = table[np.rint(scaled).astype(np.uint8)]
    return found


def _labels(layer: LabelsLayer, data: NDArray[Any]) -> NDArray[np.uint32]:
    values, where = np.unique(data, return_inverse=True)
    table = _packed(np.atleast_2d(layer.colormap.map(values)))
    table[values == 0] = 0
    return table[where].reshape(data.shape)


def colours(layer: LabelsLayer, values: NDArray[Any]) -> list[QColor]:
    """Return the colours of labels of a layer."""
    mapped = np.clip(np.atleast_2d(layer.colormap.map(values)), 0, 1)
    return [QColor.fromRgbF(*map(float, one[:3])) for one in mapped]


def draw_outline(painter: QPainter, view: View, at: Point, layer: LabelsLayer) -> None:
    """Draw the borders of a layer's labels in their colours."""
    found = _slice(layer, view, at)
    if found is None:
        return
    data, grid = found
    values = np.unique(data)
    values = values[values != 0]
    for value, colour in zip(values, colours(layer, values) if len(values) else (), strict=True):
        draw_border(painter, view, data == value, grid, _pen(view, Line(colour)))


def draw_volume(
    painter: QPainter,
    view: View,
    at: Point,
    marks: NDArray[Any],
    grid: Lattice,
    lines: Iterable[tuple[int, "Line"]],
) -> None:
    """Draw the borders of what is marked in a volume.

    Parameters
    ----------
    painter, view, at
        As for `draw_layers`.
    marks
        Three axes, those of the layers.
    grid
        Where its voxels lie.
    lines
        Marks, and how their borders are drawn.
    """
    k = grid.index(at)[view.normal]
    if not 0 <= k < marks.shape[view.normal]:
        return
    part = marks.take(k, view.normal)
    for mark, line in lines:
        draw_border(painter, view, part == mark, grid, _pen(view, line))


@dataclass(frozen=True)
class Line:
    """How a border is drawn."""

    colour: QColor
    style: Qt.PenStyle = Qt.PenStyle.SolidLine
    wide: bool = False


def draw_border(
    painter: QPainter, view: View, mask: NDArray[np.bool_], grid: Lattice, pen: QPen
) -> None:
    """Draw lines where a slice of a mask ends, between voxels."""
    painter.setPen(pen)
    lines: Any = [QLineF(*one) for one in _lines(view, mask, grid)]
    if lines:
        painter.drawLines(lines)


def _pen(view: View, line: Line) -> QPen:
    pen = QPen(line.colour, (2.0 if view.zoom > 4 else 1.2) * (1.6 if line.wide else 1))
    pen.setCosmetic(True)
    pen.setStyle(line.style)
    solid = line.style == Qt.PenStyle.SolidLine
    pen.setCapStyle(Qt.PenCapStyle.SquareCap if solid else Qt.PenCapStyle.FlatCap)
    return pen


def _lines(
    view: View, mask: NDArray[np.bool_], grid: Lattice
) -> Iterator[tuple[float, float, float, float]]:
    """Yield the borders of a slice on the screen: x and y of one end, then of the other."""
    if not mask.any():
        return
    top, left = (int(np.flatnonzero(mask.any(axis))[0]) for axis in (1, 0))
    bottom, right = (int(np.flatnonzero(mask.any(axis))[-1]) + 1 for axis in (1, 0))
    part = np.pad(mask[top:bottom, left:right], 1)
    low = grid.origin - grid.step / 2
    row0 = low[view.rows] + top * grid.step[view.rows]
    column0 = low[view.columns] + left * grid.step[view.columns]
    for along_row in (True, False):
        changed = part[1:] != part[:-1] if along_row else (part[:, 1:] != part[:, :-1]).T
        runs = np.diff(changed.astype(np.int8), axis=1)  # the padding has no borders along it
        fixed, start = np.nonzero(runs == 1)
        _, end = np.nonzero(runs == -1)
        if along_row:
            row, first, last = fixed, start, end
            x0, y0 = view.screen(row0 + row * grid.step[view.rows],
                                 column0 + first * grid.step[view.columns])  # fmt: skip
            x1, y1 = view.screen(row0 + row * grid.step[view.rows],
                                 column0 + last * grid.step[view.columns])  # fmt: skip
        else:
            x0, y0 = view.screen(row0 + start * grid.step[view.rows],
                                 column0 + fixed * grid.step[view.columns])  # fmt: skip
            x1, y1 = view.screen(row0 + end * grid.step[view.rows],
                                 column0 + fixed * grid.step[view.columns])  # fmt: skip
        yield from np.stack([x0, y0, x1, y1], -1).tolist()


def draw_crosshair(painter: QPainter, view: View, at: Point) -> None:
    """Draw lines through a place; around it they leave off, so that they hide nothing."""
    x, y = view.screen(at[view.rows], at[view.columns])
    width, height = view.size
    x, y = round(x), round(y)
    for box in (  # a line that is seen through takes Qt ten times as long
        QRectF(0, y, x - _GAP, 1),
        QRectF(x + _GAP, y, width - x - _GAP, 1),
        QRectF(x, 0, 1, y - _GAP),
        QRectF(x, y + _GAP, 1, height - y - _GAP),
    ):
        if box.isValid():
            painter.fillRect(box, CROSSHAIR)


def draw_letters(painter: QPainter, view: View, title: str) -> None:
    """Write the patient's sides at the edges, and a title into the upper left corner."""
    left, right, above, below = letters(view.rows, view.columns, view.turn)
    width, height = view.size
    font = QFont(painter.font())
    font.setPixelSize(14)
    font.setBold(True)
    painter.setFont(font)
    box = QRectF(4, 2, width - 8, height - 4)
    flags = Qt.AlignmentFlag
    for text, where in (
        (left, flags.AlignLeft | flags.AlignVCenter),
        (right, flags.AlignRight | flags.AlignVCenter),
        (above, flags.AlignHCenter | flags.AlignTop),
        (below, flags.AlignHCenter | flags.AlignBottom),
    ):
        _write(painter, box, where, text)
    font.setPixelSize(12)
    font.setBold(False)
    painter.setFont(font)
    _write(painter, box, flags.AlignLeft | flags.AlignTop, title)


def _write(painter: QPainter, box: QRectF, where: Qt.AlignmentFlag, text: str) -> None:
    """Write on a dark ground: it lies on bright and on dark tissue, or beside the scan."""
    flags: int = getattr(where, "value", where)  # bindings have numbers or enumerations
    if not text:
        return
    ground = painter.boundingRect(box, flags, text).adjusted(-3, 0, 3, 0)
    painter.fillRect(ground, QColor(0, 0, 0, 110))
    painter.setPen(QColor(255, 255, 255))
    painter.drawText(box, flags, text)
