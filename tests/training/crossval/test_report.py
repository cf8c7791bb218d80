import numpy as np
import pytest

from napari_pvs.errors import InputError
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.crossval import report
from napari_pvs.training.crossval.jobs import plan


def config(study, **values):
    small = {"epochs": 2, "steps": 2, "batch": 2, "patch": (8,), "warmup": 1, "device": "cpu"}
    return TrainingConfig(study=study, **(small | values))


def row(method, subject, dsc, seed=0, avd=10.0):
    values = {"dsc": dsc, "avd_percent": avd, "recall": 0.5, "precision": 0.5, "lenient_f1": 0.5}
    counts = {"count_predicted": 10 * dsc, "count_reference": 10 * dsc, "ceiling_dsc": None}
    return report.Row(method, seed, 1, subject, values | counts)


def test_seeds_are_averaged_before_subjects():
    rows = [row("m2ss", "a", 0.2), row("m2ss", "a", 0.4, 1), row("m2ss", "b", 0.7, avd=None)]
    assert report.by_subject(rows, "m2ss", "dsc") == pytest.approx({"a": 0.3, "b": 0.7})
    assert list(report.by_subject(rows, "m2ss", "avd_percent")) == ["a"]
    assert "| m2ss | 0.500 ± 0.283 |" in report.table(rows)


def test_differences_are_paired_and_bootstrapped():
    rng = np.random.default_rng(1)
    rows = []
    for n in range(12):
        base = rng.uniform(0.2, 0.8)
        rows.append(row("supervised-multi", f"s{n}", base))
        rows.append(row("m2ss", f"s{n}", base + 0.05 + rng.normal(0, 0.01)))
    (gap,) = report.differences(rows)
    assert (gap.method, gap.other, gap.n) == ("m2ss", "supervised-multi", 12)
    assert gap.mean == pytest.approx(0.05, abs=0.01)
    assert gap.mean - 0.02 < gap.low < gap.mean < gap.high < gap.mean + 0.02
    few = report.differences(rows[:4])
    assert few[0].low is None


def test_sessions_of_a_person_are_not_persons():
    rows = [
        row(
            method,
            f"sub-{n}_ses-{session}",
            0.5 + (method == "m2ss") * (0.01 * n + 0.001 * session),
        )
        for method in ("supervised-multi", "m2ss")
        for n in range(5)
        for session in range(4)
    ]
    (gap,) = report.differences(rows)
    (alone,) = report.differences([one for one in rows if one.subject.endswith("ses-0")])
    assert gap.n == alone.n == 5
    assert gap.high - gap.low == pytest.approx(alone.high - alone.low, rel=1e-3)
    assert "(5 persons)" in report.report(rows)


def test_damaged_scores_are_named(make_study, tmp_path):
    jobs = plan(config(make_study(3)), tmp_path / "cv", ("supervised-multi",), 3, 1)
    jobs[0].out.mkdir(parents=True)
    (jobs[0].out / "scores.json").write_text("[{")
    with pytest.raises(InputError, match=r"scores.json is damaged.*remove it"):
        report.collect(jobs)


def test_tsv():
    text = report.to_tsv([row("m2ss", "a", 0.25, avd=None)])
    header, line = text.splitlines()
    assert header.split("\t")[:5] == ["method", "seed", "fold", "subject", "dsc"]
    assert line.split("\t")[:6] == ["m2ss", "0", "1", "a", "0.25", "n/a"]
