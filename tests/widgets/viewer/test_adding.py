"""A layer that is added in pieces is a layer like any other."""

import pytest

pytest.importorskip("napari")

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_pvs.widgets.viewer.canvas import add, adding

LIKE = {"scale": (2, 1, 0.5), "translate": (10, -4, 1), "units": "mm"}


def image():
    return Image(np.random.default_rng(0).random((4, 5, 6)), **LIKE)


def labels():
    return Labels(np.zeros((4, 5, 6), np.uint8), **LIKE)


def hidden(layer):
    return [name for name, tool in layer._overlays.items() if not tool.visible]


@pytest.mark.parametrize("kind", [image, labels])
def test_the_viewer_is_as_if_napari_had_added_it_alone(kind):
    plain, pieces = ViewerModel(), ViewerModel()
    plain.add_layer(kind())
    layer = kind()
    assert len(list(adding(pieces, layer))) >= 2
    assert list(pieces.layers) == [layer]
    assert hidden(layer) == hidden(plain.layers[0])
    for name in ("ndim", "range", "current_step", "units", "axis_labels", "nsteps"):
        assert getattr(pieces.dims, name) == getattr(plain.dims, name)
    assert pieces.layers.selection.active is layer


def test_another_layer_may_stay_selected():
    viewer = ViewerModel()
    first = viewer.add_layer(labels())
    list(adding(viewer, image(), first))
    assert viewer.layers.selection.active is first


def test_left_off_half_way_the_layer_is_whole():
    viewer, layer = ViewerModel(ndisplay=2), labels()
    viewer.add_layer(image())
    steps = adding(viewer, layer)
    next(steps)
    whole = hidden(labels())
    assert len(hidden(layer)) > len(whole)
    steps.close()
    assert hidden(layer) == whole


def test_at_once_also_without_tools(parent):
    viewer = ViewerModel()
    images = [image(), image()]
    for one in images:
        add(viewer, one, parent)
    assert images == list(viewer.layers)


def test_at_once_it_is_there_and_its_tools_follow(make_napari_viewer, parent, qtbot):
    viewer = make_napari_viewer()
    one, other = labels(), labels()
    for layer in (one, other):
        add(viewer, layer, parent)
    assert list(viewer.layers) == [one, other]
    viewer.layers.remove(one)  # before its tools were made
    whole = hidden(labels())
    qtbot.waitUntil(lambda: hidden(one) == hidden(other) == whole)
    visuals = viewer.window._qt_viewer.canvas._layer_overlay_to_visual[other]
    assert {type(tool).__name__ for tool in visuals} >= {
        "LabelsPolygonOverlay",
        "LabelsBrushStrokeOverlay",
    }
