"""Closing a window whose edits are in no file."""

import contextlib
import os
import sys

import numpy as np
import pytest

pytest.importorskip("napari")
if sys.platform == "linux" and not os.environ.get("DISPLAY"):
    pytest.skip("no display; run under xvfb-run", allow_module_level=True)

from qtpy.QtWidgets import QMessageBox, QWidget

from napari_pvs.errors import InputError
from napari_pvs.study.drafts import DraftStore
from napari_pvs.study.labels import LabelStore
from napari_pvs.widgets import dock as module

LOSE = module.lose


def full(*_, **__):
    raise InputError("the disk is full")


@pytest.fixture
def edited(make_napari_viewer, open_scan, monkeypatch):
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


def test_what_computes_for_a_window_ends_with_it(make_napari_viewer, open_scan, qtbot):
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
    assert "'mine' and 'PVS labels' are in no file" in shown[0][2]
    assert shown[0][-1] == QMessageBox.StandardButton.Cancel
