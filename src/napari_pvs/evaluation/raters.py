"""Agreement of two raters: per PVS and per voxel in one subject, over subjects in a cohort."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.evaluation.agreement import icc_a1
from napari_pvs.evaluation.overlap import masks_inside, overlap
from napari_pvs.scans.masks import Mask, connected_components


@dataclass(frozen=True)
class Contingency:
    """Who has which PVS: the four cells of two raters' yes and no.

    Attributes
    ----------
    both
        PVS that both raters have.
    only_first, only_second
        PVS that one rater has and the other does not.
    neither
        PVS of a prediction that neither rater has; None if there is no prediction, because what
        nobody has marked cannot be counted then.
    """

    both: int
    only_first: int
    only_second: int
    neither: int | None = None

    @property
    def n(self) -> int:
        """All PVS that were counted."""
        return self.both + self.only_first + self.only_second + (self.neither or 0)

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa (Cohen 1960, Educ Psychol Meas 20:37).

        None without `neither`, and if both raters gave the same answer to everything.
        """
        if self.neither is None or not self.n:
            return None
        yes = self.both + self.only_first, self.both + self.only_second
        no = self.n - yes[0], self.n - yes[1]
        observed = (self.both + self.neither) / self.n
        chance = (yes[0] * yes[1] + no[0] * no[1]) / self.n**2
        return None if chance == 1 else (observed - chance) / (1 - chance)

    @property
    def positive_agreement(self) -> float | None:
        """Share of the PVS that were marked which both have: 2 both / (first + second).

        What kappa becomes as the number of places without PVS grows (Hripcsak & Rothschild 2005,
        J Am Med Inform Assoc 12:296), so it needs no `neither`. None if no PVS was marked.
        """
        marked = 2 * self.both + self.only_first + self.only_second
        return 2 * self.both / marked if marked else None

    def __add__(self, other: "Contingency") -> "Contingency":
        """Pool the PVS of two subjects; without `neither` in one there is none in the sum."""
        known = self.neither is not None and other.neither is not None
        return Contingency(
            self.both + other.both,
            self.only_first + other.only_first,
            self.only_second + other.only_second,
            (self.neither or 0) + (other.neither or 0) if known else None,
        )


@dataclass(frozen=True)
class RaterScore:
    """How two raters agree about one subject.

    If neither marked anything, the DSC is 1.
    """

    subject: str
    pvs: Contingency
    dsc: float
    count_first: int
    count_second: int
    volume_first_mm3: float
    volume_second_mm3: float


def score_raters(
    first: NDArray[Any],
    second: NDArray[Any],
    voxel_volume: float,
    *,
    subject: str,
    prediction: NDArray[Any] | None = None,
) -> RaterScore:
    """Compare the labels of two raters.

    Parameters
    ----------
    first, second
        3D masks of the same shape; above 0 is PVS.
    voxel_volume
        In mm³.
    subject
        Name in the tables.
    prediction
        Mask that both have seen, or could have: its PVS are what a rater may have turned down.

    Raises
    ------
    ValueError
        The shapes differ.
    """
    one, two = masks_inside(first, second, None)
    voxels = overlap(one, two, voxel_volume)
    pvs, counts = contingency(one, two, prediction)
    return RaterScore(
        subject=subject,
        pvs=pvs,
        dsc=voxels.dsc,
        count_first=counts[0],
        count_second=counts[1],
        volume_first_mm3=voxels.volume_predicted_mm3,
        volume_second_mm3=voxels.volume_reference_mm3,
    )


def contingency(
    first: NDArray[Any], second: NDArray[Any], prediction: NDArray[Any] | None = None
) -> tuple[Contingency, tuple[int, int]]:
    """Count who has which PVS, and how many each rater has.

    PVS are 26-connected. Both have one if their voxels overlap; PVS that overlap the same one, as
    where one rater has drawn two pieces, count once.

    Parameters
    ----------
    first, second, prediction
        3D masks of the same shape; above 0 is PVS.

    Examples
    --------
    >>> first = np.array([1, 1, 0, 1, 0, 0, 0])[None, None]
    >>> second = np.array([0, 1, 0, 0, 0, 1, 0])[None, None]
    >>> contingency(first, second)[0]
    Contingency(both=1, only_first=1, only_second=1, neither=None)
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    one, two = first > 0, second > 0
    (label_one, n_one), (label_two, n_two) = _numbered(one), _numbered(two)
    common = one & two
    at_one, at_two = label_one[common] - 1, label_two[common] - 1
    n = n_one + n_two
    edges = coo_array((np.ones(len(at_one), bool), (at_one, n_one + at_two)), shape=(n, n))
    _, group = connected_components(edges, directed=False)
    has_one = np.zeros(n, bool)
    has_two = np.zeros(n, bool)
    has_one[group[:n_one]] = True
    has_two[group[n_one:]] = True
    neither = None
    if prediction is not None:
        label, n_found = _numbered(prediction > 0)
        touched = np.unique(label[one | two])
        neither = n_found - np.count_nonzero(touched)
    table = Contingency(
        int(np.count_nonzero(has_one & has_two)),
        int(np.count_nonzero(has_one & ~has_two)),
        int(np.count_nonzero(has_two & ~has_one)),
        None if neither is None else int(neither),
    )
    return table, (n_one, n_two)


def _numbered(mask: Mask) -> tuple[NDArray[np.int64], int]:
    label, n = connected_components(mask)
    return np.asarray(label, np.int64), n


@dataclass(frozen=True)
class RaterSummary:
    """How two raters agree over a cohort; None where a measure is undefined.

    Attributes
    ----------
    n
        Subjects.
    pvs
        Of all subjects; without `neither` if one has no prediction.
    dsc
        Mean over subjects.
    count_icc, volume_icc
        ICC(2,1) of the counts and the volumes; None for fewer than 3 subjects.
    """

    n: int
    pvs: Contingency
    dsc: float
    count_icc: float | None
    volume_icc: float | None


def summarise_raters(scores: Sequence[RaterScore]) -> RaterSummary:
    """Summarise a cohort.

    Raises
    ------
    ValueError
        There are no scores.
    """
    if not scores:
        raise ValueError("there are no scores to summarise")
    return RaterSummary(
        n=len(scores),
        pvs=reduce(add, (one.pvs for one in scores)),
        dsc=float(np.mean([one.dsc for one in scores])),
        count_icc=icc_a1([(one.count_first, one.count_second) for one in scores]),
        volume_icc=icc_a1([(one.volume_first_mm3, one.volume_second_mm3) for one in scores]),
    )
