"""A review file that several sessions write."""

from datetime import UTC, datetime, timedelta

import pytest

from napari_pvs.correction.review import Decision, Review
from napari_pvs.study import drafts

BEGUN = datetime(2026, 1, 1, tzinfo=UTC)


def decision(n, verdict="reject", minutes=0, rater="A"):
    when = BEGUN + timedelta(minutes=minutes)
    return Decision(point=(n, n, n), kind="found", verdict=verdict, rater=rater, time=when)


def review(*decisions):
    return Review(decisions=decisions)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sub-01_desc-pvs_review.json"


def test_no_file_is_nothing_decided(path):
    assert drafts.read_decisions(path) == ()


def test_what_another_session_decided_stays(path):
    mine, theirs = decision(1), decision(2, minutes=1, rater="B")
    drafts.keep_decisions(path, review(theirs), {theirs})
    drafts.keep_decisions(path, review(mine), {mine})
    assert drafts.read_decisions(path) == (mine, theirs)


def test_the_later_of_two_decisions_about_one_pvs_counts(path):
    mine, theirs = decision(1, "accept", minutes=1), decision(1, "reject", minutes=2, rater="B")
    drafts.keep_decisions(path, review(theirs), {theirs})
    drafts.keep_decisions(path, review(mine), {mine})
    assert drafts.read_decisions(path) == (theirs,)
    latest = decision(1, "skip", minutes=3)
    drafts.keep_decisions(path, review(latest), {mine, latest})
    assert drafts.read_decisions(path) == (latest,)


def test_what_was_taken_back_here_goes(path):
    one, two = decision(1), decision(2)
    drafts.keep_decisions(path, review(one, two), {one, two})
    drafts.keep_decisions(path, review(two), {one, two})
    assert drafts.read_decisions(path) == (two,)


@pytest.mark.parametrize("content", ['{"format": "napari-pvs-review/2"}', "{", ""])
def test_a_file_that_cannot_be_understood_is_set_aside(path, content, caplog):
    for number in (1, 2):
        path.write_text(content)
        with pytest.raises(ValueError):  # noqa: PT011  pydantic's
            drafts.read_decisions(path)
        drafts.keep_decisions(path, review(decision(number)), set())
        assert drafts.read_decisions(path) == (decision(number),)
        assert path.with_name(f"{path.stem}.unread-{number}.json").read_text() == content
    assert "cannot be understood" in caplog.text
