"""The workspace in a real window: everything opens, and the strip tells how far one is."""

import os
import sys

import pytest

pytest.importorskip("napari")
if sys.platform == "linux" and not os.environ.get("DISPLAY"):
    pytest.skip("no display; run under xvfb-run", allow_module_level=True)

from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QDockWidget, QPushButton

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


def test_closing_the_strip_leaves_the_docks(workspace):
    viewer, found = workspace()
    viewer.window.remove_dock_widget(found)
    names = {one.windowTitle() for one in viewer.window._qt_window.findChildren(QDockWidget)}
    assert {*DOCKS, PLANES} <= names
    found.deleteLater()
