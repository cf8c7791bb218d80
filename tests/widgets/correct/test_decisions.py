"""Which decisions hold for a rater, and that none is lost."""

from datetime import UTC, datetime, timedelta

import pytest

pytest.importorskip("napari")

from napari_pvs.correction.items import Decision, Review
from napari_pvs.scans.display import display_index
from napari_pvs.widgets.correct.decisions import Decisions
from napari_pvs.widgets.state.autosave import autosave_of

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def decision(point, rater="me", minutes=0, kind="found", verdict="accept"):
    time = NOW + timedelta(minutes=minutes)
    return Decision(point=point, kind=kind, verdict=verdict, rater=rater, time=time)


@pytest.fixture
def desk(qapp, open_scan, monkeypatch):
    """A scan's decisions, the session, and what was kept on disk last."""
    session = open_scan()
    autosave = autosave_of(session)
    autosave.rater = "me"
    written = []
    monkeypatch.setattr(autosave, "save_review", written.append)
    return Decisions(session, autosave), session, written


def test_the_last_decision_about_a_pvs_holds_in_voxels_of_the_layers(desk):
    decisions, session, _ = desk
    first, last = decision((3, 4, 5)), decision((3, 4, 5), "ann", 2, verdict="reject")
    assert decisions.take(Review(decisions=(last, first)), False)
    (held,) = decisions.review.decisions
    assert held == last.model_copy(update={"point": display_index((3, 4, 5), session.scan)})
    assert not decisions.choose(False)


def test_a_blind_rater_is_not_told_what_others_decided_and_nothing_is_lost(desk):
    decisions, session, written = desk
    mine, theirs = decision((3, 4, 5)), decision((6, 6, 6), "ann")
    decisions.take(Review(decisions=(mine, theirs)), False)
    session.blind = True
    assert decisions.choose(False)
    assert [one.rater for one in decisions.review.decisions] == ["me"]
    decisions.keep(decisions.review)
    assert set(written[-1].decisions) == {mine, theirs}
    session.blind = False
    assert decisions.choose(False)
    assert len(decisions.review.decisions) == 2


def test_in_an_adjudication_those_alone_hold_that_are_of_it(desk):
    decisions, _, written = desk
    of_it, other = decision((3, 4, 5), kind="disputed"), decision((6, 6, 6))
    decisions.take(Review(decisions=(of_it, other)), True)
    assert [one.kind for one in decisions.review.decisions] == ["disputed"]
    decisions.keep(Review())  # taken back
    assert written[-1].decisions == (other,)


def test_another_scan_begins_with_none(desk):
    decisions, _, written = desk
    decisions.take(Review(decisions=(decision((3, 4, 5)),)), False)
    decisions.clear()
    decisions.keep(decisions.review)
    assert written[-1] == Review()
