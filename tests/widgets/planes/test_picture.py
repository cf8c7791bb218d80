"""What is drawn of a slice, pixel by pixel."""

import os
import sys

import numpy as np
import pytest

pytest.importorskip("napari")
if sys.platform == "linux" and not os.environ.get("DISPLAY"):
    pytest.skip("no display; run under xvfb-run", allow_module_level=True)

from napari.layers import Image, Labels, Points
from qtpy.QtGui import QColor, QImage, QPainter

from napari_pvs.widgets.planes.picture import (
    View,
    draw_layers,
    draw_outline,
    lattice,
)
from napari_pvs.widgets.viewer.orientation import POSTERIOR, RIGHT, SUPERIOR, Turn

SHAPE = (4, 5, 6)
STEP, ORIGIN = (2.0, 1.0, 1.0), (10.0, -3.0, 7.0)


@pytest.fixture
def draw(qapp):
    """Function that draws on a canvas of 10 pixels per mm and returns its red, green and blue."""

    def make(call, rows=SUPERIOR, columns=RIGHT, turn=None, depth=0):
        size = (60, 80)
        middle = np.array(ORIGIN) + (np.array(SHAPE) - 1) / 2 * STEP
        view = View(rows, columns, turn or Turn(), (middle[rows], middle[columns]), 10.0, size)
        at = list(middle)
        at[view.normal] = ORIGIN[view.normal] + depth * STEP[view.normal]
        image = QImage(*size, QImage.Format.Format_RGB32)
        image.fill(QColor("black"))
        painter = QPainter(image)
        call(painter, view, tuple(at))
        painter.end()
        return np.array(
            [
                [QColor(image.pixel(x, y)).getRgb()[:3] for x in range(size[0])]
                for y in range(size[1])
            ]
        )

    return make


def test_a_slice_lies_where_its_voxels_do_whichever_way_it_is_turned(draw):
    data = np.zeros(SHAPE, np.float32)
    data[0, 2, 1] = 1
    layer = Image(data, scale=STEP, translate=ORIGIN, contrast_limits=(0, 1))

    def bright(turn):
        drawn = draw(lambda *at: draw_layers(*at, [layer]), turn=turn, depth=2)
        y, x = np.nonzero(drawn[..., 0] > 128)
        return x.min(), x.max() + 1, y.min(), y.max() + 1

    assert bright(Turn()) == (10, 20, 0, 20)
    assert bright(Turn("up", "right")) == (10, 20, 60, 80)
    assert bright(Turn("up", "left")) == (40, 50, 60, 80)


def test_another_slice_hidden_layers_and_points_are_not_drawn(draw):
    data = np.ones(SHAPE, np.float32)
    layer = Image(data, scale=STEP, translate=ORIGIN, contrast_limits=(0, 1))
    points = Points([(1, 1, 1)])
    assert lattice(points) is None
    assert not draw(lambda *at: draw_layers(*at, [layer, points]), depth=7).any()
    layer.visible = False
    assert not draw(lambda *at: draw_layers(*at, [layer, points])).any()


def test_a_turned_layer_is_not_drawn_where_it_does_not_lie():
    layer = Image(np.ones(SHAPE), scale=STEP, translate=ORIGIN)
    assert lattice(layer) is not None
    layer.rotate = (0, 0, 20)
    assert lattice(layer) is None
    layer.rotate = (0, 0, 0)
    layer.translate = (1, 2, 3)
    np.testing.assert_allclose(lattice(layer).origin, (1, 2, 3))


def test_contrast_gamma_colour_and_opacity_are_the_layer_s(draw):
    data = np.full(SHAPE, 5, np.int16)
    layer = Image(
        data, scale=STEP, translate=ORIGIN, contrast_limits=(0, 10), gamma=2, colormap="green",
        opacity=0.5,
    )  # fmt: skip
    drawn = draw(lambda *at: draw_layers(*at, [layer]))[40, 30]
    np.testing.assert_allclose(drawn, (0, 255 * 0.25 * 0.5, 0), atol=2)


def test_an_outline_follows_the_border_and_leaves_the_inside_free(draw):
    data = np.zeros(SHAPE, np.uint8)
    data[1:3, 2, 2:5] = 3
    layer = Labels(data, scale=STEP, translate=ORIGIN)
    drawn = draw(lambda *at: draw_outline(*at, layer), depth=2).any(-1)
    y, x = np.nonzero(drawn)
    # rows of 20 pixels from 20 to 60, columns of 10 from 20 to 50, lines of two pixels
    assert abs(y.min() - 20) <= 1
    assert abs(y.max() - 60) <= 1
    assert abs(x.min() - 20) <= 1
    assert abs(x.max() - 50) <= 1
    assert not drawn[23:57, 23:47].any()
    assert not draw(lambda *at: draw_outline(*at, layer), depth=3).any()


def test_labels_are_filled_in_their_colours_and_touching_ones_are_parted(draw):
    data = np.zeros(SHAPE, np.int32)
    data[:, 2, 1], data[:, 2, 2] = 1, 2
    layer = Labels(data, scale=STEP, translate=ORIGIN, opacity=1)
    drawn = draw(lambda *at: draw_layers(*at, [layer]), depth=2)
    for value, x in ((1, 15), (2, 25)):
        colour = np.atleast_2d(layer.colormap.map(np.array([value])))[0, :3] * 255
        np.testing.assert_allclose(drawn[40, x], colour, atol=2)
    assert not drawn[40, 35].any()
    lines = draw(lambda *at: draw_outline(*at, layer), depth=2).any(-1)
    assert lines[40, 19:22].any()  # between the two
    assert not lines[40, 13:17].any()


def test_a_pixel_and_its_place_are_each_other_s_inverse():
    for turn in (Turn(), Turn("up", "left"), Turn("down", "left")):
        view = View(SUPERIOR, POSTERIOR, turn, (3.0, -4.0), 2.5, (101, 77))
        place = view.place(*view.screen(5.5, -7.25), 9.0)
        np.testing.assert_allclose(place, (5.5, -7.25, 9.0))
