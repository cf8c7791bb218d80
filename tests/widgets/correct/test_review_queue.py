"""The review queue in the viewer."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("napari")

from qtpy.QtWidgets import QWidget

from napari_pvs.errors import InputError
from napari_pvs.scans.display import display_index, from_display, grid_index
from napari_pvs.study.drafts import DraftStore
from napari_pvs.widgets.correct import review_queue as module
from napari_pvs.widgets.correct.clicks import Clicker
from napari_pvs.widgets.correct.components import Components
from napari_pvs.widgets.correct.review_queue import QueuePanel
from napari_pvs.widgets.state.autosave import autosave_of

LONG = 60_000


@pytest.fixture
def panel_of(monkeypatch, qtbot):
    monkeypatch.setattr(module, "PAUSE_MS", 10)

    def make(session, ready=True):
        holder = QWidget()
        qtbot.addWidget(holder)
        components = Components(session, holder)
        clicker = Clicker(session, holder)
        panel = QueuePanel(session, components, clicker, autosave_of(session))
        panel.holder = holder  # qtbot does not keep it
        qtbot.addWidget(panel)
        if ready:
            qtbot.waitUntil(lambda: panel.queue is not None, timeout=LONG)
        return panel

    return make


@pytest.fixture
def reviewing(open_scan, predict, panel_of):
    session = open_scan()
    predict(session)
    return session, panel_of(session)


def name_of(item, session, tubes):
    x, y, z = grid_index(item.point, session.scan)
    for name, tube in tubes.items():
        if all(s.start <= i < s.stop for s, i in zip(tube, (x, y, z), strict=True)):
            return name
    raise AssertionError(item)


def look_for(panel, session, tubes, name):
    """Go on until one of them is under review."""
    panel.move_on()
    while name_of(panel.item, session, tubes) != name:
        panel.move_on()


def test_it_begins_with_the_doubtful_one_and_says_why(reviewing, tubes):
    session, panel = reviewing
    assert panel.left.text() == "0 of 4 reviewed"
    assert panel.next.text() == "Start"
    assert not panel.accept.isEnabled()
    panel.move_on()
    names = [name_of(item, session, tubes) for item in panel.queue.pending]
    assert set(names[:2]) == {"doubtful", "missed"}
    assert name_of(panel.item, session, tubes) == names[0]
    assert panel.item.reason in panel.why.text()
    # the viewer is there
    assert session.viewer.layers.selection.active is session.labels
    assert session.viewer.dims.current_step[0] == panel.item.point[0]
    camera = session.viewer.scene.camera
    assert camera.zoom == module.ZOOM


def test_what_touches_a_lesion_of_the_scan_comes_first(
    open_scan, predict, panel_of, pvs_scan, tubes
):
    lesions = np.zeros(pvs_scan.grid.shape, bool)
    x, y, z = tubes["sure"]
    lesions[x.start - 1, y.start, z.start] = True
    session = open_scan(scan=replace(pvs_scan, lesions=lesions))
    predict(session)
    panel = panel_of(session)
    touching = [item for item in panel.queue.items if item.cue == "touches a lesion"]
    assert [name_of(item, session, tubes) for item in touching] == ["sure"]
    look_for(panel, session, tubes, "sure")
    assert panel.why.text().startswith("Touches a lesion (probability 0.97)")
    assert panel.item.doubt == 1
    # a PVS that is drawn beside one later is told too
    panel.queue.items.clear()
    x, y, z = np.argwhere(lesions)[0]
    session.labels.data_setitem(
        tuple(np.array([i]) for i in display_index((x, y, z), session.scan)), 1
    )
    panel._components.follow()
    assert panel.item_at(display_index((x, y, z), session.scan)).lesion


def test_the_four_answers(reviewing, tubes):
    session, panel = reviewing
    mask = from_display(session.labels.data)
    panel.move_on()
    steps = {}
    while panel.item is not None and len(steps) < 4:
        name = name_of(panel.item, session, tubes)
        steps[name] = {"doubtful": panel.no, "missed": panel.yes, "sure": panel.yes}.get(
            name, panel.later
        )
        steps[name]()
    assert not mask[tubes["doubtful"]].any()
    assert mask[tubes["missed"]].all()
    assert mask[tubes["sure"]].all()
    assert panel.left.text() == "3 of 4 reviewed"
    assert name_of(panel.item, session, tubes) == "also sure"  # skipped, so it is back
    panel.yes()
    assert panel.left.text() == "4 of 4 reviewed"
    assert panel.item is None
    assert panel.why.text() == "All PVS have been reviewed."
    assert not panel.next.isEnabled()
    assert "all PVS have been reviewed" in panel.next.toolTip()
    assert len(session.labels._undo_history) == 2
    for step in range(5):  # five decisions, one of them to skip
        panel.undo()
        assert panel.item is not None
        assert name_of(panel.item, session, tubes) == [*steps, "also sure"][4 - step]
    assert panel.left.text() == "0 of 4 reviewed"
    assert not session.labels._undo_history
    for _ in range(5):
        panel.redo()
    assert panel.left.text() == "4 of 4 reviewed"
    assert mask[tubes["missed"]].all()
    assert not mask[tubes["doubtful"]].any()


def test_undoing_a_rejection_brings_the_item_back(reviewing, qtbot, tubes):
    session, panel = reviewing
    panel.move_on()
    while name_of(panel.item, session, tubes) != "doubtful":
        panel.move_on()
    item = panel.item
    panel.no()
    assert item not in panel.queue.pending
    session.labels.undo()  # not by our key
    qtbot.waitUntil(lambda: panel.left.text() == "0 of 4 reviewed", timeout=LONG)
    assert item in panel.queue.pending
    # and what the eraser takes away is decided
    session.labels.data_setitem(item.index, 0)
    qtbot.waitUntil(lambda: panel.left.text() == "1 of 4 reviewed", timeout=LONG)
    assert item.verdict == "reject"


def test_what_comes_into_the_labels_comes_into_the_queue(
    open_scan, predict, panel_of, qtbot, tubes
):
    session = open_scan()
    session.new_labels()
    panel = panel_of(session)
    assert panel.left.text() == "Nothing to review."
    predict(session)  # copies the mask into the labels that are there
    qtbot.waitUntil(lambda: panel.left.text() == "0 of 4 reviewed", timeout=LONG)
    qtbot.waitUntil(lambda: not panel._make_soon.pending, timeout=LONG)
    panel.move_on()
    item, before = panel.item, list(panel.queue.items)
    # a stroke far from all others
    session.labels.paint(display_index((12, 12, 20), session.scan), 1)
    qtbot.waitUntil(lambda: len(panel.queue.items) == 5, timeout=LONG)
    assert panel.left.text() == "0 of 5 reviewed"
    assert panel.item is item
    assert [old for old in panel.queue.items if old in before] == before
    # undone, it is as if it had never been
    session.labels.undo()
    qtbot.waitUntil(lambda: panel.left.text() == "0 of 4 reviewed", timeout=LONG)


def test_a_decision_touches_what_is_outlined_and_nothing_else(reviewing, qtbot, tubes):
    session, panel = reviewing
    layer, mask = session.labels, from_display(session.labels.data)
    look_for(panel, session, tubes, "doubtful")
    item = panel.item
    panel.yes()
    # split it, take that back, and go on
    panel._clicker.click("split", display_index((6, 18, 14), session.scan))
    assert len(panel._components.entries) == 3
    qtbot.waitUntil(lambda: len(panel._components.entries) == 4, timeout=LONG)
    panel.undo()
    assert len(panel._components.entries) == 3
    assert [one for one in panel.queue.items if one.index[0].size < 20] == []
    assert item.verdict == "accept"
    assert panel.left.text() == "1 of 4 reviewed"
    while panel.queue.pending:
        before, asked = mask.copy(), session.focus.voxels
        panel.no()
        changed = np.zeros(before.shape, bool)
        changed[asked] = True
        assert not (mask != before)[~changed].any()
        assert not mask[asked].any()
    assert mask[tubes["doubtful"]].all()
    assert layer.data.any()


def test_an_edit_that_was_not_seen_is_not_decided_about(reviewing, tubes):
    session, panel = reviewing
    look_for(panel, session, tubes, "doubtful")
    told = []
    panel.said.connect(told.append)
    session.labels.data_setitem(tuple(axis[:8] for axis in panel.item.index), 0)
    panel.no()  # before the outline has followed
    assert from_display(session.labels.data)[tubes["doubtful"]].any()
    assert told == ["This PVS has just changed; check it, then decide."]
    assert len(session.focus.voxels[0]) == panel.item.voxels == 24
    panel.no()
    assert not from_display(session.labels.data)[tubes["doubtful"]].any()


def test_previous_goes_back_to_what_was_decided_and_it_can_be_decided_anew(reviewing, tubes):
    session, panel = reviewing
    panel.move_on()
    first = panel.item
    panel.no() if first.present else panel.yes()
    second = panel.item
    panel.move_on()
    panel.move_back()
    assert panel.item is second
    panel.move_back()
    assert name_of(panel.item, session, tubes) == name_of(first, session, tubes)
    assert panel.why.text().startswith(("Rejected.", "Accepted."))
    told = []
    panel.said.connect(told.append)
    panel.move_back()
    assert told == ["No previous PVS."]
    if not panel.item.present:  # rejected by mistake: bring back just what was there
        panel.yes()
        assert from_display(session.labels.data)[tubes["doubtful"]].all()


def test_keys_lead_to_the_next_of_a_kind(reviewing, tubes):
    session, panel = reviewing
    panel.move_to("missed")
    assert name_of(panel.item, session, tubes) == "missed"
    panel.move_to("large")
    assert name_of(panel.item, session, tubes) == "doubtful"
    panel.move_to("large")
    assert name_of(panel.item, session, tubes) in ("sure", "also sure")
    panel.move_to("uncertain")
    assert name_of(panel.item, session, tubes) == "doubtful"
    panel.yes()
    told = []
    panel.said.connect(told.append)
    panel.move_to("uncertain")
    assert told == ["No uncertain PVS left."]


def test_undo_of_a_stroke_elsewhere_shows_where_it_was(reviewing, tubes):
    session, panel = reviewing
    at = display_index((12, 12, 20), session.scan)
    session.labels.data_setitem(tuple(np.array([i]) for i in at), 1)
    panel.move_to("large")
    assert session.viewer.dims.current_step[0] != at[0]
    panel.undo()
    assert not session.labels.data[at]
    assert session.viewer.dims.current_step[0] == at[0]


def test_a_note_is_kept_with_its_pvs(reviewing, qtbot, tubes):
    session, panel = reviewing
    look_for(panel, session, tubes, "sure")
    panel.note.setText("beside a lacune")
    panel.keep_note()
    assert panel.left.text() == "0 of 4 reviewed"
    panel.move_on()
    assert panel.note.text() == ""
    panel.move_back()
    assert panel.note.text() == "beside a lacune"
    place = DraftStore(session.scan)
    qtbot.waitUntil(lambda: len(place.review().decisions) == 1, timeout=LONG)
    assert place.review().decisions[0].note == "beside a lacune"


def test_what_shape_excludes_is_offered_and_kept(
    open_scan, predict, panel_of, tubes, qtbot, probability
):
    session = open_scan()
    ball = (slice(10, 16), slice(10, 16), slice(17, 23))
    probability[ball] = 0.9
    one = predict(session)  # with a largest width of 2.8 mm
    assert (one.count, one.excluded_count) == (3, 1)
    assert not from_display(session.labels.data)[ball].any()
    panel = panel_of(session)
    qtbot.waitUntil(lambda: bool(panel.queue.items), timeout=LONG)
    assert [item.kind for item in panel.queue.items].count("excluded") == 1
    panel.move_to("missed")
    assert panel.item.kind == "excluded"  # the least certain comes first
    assert panel.why.text().startswith("Excluded by shape")
    before = from_display(session.labels.data) > 0
    panel.yes()
    mask = from_display(session.labels.data) > 0
    assert mask[ball].all()
    assert mask.sum() == before.sum() + 216
    panel.undo()
    np.testing.assert_array_equal(from_display(session.labels.data) > 0, before)
    assert panel.item.kind == "excluded"


def test_what_a_click_adds_was_looked_at(open_scan, predict, panel_of, qtbot, tubes, monkeypatch):
    session = open_scan()
    labels = np.zeros(session.scan.grid.shape, bool)
    labels[tubes["sure"]] = True
    session.new_labels(labels)
    predict(session, labels=False)
    panel = panel_of(session)
    qtbot.waitUntil(lambda: bool(panel.queue.items), timeout=LONG)
    count = len(panel.queue.items)
    left = len(panel.queue.pending)
    panel._clicker.click("add", display_index((15, 6, 8), session.scan))
    assert session.labels.data[display_index((15, 6, 8), session.scan)]
    qtbot.waitUntil(lambda: len(panel.queue.items) == count + 1, timeout=LONG)
    assert len(panel.queue.pending) == left
    place = DraftStore(session.scan)
    qtbot.waitUntil(lambda: len(place.review().decisions) == 1, timeout=LONG)


def test_decisions_that_could_not_be_written_are_not_replaced_by_older_ones(
    reviewing, qtbot, monkeypatch
):
    session, panel = reviewing
    panel.move_on()
    panel.yes()
    place = DraftStore(session.scan)
    qtbot.waitUntil(lambda: len(place.review().decisions) == 1, timeout=LONG)
    monkeypatch.setattr(DraftStore, "save_review", _refuse)
    panel.yes()
    assert len(panel._decisions.review.decisions) == 2
    with qtbot.waitSignal(panel._autosave.reviewed, timeout=LONG):
        panel._autosave.look()  # as each dock does when it opens
    assert len(panel._decisions.review.decisions) == 2
    qtbot.waitUntil(lambda: not panel._make_soon.pending, timeout=LONG)
    qtbot.waitUntil(lambda: panel.left.text() == "2 of 4 reviewed", timeout=LONG)


def _refuse(*_):
    raise InputError("the disk is full")


def test_next_goes_round(reviewing):
    _, panel = reviewing
    seen = []
    for _ in range(5):
        panel.move_on()
        seen.append(panel.item.point)
    assert len(set(seen)) == 4
    assert seen[4] == seen[0]


def test_decisions_are_there_again_in_the_next_session(
    reviewing, qtbot, pvs_scan, open_scan, predict, panel_of, tubes
):
    session, panel = reviewing
    panel.move_on()
    decided = name_of(panel.item, session, tubes)
    panel.yes()
    place = DraftStore(pvs_scan)
    qtbot.waitUntil(lambda: len(place.review().decisions) == 1, timeout=LONG)
    (decision,) = place.review().decisions
    assert decision.verdict == "accept"
    assert all(s.start <= i < s.stop for s, i in zip(tubes[decided], decision.point, strict=True))
    again = open_scan()
    predict(again)
    if decided == "missed":
        again.set_labels(None)
        again.new_labels(from_display(session.labels.data))
    later = panel_of(again)
    qtbot.waitUntil(lambda: later.left.text() == "1 of 4 reviewed", timeout=LONG)


def test_a_threshold_that_moves_makes_the_queue_anew(reviewing, qtbot):
    session, panel = reviewing
    session.prediction.threshold = 0.3
    session.prediction_changed.emit()
    before = panel.queue
    qtbot.waitUntil(lambda: panel.queue is not before, timeout=LONG)
    assert panel.left.text().endswith("reviewed")


def test_without_labels_it_waits_and_without_a_prediction_it_goes_by_size(
    open_scan, panel_of, qtbot, tubes
):
    session = open_scan()
    panel = panel_of(session, ready=False)
    assert panel.left.text() == "Nothing to review."
    assert "make labels first" in panel.next.toolTip()
    labels = np.zeros(session.scan.grid.shape, bool)
    labels[tubes["sure"]] = labels[tubes["doubtful"]] = True
    session.new_labels(labels)
    qtbot.waitUntil(lambda: panel.queue is not None, timeout=LONG)
    panel.move_on()
    assert name_of(panel.item, session, tubes) == "doubtful"
    assert "no prediction" in panel.why.text()
    session.viewer.layers.remove(session.labels)
    assert panel.item is None
    assert panel.left.text() == "Nothing to review."


def test_when_most_came_later_all_are_ordered_anew(
    open_scan, predict, panel_of, qtbot, pvs_scan, tubes, monkeypatch
):
    session = open_scan()
    labels = np.zeros(pvs_scan.grid.shape, np.uint8)
    labels[tubes["sure"]] = 1
    session.new_labels(labels)
    predict(session, labels=False)
    panel = panel_of(session)
    qtbot.waitUntil(lambda: bool(panel.queue.items), timeout=LONG)

    def shares():
        return sum(item.volume_share for item in panel.queue.items if item.kind == "found")

    assert shares() == pytest.approx(1)
    session.copy_prediction()
    qtbot.waitUntil(lambda: len(panel.queue.pending) == 4, timeout=LONG)
    qtbot.waitUntil(lambda: shares() == pytest.approx(1), timeout=LONG)
    order = [item.priority for item in panel.queue.items]
    assert order == sorted(order, reverse=True)


def test_what_is_under_review_is_the_focus_of_the_session(reviewing, tubes):
    session, panel = reviewing
    panel.move_on()
    kinds = {}
    while len(kinds) < 4:
        x, y, z = session.focus.voxels
        name = name_of(panel.item, session, tubes)
        kinds[name] = session.focus.kind
        expected = np.zeros(session.scan.grid.shape, bool)
        expected[tubes[name]] = True
        assert expected[x, y, z].all()
        assert len(x) == expected.sum()
        panel.move_on()
    assert kinds.pop("missed") == "missed"
    assert set(kinds.values()) == {"item"}
    panel.stop()
    assert session.focus is None


def test_a_missed_pvs_that_was_accepted_is_gone_back_to(reviewing, tubes):
    session, panel = reviewing
    look_for(panel, session, tubes, "missed")
    panel.yes()
    panel.move_back()
    assert name_of(panel.item, session, tubes) == "missed"
    assert (panel.item.present, panel.item.verdict) == (True, "accept")
