"""How much of the unlabelled brains is likely PVS, and which thresholds find that much.

Distribution alignment (Berthelot et al., ReMixMatch, ICLR 2020), adapted to few labels, which give
only a rough idea of the distribution: a threshold moves just far enough to find a likely share.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_pvs.study.bids import means_of_persons
from napari_pvs.training.data.prepared import PreparedSubject

BINS = np.linspace(0, 1, 201)
"""Edges of the probability bins; every threshold is one of them."""

_ALLOWED = 0.02, 0.98
_SPREAD = 0.6  # SD of the log PVS volume between persons; their volumes vary by 50 to 65 %
_WORTH = 4  # labelled persons; so much does that count beside what the labels tell of the spread


def burden(subjects: Sequence[PreparedSubject], others: int) -> tuple[float, float]:
    """Return the likely range of the share of the brain that is PVS in the average other person.

    That is the mean over the labelled persons, plus and minus two standard errors, on a
    logarithmic scale, of the difference between two such groups: the labelled persons, and
    ``others`` more. What lies beyond is not chance: the network finds too little there, or too
    much. The sessions of a person are averaged.
    """
    shares = means_of_persons(
        (one.name, float(one.label.sum() / max(1, one.brain.sum())))
        for one in subjects
        if one.label is not None
    )
    logs = np.log(shares[shares > 0])
    seen = max(0, len(logs) - 1)
    squares = float(np.square(logs - logs.mean()).sum()) if seen else 0.0
    variance = (_WORTH * _SPREAD**2 + squares) / (_WORTH + seen)
    mean = float(shares.mean())
    factor = float(np.exp(2 * np.sqrt(variance * (1 / len(shares) + 1 / max(1, others)))))
    return mean / factor, mean * factor


def above(found: NDArray[np.float32], brain: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the share of a brain that is PVS at each threshold in ``BINS`` except the last.

    Parameters
    ----------
    found
        Probability of PVS, 0 outside the brain.
    brain
        Brain mask of the same shape.
    """
    counts, _ = np.histogram(found[found > 0], BINS)
    return np.asarray(counts[::-1].cumsum()[::-1] / max(1, int(brain.sum())), np.float64)


def likely(
    thresholds: NDArray[np.float64], shares: NDArray[np.float64], burden: tuple[float, float]
) -> NDArray[np.bool_]:
    """Return which thresholds find a likely share or, if none does, come closest to it.

    Parameters
    ----------
    thresholds
        Each one of ``BINS``.
    shares
        As from `above`, mean over scans.
    burden
        Lowest and highest likely share of the brain.
    """
    found = shares[np.searchsorted(BINS, thresholds - 1e-6)]
    away = np.maximum(burden[0] - found, found - burden[1]).clip(0)
    return np.asarray(away == away.min())


def aligned(threshold: float, shares: NDArray[np.float64], burden: tuple[float, float]) -> float:
    """Return the threshold closest to a given one that finds a likely share.

    Parameters
    ----------
    threshold
        It is returned if it finds a likely share itself.
    shares
        As from `above`, mean over scans.
    burden
        Lowest and highest likely share of the brain.
    """
    share = float(np.interp(threshold, BINS[:-1], shares))
    wanted = float(np.clip(share, *burden))
    if wanted == share:
        return threshold
    closest = int(np.abs(shares - wanted).argmin())
    return float(np.clip(BINS[closest], *_ALLOWED))
