import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from napari_pvs.evaluation.compare import Comparison, score
from napari_pvs.evaluation.summary import summarise
from napari_pvs.evaluation.tables import cell, size_table, table, to_json, to_tsv, tsv


def comparison():
    rng = np.random.default_rng(0)
    scores = []
    for i in range(3):
        reference = rng.random((10, 10, 10)) < 0.02 * (i + 1)
        prediction = reference & (rng.random(reference.shape) < 0.7)
        scores.append(score(prediction, reference, (1, 1, 1), subject=f"sub-{i}"))
    empty = np.zeros((10, 10, 10), dtype=bool)
    scores.append(score(empty, empty, (1, 1, 1), subject="sub-empty"))
    return Comparison(tuple(scores), ("sub-p",), ("sub-r",))


def shown(rich_table):
    from rich.console import Console

    console = Console(file=io.StringIO(), width=200)
    console.print(rich_table)
    return console.file.getvalue()


def test_terminal():
    cohort = comparison()
    text = shown(table(cohort))
    first = next(line for line in text.splitlines() if "sub-0" in line)
    assert f"{cohort.scores[0].dsc:.3f}" in first
    mean = summarise(cohort.scores).moments["dsc"]
    rows = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert f"{mean.mean:.3f}" in rows["mean"]
    assert "(n=4)" in rows["mean"]
    assert f"{mean.sd:.3f}" in rows["SD"]
    assert "1 with both masks empty" in text
    assert "1 with an empty reference" in text
    assert "CCC" in text
    assert "Only in the prediction: sub-p." in text
    assert "Only in the reference: sub-r." in text
    assert "AUPRC" not in text
    assert "ceiling" not in text
    assert "–" in next(line for line in text.splitlines() if "sub-empty" in line)


def test_ceiling_is_shown_where_known():
    one = replace(comparison().scores[0], ceiling_dsc=0.8125)
    text = shown(table(Comparison((one,))))
    assert "ceiling" in text
    assert "0.812" in text


def test_sizes():
    summary = summarise(comparison().scores)
    text = shown(size_table(summary))
    assert all(name in text for name in ("<5", "5-10", "10-15", ">15"))
    assert f"{summary.strict_by_size[0].recall:.3f}" in text


def test_tsv():
    cohort = comparison()
    rows = list(csv.DictReader(io.StringIO(to_tsv(cohort)), delimiter="\t"))
    assert [row["subject"] for row in rows] == ["sub-0", "sub-1", "sub-2", "sub-empty"]
    assert float(rows[0]["dsc"]) == cohort.scores[0].dsc
    assert float(rows[1]["volume_reference_mm3"]) == cohort.scores[1].volume_reference_mm3
    assert int(rows[0]["count_reference_lt5mm3"]) == cohort.scores[0].lenient_by_size[0].n_reference
    assert rows[3]["avd_percent"] == rows[3]["auprc"] == "n/a"


def test_json_has_null_and_no_nan():
    out = {"refused": (("sub-x", "it is damaged."),), "identical": ("sub-y",)}
    content = json.loads(to_json(replace(comparison(), **out)))
    assert len(content["subjects"]) == 4
    assert content["subjects"][3]["avd_percent"] is None
    assert content["subjects"][3]["dsc"] == 1
    summary = content["summary"]
    assert summary["n_avd_excluded"] == summary["n_both_empty"] == 1
    assert summary["moments"]["dsc"]["n"] == 4
    assert summary["moments"]["auprc"]["mean"] is None
    assert summary["count_reference_lt5mm3"] > 0
    assert content["only_reference"] == ["sub-r"]
    assert content["refused"] == [{"subject": "sub-x", "why": "it is damaged."}]
    assert content["identical"] == ["sub-y"]


@pytest.mark.parametrize("render", [table, to_tsv, to_json])
def test_nothing_to_show(render):
    with pytest.raises(ValueError, match="no score"):
        render(Comparison(()))


@pytest.mark.parametrize("text", ["=1+1", "+1", "-2", "@SUM(A1)", " =1", "\t=1"])
def test_a_text_is_no_formula_for_a_spreadsheet(text):
    assert cell(text) == f"'{text}"
    (row,) = csv.DictReader(io.StringIO(tsv(["name"], [{"name": text}])), delimiter="\t")
    assert row["name"] == f"'{text}"


@pytest.mark.parametrize(
    ("value", "expected"),
    [("sub-01", "sub-01"), ("", ""), ("a=b", "a=b"), (-1.5, -1.5), (0, 0), (None, "n/a")],
)
def test_other_values_stay(value, expected):
    assert cell(value) == expected


def test_each_size_has_its_row():
    summary = summarise(comparison().scores)
    lines = [line.split() for line in shown(size_table(summary)).splitlines()]
    rows = {line[0]: line[1:] for line in lines if line}
    kinds = ["recall", "precision", "F1"]
    assert [word for line in lines for word in line if word in kinds] == 2 * kinds
    rules = [word for line in lines for word in line if word in ("lenient", "strict")]
    assert rules == ["lenient"] * 3 + ["strict"] * 3
    for name, lenient, strict in zip(
        ("<5", "5-10", "10-15", ">15"),
        summary.lenient_by_size,
        summary.strict_by_size,
        strict=True,
    ):
        rates = [
            "–" if value is None else f"{value:.3f}"
            for one in (lenient, strict)
            for value in (one.recall, one.precision, one.f1)
        ]
        assert rows[name] == [str(lenient.n_reference), str(lenient.n_predicted), *rates]
