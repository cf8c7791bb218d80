"""A layer goes without a collection of the whole process's garbage."""

import gc
import weakref

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.components import ViewerModel

from napari_pvs.widgets.dock import Dock
from napari_pvs.widgets.viewer import canvas


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
