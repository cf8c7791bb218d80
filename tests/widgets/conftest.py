"""What the tests of the widgets share: docks, and a small scan with four PVS to correct."""

import os
import sys
from importlib.util import find_spec

import numpy as np
import pytest

PROBABILITY = {"sure": 0.97, "also sure": 0.95, "doubtful": 0.6, "missed": 0.4}


LONG = 300_000
"""What ends a test that hangs, ms."""


@pytest.fixture(autouse=True)
def apart(tmp_path, monkeypatch, user_data):
    """Keep the user's own drafts and preferences out of the tests."""
    if find_spec("napari") is None:
        yield
        return
    import napari.settings

    from napari_pvs.widgets import dock, preferences

    preferences._defaults.cache_clear()
    monkeypatch.setattr(dock, "lose", lambda window, names: True)  # nobody would answer

    settings = str(tmp_path / "napari" / "settings.yaml")
    monkeypatch.setenv("NAPARI_CONFIG", settings)  # of child processes too
    napari.settings._clear_plugin_settings_cache()
    monkeypatch.setattr(napari.settings, "_CFG_PATH", settings)
    yield
    napari.settings._clear_plugin_settings_cache()


@pytest.fixture
def display() -> None:
    """Skip a test that draws a window where none can be shown."""
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        pytest.skip("no display; run under xvfb-run")


@pytest.fixture
def parent(qapp):
    """What lives as long as the test, for what needs a parent."""
    from qtpy.QtCore import QObject

    parent = QObject()
    yield parent
    parent.deleteLater()


@pytest.fixture
def make_dock(qtbot):
    """Function that makes a dock of a type in a viewer without a window, `dock.viewer`."""

    def make(kind, viewer=None):
        from napari.components import ViewerModel

        viewer = ViewerModel() if viewer is None else viewer
        dock = kind(viewer)
        dock.viewer = viewer  # the session does not keep it
        qtbot.addWidget(dock, before_close_func=lambda dock: dock.stop())
        return dock

    return make


@pytest.fixture
def click(qtbot):
    """Function that clicks a button, which must be enabled."""
    from qtpy.QtCore import Qt

    def press(button):
        assert button.isEnabled(), button.toolTip()
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

    return press


@pytest.fixture
def wait(qtbot):
    """Function that waits for a dock's job."""

    def until_idle(dock):
        if dock.busy:  # asking again and again would take the processor from the process
            with qtbot.waitSignal(dock._job.ended, timeout=LONG):
                pass

    return until_idle


@pytest.fixture
def add_scan():
    """Function that shows the scan of some files in a viewer and returns it."""

    def add(viewer, *files):
        from napari_pvs.scans.scan import load_scan
        from napari_pvs.widgets.viewer.layers import scan_layers

        scan = load_scan(*files)
        for data, meta, _ in scan_layers(scan):
            viewer.add_image(data, **meta)
        return scan

    return add


@pytest.fixture
def probability(pvs_scan, tubes):
    """What a network might say: a dark rim, and in each of the four its own value."""
    found = np.full(pvs_scan.grid.shape, 0.001, np.float32)
    for name, tube in tubes.items():
        x, y, z = (slice(side.start, side.stop) for side in tube)
        found[x, y, z] = PROBABILITY[name]
        found[x.start, y.start, z.start + 2] += 0.02  # where it is surest
    return found


@pytest.fixture
def open_scan(pvs_scan, own_folders):
    """Function that shows a scan in a viewer and returns its session."""
    from napari.components import ViewerModel

    from napari_pvs.widgets.state.session import session_of
    from napari_pvs.widgets.viewer.layers import scan_layers

    kept = []

    def show(viewer=None, scan=None):
        viewer = ViewerModel() if viewer is None else viewer
        kept.append(viewer)  # sessions do not
        for data, meta, _ in scan_layers(scan or pvs_scan):
            viewer.add_image(data, **meta)
        return session_of(viewer)

    return show


@pytest.fixture
def predict(probability):
    """Function that adds a prediction to a session, and labels made of it."""

    def add(session, labels=True, found=probability):
        from napari_pvs.widgets.state.prediction import Prediction, make_layer

        layer = session.viewer.add_layer(make_layer(session.scan, "prediction"))
        grid = session.scan.grid
        one = Prediction("aaaabbbbcccc", "tiny", found, grid, layer, 0.5, 1.0, 2.8)
        session.add_prediction(one)
        if labels:
            session.copy_prediction()
            session.labels._undo_history.clear()
        return one

    return add
