"""Length and thickness of single PVS, from their voxels."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Moments:
    """Position and spread of components, gathered in one pass over the volume.

    Attributes
    ----------
    voxels, ids
        (n,): position in C order of each voxel of a component, and the component's number.
    sizes
        (N + 1,): number of voxels in components 0 to N; 0 for the background.
    centres
        (N + 1, 3): mean voxel.
    variances
        (N + 1, 3): along the principal directions, mm², the largest last, including the variance
        within a voxel.
    """

    voxels: NDArray[np.intp]
    ids: NDArray[np.integer]
    sizes: NDArray[np.signedinteger]
    centres: NDArray[np.float64]
    variances: NDArray[np.floating]


def moments(labels: NDArray[np.integer], edges: NDArray[np.floating]) -> Moments:
    """Measure how far the voxels of each component spread.

    Parameters
    ----------
    labels
        (X, Y, Z): 0 background, n the n-th component.
    edges
        (3, 3): edges of a voxel, mm, in the columns, as in an affine; at any angles.
    """
    voxels = np.flatnonzero(labels > 0)  # many times faster on booleans
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
    spread = np.linalg.eigvalsh(edges @ covariance @ edges.T)
    return Moments(voxels, ids, sizes, np.stack(means, -1), spread)


def rod(variance: float, volume: float) -> tuple[float, float]:
    """Length and diameter of a PVS, taken as a straight rod of the same spread and volume.

    The points of a rod have a variance of length²/12 along it. A curved PVS is slightly longer; see
    ``benchmarks/lengths.py`` for the errors on synthetic PVS.

    Parameters
    ----------
    variance
        The largest of `Moments.variances`, mm².
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


def rod_of(points: NDArray[np.integer], edges: NDArray[np.floating]) -> tuple[float, float]:
    """Length and diameter of one PVS, as `rod`.

    Parameters
    ----------
    points
        (n, 3), its voxels.
    edges
        (3, 3): of a voxel, mm, as an affine has them in its columns.

    Returns
    -------
    Both in mm.
    """
    covariance = np.cov(points, rowvar=False, bias=True) + np.eye(3) / 12
    variance = float(np.linalg.eigvalsh(edges @ covariance @ edges.T)[-1])
    return rod(variance, len(points) * abs(float(np.linalg.det(edges))))
