"""What the planes of a viewer have in common, without a window."""

import gc
import weakref

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.components import ViewerModel

from napari_pvs.scans.display import to_display
from napari_pvs.widgets.planes import planes as planes_module
from napari_pvs.widgets.planes.planes import planes_of
from napari_pvs.widgets.state.session import session_of
from napari_pvs.widgets.viewer.canvas import show_voxel

LONG = 120_000


@pytest.fixture
def session(open_scan, predict, monkeypatch, qapp):
    monkeypatch.setattr(planes_module, "PAUSE_MS", 5)
    session = open_scan()
    predict(session)
    return session


def test_planes_are_one_for_each_viewer_and_go_with_it(open_scan, qapp):
    viewer = ViewerModel()
    planes = planes_of(session_of(viewer))
    assert planes_of(session_of(viewer)) is planes
    gone = weakref.ref(planes)
    del viewer, planes
    gc.collect()
    gc.collect()
    assert gone() is None


def test_without_a_window_labels_keep_their_opacity(session):
    before = session.labels.opacity
    planes_of(session).fill = False
    assert session.labels.opacity == before > 0


def test_a_place_and_its_millimetres(session):
    planes = planes_of(session)
    planes.go((4.0, -8.8, 9.6))
    np.testing.assert_allclose(planes.point, (4.0, -8.8, 9.6))
    assert [planes.title(axis) for axis in range(3)] == [
        "Axial · S 4.0 mm", "Coronal · A 8.8 mm", "Sagittal · R 9.6 mm",
    ]  # fmt: skip
    assert planes.title(1, short=True) == "A 8.8 mm"
    planes.step(0, -2)
    assert planes.point[0] == pytest.approx(2.4)


def test_a_jump_tells_other_views_where_it_goes(session):
    planes, seen = planes_of(session), []
    planes.jumped.connect(seen.append)
    show_voxel(session.viewer, session.labels, (5, 6, 7))
    np.testing.assert_allclose(seen, [session.labels.data_to_world((5, 6, 7))])


def test_labels_are_told_apart_from_a_reference_and_follow_edits(session, qtbot, tubes):
    planes = planes_of(session)
    reference = np.zeros(session.scan.grid.shape, np.uint8)
    for name in ("sure", "missed"):
        reference[tubes[name]] = 1
    other = session.viewer.add_labels(np.ascontiguousarray(to_display(reference)))
    other.scale, other.translate = session.labels.scale, session.labels.translate
    planes.compare(other)
    qtbot.waitUntil(lambda: planes.counts is not None, timeout=LONG)
    assert planes.counts == (1, 2, 1)
    assert [text for _, text in planes.legend()] == ["true 1", "false 2", "missed 1"]
    assert planes.compared is session.labels
    mask = np.zeros(session.scan.grid.shape, bool)
    mask[tubes["doubtful"]] = True
    session.labels.data_setitem(np.nonzero(to_display(mask)), 0)
    qtbot.waitUntil(lambda: planes.counts == (1, 1, 1), timeout=LONG)
    missed = np.zeros(session.scan.grid.shape, bool)
    missed[tubes["missed"]] = True
    other.data_setitem(np.nonzero(to_display(missed)), 0)  # the reference may be drawn on too
    qtbot.waitUntil(lambda: planes.counts == (1, 1, 0), timeout=LONG)
    session.viewer.layers.remove(other)
    assert planes.against is None
    assert planes.legend() == []


def test_labels_of_another_shape_are_not_compared(session):
    planes = planes_of(session)
    planes.compare(session.viewer.add_labels(np.ones((3, 3, 3), np.uint8)))
    assert planes.counts is None


def test_a_prediction_is_compared_where_labels_are_what_it_is_compared_with(session):
    planes = planes_of(session)
    planes.against = session.labels
    assert planes.compared is session.prediction.layer


def test_the_status_of_a_layer_of_no_scan_is_napari_s(qapp):
    viewer = ViewerModel()
    planes = planes_of(session_of(viewer))
    layer = viewer.add_image(np.zeros((4, 5, 6)))
    assert "RAS" not in layer.get_status((1, 1, 1), world=True)["coordinates"]
    assert planes.status((1, 1, 1)) == ""
