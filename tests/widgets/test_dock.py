import contextlib

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.components import ViewerModel
from napari.layers import Labels
from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import QMainWindow, QMessageBox, QWidget

from napari_pvs.errors import InputError
from napari_pvs.scans.display import display_index, grid_index
from napari_pvs.scans.scan import Scan
from napari_pvs.study.drafts import DraftStore
from napari_pvs.study.labels import LabelStore
from napari_pvs.widgets import dock as module
from napari_pvs.widgets.dock import WIDTH, JobDock, blink_predictions, blink_scans
from napari_pvs.widgets.parts.controls import Button, LayerBox, Notice
from napari_pvs.widgets.state.prediction import Prediction, make_layer
from napari_pvs.widgets.state.session import session_of
from napari_pvs.widgets.viewer.canvas import show_voxel
from napari_pvs.widgets.viewer.layers import scan_layers


@pytest.fixture
def viewer(qapp):
    return ViewerModel()


@pytest.fixture
def session(viewer, head):
    scan = Scan.from_arrays(head.t1, head.t2, np.diag([0.8, 0.9, 1, 1]), head.brain)
    for data, meta, _ in scan_layers(scan):
        viewer.add_image(data, **meta)
    return session_of(viewer)


def test_a_disabled_button_says_why(qtbot):
    clicks = []
    button = Button("Go", "Goes.", lambda: clicks.append(1))
    qtbot.addWidget(button)
    assert button.toolTip() == "Goes."
    button.allow_if("there is no road.")
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert (clicks, button.toolTip()) == ([], "Goes.\n\nNot now: there is no road.")
    button.allow_if(None)
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert (clicks, button.toolTip()) == ([1], "Goes.")


def test_a_notice_takes_room_only_while_it_says_something(qtbot):
    notice = Notice()
    qtbot.addWidget(notice)
    assert notice.isHidden()
    notice.error("/a/very/long/path" * 20 + " is missing; look for it.")
    assert not notice.isHidden()
    assert (notice.kind, notice.text()[:7]) == ("error", "/a/very")
    assert notice.minimumSizeHint().width() < WIDTH
    notice.clear()
    assert notice.isHidden()


def test_layers_are_chosen_as_objects(qtbot, viewer):
    first = viewer.add_labels(np.zeros((4, 4, 4), np.uint8), name="one")
    box = LayerBox(session_of(viewer), Labels, "none")
    qtbot.addWidget(box)
    changes = []
    box.currentIndexChanged.connect(changes.append)

    def entries():
        return [box.itemText(i) for i in range(box.count())]

    second = viewer.add_labels(np.zeros((4, 4, 4), np.uint8), name="two")
    viewer.add_image(np.zeros((4, 4, 4)))
    assert entries() == ["none", "one", "two"]
    box.choose(second)
    viewer.layers.move(1, 0)
    second.name = "2"
    assert entries() == ["none", "2", "one"]
    assert box.layer() is second
    assert changes == []
    viewer.layers.remove(second)
    assert (entries(), box.layer(), changes) == (["none", "one"], None, [0])
    box.setCurrentIndex(1)
    assert box.layer() is first


@pytest.mark.parametrize("ndisplay", [2, 3])
def test_jumping_brings_a_voxel_into_the_middle(session, viewer, ndisplay):
    viewer.dims.ndisplay = ndisplay
    viewer.add_image(np.zeros((2, *session.t1.data.shape)), name="a fourth axis")
    index = (3, 20, 9)
    at = display_index(index, session.scan)
    show_voxel(viewer, session.t1, at, zoom=7.0)
    assert grid_index(at, session.scan) == index
    assert session.t1.data[at] == session.scan.t1[index]
    world = session.t1.data_to_world(at)
    np.testing.assert_allclose(viewer.dims.point[1:], world, atol=0.5)
    shown = 3 if ndisplay == 3 else 2
    camera = viewer.scene.camera
    np.testing.assert_allclose(camera.center[-shown:], world[-shown:])
    assert camera.zoom == 7.0
    show_voxel(viewer, session.t1, at)
    assert camera.zoom == 7.0


def test_blinking(session, viewer):
    blink_predictions(session)
    session.t1.visible = False
    blink_scans(session)
    assert (session.t1.visible, session.t2.visible) == (True, False)
    blink_scans(session)
    assert (session.t1.visible, session.t2.visible) == (False, True)
    for key in "abc":
        layer = viewer.add_layer(make_layer(session.scan, key))
        found = np.zeros(session.scan.grid.shape, np.float32)
        session.add_prediction(Prediction(key, key, found, session.scan.grid, layer, 0.5, 0, 9))
    layers = [one.layer for one in session.predictions.values()]
    layers[0].visible = layers[1].visible = False
    blink_predictions(session)
    assert [one.visible for one in layers] == [False, True, False]
    blink_predictions(session)
    assert [one.visible for one in layers] == [False, False, True]
    viewer.layers.remove(session.t1)
    blink_scans(session)
    assert session.t2.visible


class Work(QObject):
    """Stands for a job that would run for hours."""

    ended = Signal()
    running = True

    def start(self):
        return self

    def cancel(self):
        self.running = False


def test_a_dock_that_is_taken_away_ends_its_work(qtbot, viewer):
    window = QMainWindow()
    qtbot.addWidget(window)
    dock = JobDock(viewer)
    window.setCentralWidget(dock)
    work = dock.run(Work())
    assert dock.busy
    dock.setParent(None)
    qtbot.addWidget(dock)
    assert not dock.busy
    first, second = dock.run(Work()), dock.run(Work())
    assert (work.running, first.running, second.running) == (False, False, True)
    assert dock.minimumWidth() <= WIDTH


LOSE = module.lose


def full(*_, **__):
    raise InputError("the disk is full")


@pytest.fixture
def edited(display, make_napari_viewer, open_scan, monkeypatch):
    """A viewer whose labels were edited, its session, and the names that were asked for."""
    viewer = make_napari_viewer()
    session = open_scan(viewer)
    viewer.window.add_plugin_dock_widget("napari-pvs", "Load")
    labels = session.new_labels()
    labels.data_setitem(tuple(np.array([5]) for _ in range(3)), 1)
    asked = []
    monkeypatch.setattr(module, "lose", lambda window, names: asked.append(names))
    return viewer, session, asked


def test_a_draft_is_saved_before_the_window_closes(edited):
    viewer, session, asked = edited
    assert session.save_state.state == "edited"
    assert viewer.window._qt_window.close()
    assert DraftStore(session.scan).pending().labels.sum() == 1
    assert asked == []


def test_edits_that_cannot_be_saved_keep_the_window_open(edited, monkeypatch):
    viewer, session, asked = edited
    with monkeypatch.context() as patch:
        patch.setattr(LabelStore, "save", full)
        assert not viewer.window._qt_window.close()
        assert asked == [["PVS labels"]]
        assert session.labels.data.sum() == 1
    assert viewer.window._qt_window.close()  # there is room again
    assert DraftStore(session.scan).pending() is not None


def test_the_user_can_give_them_up(edited, monkeypatch):
    viewer, session, _ = edited
    monkeypatch.setattr(LabelStore, "save", full)
    monkeypatch.setattr(module, "lose", lambda window, names: True)
    assert viewer.window._qt_window.close()
    assert DraftStore(session.scan).pending() is None


def test_what_computes_for_a_window_ends_with_it(display, make_napari_viewer, open_scan, qtbot):
    import psutil

    both = ["napari_pvs.jobs", "napari_pvs.jobs.clicks"]

    def helpers():
        found = []
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                found += [one for one in child.cmdline() if one in both]
        return sorted(found)

    viewer = make_napari_viewer()
    session = open_scan(viewer)
    segment, correct = (
        viewer.window.add_plugin_dock_widget("napari-pvs", name)[1]
        for name in ("Segment", "Correct")
    )
    session.new_labels()
    segment.start.click()
    correct.modes["add"].click()  # a network of its own, to be ready for a click
    qtbot.waitUntil(lambda: helpers() == both, timeout=60_000)
    correct.clicker.click("add", (5, 5, 5))  # waits for it
    viewer.close()
    qtbot.waitUntil(lambda: helpers() == [], timeout=60_000)
    assert not segment.busy


def test_the_question_names_the_labels_and_its_safe_answer_is_the_default(qtbot, monkeypatch):
    shown = []

    def warning(*arguments):
        shown.append(arguments)
        return QMessageBox.StandardButton.Cancel

    monkeypatch.setattr(QMessageBox, "warning", warning)
    window = QWidget()
    qtbot.addWidget(window)
    assert not LOSE(window, ["mine", "PVS labels"])
    assert "'mine' and 'PVS labels' could not be saved" in shown[0][2]
    assert shown[0][-1] == QMessageBox.StandardButton.Cancel
