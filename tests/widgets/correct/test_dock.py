"""The Correct dock in a real window, with real keys and a real mouse."""

import os
import sys

import numpy as np
import pytest

pytest.importorskip("napari")
if sys.platform == "linux" and not os.environ.get("DISPLAY"):
    pytest.skip("no display; run under xvfb-run", allow_module_level=True)

from qtpy.QtCore import QPoint, Qt

from napari_pvs.scans.display import display_index, from_display
from napari_pvs.scans.scan import load_scan
from napari_pvs.study.bids import subjects
from napari_pvs.study.labels import LabelStore
from napari_pvs.widgets.correct import review_queue as queue_module
from napari_pvs.widgets.correct.dock import BRUSHES_MM, MODES, Correct
from napari_pvs.widgets.dock import WIDTH
from napari_pvs.widgets.planes.planes import planes_of
from napari_pvs.widgets.state import autosave as autosave_module
from napari_pvs.widgets.state.prediction import Prediction, make_layer
from napari_pvs.widgets.viewer.canvas import show_voxel

LONG = 120_000


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(autosave_module, "moment_ms", lambda: 30)
    monkeypatch.setattr(queue_module, "PAUSE_MS", 10)


@pytest.fixture
def opened(make_napari_viewer, open_scan, qtbot):
    """A window with a scan and the dock; the dock goes before the window."""
    viewer = make_napari_viewer(show=True)
    session = open_scan(viewer)
    dock = Correct(viewer)
    viewer.window.add_dock_widget(dock, name="Correct")
    with qtbot.waitExposed(viewer.window._qt_window, timeout=LONG):
        viewer.window._qt_window.show()
    yield dock, session, viewer
    viewer.window.remove_dock_widget(dock)
    dock.deleteLater()


@pytest.fixture
def correcting(opened, predict):
    dock, session, viewer = opened
    predict(session)
    return dock, session, viewer


def canvas(viewer):
    return viewer.window._qt_viewer.canvas.native


def look_at(viewer, session, point):
    """Show a voxel of the scan's grid in the middle of the canvas."""
    show_voxel(viewer, session.labels, display_index(point, session.scan), 14)


def click(qtbot, viewer, offset=(0, 0)):
    widget = canvas(viewer)
    qtbot.mouseClick(
        widget, Qt.MouseButton.LeftButton, pos=widget.rect().center() + QPoint(*offset)
    )


def press(qtbot, viewer, key):
    qtbot.keyClick(canvas(viewer), key)


def mask(session):
    return from_display(session.labels.data) > 0


def test_without_scan_and_labels_the_buttons_say_why(make_napari_viewer, qtbot, own_folders):
    viewer = make_napari_viewer()
    dock = Correct(viewer)
    qtbot.addWidget(dock)
    for button in (*dock.brushes, dock.eraser, *dock.modes.values(), dock.new):
        assert not button.isEnabled()
        assert "load a scan first" in button.toolTip()
    assert dock.hint.text() == "Load a scan first."


def test_keys_choose_the_mode_and_a_click_adds_a_pvs(correcting, qtbot, tubes):
    dock, session, viewer = correcting
    look_at(viewer, session, (16, 18, 10))
    viewer.layers.selection.active = session.labels
    press(qtbot, viewer, Qt.Key.Key_A)
    assert dock.mode == "add"
    assert dock.modes["add"].isChecked()
    click(qtbot, viewer)
    assert mask(session)[tubes["missed"]].all()
    assert "using the probability map" in dock.notice.text()
    qtbot.keyClick(canvas(viewer), Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not mask(session)[tubes["missed"]].any()
    press(qtbot, viewer, Qt.Key.Key_A)
    assert dock.mode is None
    click(qtbot, viewer)
    assert not mask(session)[tubes["missed"]].any()


@pytest.mark.parametrize(("key", "mode"), [("R", "remove"), ("S", "split"), ("H", "less")])
def test_each_mode_by_its_key(correcting, qtbot, tubes, key, mode):
    dock, session, viewer = correcting
    before = mask(session).copy()
    look_at(viewer, session, (6, 6, 8))
    viewer.layers.selection.active = session.labels
    press(qtbot, viewer, getattr(Qt.Key, f"Key_{key}"))
    assert dock.mode == mode
    click(qtbot, viewer)
    changed = before & ~mask(session)
    assert changed[tubes["sure"]].any()
    assert not changed[tubes["doubtful"]].any()
    assert len(session.labels._undo_history) == 1
    # the table has followed, and shows the PVS that was clicked
    assert dock.table.total.text().startswith("2 PVS" if mode == "remove" else
                                              "4 PVS" if mode == "split" else "3 PVS")  # fmt: skip


def test_a_prediction_that_is_copied_is_taken_back_by_its_key(opened, predict, qtbot, tubes):
    dock, session, viewer = opened
    prediction = predict(session, labels=False)
    viewer.layers.selection.active = prediction.layer
    qtbot.mouseClick(dock.copy, Qt.MouseButton.LeftButton)
    assert mask(session)[tubes["sure"]].all()
    assert "Ctrl+Z undoes it" in dock.notice.text()
    assert not prediction.layer.visible  # it would lie under its copy
    qtbot.mouseClick(dock.copy, Qt.MouseButton.LeftButton)
    assert "Ctrl+Z" not in dock.notice.text()
    qtbot.keyClick(canvas(viewer), Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not mask(session).any()


def camera(viewer):
    camera = viewer.scene.camera
    return camera.zoom, tuple(camera.center)


@pytest.mark.parametrize("ndisplay", [2, 3])
def test_a_quick_second_click_is_a_click_and_does_not_zoom(correcting, qtbot, tubes, ndisplay):
    dock, session, viewer = correcting
    viewer.dims.ndisplay = ndisplay
    look_at(viewer, session, (6, 6, 8))
    qtbot.wait(50)
    dock.set_mode("less")
    before, place = mask(session).sum(), camera(viewer)
    click(qtbot, viewer)
    once = mask(session).sum()
    widget = canvas(viewer)
    qtbot.mouseDClick(widget, Qt.MouseButton.LeftButton, pos=widget.rect().center())
    assert mask(session).sum() < once < before
    assert len(session.labels._undo_history) >= 2
    assert camera(viewer) == place
    # without a tool it is napari's
    dock.set_mode(None)
    qtbot.mouseDClick(widget, Qt.MouseButton.LeftButton, pos=widget.rect().center())
    assert camera(viewer)[0] > place[0]


def test_the_button_tells_whether_a_click_does_it(correcting, qtbot, tubes):
    dock, session, viewer = correcting
    look_at(viewer, session, (6, 6, 8))
    button = dock.modes["remove"]
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert button.isChecked()
    assert dock.notice.text() == "Click a PVS to delete it."
    viewer.layers.selection.active = session.t1
    assert not button.isChecked()
    assert dock.notice.text() == ""
    click(qtbot, viewer)
    assert mask(session)[tubes["sure"]].all()
    # back on the labels the tool is in the hand again
    viewer.layers.selection.active = session.labels
    assert button.isChecked()
    viewer.layers.selection.active = session.t1
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert button.isChecked()
    assert viewer.layers.selection.active is session.labels
    click(qtbot, viewer)
    assert not mask(session)[tubes["sure"]].any()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert not button.isChecked()


def test_a_drag_moves_the_view_and_changes_no_label(correcting, qtbot):
    dock, session, viewer = correcting
    before = session.labels.data.copy()
    look_at(viewer, session, (6, 6, 8))
    dock.set_mode("remove")
    widget = canvas(viewer)
    middle = widget.rect().center()
    qtbot.mousePress(widget, Qt.MouseButton.LeftButton, pos=middle)
    qtbot.mouseMove(widget, middle + QPoint(20, 0))
    qtbot.mouseMove(widget, middle + QPoint(40, 10))
    qtbot.mouseRelease(widget, Qt.MouseButton.LeftButton, pos=middle)
    np.testing.assert_array_equal(session.labels.data, before)


def test_a_click_without_a_mode_selects_the_row(correcting, qtbot):
    dock, session, viewer = correcting
    look_at(viewer, session, (6, 18, 12))
    viewer.layers.selection.active = session.labels
    session.labels.mode = "pan_zoom"
    click(qtbot, viewer)
    assert len(dock.table.table.current().index[0]) == 32


def test_clicks_in_3d_mean_what_is_seen(correcting, qtbot, tubes):
    dock, session, viewer = correcting
    viewer.dims.ndisplay = 3
    look_at(viewer, session, (7, 7, 8))
    qtbot.wait(50)
    dock.set_mode("remove")
    click(qtbot, viewer)
    assert not mask(session)[tubes["sure"]].any()
    look_at(viewer, session, (17, 19, 10))
    dock.set_mode("add")
    click(qtbot, viewer)
    assert mask(session)[tubes["missed"]].any()


def test_the_review_by_keys(correcting, qtbot, tubes):
    dock, session, viewer = correcting
    qtbot.waitUntil(lambda: dock.queue.queue is not None, timeout=LONG)
    viewer.layers.selection.active = session.labels
    press(qtbot, viewer, Qt.Key.Key_J)
    assert dock.queue.item is not None
    for key in (Qt.Key.Key_N, Qt.Key.Key_Y, Qt.Key.Key_K):
        press(qtbot, viewer, key)
    assert dock.queue.left.text() == "2 of 4 reviewed"


def chord(qtbot, viewer, key, *modifiers):
    held = Qt.KeyboardModifier.ControlModifier
    for one in modifiers:
        held |= one
    qtbot.keyClick(canvas(viewer), key, held)


@pytest.fixture
def reviewing(correcting, qtbot):
    dock, session, viewer = correcting
    qtbot.waitUntil(lambda: dock.queue.queue is not None, timeout=LONG)
    viewer.layers.selection.active = session.labels
    return dock, session, viewer


def test_ctrl_z_takes_the_last_decision_back_and_shows_it(reviewing, qtbot):
    dock, session, viewer = reviewing
    first, mode = mask(session).copy(), session.labels.mode
    press(qtbot, viewer, Qt.Key.Key_L)
    rejected = dock.queue.item
    press(qtbot, viewer, Qt.Key.Key_N)
    press(qtbot, viewer, Qt.Key.Key_L)
    accepted = dock.queue.item
    press(qtbot, viewer, Qt.Key.Key_Y)
    after = mask(session).copy()
    viewer.dims.set_point(0, 0)
    chord(qtbot, viewer, Qt.Key.Key_Z)  # the acceptance, not the rejection before it
    np.testing.assert_array_equal(mask(session), after)
    assert (dock.queue.item, accepted.verdict) == (accepted, None)
    assert viewer.dims.current_step[0] == accepted.point[0]
    chord(qtbot, viewer, Qt.Key.Key_Z)
    np.testing.assert_array_equal(mask(session), first)
    assert (dock.queue.item, rejected.verdict) == (rejected, None)
    assert viewer.dims.current_step[0] == rejected.point[0]
    for _ in range(2):
        chord(qtbot, viewer, Qt.Key.Key_Z, Qt.KeyboardModifier.ShiftModifier)
    np.testing.assert_array_equal(mask(session), after)
    assert [rejected.verdict, accepted.verdict] == ["reject", "accept"]
    assert session.labels.mode == mode
    press(qtbot, viewer, Qt.Key.Key_B)
    assert dock.queue.item is not accepted


@pytest.mark.parametrize("hold", [False, True])
def test_ctrl_z_never_takes_the_brush(reviewing, qtbot, hold):
    from napari.settings import get_settings

    dock, session, viewer = reviewing
    widget, layer = canvas(viewer), session.labels
    dock.paint(2)
    look_at(viewer, session, (12, 12, 12))
    click(qtbot, viewer)
    assert len(layer._undo_history) == 1
    qtbot.keyPress(widget, Qt.Key.Key_Z)  # move and zoom
    if not hold:
        qtbot.keyRelease(widget, Qt.Key.Key_Z)
    assert layer.mode == "pan_zoom"
    qtbot.wait(int(1000 * get_settings().application.hold_button_delay) + 100)
    chord(qtbot, viewer, Qt.Key.Key_Z)
    assert layer.mode == "pan_zoom"
    assert len(layer._undo_history) == 0
    before = mask(session)
    click(qtbot, viewer)
    np.testing.assert_array_equal(mask(session), before)
    # and so with any other key of a tool
    press(qtbot, viewer, Qt.Key.Key_E)
    layer.mode = "pan_zoom"
    qtbot.wait(int(1000 * get_settings().application.hold_button_delay) + 100)
    chord(qtbot, viewer, Qt.Key.Key_E)
    assert layer.mode == "pan_zoom"


def test_a_tool_is_put_back_when_its_key_was_held(reviewing, qtbot):
    from napari.settings import get_settings

    _, session, viewer = reviewing
    layer = session.labels
    assert layer.mode == "pan_zoom"
    qtbot.keyPress(canvas(viewer), Qt.Key.Key_P)
    assert layer.mode == "paint"
    qtbot.wait(int(1000 * get_settings().application.hold_button_delay) + 100)
    qtbot.keyRelease(canvas(viewer), Qt.Key.Key_P)
    assert layer.mode == "pan_zoom"


def test_the_review_goes_on_whatever_is_selected_and_has_the_focus(reviewing, qtbot):
    dock, session, viewer = reviewing
    viewer.layers.selection.active = session.t1
    press(qtbot, viewer, Qt.Key.Key_J)
    assert dock.queue.item is not None
    viewer.layers.selection.active = session.t2
    press(qtbot, viewer, Qt.Key.Key_Y)
    assert dock.queue.left.text() == "1 of 4 reviewed"
    dock.table.table.setFocus()
    qtbot.keyClick(dock.table.table, Qt.Key.Key_N)
    assert dock.queue.left.text() == "2 of 4 reviewed"
    press(qtbot, viewer, Qt.Key.Key_C)
    window = viewer.window._qt_window
    assert window.focusWidget() is dock.queue.note
    qtbot.keyClicks(dock.queue.note, "yn")  # no decision
    qtbot.keyClick(dock.queue.note, Qt.Key.Key_Return)
    assert dock.queue.left.text() == "2 of 4 reviewed"
    assert dock.queue.item.note == "yn"
    assert window.focusWidget() is not dock.queue.note
    viewer.layers.selection.active = session.t1
    chord(qtbot, viewer, Qt.Key.Key_Z)
    assert dock.queue.left.text() == "1 of 4 reviewed"


def test_labels_that_are_deleted_are_offered_back(correcting, qtbot, tmp_path):
    dock, session, viewer = correcting
    labels = session.labels
    labels.data_setitem(tuple(np.array([i]) for i in (12, 12, 12)), 1)
    before = labels.data.copy()
    dock.components.follow()
    numbers = set(dock.components.entries)
    dock.autosave.export(tmp_path / "mine.nii.gz")
    qtbot.waitUntil(lambda: (tmp_path / "mine.nii.gz").is_file(), timeout=LONG)
    viewer.layers.remove(labels)
    assert not dock.offer.isHidden()
    assert "was deleted from the layer list" in dock.offer.text.text()
    qtbot.mouseClick(dock.offer.restore, Qt.MouseButton.LeftButton)
    assert session.labels is labels
    assert dock.offer.isHidden()
    np.testing.assert_array_equal(labels.data, before)
    assert set(dock.components.entries) == numbers


def test_what_was_said_of_an_edit_goes_with_it(correcting, qtbot, tubes):
    dock, session, viewer = correcting
    look_at(viewer, session, (6, 6, 8))
    dock.set_mode("remove")
    click(qtbot, viewer)
    assert dock.notice.text() == "Removed 28 voxels (14.3 mm³)."
    chord(qtbot, viewer, Qt.Key.Key_Z)
    assert "Removed" not in dock.notice.text()
    height = dock.notice.parentWidget().height()
    dock.notice.error("A sentence. " * 40)
    qtbot.wait(20)
    assert dock.notice.parentWidget().height() == height


def test_what_was_said_of_a_copy_goes_with_the_next_decision(reviewing, qtbot):
    dock, _, viewer = reviewing
    press(qtbot, viewer, Qt.Key.Key_J)
    dock.copy.click()
    assert "Your labels match the prediction" in dock.notice.text()
    press(qtbot, viewer, Qt.Key.Key_Y)  # which changes no voxel, but is what Ctrl+Z undoes
    assert dock.notice.text() == ""


def test_labels_that_were_moved_are_not_saved_and_it_is_said(correcting, qtbot, tmp_path):
    dock, session, _ = correcting
    session.labels.translate = np.add(session.labels.translate, (0, 2, 0))
    assert "was moved, scaled or turned" in dock.notice.text()
    dock.autosave.export(tmp_path / "moved.nii.gz")
    assert "was moved, scaled or turned" in dock.saving.notice.text()
    session.labels.translate = np.subtract(session.labels.translate, (0, 2, 0))
    assert "was moved" not in dock.notice.text()
    dock.autosave.export(tmp_path / "moved.nii.gz")
    qtbot.waitUntil(lambda: (tmp_path / "moved.nii.gz").is_file(), timeout=LONG)


def test_a_second_value_and_strays_are_set_right_or_said(correcting, qtbot, tmp_path):
    import nibabel as nib

    dock, session, _ = correcting
    layer = session.labels
    layer.selected_label = 2  # as napari's new label does
    layer.data_setitem(tuple(np.array([i]) for i in (0, 0, 0)), 2)  # outside the brain
    out = tmp_path / "mine.nii.gz"
    dock.autosave.export(out)
    qtbot.waitUntil(lambda: out.is_file() and "Saved" in dock.saving.notice.text(), timeout=LONG)
    assert np.asarray(nib.load(out).dataobj).max() == 1
    assert "saved as 1, because the labels are a mask" in dock.saving.notice.text()
    assert "1 voxel lies outside the brain mask" in dock.saving.notice.text()


def test_fluid_is_asked_about_before_it_is_added(correcting, qtbot, monkeypatch):
    from napari_pvs.widgets.correct import clicks

    dock, session, viewer = correcting
    monkeypatch.setattr(clicks, "question", lambda *_: "this touches a ventricle (155 mm³)")
    before = mask(session).copy()
    look_at(viewer, session, (16, 18, 10))
    dock.set_mode("add")
    click(qtbot, viewer)
    np.testing.assert_array_equal(mask(session), before)
    assert dock.notice.text() == (
        "This touches a ventricle (155 mm³). Click it again to add it anyway."
    )
    assert len(session.focus.voxels[0]) == 24  # outlined
    click(qtbot, viewer)
    assert mask(session).sum() == before.sum() + 24
    assert session.focus is None


def test_brush_and_eraser_have_the_size_of_a_pvs(opened, qtbot):
    dock, session, viewer = opened
    dock.new.click()
    layer = session.labels
    dock.set_mode("remove")
    dock.brushes[BRUSHES_MM.index(2)].click()
    assert (layer.mode, layer.brush_size, layer.n_edit_dimensions) == ("paint", 2, 2)
    assert dock.mode is None
    assert not dock.modes["remove"].isChecked()
    dock.in_3d.setChecked(True)
    assert layer.n_edit_dimensions == 3
    look_at(viewer, session, (12, 12, 12))
    click(qtbot, viewer)
    assert layer.data.any()
    dock.eraser.click()
    assert layer.mode == "erase"
    click(qtbot, viewer)
    assert not layer.data.any()
    # napari's own tools end a mode of clicks
    dock.set_mode("add")
    layer.mode = "fill"
    assert dock.mode is None


def test_edits_become_a_draft_and_the_dock_says_so(correcting, qtbot, tubes):
    dock, session, viewer = correcting
    look_at(viewer, session, (16, 18, 10))
    dock.set_mode("add")
    click(qtbot, viewer)
    qtbot.waitUntil(lambda: dock.saving.state.text().startswith("Draft saved"), timeout=LONG)
    assert "not in a study" in dock.saving.save.toolTip()
    assert dock.saving.export.isEnabled()


def test_the_offer_is_shown_and_taken(make_napari_viewer, open_scan, qtbot, pvs_scan, tubes):
    from napari_pvs.study.drafts import DraftStore, Made

    labels = np.zeros(pvs_scan.grid.shape, np.uint8)
    labels[tubes["sure"]] = 1
    DraftStore(pvs_scan).draft(labels, Made("CD", "drawn"))
    viewer = make_napari_viewer()
    session = open_scan(viewer)
    dock = Correct(viewer)
    qtbot.addWidget(dock)
    qtbot.waitUntil(lambda: not dock.offer.isHidden(), timeout=LONG)
    assert "Edits by CD" in dock.offer.text.text()
    dock.offer.restore.click()
    assert dock.offer.isHidden()
    np.testing.assert_array_equal(mask(session), labels)
    dock.stop()


def test_another_layer_is_corrected_and_the_old_one_is_let_go(correcting, qtbot):
    dock, session, viewer = correcting
    old = session.labels
    keys = len(old.keymap)
    assert keys >= 16  # and napari's own of tools
    session.new_labels(name="second")
    assert len(old.keymap) == 0
    assert old.mouse_drag_callbacks == [] or all(
        "Binding" not in repr(one) for one in old.mouse_drag_callbacks
    )
    assert len(session.labels.keymap) == keys
    qtbot.waitUntil(lambda: dock.choice.currentText() == "second", timeout=LONG)
    at = dock.choice.findText(old.name)
    dock.choice.setCurrentIndex(at)
    dock.choice.activated.emit(at)
    assert session.labels is old
    viewer.layers.remove(old)
    assert not dock.modes["add"].isEnabled()
    assert "make labels first" in dock.modes["add"].toolTip()


def test_a_layer_of_other_voxels_is_refused_in_words(correcting):
    dock, session, viewer = correcting
    labels = session.labels
    other = viewer.add_labels(np.zeros((4, 5, 6), np.uint8), name="other")
    dock.choice.choose(other)
    dock._choose()
    assert "has other voxels than the scan" in dock.notice.text()
    assert session.labels is labels


def test_every_key_is_listed_and_the_dock_is_narrow(correcting):
    dock, _, _ = correcting
    for title, key, tip in MODES.values():
        assert f"<b>{key}</b>" in dock.keys.text()
        assert f"Key {key}." in dock.modes[next(m for m in MODES if MODES[m][0] == title)].toolTip()
        assert tip.rstrip(".") in dock.keys.text()
    for key in (*"YNKJBUMLC", "Ctrl+Z", "Ctrl+Shift+Z"):
        assert f"<b>{key}</b>" in dock.keys.text()
    assert dock.minimumSizeHint().width() <= WIDTH
    inner = dock.body.parentWidget()
    assert inner.minimumSizeHint().width() <= WIDTH


def test_a_closed_dock_lets_go_of_the_layer(correcting):
    dock, session, _ = correcting
    dock.stop()
    assert len(session.labels.keymap) == 0


def test_naparis_own_keys_that_are_listed_do_what_is_said(correcting, qtbot):
    _, session, viewer = correcting
    layer = session.labels
    viewer.layers.selection.active = layer
    for key, mode in ((Qt.Key.Key_P, "paint"), (Qt.Key.Key_E, "erase"), (Qt.Key.Key_Z, "pan_zoom")):
        press(qtbot, viewer, key)
        assert layer.mode == mode


def test_blinking_by_its_key(correcting, qtbot, probability):
    _, session, viewer = correcting
    first = session.prediction
    layer = viewer.add_layer(make_layer(session.scan, "second"))
    grid = session.scan.grid
    session.add_prediction(Prediction("b" * 12, "b", probability, grid, layer, 0.5, 1.0, 2.8))
    first.layer.visible = False
    for shown in (True, False):
        qtbot.keyClick(canvas(viewer), Qt.Key.Key_T, Qt.KeyboardModifier.ShiftModifier)
        assert (first.layer.visible, layer.visible) == (shown, not shown)


def test_the_network_is_made_ready_before_the_first_click(opened, qtbot, monkeypatch):
    dock, session, _ = opened
    warmed = []
    monkeypatch.setattr(dock.clicker, "warm", lambda: warmed.append(session.labels))
    dock._ahead.setTimeout(0)
    qtbot.wait(50)
    assert warmed == []  # nobody has begun to correct
    labels = session.new_labels()
    qtbot.waitUntil(lambda: warmed == [labels], timeout=LONG)
    # not for a dock that lies behind others
    dock.hide()
    session.new_labels()
    qtbot.wait(50)
    assert warmed == [labels]


def test_two_raters_are_adjudicated_by_keys_in_all_planes(
    make_napari_viewer, make_study, open_scan, qtbot
):
    root = make_study(subjects=1, labelled=0)
    (subject,) = subjects(root)
    scan = load_scan(subject.t1, subject.t2, subject.brain)
    places = {"both": (6, 5), "ann": (12, 12), "bob": (17, 20)}
    for author in ("ann", "bob"):
        found = np.zeros(scan.grid.shape, bool)
        for name in ("both", author):
            x, y = places[name]
            found[x : x + 2, y : y + 2, 6:12] = True
        store = LabelStore(root, subject.name)
        store.save(scan.to_source(found), scan.source, author=author, origin="drawn")
    viewer = make_napari_viewer(show=True)
    session = open_scan(viewer, scan)
    session.set_study(root, subject)
    dock = Correct(viewer)
    viewer.window.add_dock_widget(dock, name="Correct")
    with qtbot.waitExposed(viewer.window._qt_window, timeout=LONG):
        viewer.window._qt_window.show()
    raters, queue = dock.raters, dock.queue
    qtbot.waitUntil(raters.decide.isEnabled, timeout=LONG)
    raters.decide.click()
    qtbot.waitUntil(lambda: queue.disputed is not None and bool(queue.pending), timeout=LONG)
    press(qtbot, viewer, Qt.Key.Key_J)
    asked = queue.item
    assert planes_of(session).point == pytest.approx(session.labels.data_to_world(asked.point))
    assert queue.left.text() == "0 of 2 disputed PVS decided"
    press(qtbot, viewer, Qt.Key.Key_Y)
    press(qtbot, viewer, Qt.Key.Key_N)
    assert queue.left.text() == "2 of 2 disputed PVS decided"
    x, y = places[asked.rater]
    assert mask(session)[x, y, 6:12].all()
    assert np.count_nonzero(mask(session)) == 2 * 24
    assert dock.sittings.line.text().endswith("2 decisions, 0 edits")
    for _ in range(2):
        chord(qtbot, viewer, Qt.Key.Key_Z)
    assert queue.left.text() == "0 of 2 disputed PVS decided"
    assert np.count_nonzero(mask(session)) == 24
    viewer.window.remove_dock_widget(dock)
    dock.deleteLater()
