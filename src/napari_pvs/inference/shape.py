"""How long and how thick single PVS are, from their voxels."""

import math

import numpy as np
from numpy.typing import NDArray


def variances(
    labels: NDArray[np.integer], edges: NDArray[np.floating]
) -> tuple[NDArray[np.signedinteger], NDArray[np.floating]]:
    """How many voxels each component has, and how far they spread.

    Parameters
    ----------
    labels
        (X, Y, Z): 0 background, n the n-th component.
    edges
        (3, 3): of a voxel, mm, as an affine has them in its columns; at any angles.

    Returns
    -------
    Voxels of the components 0 to N, that of the background 0, and (N + 1, 3): variance along their
    principal directions, mm², the largest last. A voxel has a variance of its own.
    """
    voxels = np.flatnonzero(labels > 0)  # of booleans, many times faster
    ids = np.take(labels, voxels)
    sizes = np.bincount(ids, minlength=1)
    count = np.maximum(sizes, 1)
    where = np.unravel_index(voxels, labels.shape)
    means = [np.bincount(ids, p, minlength=len(sizes)) / count for p in where]
    centred = [p - m[ids] for p, m in zip(where, means, strict=True)]
    covariance = np.zeros((len(sizes), 3, 3))
    for i in range(3):
        for j in range(3):
            products = np.bincount(ids, centred[i] * centred[j], minlength=len(sizes))
            covariance[:, i, j] = products / count
    covariance += np.eye(3) / 12
    return sizes, np.linalg.eigvalsh(edges @ covariance @ edges.T)


def rod(variance: float, volume: float) -> tuple[float, float]:
    """Length and diameter of a PVS: of the straight rod that spreads as far and has its volume.

    A rod's points have a variance of length²/12 along it. A curved PVS is a little longer; see
    ``benchmarks/lengths.py`` for the errors on synthetic PVS.

    Parameters
    ----------
    variance
        The largest of `variances`, mm².
    volume
        In mm³.

    Returns
    -------
    Both in mm.

    Examples
    --------
    >>> length, diameter = rod(variance=3.0, volume=6.0)
    >>> round(length, 3), round(diameter, 3)
    (6.0, 1.128)
    """
    length = math.sqrt(12 * variance)
    return length, math.sqrt(4 * volume / (math.pi * length))
