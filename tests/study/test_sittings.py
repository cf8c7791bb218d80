"""Time, decisions and edits of raters."""

from datetime import UTC, datetime, timedelta

import pytest

from napari_pvs.errors import InputError
from napari_pvs.study import sittings
from napari_pvs.study.sittings import LONGEST_PAUSE_S, Sitting, Tally, Work

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def study(tmp_path):
    (tmp_path / "study").mkdir()
    return tmp_path / "study"


def sitting(rater="ann", minutes=0, **values):
    return Sitting(rater=rater, begun=NOON + timedelta(minutes=minutes), **values)


def test_a_sitting_is_counted():
    tally = Tally(sitting())
    for seconds, action in ((5, "look"), (12, "decision"), (20, "decision"), (21, "edit")):
        tally.count(action, NOON + timedelta(seconds=seconds))
    assert tally.sitting == sitting(seconds=21, decisions=2, edits=1)


def test_a_long_pause_counts_for_a_minute():
    tally = Tally(sitting())
    tally.count("decision", NOON + timedelta(hours=2))
    assert tally.sitting.seconds == LONGEST_PAUSE_S
    tally.count("decision", NOON)  # a clock that was set back
    assert tally.sitting.seconds == LONGEST_PAUSE_S
    tally.count("edit", NOON + timedelta(seconds=10))
    assert tally.sitting.seconds == LONGEST_PAUSE_S + 10


def test_sittings_are_kept_side_by_side_and_replace_their_own(study):
    assert sittings.read(study, "sub-01") == ()
    late, early = sitting("bob", 30, decisions=1), sitting("ann", seconds=4, edits=2)
    sittings.keep(study, "sub-01", late)
    sittings.keep(study, "sub-01", early)
    assert sittings.read(study, "sub-01") == (early, late)
    more = late.model_copy(update={"decisions": 9, "seconds": 80.0})
    sittings.keep(study, "sub-01", more)
    assert sittings.read(study, "sub-01") == (early, more)
    assert sittings.read(study, "sub-02") == ()
    assert Work.of([early, more]) == Work(2, 84 / 60, 9, 2)


def test_a_damaged_file_is_set_aside(study, caplog):
    sittings.keep(study, "sub-01", sitting())
    (path,) = study.rglob("*_desc-pvs_sittings.json")
    path.write_text('{"sittings": [{"rater": 1}]}')
    with pytest.raises(InputError, match=r"_sittings\.json is damaged \(.*\); move it away"):
        sittings.read(study, "sub-01")
    sittings.keep(study, "sub-01", sitting(edits=3))
    assert sittings.read(study, "sub-01") == (sitting(edits=3),)
    (aside,) = study.rglob("*.unread-1.json")
    assert "rater" in aside.read_text()
    assert "renamed" in caplog.text


def test_a_study_that_is_gone_is_not_made_anew(study):
    study.rmdir()
    with pytest.raises(InputError, match="is no longer there"):
        sittings.keep(study, "sub-01", sitting())
    assert not study.exists()


def test_the_table_adds_up_by_subject_and_rater(study):
    with pytest.raises(InputError, match="holds no sittings yet"):
        sittings.to_tsv(study)
    sittings.keep(study, "sub-02", sitting("=ann", seconds=90, decisions=3))
    sittings.keep(study, "sub-01", sitting("bob", seconds=60, decisions=1, blind=True))
    sittings.keep(study, "sub-01", sitting("bob", 60, seconds=30, decisions=4, blind=True))
    sittings.keep(study, "sub-01", sitting("bob", 90, seconds=30, edits=2, adjudication=True))
    header, *rows = (line.split("\t") for line in sittings.to_tsv(study).splitlines())
    found = [dict(zip(header, row, strict=True)) for row in rows]
    told = ["subject", "rater", "blind", "adjudication", "sittings", "minutes", "decisions"]
    assert [[one[name] for name in told] for one in found] == [
        ["sub-01", "bob", "no", "yes", "1", "0.5", "0"],
        ["sub-01", "bob", "yes", "no", "2", "1.5", "5"],
        ["sub-02", "'=ann", "no", "no", "1", "1.5", "3"],  # no formula for a spreadsheet
    ]
    assert found[1]["first"] == "2026-01-02T12:00:00+00:00"
    assert found[1]["last"] == "2026-01-02T13:00:00+00:00"
    assert [one["edits"] for one in found] == ["2", "0", "0"]
