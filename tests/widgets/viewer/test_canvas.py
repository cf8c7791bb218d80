"""Removing layers in a window that draws."""

import gc
import subprocess
import sys
import weakref

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_pvs.widgets.dock import Dock
from napari_pvs.widgets.viewer import canvas
from napari_pvs.widgets.viewer.canvas import add, adding

PROGRAM = """
import napari
import numpy as np
from qtpy.QtCore import QEventLoop, QTimer

from napari_pvs.widgets.state.session import session_of

def live():
    loop = QEventLoop()
    QTimer.singleShot(300, loop.quit)
    loop.exec()

viewer = napari.Viewer(show=True)
session_of(viewer)
image = viewer.add_image(np.random.rand(20, 30, 40).astype(np.float32))
for _ in range(2):
    masks = [viewer.add_labels((image.data > 0.9).astype(np.uint8)) for _ in range(2)]
    live()
    for mask in masks:
        viewer.layers.remove(mask)
    live()
    image.data = image.data / 2
    live()
viewer.close()
print("drawn")
"""


def test_layers_removed_in_one_turn_do_not_end_napari(tmp_path):
    # in a process of its own: it would take the tests with it
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    if "could not connect to display" in done.stderr:
        pytest.skip("no display")
    assert (done.returncode, done.stdout.split()[-1:]) == (0, ["drawn"]), done.stderr[-2000:]


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


@pytest.fixture(autouse=True)
def nothing_stays_frozen(qapp):
    assert not gc.get_freeze_count()
    yield
    assert not gc.get_freeze_count()


@pytest.fixture
def viewer():
    viewer = ViewerModel()
    viewer.add_image(np.zeros((3, 3, 3)))
    return viewer


def test_while_a_layer_goes_the_rest_is_passed_over(viewer):
    seen = []
    viewer.layers.events.removed.connect(lambda _: seen.append(gc.get_freeze_count()))
    canvas.remove(viewer, viewer.layers[0])
    assert list(viewer.layers) == []
    (frozen,) = seen
    assert frozen > 1000
    canvas.remove(viewer, object())  # one that is gone already


def test_what_was_passed_over_is_collected_later(viewer):
    class Circle:
        pass

    circle = Circle()
    circle.itself = circle
    gone = weakref.ref(circle)
    viewer.layers.events.removed.connect(lambda _: gc.collect())
    del circle
    canvas.remove(viewer, viewer.layers[0])
    assert gone() is not None  # it was frozen then
    gc.collect()
    assert gone() is None


def test_an_error_leaves_nothing_frozen(viewer):
    def fail(_):
        raise RuntimeError("a slot failed")

    viewer.layers.events.removed.connect(fail)
    with pytest.raises(Exception, match="a slot failed"):
        canvas.remove(viewer, viewer.layers[0])


def test_who_has_frozen_already_ends_it(viewer):
    gc.freeze()
    try:
        canvas.remove(viewer, viewer.layers[0])
        assert gc.get_freeze_count()
    finally:
        gc.unfreeze()


def test_an_open_dock_freezes_nothing(make_dock):
    make_dock(Dock)
    assert not gc.get_freeze_count()
