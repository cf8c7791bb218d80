"""Two raters in the Correct dock's panel: blind, compared, adjudicated."""

import numpy as np
import pytest

pytest.importorskip("napari")

from qtpy.QtWidgets import QWidget

from napari_pvs.errors import InputError
from napari_pvs.scans.display import from_display
from napari_pvs.scans.scan import load_scan
from napari_pvs.study.bids import subjects
from napari_pvs.study.drafts import DraftStore
from napari_pvs.study.labels import LabelStore
from napari_pvs.widgets.correct import review_queue as module
from napari_pvs.widgets.correct.clicks import Clicker
from napari_pvs.widgets.correct.components import Components
from napari_pvs.widgets.correct.raters import RatersPanel
from napari_pvs.widgets.correct.review_queue import ADJUDICATED, QueuePanel
from napari_pvs.widgets.planes.planes import planes_of
from napari_pvs.widgets.preferences import preferences
from napari_pvs.widgets.state import autosave as autosave_module
from napari_pvs.widgets.state.autosave import autosave_of
from napari_pvs.widgets.viewer.layers import adjudication_of, role_of

LONG = 60_000
TUBES = {
    "both": (slice(6, 8), slice(6, 8), slice(5, 12)),
    "ann": (slice(15, 17), slice(6, 8), slice(5, 12)),
    "bob": (slice(6, 8), slice(18, 20), slice(8, 14)),
    "bob too": (slice(16, 18), slice(18, 20), slice(8, 14)),
}


@pytest.fixture
def labelled(make_study):
    """A study whose subject ann and bob have labelled; a function makes it, for more finals."""
    root = make_study(subjects=1, labelled=0)
    (subject,) = subjects(root)
    scan = load_scan(subject.t1, subject.t2, subject.brain)
    store = LabelStore(root, subject.name)

    def save(author, *names, **values):
        mask = np.zeros(scan.grid.shape, bool)
        for name in names:
            mask[TUBES[name]] = True
        values = {"origin": "drawn"} | values
        return store.save(scan.to_source(mask), scan.source, author=author, **values)

    save("net", "both", "ann", origin="predicted", state="draft")
    save("ann", "both", "ann")
    save("bob", "both", "bob", "bob too")
    return root, scan, save


@pytest.fixture
def desk(labelled, open_scan, qtbot, monkeypatch):
    """Session, queue and panel of an adjudicator, cas."""
    monkeypatch.setattr(module, "PAUSE_MS", 10)
    monkeypatch.setattr(autosave_module, "moment_ms", lambda: 30)
    root, scan, _ = labelled
    session = open_scan(scan=scan)
    (subject,) = subjects(root)
    session.set_study(root, subject)
    autosave = autosave_of(session)
    autosave.rater = "cas"
    holder = QWidget()
    qtbot.addWidget(holder)
    components = Components(session, holder)
    queue = QueuePanel(session, components, Clicker(session, holder), autosave)
    panel = RatersPanel(session, queue)
    for widget in (queue, panel):
        qtbot.addWidget(widget)
    panel.holder = holder  # qtbot does not keep it
    qtbot.waitUntil(lambda: panel.first.count() == 2, timeout=LONG)
    return session, queue, panel


@pytest.fixture
def adjudicating(desk, qtbot, click):
    _, queue, panel = desk
    click(panel.decide)
    qtbot.waitUntil(lambda: queue.disputed is not None and bool(queue.pending), timeout=LONG)
    return desk


def mask_of(session):
    return from_display(session.labels.data) > 0


def names_in(mask):
    return {name for name, tube in TUBES.items() if mask[tube].all()}


def test_both_are_shown_and_compared(desk, qtbot, click):
    session, _, panel = desk
    assert panel.pair == ("ann", "bob")
    click(panel.show_them)
    qtbot.waitUntil(lambda: bool(panel.agreement.text()), timeout=LONG)
    assert "1 PVS in both, 1 only by ann, 2 only by bob" in panel.agreement.text()
    assert "kappa" in panel.agreement.text()
    layers = [one for one in session.viewer.layers if role_of(one) == "rater"]
    assert [one.name for one in layers] == ["PVS by ann", "PVS by bob"]
    found = [names_in(from_display(one.data) > 0) for one in layers]
    assert found == [{"both", "ann"}, {"both", "bob", "bob too"}]
    assert not any(one.editable for one in layers)
    click(panel.show_them)  # again: the same layers
    qtbot.waitUntil(lambda: not panel._busy, timeout=LONG)
    assert [one for one in session.viewer.layers if role_of(one) == "rater"] == layers


def test_the_disputed_pvs_are_asked_about_one_by_one(adjudicating):
    session, queue, _ = adjudicating
    assert names_in(mask_of(session)) == {"both"}
    assert queue.left.text() == "0 of 3 disputed PVS decided"
    queue.move_on()
    assert queue.item.kind == "disputed"
    assert queue.why.text().startswith(f"Only {queue.item.rater} has it")
    assert session.focus.kind == "missed"  # outlined, and what a decision adds
    asked = []
    while queue.item is not None:
        asked.append(queue.item.rater)
        (queue.yes if queue.item.rater == "ann" else queue.no)()
    assert sorted(asked) == ["ann", "bob", "bob"]
    assert names_in(mask_of(session)) == {"both", "ann"}
    assert queue.left.text() == "3 of 3 disputed PVS decided"
    assert queue.why.text() == ADJUDICATED


def test_each_decision_is_a_step_of_undo(adjudicating):
    session, queue, _ = adjudicating
    queue.move_on()
    first = queue.item
    queue.yes()
    queue.no()
    assert queue.left.text() == "2 of 3 disputed PVS decided"
    queue.undo()
    assert queue.left.text() == "1 of 3 disputed PVS decided"
    queue.undo()
    assert queue.left.text() == "0 of 3 disputed PVS decided"
    assert queue.item.point == first.point
    assert names_in(mask_of(session)) == {"both"}
    queue.redo()
    assert queue.left.text() == "1 of 3 disputed PVS decided"
    assert len(names_in(mask_of(session))) == 2


def test_what_was_accepted_is_gone_back_to_and_decided_anew(adjudicating):
    session, queue, _ = adjudicating
    queue.move_on()
    first = queue.item
    queue.yes()
    queue.move_back()
    assert queue.item.present
    assert queue.item.point == first.point
    queue.no()
    assert queue.left.text() == "1 of 3 disputed PVS decided"
    assert names_in(mask_of(session)) == {"both"}


def test_the_result_is_final_and_names_both(adjudicating, labelled, qtbot):
    session, queue, panel = adjudicating
    root, _, _ = labelled
    queue.move_on()
    while queue.item is not None:
        queue.yes()
    autosave = autosave_of(session)
    with qtbot.waitSignal(session.study_labelled, timeout=LONG):
        autosave.save_final()
    newest = LabelStore(root, "sub-01").current()
    assert (newest.author, newest.adjudicates, newest.parent) == ("cas", (2, 3), None)
    assert newest.comment == "Adjudication of ann (revision 2) and bob (revision 3)."
    qtbot.waitUntil(lambda: panel.first.count() == 2, timeout=LONG)
    assert panel.pair == ("ann", "bob")  # it is no third rater's label


def test_what_was_begun_goes_on_after_a_crash(adjudicating, labelled, qtbot, click):
    session, queue, panel = adjudicating
    root, scan, _ = labelled
    queue.move_on()
    queue.yes()
    queue.no()
    labels = mask_of(session).copy()
    autosave = autosave_of(session)
    autosave.settle(60)
    # napari starts anew
    place = DraftStore(scan, root, "sub-01")
    assert {one.kind for one in place.review().decisions} == {"disputed"}
    offer = place.pending()
    assert offer.revision.adjudicates == (2, 3)
    np.testing.assert_array_equal(offer.labels > 0, labels)
    session.set_labels(None)
    autosave._offer = offer
    autosave.restore()
    assert adjudication_of(session.labels)[0] == (2, 3)
    restored = session.labels
    click(panel.decide)
    qtbot.waitUntil(lambda: queue.disputed is not None and queue.queue is not None, timeout=LONG)
    assert session.labels is restored
    assert queue.left.text() == "2 of 3 disputed PVS decided"
    np.testing.assert_array_equal(mask_of(session), labels)


def test_earlier_decisions_do_not_answer_for_the_adjudicator(desk, labelled, qtbot, click):
    session, queue, panel = desk
    root, scan, _ = labelled
    # cas herself has reviewed the subject before, and accepted what only ann has
    session.new_labels(np.logical_or.reduce([tube_mask(scan, "both"), tube_mask(scan, "ann")]))
    qtbot.waitUntil(lambda: queue.queue is not None, timeout=LONG)
    queue.move_on()
    while queue.item is not None:
        queue.yes()
    click(panel.decide)
    qtbot.waitUntil(lambda: queue.disputed is not None and bool(queue.pending), timeout=LONG)
    assert queue.left.text() == "0 of 3 disputed PVS decided"
    queue.move_on()
    queue.no()
    autosave_of(session).settle(60)
    kinds = [one.kind for one in DraftStore(scan, root, "sub-01").review().decisions]
    assert sorted(kinds) == ["disputed", "found", "found"]  # none is lost


def tube_mask(scan, name):
    mask = np.zeros(scan.grid.shape, bool)
    mask[TUBES[name]] = True
    return mask


def test_other_labels_end_the_adjudication(adjudicating, qtbot):
    session, queue, _ = adjudicating
    session.new_labels()
    assert queue.disputed is None
    qtbot.waitUntil(lambda: queue.queue is not None, timeout=LONG)
    assert queue.left.text() == "Nothing to review."


def test_labels_made_from_each_other_are_shown_but_not_compared(desk, labelled, qtbot, click):
    session, _, panel = desk
    _, _, save = labelled
    save("bob", "both", "ann", "bob", origin="corrected", parent=2)
    session.study_labelled.emit()
    qtbot.waitUntil(lambda: panel._finals["bob"].number == 4, timeout=LONG)
    click(panel.show_them)
    qtbot.waitUntil(lambda: bool(panel.agreement.text()), timeout=LONG)
    assert panel.agreement.kind == "warning"
    assert "were made from ann's (revision 2)" in panel.agreement.text()
    assert len([one for one in session.viewer.layers if role_of(one) == "rater"]) == 2


def test_the_buttons_say_what_is_missing(open_scan, desk, labelled, qtbot):
    session, _, panel = desk
    panel.second.setCurrentText("ann")
    assert "choose two raters" in panel.decide.toolTip()
    panel.second.setCurrentText("bob")
    assert panel.decide.isEnabled()
    session.set_study(None, None)
    assert "open a subject of a study" in panel.show_them.toolTip()
    assert panel.first.count() == 0


def test_a_damaged_label_is_a_sentence(desk, labelled, qtbot, click):
    _, queue, panel = desk
    root, _, _ = labelled
    store = LabelStore(root, "sub-01")
    store.path(store.revisions()[1]).write_bytes(b"altered")
    click(panel.decide)
    qtbot.waitUntil(lambda: panel.agreement.kind == "error", timeout=LONG)
    assert "was altered after it was saved" in panel.agreement.text()
    assert queue.disputed is None
    assert panel.decide.isEnabled()


def test_a_blind_rater_sees_no_one_elses_work(desk, predict, qtbot, click):
    session, queue, panel = desk
    click(panel.show_them)
    qtbot.waitUntil(lambda: bool(panel.agreement.text()), timeout=LONG)
    probability = np.full(session.scan.grid.shape, 0.01, np.float32)
    probability[TUBES["both"]] = 0.9
    prediction = predict(session, labels=False, found=probability)
    labels = session.new_labels()
    raters = [one for one in session.viewer.layers if role_of(one) == "rater"]
    planes = planes_of(session)
    planes.compare(raters[0])
    panel.blind.click()
    assert session.blind
    assert preferences().correct.blind
    assert session.prediction is None
    assert [one.visible for one in (*raters, prediction.layer, labels)] == [False] * 3 + [True]
    assert planes.against is None
    planes.compare(raters[0])
    assert planes.against is None
    assert not panel.agreement.text()
    assert "blind mode is on" in panel.show_them.toolTip()
    # neither the eye of the layer list nor a choice brings them back
    for one in (*raters, prediction.layer):
        one.visible = True
        assert not one.visible
    with pytest.raises(InputError, match="is hidden in blind mode"):
        session.set_labels(raters[0])
    # and the queue has nothing from the prediction
    qtbot.waitUntil(lambda: queue.queue is not None, timeout=LONG)
    qtbot.waitUntil(lambda: not queue._make_soon.pending, timeout=LONG)
    assert queue.left.text() == "Nothing to review."
    panel.blind.click()
    assert not session.blind
    assert session.prediction is prediction
    assert [one.visible for one in (*raters, prediction.layer)] == [True] * 3


def test_what_comes_while_blind_is_hidden(desk, predict):
    session, _, panel = desk
    panel.blind.click()
    prediction = predict(session, labels=False, found=np.zeros(session.scan.grid.shape, np.float32))
    assert not prediction.layer.visible
    panel.blind.click()
    assert prediction.layer.visible


def test_decisions_of_others_are_not_shown_to_a_blind_rater(desk, labelled, qtbot, click):
    session, queue, panel = desk
    root, scan, _ = labelled
    autosave = autosave_of(session)
    session.new_labels(tube_mask(scan, "both"))
    qtbot.waitUntil(lambda: queue.queue is not None, timeout=LONG)
    queue.move_on()
    queue.yes()
    assert queue.left.text() == "1 of 1 reviewed"
    autosave.settle(60)
    autosave.rater = "dan"
    panel.blind.click()
    qtbot.waitUntil(lambda: queue.left.text() == "0 of 1 reviewed", timeout=LONG)
    queue.move_on()
    queue.no()
    autosave.settle(60)
    found = DraftStore(scan, root, "sub-01").review().decisions
    assert {(one.rater, one.verdict) for one in found} == {("cas", "accept"), ("dan", "reject")}


def test_labels_of_another_rater_are_taken_out_of_a_blind_raters_hands(
    desk, labelled, qtbot, click
):
    session, _, panel = desk
    _, scan, _ = labelled
    theirs = session.new_labels(tube_mask(scan, "ann"))
    theirs.metadata["napari_pvs"] = theirs.metadata["napari_pvs"] | {"author": "ann"}
    panel.blind.click()
    assert session.labels is None
    assert not theirs.visible
