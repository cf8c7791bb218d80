"""Agreement of two or more raters over subjects."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

MINIMUM_SUBJECTS = 3
"""With fewer subjects, agreement is meaningless and None."""


def concordance(x: ArrayLike, y: ArrayLike) -> float | None:
    """Lin's concordance correlation coefficient (CCC) of two raters.

    2 s_xy / (s_x² + s_y² + (mean_x - mean_y)²) with moments over n (Lin 1989, Biometrics 45:255).

    Parameters
    ----------
    x, y
        One number per subject each.

    Returns
    -------
    -1 to 1; None for fewer than 3 subjects, or when all numbers are equal.

    Raises
    ------
    ValueError
        The lengths differ.
    """
    ratings = _matrix([x, y]).T
    if len(ratings) < MINIMUM_SUBJECTS or not np.ptp(ratings) > 0:
        return None
    first, second = ratings.T
    spread = first.var() + second.var() + (first.mean() - second.mean()) ** 2
    covariance = np.mean((first - first.mean()) * (second - second.mean()))
    return float(2 * covariance / spread)


def icc_a1(ratings: ArrayLike) -> float | None:
    """Intraclass correlation ICC(A,1): two-way, absolute agreement, single rater.

    McGraw & Wong 1996 (Psychol Methods 1:30); the same number as Shrout & Fleiss's ICC(2,1).

    Parameters
    ----------
    ratings
        Shape (subjects, raters), at least two raters.

    Returns
    -------
    At most 1; None for fewer than 3 subjects, or when all numbers are equal.

    Raises
    ------
    ValueError
        The ratings are not a matrix with at least two raters.
    """
    table = _matrix(ratings)
    n, k = table.shape
    if k < 2:
        raise ValueError("an intraclass correlation needs at least two raters")
    if n < MINIMUM_SUBJECTS or not np.ptp(table) > 0:
        return None
    mean, subject, rater = table.mean(), table.mean(axis=1), table.mean(axis=0)
    between_subjects = k * np.sum((subject - mean) ** 2) / (n - 1)
    between_raters = n * np.sum((rater - mean) ** 2) / (k - 1)
    residual = table - subject[:, None] - rater[None] + mean
    error = np.sum(residual**2) / ((n - 1) * (k - 1))
    spread = between_subjects + (k - 1) * error + k / n * (between_raters - error)
    return float((between_subjects - error) / spread)


def _matrix(numbers: Any) -> NDArray[np.float64]:
    table = np.asarray(numbers, dtype=float)
    if table.ndim != 2:
        raise ValueError("the ratings must form a table of subjects and raters")
    return table
