"""A cohort in a few numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np

from napari_pvs.evaluation.agreement import concordance, icc_a1
from napari_pvs.evaluation.compare import SubjectScore
from napari_pvs.evaluation.detection import Rates

MEASURES = (
    "dsc",
    "recall",
    "precision",
    "avd_percent",
    "surface_dsc",
    "auprc",
    "lenient_f1",
    "lenient_recall",
    "lenient_precision",
    "strict_f1",
    "strict_recall",
    "strict_precision",
    "count_predicted",
    "count_reference",
    "volume_predicted_mm3",
    "volume_reference_mm3",
    "ceiling_dsc",
)
"""Fields of a score that are averaged over subjects."""


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation over the subjects for whom a measure is defined."""

    mean: float | None
    """None when ``n`` is 0."""
    sd: float | None
    """Over n - 1; None when ``n`` is below 2."""
    n: int


@dataclass(frozen=True)
class Summary:
    """A cohort: moments of each measure, excluded subjects, agreement over subjects.

    CCC and ICC(A,1) are None for fewer than 3 subjects. For the rates by size, the PVS of all
    subjects are pooled, because a single subject has few large ones.
    """

    n: int
    n_both_empty: int
    """Subjects without PVS in either mask; they count in the means with a DSC and F1 of 1."""
    n_avd_excluded: int
    """Subjects with an empty reference, for which the AVD is undefined."""
    moments: dict[str, Moments]
    """By the names in ``MEASURES``."""
    count_ccc: float | None
    count_icc: float | None
    volume_ccc: float | None
    volume_icc: float | None
    lenient_by_size: tuple[Rates, ...]
    strict_by_size: tuple[Rates, ...]


def summarise(scores: Sequence[SubjectScore]) -> Summary:
    """Summarise a cohort.

    Raises
    ------
    ValueError
        There are no scores.
    """
    if not scores:
        raise ValueError("there are no scores to summarise")
    counts = [(one.count_predicted, one.count_reference) for one in scores]
    volumes = [(one.volume_predicted_mm3, one.volume_reference_mm3) for one in scores]
    return Summary(
        n=len(scores),
        n_both_empty=sum(one.both_empty for one in scores),
        n_avd_excluded=sum(one.avd_percent is None for one in scores),
        moments={name: _moments([getattr(one, name) for one in scores]) for name in MEASURES},
        count_ccc=concordance(*zip(*counts, strict=True)),
        count_icc=icc_a1(counts),
        volume_ccc=concordance(*zip(*volumes, strict=True)),
        volume_icc=icc_a1(volumes),
        lenient_by_size=_pooled([one.lenient_by_size for one in scores]),
        strict_by_size=_pooled([one.strict_by_size for one in scores]),
    )


def _moments(values: Sequence[float | None]) -> Moments:
    known = [value for value in values if value is not None]
    return Moments(
        mean=float(np.mean(known)) if known else None,
        sd=float(np.std(known, ddof=1)) if len(known) > 1 else None,
        n=len(known),
    )


def _pooled(tables: Sequence[tuple[Rates, ...]]) -> tuple[Rates, ...]:
    return tuple(reduce(add, rates) for rates in zip(*tables, strict=True))
