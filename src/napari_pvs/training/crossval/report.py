"""The report of a cross-validation: Table 1, scores per subject, differences between methods."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from napari_pvs import json_files
from napari_pvs.errors import InputError
from napari_pvs.evaluation.agreement import concordance
from napari_pvs.evaluation.tables import tsv
from napari_pvs.study.bids import means_of_persons
from napari_pvs.training.crossval.jobs import SCORES, Job
from napari_pvs.training.methods import METHODS

_REMEDY = "remove it and run the cross-validation again"
MEASURES = ("dsc", "avd_percent", "recall", "precision", "lenient_f1")
CEILING = "ceiling_dsc"
TITLES = ("DSC", "AVD %", "recall", "precision", "PVS F1", "CCC of counts", "subjects", "runs")


class _Scored(BaseModel):
    """The part of a subject's scores that is read here."""

    model_config = ConfigDict(allow_inf_nan=False)

    subject: str
    dsc: float
    avd_percent: float | None
    recall: float | None
    precision: float | None
    lenient_f1: float
    count_predicted: float
    count_reference: float
    ceiling_dsc: float | None


@dataclass(frozen=True)
class Row:
    """Scores of one run on one subject."""

    method: str
    seed: int
    fold: int
    subject: str
    values: dict[str, float | None]


@dataclass(frozen=True)
class Difference:
    """DSC of a method minus that of another, on the same persons.

    Attributes
    ----------
    method, other
        Names of the methods.
    mean, low, high
        Mean of the paired differences and its 95 % bootstrap interval (BCa) over persons, each
        the mean over their sessions; the interval is None for fewer than 3 persons or if all
        differences are equal.
    n
        Number of persons.
    """

    method: str
    other: str
    mean: float
    low: float | None
    high: float | None
    n: int


def collect(jobs: Sequence[Job]) -> list[Row]:
    """Read the scores of finished jobs.

    Raises
    ------
    InputError
        No job is finished, or a scores file is damaged.
    """
    rows = []
    for job in jobs:
        if not job.done:
            continue
        path = job.out / SCORES
        try:
            scores = json_files.read(path, list[_Scored], _REMEDY)
        except FileNotFoundError:
            continue
        method, seed = job.config.method, job.config.seed
        for one in scores:
            values = one.model_dump(exclude={"subject"})
            rows.append(Row(method, seed, job.fold, one.subject, values))
    if not rows:
        raise InputError("no run of this cross-validation has finished yet.")
    return rows


def by_subject(rows: Sequence[Row], method: str, measure: str) -> dict[str, float]:
    """Average a measure over seeds, by subject; subjects without it are left out."""
    found: dict[str, list[float]] = {}
    for row in rows:
        value = row.values[measure]
        if row.method == method and value is not None:
            found.setdefault(row.subject, []).append(value)
    return {subject: float(np.mean(values)) for subject, values in sorted(found.items())}


def table(rows: Sequence[Row]) -> str:
    """Return Table 1 as Markdown: mean ± SD over subjects, each averaged over seeds."""
    lines = ["| method | " + " | ".join(TITLES) + " | paper, other data: DSC, AVD %, recall |"]
    lines.append("|---" * (len(TITLES) + 2) + "|")
    for method in _methods(rows):
        cells = []
        for measure in MEASURES:
            values = list(by_subject(rows, method, measure).values())
            cells.append(_moments(values, 1 if measure == "avd_percent" else 3))
        predicted = by_subject(rows, method, "count_predicted")
        reference = by_subject(rows, method, "count_reference")
        ccc = concordance(list(predicted.values()), list(reference.values()))
        runs = {(row.seed, row.fold) for row in rows if row.method == method}
        cells += ["-" if ccc is None else f"{ccc:.3f}", str(len(predicted)), str(len(runs))]
        lines.append(f"| {method} | " + " | ".join(cells) + f" | {METHODS[method].paper or '-'} |")
    return "\n".join(lines) + "\n"


def differences(rows: Sequence[Row]) -> list[Difference]:
    """Compare the DSC of each pair of methods on the persons that both were tested on."""
    from itertools import combinations

    out = []
    for other, method in combinations(_methods(rows), 2):
        one, two = by_subject(rows, method, "dsc"), by_subject(rows, other, "dsc")
        gaps = means_of_persons((name, one[name] - two[name]) for name in one if name in two)
        if len(gaps):
            low, high = interval(gaps)
            out.append(Difference(method, other, float(gaps.mean()), low, high, len(gaps)))
    return out


def to_tsv(rows: Sequence[Row]) -> str:
    """Return a table with one line per run and subject."""
    names = [f.name for f in fields(Row) if f.name != "values"]
    lines = ({name: getattr(row, name) for name in names} | row.values for row in rows)
    return tsv([*names, *rows[0].values], lines)


def report(rows: Sequence[Row]) -> str:
    """Return table and differences as Markdown."""
    lines = [table(rows)]
    ceilings = [v for m in _methods(rows)[:1] for v in by_subject(rows, m, CEILING).values()]
    if ceilings:
        lines.append(f"- Oracle ceiling of the DSC: {_moments(ceilings, 3)}")
    for gap in differences(rows):
        interval = "" if gap.low is None else f", 95 % interval {gap.low:+.3f} to {gap.high:+.3f}"
        lines.append(
            f"- DSC of {gap.method} minus {gap.other}: {gap.mean:+.3f}{interval} ({gap.n} persons)"
        )
    return "\n".join(lines) + "\n"


def write(rows: Sequence[Row], out: Path) -> list[Path]:
    """Write ``table1.md`` and ``subjects.tsv`` into a folder."""
    from napari_pvs.files import atomic_set, write_text

    texts = {"table1.md": report(rows), "subjects.tsv": to_tsv(rows)}
    with atomic_set(Path(out), tuple(texts)) as folder:
        for name, text in texts.items():
            write_text(folder / name, text)
    return [Path(out) / name for name in texts]


def _moments(values: Sequence[float], digits: int) -> str:
    if len(values) < 2:
        return f"{values[0]:.{digits}f}" if values else "-"
    return f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f}"


def _methods(rows: Sequence[Row]) -> list[str]:
    return [name for name in METHODS if any(row.method == name for row in rows)]


def interval(gaps: np.ndarray[Any, Any]) -> tuple[float | None, float | None]:
    """95 % bootstrap interval (BCa) of the mean of paired differences, (n,); see `Difference`."""
    from scipy.stats import bootstrap

    if len(gaps) < 3 or np.ptp(gaps) == 0:
        return None, None
    rng = np.random.default_rng(0)
    found = bootstrap((gaps,), np.mean, n_resamples=9999, rng=rng).confidence_interval
    return float(found.low), float(found.high)
