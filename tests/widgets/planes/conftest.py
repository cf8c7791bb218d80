"""A window with three planes, a scan of four PVS, and labels of three of them."""

import pytest

LONG = 120_000


@pytest.fixture
def opened(make_napari_viewer, open_scan, predict, qtbot):
    """Viewer, Planes dock and session; the dock goes before the window."""
    from napari_pvs.widgets.workspace.planes import PlanesDock

    viewer = make_napari_viewer(show=True)
    session = open_scan(viewer)
    dock = PlanesDock(viewer)
    viewer.window.add_dock_widget(dock, name="Planes", area="right")
    with qtbot.waitExposed(viewer.window._qt_window, timeout=LONG):
        viewer.window._qt_window.show()
    qtbot.wait(50)
    predict(session).layer.visible = False
    viewer.layers.selection.active = session.labels
    yield viewer, dock, session
    viewer.window.remove_dock_widget(dock)
    dock.deleteLater()
