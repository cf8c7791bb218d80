"""The panel that saves: as a revision, as a file, and when nothing can be saved."""

import numpy as np
import pytest

pytest.importorskip("napari")

from qtpy.QtWidgets import QFileDialog

from napari_pvs.scans.scan import load_scan
from napari_pvs.study.bids import subjects
from napari_pvs.study.labels import LabelStore
from napari_pvs.widgets.parts.saving import SavingPanel
from napari_pvs.widgets.state.autosave import autosave_of

LONG = 120_000


@pytest.fixture
def panel_of(qtbot):
    def make(session):
        panel = SavingPanel(session, autosave_of(session))
        qtbot.addWidget(panel)
        return panel

    return make


def test_in_a_study_it_saves_a_revision_with_the_raters_name(
    make_study, open_scan, panel_of, qtbot
):
    root = make_study(subjects=1, labelled=0)
    (subject,) = subjects(root)
    session = open_scan(scan=load_scan(subject.t1, subject.t2, subject.brain))
    session.set_study(root, subject)
    session.new_labels()
    panel = panel_of(session)
    panel.check(None)
    panel.rater.setText(" EF ")
    panel.rater.editingFinished.emit()
    assert panel.rater.text() == "EF"
    session.labels.data_setitem(tuple(np.array([i]) for i in (9, 9, 9)), 1)
    panel.save.click()
    qtbot.waitUntil(lambda: "revision" in panel.state.text(), timeout=LONG)
    assert panel.notice.text() == ""  # once is enough
    assert LabelStore(root, subject.name).current().author == "EF"


def test_outside_a_study_it_says_so_and_exports(
    head_files, open_scan, panel_of, qtbot, tmp_path, monkeypatch
):
    session = open_scan(scan=load_scan(*head_files))
    session.new_labels()
    panel = panel_of(session)
    panel.check(None)
    assert not panel.save.isEnabled()
    assert "not in a study; use Export" in panel.save.toolTip()
    asked = []

    def answer(parent, title, start, kinds):
        asked.append(start)
        return str(tmp_path / "out.nii.gz"), kinds

    monkeypatch.setattr(QFileDialog, "getSaveFileName", answer)
    panel.export.click()
    qtbot.waitUntil(lambda: (tmp_path / "out.nii.gz").is_file(), timeout=LONG)
    qtbot.waitUntil(lambda: panel.notice.text().startswith("Saved"), timeout=LONG)
    assert asked == [str(head_files[0].with_name("pvs_labels.nii.gz"))]
    # a dialog that was cancelled writes nothing
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: ("", ""))
    panel.notice.clear()
    panel.export.click()
    assert panel.notice.text() == ""


def test_without_labels_nothing_can_be_saved(open_scan, panel_of):
    panel = panel_of(open_scan())
    panel.check("there are no labels yet.")
    for button in (panel.save, panel.export):
        assert not button.isEnabled()
        assert "there are no labels yet" in button.toolTip()


def test_it_says_where_the_labels_are_kept(head_files, open_scan, panel_of, qtbot, tmp_path):
    session = open_scan(scan=load_scan(*head_files))
    panel = panel_of(session)
    assert panel.state.text() == "none"
    session.new_labels()
    assert panel.state.text() == "No unsaved edits."
    session.labels.paint((9, 9, 9), 1)
    assert panel.state.text() == "Autosaving…"
    autosave_of(session).flush()
    qtbot.waitUntil(lambda: panel.state.text().startswith("Draft saved "), timeout=LONG)
    autosave_of(session).export(tmp_path / "mine.nii.gz")
    qtbot.waitUntil(lambda: panel.state.text() == "Saved as mine.nii.gz.", timeout=LONG)
