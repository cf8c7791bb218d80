"""The review queue in the viewer."""

import numpy as np
import pytest

pytest.importorskip("napari")

from qtpy.QtWidgets import QWidget

from napari_pvs.errors import InputError
from napari_pvs.scans.display import display_index, from_display, grid_index
from napari_pvs.study.drafts import DraftStore
from napari_pvs.widgets.correct import review_queue as module
from napari_pvs.widgets.correct.clicks import Clicker
from napari_pvs.widgets.correct.review_queue import QueuePanel
from napari_pvs.widgets.state.autosave import autosave_of
from napari_pvs.widgets.viewer.layers import role_of

LONG = 60_000


@pytest.fixture
def panel_of(monkeypatch, qtbot):
    monkeypatch.setattr(module, "PAUSE_MS", 10)

    def make(session, ready=True):
        holder = QWidget()
        qtbot.addWidget(holder)
        panel = QueuePanel(session, Clicker(session, holder), autosave_of(session))
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


def test_it_begins_with_the_doubtful_one_and_says_why(reviewing, tubes):
    session, panel = reviewing
    assert panel.left.text() == "4 of 4 left"
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
    camera = getattr(session.viewer, "scene", session.viewer).camera
    assert camera.zoom == module.ZOOM


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
    assert panel.left.text() == "1 of 4 left"
    assert name_of(panel.item, session, tubes) == "also sure"  # skipped, so it is back
    panel.yes()
    assert panel.left.text() == "0 of 4 left"
    assert panel.item is None
    assert not panel.next.isEnabled()
    assert "nothing is left" in panel.next.toolTip()
    assert len(session.labels._undo_history) == 2


def test_undoing_a_rejection_brings_the_item_back(reviewing, qtbot, tubes):
    session, panel = reviewing
    panel.move_on()
    while name_of(panel.item, session, tubes) != "doubtful":
        panel.move_on()
    item = panel.item
    panel.no()
    assert item not in panel.queue.pending
    session.labels.undo()
    qtbot.waitUntil(lambda: panel.left.text() == "4 of 4 left", timeout=LONG)
    assert item in panel.queue.pending
    # and what the eraser takes away is decided
    session.labels.data_setitem(tuple(np.array([i]) for i in item.point), 0)
    qtbot.waitUntil(lambda: panel.left.text() == "3 of 4 left", timeout=LONG)


def test_what_comes_into_the_labels_comes_into_the_queue(
    open_scan, predict, panel_of, qtbot, tubes, monkeypatch
):
    monkeypatch.setattr(module, "EDIT_PAUSE_MS", 10)
    session = open_scan()
    session.new_labels()
    panel = panel_of(session)
    assert panel.left.text() == "Nothing to review."
    one = predict(session)  # copies the mask into the labels that are there
    qtbot.waitUntil(lambda: panel.left.text() == "4 of 4 left", timeout=LONG)
    panel.move_on()
    item, before = panel.item, list(panel.queue.items)
    # a stroke far from all others
    session.labels.paint(display_index((12, 12, 20), session.scan), 1)
    qtbot.waitUntil(lambda: len(panel.queue.items) == 5, timeout=LONG)
    assert panel.left.text() == "5 of 5 left"
    assert panel.item is item
    assert [old for old in panel.queue.items if old in before] == before
    # and what is erased is decided
    session.labels.undo()
    qtbot.waitUntil(lambda: panel.left.text() == "4 of 5 left", timeout=LONG)
    assert one is session.prediction


def test_what_a_click_adds_was_looked_at(open_scan, predict, panel_of, qtbot, tubes, monkeypatch):
    monkeypatch.setattr(module, "EDIT_PAUSE_MS", 10)
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
    assert len(panel._review.decisions) == 2
    with qtbot.waitSignal(panel._autosave.reviewed, timeout=LONG):
        panel._autosave.look()  # as each dock does when it opens
    assert len(panel._review.decisions) == 2
    qtbot.waitUntil(lambda: not panel._make_soon.pending, timeout=LONG)
    qtbot.waitUntil(lambda: panel.left.text() == "2 of 4 left", timeout=LONG)


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
    qtbot.waitUntil(lambda: later.left.text() == "3 of 4 left", timeout=LONG)


def test_a_threshold_that_moves_makes_the_queue_anew(reviewing, qtbot):
    session, panel = reviewing
    session.prediction.threshold = 0.3
    session.prediction_changed.emit()
    before = panel.queue
    qtbot.waitUntil(lambda: panel.queue is not before, timeout=LONG)
    assert panel.left.text().endswith("left")


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
    assert "No prediction" in panel.why.text()
    session.viewer.layers.remove(session.labels)
    assert panel.item is None
    assert panel.left.text() == "Nothing to review."


def marks(session):
    return [layer for layer in session.viewer.layers if role_of(layer) == "mark"]


def places(mark):
    """Where a mark is in the world, mm."""
    return np.array([mark.data_to_world(one) for one in mark.data])


def test_what_is_under_review_is_marked_and_the_mark_is_nobodys_data(reviewing, qtbot):
    session, panel = reviewing
    viewer = session.viewer
    assert not marks(session)
    panel.move_on()
    (mark,) = marks(session)
    at = session.labels.data_to_world(panel.item.point)
    middle = len(mark.data) // 2
    np.testing.assert_allclose(places(mark)[middle], at)
    assert set(~np.isclose(places(mark)[:, 0], at[0])) == {False, True}  # the slices beside it too
    viewer.dims.order = (1, 0, 2)
    np.testing.assert_allclose(places(mark)[:, 0], at[0])
    viewer.dims.order = (0, 1, 2)
    viewer.dims.ndisplay = 3
    np.testing.assert_allclose(places(mark), [at])
    viewer.dims.ndisplay = 2
    assert viewer.layers.selection.active is session.labels
    panel.move_on()
    assert marks(session) == [mark]
    assert not np.allclose(places(mark)[len(mark.data) // 2], at)
    # deleted, it comes back with the next; moved down, it stays where it is
    viewer.layers.remove(mark)
    panel.move_on()
    (mark,) = marks(session)
    viewer.layers.move(viewer.layers.index(mark), 0)
    panel.move_on()
    assert marks(session) == [mark]
    # it goes with the labels, and for good with the dock
    viewer.layers.remove(session.labels)
    assert not marks(session)
    session.copy_prediction()
    qtbot.waitUntil(lambda: panel.queue is not None, timeout=LONG)
    panel.move_on()
    assert marks(session)
    panel.stop()
    assert not marks(session)
    panel.move_on()
    assert not marks(session)


def test_the_mark_goes_when_the_last_one_is_decided(reviewing):
    session, panel = reviewing
    panel.move_on()
    while panel.item is not None:
        panel.yes()
    assert not marks(session)


def test_when_most_came_later_all_are_ordered_anew(
    open_scan, predict, panel_of, qtbot, pvs_scan, tubes, monkeypatch
):
    monkeypatch.setattr(module, "EDIT_PAUSE_MS", 10)
    session = open_scan()
    labels = np.zeros(pvs_scan.grid.shape, np.uint8)
    labels[tubes["sure"]] = 1
    session.new_labels(labels)
    predict(session, labels=False)
    panel = panel_of(session)
    qtbot.waitUntil(lambda: not panel._making, timeout=LONG)

    def shares():
        return sum(item.volume_share for item in panel.queue.items if item.kind == "found")

    assert shares() == pytest.approx(1)
    session.copy_prediction()
    qtbot.waitUntil(lambda: len(panel.queue.pending) == 4, timeout=LONG)
    qtbot.waitUntil(lambda: shares() == pytest.approx(1), timeout=5000)
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
