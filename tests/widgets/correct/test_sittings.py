"""The line that counts a rater's work."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

pytest.importorskip("napari")

from qtpy.QtWidgets import QFileDialog, QWidget

from napari_pvs.scans.scan import load_scan
from napari_pvs.study import sittings
from napari_pvs.study.bids import subjects
from napari_pvs.study.sittings import Sitting
from napari_pvs.widgets.correct import review_queue
from napari_pvs.widgets.correct import sittings as module
from napari_pvs.widgets.correct.clicks import Clicker
from napari_pvs.widgets.correct.components import Components
from napari_pvs.widgets.correct.review_queue import QueuePanel
from napari_pvs.widgets.correct.sittings import SittingPanel
from napari_pvs.widgets.state.autosave import autosave_of

LONG = 60_000


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on by ten seconds whenever it is looked at."""

    class Clock(datetime):
        at = datetime(2026, 1, 2, 12, tzinfo=UTC)

        @classmethod
        def now(cls, zone=None):
            cls.at += timedelta(seconds=10)
            return cls.at

    monkeypatch.setattr(module, "datetime", Clock)
    return Clock


@pytest.fixture
def desk_of(open_scan, qtbot, monkeypatch, clock):
    monkeypatch.setattr(review_queue, "PAUSE_MS", 10)

    def make(scan=None, study=None, subject=None):
        session = open_scan(scan=scan)
        if study is not None:
            session.set_study(study, subject)
        autosave = autosave_of(session)
        autosave.rater = "ann"
        holder = QWidget()
        qtbot.addWidget(holder)
        components = Components(session, holder)
        queue = QueuePanel(session, components, Clicker(session, holder), autosave)
        panel = SittingPanel(session, queue, autosave)
        for widget in (queue, panel):
            qtbot.addWidget(widget)
        panel.holder, panel.components = holder, components
        return session, queue, panel

    return make


@pytest.fixture
def in_study(make_study, desk_of, qtbot):
    root = make_study(subjects=1, labelled=0)
    (subject,) = subjects(root)
    scan = load_scan(subject.t1, subject.t2, subject.brain)
    session, queue, panel = desk_of(scan, root, subject)
    mask = np.zeros(scan.grid.shape, bool)
    mask[6:8, 6:8, 5:12] = mask[15:17, 6:8, 5:12] = True
    session.new_labels(mask)
    qtbot.waitUntil(lambda: queue.queue is not None, timeout=LONG)
    return session, queue, panel, root


def test_decisions_edits_and_time_are_counted_and_kept(in_study, qtbot):
    session, queue, panel, root = in_study
    assert panel.line.text() == "ann: 0.0 min, 0 decisions, 0 edits"
    queue.move_on()
    queue.yes()
    queue.no()
    assert (panel._tally.sitting.decisions, panel._tally.sitting.edits) == (2, 0)
    session.labels.paint((12, 12, 12), 1)  # a stroke
    panel.components.follow()
    assert panel._tally.sitting.edits == 1
    queue.undo()  # is no new edit
    panel.components.follow()
    assert panel._tally.sitting.edits == 1
    before = panel._tally.sitting.seconds
    session.viewer.dims.set_current_step(0, 3)  # looks on
    assert panel._tally.sitting.seconds == before + 10
    panel.save()
    panel._thread.catch_up(60)
    (kept,) = sittings.read(root, "sub-01")
    assert kept == panel._tally.sitting
    assert (kept.rater, kept.decisions, kept.edits, kept.blind) == ("ann", 2, 1, False)


def test_what_a_prediction_brings_is_no_edit(in_study, predict):
    session, _, panel, _ = in_study
    found = np.full(session.scan.grid.shape, 0.01, np.float32)
    found[10:12, 10:12, 5:12] = 0.9
    predict(session, found=found)
    panel.components.follow()
    assert panel._tally is None
    assert panel.line.text() == "ann: 0.0 min, 0 decisions, 0 edits"


def test_blind_and_another_rater_are_sittings_of_their_own(in_study):
    session, queue, panel, root = in_study
    queue.move_on()
    queue.yes()
    session.blind = True
    queue.move_on()
    queue.later()
    autosave_of(session).rater = "bob"
    queue.move_on()
    queue.yes()
    assert panel.line.text().startswith("bob: ")
    assert ", 1 decision," in panel.line.text()
    panel.save()
    panel._thread.catch_up(60)
    found = [(one.rater, one.blind, one.decisions) for one in sittings.read(root, "sub-01")]
    assert found == [("ann", False, 1), ("ann", True, 1), ("bob", True, 1)]


def test_earlier_sittings_are_added_and_exported(make_study, desk_of, qtbot, tmp_path, monkeypatch):
    root = make_study(subjects=1, labelled=0)
    (subject,) = subjects(root)
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    sittings.keep(root, "sub-01", Sitting(rater="ann", begun=noon, seconds=600, decisions=30))
    sittings.keep(root, "sub-01", Sitting(rater="bob", begun=noon, seconds=60, decisions=4))
    scan = load_scan(subject.t1, subject.t2, subject.brain)
    _, _, panel = desk_of(scan, root, subject)
    qtbot.waitUntil(lambda: panel.line.text() == "ann: 10 min, 30 decisions, 0 edits", timeout=LONG)
    path = tmp_path / "sittings.tsv"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    panel.export.click()
    qtbot.waitUntil(path.is_file, timeout=LONG)
    assert path.read_text() == sittings.to_tsv(root)
    assert "sub-01\tbob\tno\tno\t1\t1.0\t4\t0" in path.read_text()


def test_a_scan_of_no_study_is_counted_but_not_kept(desk_of, qtbot, predict):
    session, queue, panel = desk_of()
    predict(session)
    qtbot.waitUntil(lambda: queue.queue is not None, timeout=LONG)
    queue.move_on()
    queue.yes()
    assert panel.line.text().endswith(" min, 1 decision, 0 edits (not kept: no study)")
    assert not panel.export.isEnabled()
    panel.save()
    assert not panel._timer.isActive()


def test_leaving_the_subject_keeps_what_was_done(in_study):
    session, queue, panel, root = in_study
    queue.move_on()
    queue.yes()
    session.set_study(None, None)
    panel._thread.catch_up(60)
    (kept,) = sittings.read(root, "sub-01")
    assert kept.decisions == 1
    assert panel._tally is None


def test_a_panel_whose_dock_has_gone_counts_nothing(in_study):
    session, queue, panel, root = in_study
    panel.stop()
    queue.move_on()
    queue.yes()
    session.viewer.dims.set_current_step(0, 3)
    panel.save()
    panel._thread.catch_up(60)
    assert panel._tally is None
    assert sittings.read(root, "sub-01") == ()
