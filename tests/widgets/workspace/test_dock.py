"""The workspace in a real window: everything opens, and the strip tells how far one is."""

import os
import sys

import pytest

pytest.importorskip("napari")
if sys.platform == "linux" and not os.environ.get("DISPLAY"):
    pytest.skip("no display; run under xvfb-run", allow_module_level=True)

from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QDockWidget,
    QPushButton,
    QScrollArea,
    QScrollBar,
    QTableView,
)

from napari_pvs.study import recent
from napari_pvs.study.recent import Recent
from napari_pvs.widgets.parts.saving import SavingPanel
from napari_pvs.widgets.workspace.dock import DOCKS, PLANES
from napari_pvs.widgets.workspace.strip import STEPS

LONG = 120_000
NAME = "napari-pvs"


@pytest.fixture
def workspace(make_napari_viewer, own_folders, qtbot):
    """Function that opens the workspace in a window of some size."""

    def make(width=1366, height=768):
        viewer = make_napari_viewer(show=True)
        viewer.window._qt_window.setGeometry(0, 0, width, height)
        _, found = viewer.window.add_plugin_dock_widget(NAME, "Workspace")
        qtbot.waitUntil(lambda: len(found.docks) == len(DOCKS) + 1, timeout=LONG)
        qtbot.wait(200)
        return viewer, found

    return make


def click(qtbot, button):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton, pos=QPoint(10, button.height() // 2))


def test_one_entry_opens_all_docks_as_tabs_beside_three_planes(workspace, qtbot):
    viewer, found = workspace()
    window = viewer.window._qt_window
    holders = {name: found.docks[name][0] for name in (*DOCKS, PLANES)}
    together = {id(one) for one in window.tabifiedDockWidgets(holders["Load"])}
    assert together == {id(holders[name]) for name in DOCKS if name != "Load"}
    assert holders[PLANES].isVisible()
    assert found._holder() is not None
    # the single docks are these, not others
    assert viewer.window.add_plugin_dock_widget(NAME, "Correct")[1] is found.docks["Correct"][1]
    # all of it fits into a small screen, and each step leads to its dock
    assert window.width() <= 1366
    assert window.height() <= 768
    for name, button in found.steps.items():
        right = button.mapTo(window, QPoint(button.width(), 0)).x()
        assert 0 < button.mapTo(window, QPoint()).x() < right <= 1366
        click(qtbot, button)
        holder, dock = found.docks[STEPS[name][0]]
        qtbot.waitUntil(lambda holder=holder: not holder.visibleRegion().isEmpty(), timeout=LONG)
        assert dock.mapTo(window, QPoint(0, 40)).y() < 768
        if name == "Save":
            saving = dock.findChild(SavingPanel)
            qtbot.waitUntil(lambda s=saving: not s.visibleRegion().isEmpty(), timeout=LONG)


def test_the_strip_is_as_high_as_its_rows(workspace, tmp_path, open_scan, qtbot):
    for number in range(6):
        study = tmp_path / f"a study with a longer name {number}"
        study.mkdir()
        recent.remember(Recent(study=study))
    viewer, found = workspace()
    window, holder = viewer.window._qt_window, found._holder()
    qtbot.waitUntil(lambda: found.links.count() == 7, timeout=LONG)
    step = found.steps["Load"]

    def rows():
        return len({found.links.itemAt(at).widget().y() // 10 for at in range(found.links.count())})

    def fits():
        lowest = max(
            one.mapTo(window, QPoint(0, one.height())).y()
            for one in (step, *found.start.findChildren(QPushButton))
            if one.isVisible()
        )
        end = holder.mapTo(window, QPoint(0, holder.height())).y()
        return lowest <= end <= lowest + 8

    qtbot.waitUntil(lambda: rows() == 1 and fits(), timeout=LONG)
    window.resize(1000, 768)
    qtbot.waitUntil(lambda: rows() == 2 and fits(), timeout=LONG)
    window.resize(1366, 768)
    qtbot.waitUntil(lambda: rows() == 1 and fits(), timeout=LONG)
    open_scan(viewer)  # the links go, and give their room back
    qtbot.waitUntil(lambda: not found.start.isVisible() and fits(), timeout=LONG)


@pytest.mark.parametrize("height", [768, 690])  # full screen, and with a panel and a title bar
def test_every_control_is_reachable_on_a_small_screen(workspace, open_scan, predict, qtbot, height):
    viewer, found = workspace(height=height)
    window = viewer.window._qt_window
    session = open_scan(viewer)
    predict(session)
    session.viewer.layers.selection.active = session.labels
    qtbot.wait(200)
    assert (window.width(), window.height()) == (1366, height)
    screen = window.rect()
    for name, (holder, dock) in found.docks.items():
        holder.raise_()
        qtbot.waitUntil(lambda one=holder: not one.visibleRegion().isEmpty(), timeout=LONG)
        kinds = (QAbstractButton, QComboBox, QAbstractSpinBox, QAbstractSlider, QTableView)
        controls = [
            one
            for kind in kinds
            for one in dock.findChildren(kind)
            if one.isVisibleTo(dock) and not isinstance(one, QScrollBar)
        ]
        assert len(controls) >= 2
        for control in controls:
            area = control.parent()
            while area is not dock and not (
                isinstance(area, QScrollArea) and area.widget().isAncestorOf(control)
            ):
                area = area.parent()
            if isinstance(area, QScrollArea):
                area.ensureWidgetVisible(control, 0, 0)
            shown = control.visibleRegion().boundingRect()
            told = f"{name}: {type(control).__name__} {control.toolTip()!r}"
            assert min(shown.height(), 100) >= min(control.height(), 100), told
            assert shown.width() >= control.width() - 2, told  # frames may overlap
            assert screen.contains(control.mapTo(window, shown.center())), told


def test_the_strip_tells_what_is_there_and_what_is_missing(workspace, open_scan, predict, qtbot):
    viewer, found = workspace()

    def says(**expected):
        qtbot.waitUntil(
            lambda: {k: found.steps[k].state.text for k in expected} == expected, timeout=LONG
        )

    says(Load="no scan", Segment="load a scan first", Review="no labels", Save="nothing to save")
    session = open_scan(viewer)
    says(Load="unnamed scan", Segment="no prediction")
    session.blind = True
    says(Segment="hidden: blind mode")
    session.blind = False
    says(Segment="no prediction")
    assert found.steps["Load"].state.done
    predict(session)
    says(Segment="3 PVS", Review="labels ready")
    assert not found.steps["Save"].state.done
    assert viewer.title == "unnamed scan · napari-pvs"
    assert session.t1.name == "T1 · unnamed scan"
    session.t1.name = "mine"
    session.set_reference(session.new_labels(name="rater B"))
    says(Measure="against rater B")
    assert session.t1.name == "mine"  # what the user has named keeps its name
    for layer in list(viewer.layers):
        viewer.layers.remove(layer)
    says(Load="no scan", Measure="no reference")
    assert viewer.title == "napari-pvs"


def test_the_subject_of_a_study_is_in_the_title_and_opens_again(workspace, make_study, qtbot):
    study = make_study(subjects=2, labelled=1)
    recent.remember(Recent(study=study))
    viewer, found = workspace()
    qtbot.waitUntil(lambda: found.links.count() > 0, timeout=LONG)
    links = {one.text(): one for one in found.start.findChildren(QPushButton)}
    assert study.name in links
    assert found.start.isVisible()
    click(qtbot, links[study.name])
    rows = found.load.subjects.table.rows
    qtbot.waitUntil(lambda: len(found.load.subjects.table.rows) == 2, timeout=LONG)
    rows = found.load.subjects.table.rows
    found.load.load_subject(rows[0].subject)
    qtbot.waitUntil(lambda: viewer.title == "sub-01 · napari-pvs", timeout=LONG)
    qtbot.waitUntil(lambda: not found.load.busy, timeout=LONG)
    assert not found.start.isVisible()
    assert found.session.t2.name == "T2 · sub-01"
    assert found.steps["Train"].state.text == study.name
    # a loaded subject that is replaced: the names follow
    found.load.load_subject(rows[1].subject)
    qtbot.waitUntil(lambda: viewer.title == "sub-02 · napari-pvs", timeout=LONG)
    qtbot.waitUntil(lambda: not found.load.busy, timeout=LONG)
    qtbot.waitUntil(lambda: found.session.t2.name == "T2 · sub-02", timeout=LONG)


def test_the_files_of_a_scan_open_again(workspace, head_files, head, write_image, qtbot):
    t1, t2, brain = head_files
    lesions = write_image(t1.with_name("lesion_mask.nii.gz"), head.label)
    _, found = workspace()
    for name, path in (("t1", t1), ("t2", t2), ("brain", brain), ("lesions", lesions)):
        found.load.rows[name].give(path)
    found.load.load_rows()
    qtbot.waitUntil(lambda: found.session.scan is not None, timeout=LONG)
    qtbot.waitUntil(lambda: bool(recent.read()), timeout=LONG)
    qtbot.waitUntil(lambda: not found.load.busy, timeout=LONG)
    (place,) = recent.read()
    assert (place.t1, place.t2, place.brain, place.lesions) == (t1, t2, brain, lesions)
    found.session.viewer.layers.clear()
    for row in found.load.rows.values():
        row.give(None)
    found.open_recent(place)
    qtbot.waitUntil(lambda: found.session.scan is not None, timeout=LONG)
    qtbot.waitUntil(lambda: not found.load.busy, timeout=LONG)
    assert found.session.scan.lesions.any()


def test_closing_the_strip_leaves_the_docks(workspace):
    viewer, found = workspace()
    viewer.window.remove_dock_widget(found)
    names = {one.windowTitle() for one in viewer.window._qt_window.findChildren(QDockWidget)}
    assert {*DOCKS, PLANES} <= names
    found.deleteLater()
