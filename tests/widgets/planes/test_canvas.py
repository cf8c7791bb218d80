"""Planes in a real window, with real keys, wheel and mouse."""

import os
import re
import sys

import numpy as np
import pytest

pytest.importorskip("napari")
if sys.platform == "linux" and not os.environ.get("DISPLAY"):
    pytest.skip("no display; run under xvfb-run", allow_module_level=True)

from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QColor, QFocusEvent, QMouseEvent, QWheelEvent
from qtpy.QtWidgets import QApplication

from napari_pvs.correction.items import Focus
from napari_pvs.scans.display import display_index, from_display
from napari_pvs.widgets.correct.dock import Correct
from napari_pvs.widgets.planes import picture
from napari_pvs.widgets.planes.canvas import Overlay, native_canvas
from napari_pvs.widgets.planes.picture import lattice
from napari_pvs.widgets.viewer.canvas import show_voxel
from napari_pvs.widgets.viewer.orientation import POSTERIOR, RIGHT, SUPERIOR

LONG = 120_000
PAINTED = (12, 14, 13)  # no PVS is near this voxel of the scan's grid


def look_at(viewer, session, point, zoom=10):
    show_voxel(viewer, session.t2, display_index(point, session.scan), zoom)


def pixel(canvas, session, point):
    """Where a voxel of the scan's grid lies on a plane."""
    grid = lattice(session.t2)
    place = grid.origin + np.array(display_index(point, session.scan)) * grid.step
    x, y = canvas.view.screen(place[canvas.rows], place[canvas.columns])
    return QPoint(round(x), round(y))


def press(qtbot, widget, at, *, to=None):
    qtbot.mousePress(widget, Qt.MouseButton.LeftButton, pos=at)
    if to is not None:
        qtbot.mouseMove(widget, to)
    qtbot.mouseRelease(widget, Qt.MouseButton.LeftButton, pos=to or at)


def turn_wheel(canvas, notches, control=False):
    keys = Qt.KeyboardModifier.ControlModifier if control else Qt.KeyboardModifier.NoModifier
    middle = QPointF(canvas.rect().center())
    event = QWheelEvent(
        middle, canvas.mapToGlobal(middle), QPoint(), QPoint(0, 120 * notches),
        Qt.MouseButton.NoButton, keys, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(canvas, event)


def hover(canvas, at):
    """Move the mouse without a button; the real one may be anywhere."""
    where, none = QPointF(at), Qt.MouseButton.NoButton
    event = QMouseEvent(
        QEvent.Type.MouseMove, where, canvas.mapToGlobal(where), none, none,
        Qt.KeyboardModifier.NoModifier,
    )  # fmt: skip
    QApplication.sendEvent(canvas, event)


def voxels(session):
    return {tuple(one) for one in np.argwhere(from_display(session.labels.data) > 0).tolist()}


def has(image, colour, tolerance=30):
    """Whether a picture has pixels of a colour."""
    wanted = QColor(colour)
    image = image.toImage() if hasattr(image, "toImage") else image
    raw = image.convertToFormat(image.Format.Format_RGB32).constBits()
    if hasattr(raw, "setsize"):
        raw.setsize(image.sizeInBytes())
    found = np.frombuffer(raw, np.uint8).reshape(image.height(), image.bytesPerLine() // 4, 4)
    near = np.abs(found[..., :3].astype(int) - (wanted.blue(), wanted.green(), wanted.red())).max(
        -1
    )
    return bool((near <= tolerance).any())


def test_the_brush_paints_in_the_plane_it_is_used_in_as_one_step(opened, qtbot):
    viewer, dock, session = opened
    look_at(viewer, session, PAINTED)
    before = voxels(session)
    session.labels.mode, session.labels.brush_size = "paint", 3
    for canvas, flat in zip(dock.canvases, (1, 0), strict=True):  # y of coronal, x of sagittal
        press(qtbot, canvas, pixel(canvas, session, PAINTED))
        new = np.array(sorted(voxels(session) - before))
        assert len(new) == 9 - 4 or len(new) == 9, new  # napari's disc of 3 voxels
        assert (new[:, flat] == PAINTED[flat]).all()
        assert (np.ptp(np.delete(new, flat, 1), axis=0) == 2).all()
        qtbot.keyClick(canvas, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
        assert voxels(session) == before


def test_a_stroke_has_no_holes_and_the_eraser_takes_it_away(opened, qtbot):
    viewer, dock, session = opened
    coronal = dock.canvases[0]
    look_at(viewer, session, PAINTED)
    before = voxels(session)
    session.labels.mode, session.labels.brush_size = "paint", 1
    start, end = (pixel(coronal, session, (x, 14, 13)) for x in (9, 14))
    press(qtbot, coronal, start, to=end)
    assert voxels(session) - before == {(x, 14, 13) for x in range(9, 15)}
    session.labels.mode = "erase"
    press(qtbot, coronal, start, to=end)
    assert voxels(session) == before
    assert len(session.labels._undo_history) == 2


def test_the_brush_of_3d_is_a_ball(opened, qtbot):
    viewer, dock, session = opened
    look_at(viewer, session, PAINTED)
    before = voxels(session)
    session.labels.mode, session.labels.brush_size = "paint", 3
    session.labels.n_edit_dimensions = 3
    press(qtbot, dock.canvases[1], pixel(dock.canvases[1], session, PAINTED))
    new = np.array(sorted(voxels(session) - before))
    assert (np.ptp(new, axis=0) == 2).all()


def test_the_bucket_and_the_picker_work_on_the_plane(opened, qtbot, tubes):
    viewer, dock, session = opened
    sure = (6, 6, 8)
    look_at(viewer, session, sure)
    coronal = dock.canvases[0]
    session.labels.selected_label, session.labels.mode = 7, "fill"
    press(qtbot, coronal, pixel(coronal, session, sure))
    changed = np.argwhere(from_display(session.labels.data) == 7)
    assert len(changed)
    assert (changed[:, 1] == 6).all()
    session.labels.selected_label, session.labels.mode = 1, "pick"
    press(qtbot, coronal, pixel(coronal, session, sure))
    assert session.labels.selected_label == 7


def test_the_bucket_takes_all_of_a_number_if_napari_says_so(opened, qtbot, tubes):
    viewer, dock, session = opened
    sure = (6, 6, 8)
    look_at(viewer, session, sure)
    data = from_display(session.labels.data)
    before = np.count_nonzero(data[:, 6] == data[sure])
    session.labels.contiguous = False
    session.labels.selected_label, session.labels.mode = 7, "fill"
    press(qtbot, dock.canvases[0], pixel(dock.canvases[0], session, sure))
    assert np.count_nonzero(from_display(session.labels.data)[:, 6] == 7) == before


def test_what_cannot_be_edited_is_not_painted(opened, qtbot):
    viewer, dock, session = opened
    look_at(viewer, session, PAINTED)
    before = voxels(session)
    session.labels.mode = "paint"
    session.labels.visible = False
    press(qtbot, dock.canvases[0], pixel(dock.canvases[0], session, PAINTED))
    assert voxels(session) == before


def test_a_click_moves_the_crosshair_in_all_planes(opened, qtbot):
    viewer, dock, session = opened
    look_at(viewer, session, PAINTED)
    press(qtbot, dock.canvases[0], pixel(dock.canvases[0], session, (8, 14, 9)))
    index = session.t2.world_to_data(viewer.dims.point)
    assert tuple(np.rint(index).astype(int)) == display_index((8, 14, 9), session.scan)
    # and in napari's own view
    viewer.scene.camera.center = (0, *viewer.dims.point[1:])
    native = native_canvas(viewer)
    press(qtbot, native, native.rect().center() + QPoint(3 * 8, 0))
    moved = np.array(viewer.dims.point) - session.t2.data_to_world(index)
    zoom = viewer.scene.camera.zoom
    assert abs(abs(moved[2]) - 24 / zoom) < 0.9
    assert moved[0] == pytest.approx(0, abs=1e-6)


def test_a_drag_moves_the_plane_and_not_the_crosshair(opened, qtbot):
    viewer, dock, session = opened
    look_at(viewer, session, PAINTED)
    canvas, before = dock.canvases[0], viewer.dims.point
    centre = canvas.centre
    middle = canvas.rect().center()
    press(qtbot, canvas, middle, to=middle + QPoint(30, 0))
    assert viewer.dims.point == before
    assert canvas.centre[0] == centre[0]
    assert canvas.centre[1] > centre[1]  # the patient's right came nearer: it is on the left


def test_the_wheel_steps_and_with_control_it_zooms_all_planes(opened):
    viewer, dock, session = opened
    look_at(viewer, session, PAINTED)
    coronal, sagittal = dock.canvases
    step = viewer.dims.current_step
    turn_wheel(coronal, 2)
    assert viewer.dims.current_step == (step[0], step[1] - 2, step[2])  # to anterior
    turn_wheel(sagittal, 1)
    assert viewer.dims.current_step == (step[0], step[1] - 2, step[2] + 1)
    turn_wheel(native_canvas(viewer), 1)
    assert viewer.dims.current_step == (step[0] + 1, step[1] - 2, step[2] + 1)
    zooms = coronal.view.zoom, sagittal.view.zoom, viewer.scene.camera.zoom
    turn_wheel(coronal, 1, control=True)
    ratios = np.array([coronal.view.zoom, sagittal.view.zoom, viewer.scene.camera.zoom]) / zooms
    np.testing.assert_allclose(ratios, 1.2)


def test_a_jump_to_a_pvs_centres_and_zooms_all_planes(opened):
    viewer, dock, session = opened
    point = (16, 18, 10)
    look_at(viewer, session, point, zoom=90)
    for canvas in dock.canvases:
        away = pixel(canvas, session, point) - canvas.rect().center()
        assert abs(away.x()) <= 2
        assert abs(away.y()) <= 2
        whole = canvas._planes.fit((canvas.width(), canvas.height()), canvas.rows, canvas.columns)
        assert canvas.view.zoom > 1.5 * whole
    viewer.reset_view()
    for canvas in dock.canvases:
        whole = canvas._planes.fit((canvas.width(), canvas.height()), canvas.rows, canvas.columns)
        assert canvas.view.zoom == pytest.approx(whole, rel=0.05)


def test_keys_work_in_each_plane(opened, qtbot):
    _, dock, session = opened
    for canvas in dock.canvases:
        shown = session.t2.visible
        qtbot.keyClick(canvas, Qt.Key.Key_T)
        assert session.t2.visible != shown
        assert session.t1.visible == shown


def test_all_labels_are_hidden_for_as_long_as_the_key_is_held(opened, qtbot):
    viewer, dock, session = opened
    look_at(viewer, session, (6, 6, 8))
    own = viewer.add_labels(np.ones(session.t2.data.shape, np.uint8), opacity=0.3)
    viewer.layers.selection.active = session.labels
    planes, canvas = dock.planes, dock.canvases[0]
    colour = "#00c8ff"
    assert has(canvas.grab(), colour)
    qtbot.keyPress(canvas, Qt.Key.Key_Q)
    assert planes.hidden
    assert own.opacity == 0
    assert not has(canvas.grab(), colour)
    qtbot.keyRelease(canvas, Qt.Key.Key_Q)
    assert not planes.hidden
    assert own.opacity == 0.3
    assert has(canvas.grab(), colour)
    qtbot.keyPress(canvas, Qt.Key.Key_Q)
    QApplication.sendEvent(canvas, QFocusEvent(QEvent.Type.FocusOut))  # nor does the release come
    assert not planes.hidden
    assert own.opacity == 0.3


def test_labels_are_outlined_and_filled_by_a_switch(opened, qtbot):
    viewer, dock, session = opened
    assert session.labels.opacity == 0
    qtbot.mouseClick(dock.fill, Qt.MouseButton.LeftButton, pos=QPoint(8, dock.fill.height() // 2))
    assert session.labels.opacity == 0.5
    made = session.new_labels(name="another")
    assert made.opacity == 0.5
    qtbot.keyClick(dock.canvases[0], Qt.Key.Key_Q, Qt.KeyboardModifier.ShiftModifier)
    assert not dock.fill.isChecked()
    assert made.opacity == 0
    viewer.dims.ndisplay = 3  # where there are no outlines
    assert made.opacity == 0.5
    viewer.dims.ndisplay = 2
    assert made.opacity == 0


def test_what_is_under_review_has_its_own_colour_in_all_planes(opened, tubes):
    viewer, dock, session = opened
    overlay = native_canvas(viewer).findChild(Overlay)
    where = np.zeros(session.scan.grid.shape, bool)
    where[tubes["missed"]] = True  # of no label
    centre = (16, 18, 10)
    look_at(viewer, session, centre)
    views = [*dock.canvases, overlay]
    assert not any(has(one.grab(), picture.FOCUS) for one in views)
    session.set_focus(Focus.of("missed", np.nonzero(where)))
    assert all(has(one.grab(), picture.FOCUS) for one in views)
    look_at(viewer, session, (4, 4, 4))
    assert not any(has(one.grab(), picture.FOCUS) for one in views)
    session.set_focus(None)


def test_planes_are_those_that_napari_does_not_show(opened):
    viewer, dock, _ = opened
    seen = []
    for _ in range(3):
        seen.append([canvas.axis for canvas in dock.canvases])
        viewer.dims.roll()
    assert seen == [[POSTERIOR, RIGHT], [SUPERIOR, POSTERIOR], [SUPERIOR, RIGHT]]


def test_a_click_of_the_correct_dock_works_in_each_plane(opened, qtbot, tubes):
    viewer, dock, session = opened
    correct = Correct(viewer)
    viewer.window.add_dock_widget(correct, name="Correct")
    missed = (16, 18, 10)
    for canvas in dock.canvases:
        look_at(viewer, session, missed)
        correct.set_mode("add")
        press(qtbot, canvas, pixel(canvas, session, missed))
        assert (from_display(session.labels.data) > 0)[tubes["missed"]].all()
        correct.set_mode("remove")
        press(qtbot, canvas, pixel(canvas, session, missed))
        assert not (from_display(session.labels.data) > 0)[tubes["missed"]].any()
    viewer.window.remove_dock_widget(correct)
    correct.deleteLater()


def test_status_and_sliders_speak_of_the_scanners_millimetres(opened, qtbot):
    viewer, dock, session = opened
    canvas = dock.canvases[0]
    look_at(viewer, session, PAINTED)
    hover(canvas, pixel(canvas, session, PAINTED))
    x, y, z = (session.scan.grid.affine @ (*PAINTED, 1))[:3]
    said = f"RAS {x:.1f}, {y:.1f}, {z:.1f} mm · voxel 12, 14, 13"
    near = re.fullmatch(
        r"RAS (\S+), (\S+), (\S+) mm · voxel 12, 14, 13 · PVS labels 0", viewer.status
    )
    np.testing.assert_allclose([float(one) for one in near.groups()], (x, y, z), atol=0.3)
    assert viewer.dims.axis_labels == (f"S {z:.1f} mm", f"A {y:.1f} mm", f"R {x:.1f} mm")
    told = session.t2.get_status(viewer.dims.point, world=True)
    assert told["coordinates"].startswith(said)


@pytest.mark.parametrize("rolls", [0, 1, 2])
def test_outlines_lie_where_napari_draws_the_voxels(opened, qtbot, rolls):
    viewer, dock, session = opened
    for _ in range(rolls):
        viewer.dims.roll()
    data = np.zeros(session.t2.data.shape, np.uint8)
    data[8:11, 9:14, 7:9] = 1
    for layer in list(viewer.layers):
        layer.visible = False
    session.labels.data = data
    session.labels.visible, session.labels.opacity = True, 1
    dock.planes.crosshair = False
    show_voxel(viewer, session.labels, (9, 11, 8), 9)
    qtbot.wait(100)
    drawn = np.array(viewer.screenshot(flash=False))[..., :3].max(-1) > 120
    overlay = native_canvas(viewer).findChild(Overlay)
    view = overlay.view
    grid = lattice(session.labels)
    low = grid.origin + (np.array([8, 9, 7]) - 0.5) * grid.step
    high = grid.origin + (np.array([11, 14, 9]) - 0.5) * grid.step
    x, y = view.screen(
        np.array([low[view.rows], high[view.rows]]),
        np.array([low[view.columns], high[view.columns]]),
    )
    rows, columns = np.nonzero(drawn)
    assert len(rows)
    np.testing.assert_allclose(sorted(x), [columns.min(), columns.max() + 1], atol=1.6)
    np.testing.assert_allclose(sorted(y), [rows.min(), rows.max() + 1], atol=1.6)


def test_a_window_of_another_size_still_shows_all_of_the_scan(opened, qtbot):
    viewer, dock, _ = opened
    viewer.reset_view()
    assert dock.planes.whole
    before = viewer.scene.camera.zoom
    window = viewer.window._qt_window
    window.resize(window.width() + 300, window.height() + 300)
    qtbot.waitUntil(lambda: viewer.scene.camera.zoom > 1.1 * before, timeout=LONG)
    assert dock.planes.zoom == pytest.approx(1, abs=0.05)
