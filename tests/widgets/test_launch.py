"""The window that `napari-pvs open` starts: results with their scan, or a study."""

import os
import sys

import numpy as np
import pytest

pytest.importorskip("napari")
if sys.platform == "linux" and not os.environ.get("DISPLAY"):
    pytest.skip("no display; run under xvfb-run", allow_module_level=True)

import napari

from napari_pvs.inference.config import SegmentConfig
from napari_pvs.inference.outputs import write
from napari_pvs.inference.segment import segment
from napari_pvs.scans.display import from_display
from napari_pvs.widgets import launch

LONG = 120_000


@pytest.fixture
def opened(make_napari_viewer, own_folders, monkeypatch, qtbot):
    """Function of the arguments; returns the workspace of the window, once it has its docks."""

    made = []

    def make(*arguments):
        viewer = make_napari_viewer(show=True)
        monkeypatch.setattr(napari, "Viewer", lambda: viewer)
        monkeypatch.setattr(napari, "run", lambda: None)
        launch.main([str(one) for one in arguments])
        workspace = viewer.window.add_plugin_dock_widget("napari-pvs", "Workspace")[1]
        qtbot.waitUntil(lambda: bool(workspace.docks), timeout=LONG)
        made.append(workspace)
        return workspace

    yield make
    for workspace in made:
        for name, (_, dock) in workspace.docks.items():
            if name != "Planes":
                dock.stop()


@pytest.fixture
def files(head_files, tiny_weights, tmp_path):
    """Options that name a scan and what was written for it, and its mask."""
    t1, t2, brain = head_files
    config = SegmentConfig(t1=t1, t2=t2, brain_mask=brain, weights=tiny_weights, device="cpu")
    made = segment(config)
    out = tmp_path / "results"
    write(made, out, config)
    return ["--results", out, "--t1", t1, "--t2", t2, "--brain", brain], made


def test_results_are_shown_on_their_scan(opened, files, qtbot):
    options, made = files
    workspace = opened(*options)
    session = workspace.session
    qtbot.waitUntil(lambda: session.prediction is not None, timeout=LONG)
    qtbot.waitUntil(lambda: not workspace.docks["Segment"][1].busy, timeout=LONG)
    assert session.scan.modalities == ("T1", "T2")
    shown = from_display(session.prediction.layer.data) > 0
    np.testing.assert_array_equal(shown, made.labels > 0)
    assert workspace.steps["Segment"].isChecked()


def test_a_scan_that_cannot_be_read_is_told_in_its_dock(opened, files, qtbot):
    options, _ = files
    options[3].write_bytes(b"no image")
    workspace = opened(*options)
    qtbot.waitUntil(lambda: workspace.load.notice.kind == "error", timeout=LONG)
    assert workspace.session.prediction is None
    assert workspace.docks["Segment"][1].notice.text() == ""


def test_a_study_is_listed(opened, make_study, qtbot):
    workspace = opened("--study", make_study(2))
    qtbot.waitUntil(lambda: len(workspace.load.subjects.table.rows) == 2, timeout=LONG)
