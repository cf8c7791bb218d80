"""The report of a cohort: how burden is distributed, who lies outside, how well masks agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np

from napari_pvs.burden.count import Burden, Counted
from napari_pvs.burden.regions import ALL
from napari_pvs.evaluation.compare import SubjectScore
from napari_pvs.evaluation.summary import summarise
from napari_pvs.report.page import render
from napari_pvs.report.trust import ORDER, Check, Light
from napari_pvs.scans.regions import ELSEWHERE

OUTLYING = 3.5
"""Modified z-score from which a subject is an outlier (Iglewicz & Hoaglin 1993)."""


@dataclass(frozen=True)
class Row:
    """What a cohort's page shows of a subject.

    Attributes
    ----------
    name, state
        As in the study.
    light, checks
        Of the report.
    counted
        PVS of the whole and of the regions.
    agreement
        Of the prediction with the label, where there are both.
    """

    name: str
    state: str
    light: Light
    checks: tuple[Check, ...]
    counted: Counted
    agreement: SubjectScore | None

    @property
    def burden(self) -> tuple[Burden, ...]:
        """Rows of the whole and of the regions."""
        return self.counted.burden


def report(
    title: str,
    rows: Sequence[Row],
    pages: dict[str, str],
    left_out: Sequence[tuple[str, str]] = (),
) -> str:
    """Make the page of a cohort: one HTML file that needs nothing else.

    Parameters
    ----------
    title
        Name of the study.
    rows
        Of its subjects.
    pages
        File name of the page of each subject, beside this one.
    left_out
        Subjects that are not shown, each with the reason.
    """
    wholes = [next(one for one in row.burden if one.region == ALL) for row in rows]
    counts = np.array([one.count or 0 for one in wholes], float)
    volumes = np.array([one.volume_mm3 or 0.0 for one in wholes], float)
    scores = np.abs(_modified_z(np.log1p(volumes)))
    scores = np.maximum(scores, np.abs(_modified_z(np.log1p(counts))))
    # outliers first, then what is less to be trusted
    order = sorted(
        range(len(rows)),
        key=lambda at: (
            -int(scores[at] >= OUTLYING),
            -ORDER.index(rows[at].light),
            -float(scores[at]),
            rows[at].name,
        ),
    )
    subjects = [
        {
            "name": rows[at].name,
            "page": quote(pages[rows[at].name]) if rows[at].name in pages else None,
            "state": rows[at].state,
            "light": rows[at].light,
            "why": "; ".join(
                f"{check.what}: {check.value}"
                for check in rows[at].checks
                if check.light == rows[at].light != "green"
            ),
            "outlier": bool(scores[at] >= OUTLYING),
            "count": f"{counts[at]:.0f}",
            "volume": f"{volumes[at]:.0f}",
            "percent": _shown(wholes[at].volume_percent, ".3f"),
            "dsc": _dsc(rows[at].agreement),
        }
        for at in order
    ]
    lights = [row.light for row in rows]
    return render(
        "cohort.html",
        title=title,
        subjects=subjects,
        facts=[
            {"what": "Subjects", "value": str(len(rows))},
            {"what": "Median PVS", "value": _middle(counts, "")},
            {"what": "Median volume", "value": _middle(volumes, " mm³")},
            {"what": "Outliers", "value": str(int((scores >= OUTLYING).sum()))},
            {"what": "Not to be relied on", "value": str(lights.count("red"))},
        ],
        histograms=[
            _spread("Number of PVS", counts.tolist()),
            _spread("Volume of PVS, mm³", volumes.tolist()),
        ],
        regional=_regional(rows),
        agreement=_agreement(rows),
        left_out=list(left_out),
        outlying=OUTLYING,
    )


def _modified_z(values: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, Any]:
    """Distance from the median in units of the spread, which outliers do not move; 0 of few."""
    if len(values) < 5:
        return np.zeros(len(values))
    away = values - np.median(values)
    spread = np.median(np.abs(away))
    if spread == 0:
        spread = 1.2533 / 1.4826 * np.mean(np.abs(away))
    return np.asarray(0.6745 * away / spread if spread > 0 else 0 * away)


def _shown(value: float | None, style: str) -> str:
    return "–" if value is None else format(value, style)


def _dsc(agreement: SubjectScore | None) -> str:
    return _shown(None if agreement is None else agreement.dsc, ".2f")


def _middle(values: np.ndarray[Any, Any], unit: str) -> str:
    return f"{np.median(values):.0f}{unit}" if len(values) else "–"


def _spread(title: str, values: Sequence[float]) -> dict[str, Any]:
    """Return a histogram of at most ten classes with round limits."""
    top = max(values, default=0) or 1
    step = top / 8
    unit = 10 ** np.floor(np.log10(step))
    step = float(next(unit * n for n in (1, 2, 2.5, 5, 10) if unit * n >= step))
    edges = [step * n for n in range(int(top // step) + 2)]
    counts = np.histogram(values, edges)[0].tolist()
    told = "; ".join(
        f"{low:g} to {high:g}: {n}" for low, high, n in zip(edges, edges[1:], counts, strict=False)
    )
    return {
        "title": title,
        "counts": counts,
        "edges": [f"{edge:g}" for edge in edges],
        "alt": f"Histogram of {title} over subjects. {told}.",
        "caption": f"Number of subjects by {title[:1].lower()}{title[1:]}.",
    }


def _regional(rows: Sequence[Row]) -> list[dict[str, str]]:
    """Return for each region, of both sides and each, what lies in the middle of the subjects."""
    found: dict[tuple[str, str], list[tuple[int, float | None]]] = {}
    missing: dict[tuple[str, str], int] = {}
    for row in rows:
        for one in row.burden:
            key = one.region, one.side
            if one.count is None:
                missing[key] = missing.get(key, 0) + 1
            else:
                found.setdefault(key, []).append((one.count, one.count_per_ml))
    keys = list(dict.fromkeys((one.region, one.side) for row in rows for one in row.burden))
    out = []
    for key in keys:
        counts = [n for n, _ in found.get(key, ())]
        if key[0] == ELSEWHERE and not any(counts):
            continue
        dense = [value for _, value in found.get(key, ()) if value is not None]
        quarters = np.percentile(counts, (25, 50, 75)) if counts else None
        out.append(
            {
                "region": key[0],
                "side": key[1],
                "n": str(len(counts)),
                "missing": str(missing.get(key, 0)),
                "median": "–" if quarters is None else f"{quarters[1]:.0f}",
                "middle": "–" if quarters is None else f"{quarters[0]:.0f} to {quarters[2]:.0f}",
                "dense": f"{np.median(dense):.2f}" if dense else "–",
            }
        )
    return out


def _agreement(rows: Sequence[Row]) -> dict[str, str] | None:
    scores = [row.agreement for row in rows if row.agreement is not None]
    if not scores:
        return None
    found = summarise(scores)
    moments = found.moments

    def both(name: str, style: str) -> str:
        one = moments[name]
        if one.mean is None:
            return "–"
        spread = "" if one.sd is None else f" ± {one.sd:{style}}"
        return f"{one.mean:{style}}{spread}"

    return {
        "n": str(found.n),
        "dsc": both("dsc", ".3f"),
        "recall": both("recall", ".3f"),
        "avd": both("avd_percent", ".0f"),
        "f1": both("lenient_f1", ".3f"),
        "count_ccc": _shown(found.count_ccc, ".3f"),
        "volume_ccc": _shown(found.volume_ccc, ".3f"),
    }
