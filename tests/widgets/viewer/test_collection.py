"""What full collections of garbage pass over while docks are open."""

import gc

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.components import ViewerModel
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication

from napari_pvs.widgets.dock import Dock
from napari_pvs.widgets.state.session import session_of
from napari_pvs.widgets.viewer import canvas as collection


@pytest.fixture(autouse=True)
def none_open(qapp):
    collection._open.clear()  # docks that earlier tests left to the garbage
    collection._thaw()
    yield
    assert not gc.get_freeze_count()


def test_what_was_there_is_passed_over_until_the_last_dock_closes():
    one, two = object(), object()
    collection.hold(one, [])
    before = gc.get_freeze_count()
    assert before > 1000
    collection.hold(two, [])
    assert 0 < gc.get_freeze_count() <= before  # some may have ended
    collection.release(one)
    assert 0 < gc.get_freeze_count() <= before  # some may have ended
    collection.release(two)
    assert not gc.get_freeze_count()


@pytest.mark.parametrize("how", ["taken out", "deleted"])
def test_a_dock_is_closed_when_it_leaves(how, make_napari_viewer):
    viewer = make_napari_viewer()
    dock = Dock(viewer)
    shown = viewer.window.add_dock_widget(dock)
    assert gc.get_freeze_count()
    if how == "taken out":
        viewer.window.remove_dock_widget(shown)
        assert not gc.get_freeze_count()
    dock.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    assert not gc.get_freeze_count()


def test_layers_that_were_there_can_still_go(qapp):
    viewer = ViewerModel()
    session_of(viewer)
    old = viewer.add_image(np.zeros((3, 3, 3)))
    dock = object()
    collection.hold(dock, viewer.layers)
    new = viewer.add_image(np.zeros((3, 3, 3)))
    viewer.layers.remove(new)
    assert gc.get_freeze_count()  # it came later
    viewer.layers.remove(old)
    assert not gc.get_freeze_count()
    collection.release(dock)
