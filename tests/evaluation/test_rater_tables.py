"""The agreement of two raters as tables."""

import json

import pytest

from napari_pvs.evaluation.rater_tables import RaterComparison, describe, table, to_json, to_tsv
from napari_pvs.evaluation.raters import Contingency, RaterScore


def comparison(*cells, raters=("ann", "bob")):
    scores = tuple(
        RaterScore(f"sub-{at:02d}", Contingency(*one), 0.5, 3, 4, 10.0, 20.0)
        for at, one in enumerate(cells, start=1)
    )
    return RaterComparison(raters, scores, ("sub-08",), (("sub-09", "is damaged."),))


def printed(found):
    from rich.console import Console

    console = Console(width=200, record=True)
    with console.capture() as caught:
        console.print(table(found))
    return caught.get()


def test_a_sentence():
    assert describe(Contingency(8, 1, 1, 10), 0.8, ("ann", "bob")) == (
        "DSC 0.80; 8 PVS in both, 1 only by ann, 1 only by bob; positive agreement 0.89; "
        "kappa 0.80 (10 predicted PVS in neither)."
    )
    assert describe(Contingency(0, 0, 0), 1.0, ("ann", "bob")) == (
        "DSC 1.00; 0 PVS in both, 0 only by ann, 0 only by bob."
    )


def test_undefined_is_said_in_each_form():
    found = comparison((2, 1, 1))
    header, row = (line.split("\t") for line in to_tsv(found).splitlines())
    cells = dict(zip(header, row, strict=True))
    assert (cells["neither"], cells["kappa"]) == ("n/a", "n/a")
    assert (cells["rater_1"], cells["both"]) == ("ann", "2")
    content = json.loads(to_json(found))
    assert content["subjects"][0]["kappa"] is None
    assert content["summary"]["count_icc"] is None
    assert content["missing"] == ["sub-08"]
    assert content["left_out"] == {"sub-09": "is damaged."}
    assert "–" in printed(found)
    assert "needs three subjects" in printed(found)


def test_all_subjects_are_added_up():
    text = printed(comparison((8, 1, 1, 10), (2, 0, 0, 3), (1, 1, 1, 1)))
    last = next(line for line in text.splitlines() if "all (n=3)" in line).split()
    # PVS of both raters, then the cells
    assert last[2:8] == ["9", "12", "11", "2", "2", "14"]


def test_names_that_look_like_markup_or_formulas_are_shown_as_they_are():
    found = comparison((1, 0, 0, 1), raters=("[red]ann", "=bob"))
    assert "1: [red]ann, 2: =bob" in printed(found)
    assert "\t'=bob\t" in to_tsv(found)


def test_nothing_to_write():
    empty = RaterComparison(("ann", "bob"), ())
    for write in (to_tsv, to_json, table):
        with pytest.raises(ValueError, match="no scores"):
            write(empty)
