"""What napari itself does to layers: hiding, copying, converting; and layers of other plugins."""

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.layers import Labels, _layer_actions
from qtpy.QtCore import Qt

from napari_pvs.errors import InputError
from napari_pvs.scans.display import from_display
from napari_pvs.widgets.correct.dock import Correct
from napari_pvs.widgets.metrics.dock import Metrics
from napari_pvs.widgets.viewer.layers import mask_layer

LONG = 60_000


@pytest.fixture
def correcting(make_napari_viewer, open_scan, predict, qtbot, tubes):
    """The dock in a viewer with a scan, a prediction and labels copied from it."""
    viewer = make_napari_viewer()
    session = open_scan(viewer)
    predict(session)
    dock = Correct(viewer)
    qtbot.addWidget(dock)
    return dock, session, viewer


@pytest.fixture
def reviewing(correcting, qtbot):
    dock, session, _ = correcting
    dock.queue.make()
    qtbot.waitUntil(lambda: bool(dock.queue.queue and dock.queue.queue.items), timeout=LONG)
    dock.queue.move_on()
    return dock, session


def mask(session):
    return from_display(session.labels.data) > 0


def test_what_changes_hidden_labels_shows_them(reviewing):
    dock, session = reviewing
    session.labels.visible = False
    dock.queue.move_on()
    while dock.queue.item.kind != "found":
        dock.queue.move_on()
    item = dock.queue.item
    dock.queue.no()
    assert not session.labels.data[item.point]
    assert session.labels.visible
    assert dock.queue.item is not item
    assert [one.verdict for one in dock.queue.queue.review.decisions] == ["reject"]


def test_copying_into_hidden_labels_is_one_step_of_the_predictions(correcting):
    _, session, viewer = correcting
    layer = session.new_labels()
    viewer.dims.set_current_step(0, 3)
    layer.visible = False
    viewer.dims.set_current_step(0, 15)
    count = session.copy_prediction()
    assert count == mask(session).sum() > 0
    assert len(layer._undo_history) == 1
    session.prediction.cut(0.96, 1)
    assert session.copy_prediction() > 0  # none of it was the user's


def test_what_a_click_has_taken_away_does_not_skip_the_next(reviewing):
    dock, _ = reviewing
    order = [one.point for one in dock.queue.queue.pending]
    assert len(order) > 2
    dock.clicker.click("remove", order[0])
    dock.queue.no()
    assert dock.queue.item.point == order[1]


def test_brushes_by_key_paint_in_3d_too(correcting):
    dock, session, _ = correcting
    dock.in_3d.setChecked(True)
    assert session.new_labels().n_edit_dimensions == 3
    dock.in_3d.setChecked(False)
    assert session.new_labels().n_edit_dimensions == 2


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("which", ["labels", "reference"])
def test_labels_that_become_an_image_are_let_go(correcting, qtbot, which):
    dock, session, viewer = correcting
    empty = np.zeros(session.scan.grid.shape, np.uint8)
    data, meta, _ = mask_layer(empty, session.scan, "truth", "reference")
    viewer.add_labels(data, **meta)
    viewer.layers.selection = {getattr(session, which)}
    _layer_actions._convert(viewer.layers, "image")
    assert not isinstance(getattr(session, which), Labels)
    assert getattr(session, which) is None
    dock.check()
    metrics = Metrics(viewer)
    qtbot.addWidget(metrics)
    metrics.update_numbers()
    metrics.stop()


def test_a_copy_of_an_earlier_scan_does_not_bring_it_back(correcting, open_scan):
    _, session, viewer = correcting
    copied = viewer.layers[viewer.layers.index(session.t1)]
    viewer.add_layer(copied.__class__.create(*copied.as_layer_data_tuple()))
    earlier = session.scan
    copies = [one for one in viewer.layers if one.metadata.get("napari_pvs", {}).get("scan")]
    assert any(one is not session.t1 and one is not session.t2 for one in copies)
    later = earlier.__class__(**vars(earlier))
    session.set_scan(later)
    viewer.add_layer(copied.__class__.create(*copied.as_layer_data_tuple()))
    assert session.scan is later


def test_labels_that_are_read_piece_by_piece_are_refused(correcting):
    dask = pytest.importorskip("dask.array")
    _, session, viewer = correcting
    layer = viewer.add_labels(dask.zeros(session.labels.data.shape, dtype=np.uint8))
    for choose in (session.set_labels, session.set_reference):
        with pytest.raises(InputError, match="is read piece by piece; save it as NIfTI"):
            choose(layer)


def test_a_click_in_3d_beside_a_layer_of_more_axes(correcting, qtbot, tubes):
    dock, session, viewer = correcting
    viewer.add_image(np.zeros((3, 10, 10, 10), np.float32))
    viewer.dims.ndisplay = 3
    viewer.layers.selection.active = session.labels
    dock.set_mode("remove")
    widget = viewer.window._qt_viewer.canvas.native
    with qtbot.captureExceptions() as caught:
        qtbot.mouseClick(widget, Qt.MouseButton.LeftButton, pos=widget.rect().center())
    assert caught == []
