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


END_VOXELS = 0.5
"""How much of a PVS a mask leaves out, both ends together, in voxels: ends taper until they no
longer show. Chosen on synthetic PVS of 0.8 mm; of other seeds and voxel sizes the mean error is
below 0.1 mm too."""


def curved_lengths(
    points: NDArray[np.integer], ids: NDArray[np.integer], edges: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Length of each PVS along its course, however it is curved.

    The distance of every voxel from the end of its PVS is measured inside the PVS, from voxel to
    voxel (Dijkstra); these distances spread as far as the points of a rod do along it, so that the
    length is the root of 12 times their variance, as for `rod`. That needs no skeleton, which in a
    PVS one to three voxels wide loses its ends: see ``benchmarks/lengths.py`` for both.
    `END_VOXELS` are added.

    Parameters
    ----------
    points
        (n, 3), voxels, of which no two are the same.
    ids
        (n,): from 0 up, the PVS of each; a PVS is 26-connected.
    edges
        (3, 3): of a voxel, mm, in the columns, as in an affine.

    Returns
    -------
    (ids.max() + 1,), mm; of ids without a voxel and of PVS in several pieces, nan.

    Examples
    --------
    >>> corner = np.array([(0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 1, 0), (3, 2, 0), (3, 3, 0)])
    >>> curved_lengths(corner, np.zeros(6, int), np.eye(3)).round(1).tolist()
    [7.1]
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import dijkstra
    from scipy.spatial import cKDTree

    count = len(points)
    if not count:
        return np.empty(0)
    pairs = cKDTree(points).query_pairs(1.8, output_type="ndarray")  # less than two voxels apart
    first, second = pairs[ids[pairs[:, 0]] == ids[pairs[:, 1]]].T
    away = np.linalg.norm((points[first] - points[second]) @ edges.T, axis=1)
    graph = coo_matrix((away, (first, second)), shape=(count, count)).tocsr()

    def from_one_of_each(voxels: NDArray[np.intp]) -> NDArray[np.float64]:
        found = dijkstra(graph, directed=False, indices=voxels, min_only=True)
        return np.asarray(found, np.float64)

    known = np.unique(ids)
    far = from_one_of_each(np.unique(ids, return_index=True)[1])
    # the last voxel of each PVS in the order of distance is an end
    order = np.lexsort((far, ids))
    along = from_one_of_each(order[np.searchsorted(ids[order], known, side="right") - 1])
    sizes = np.bincount(ids)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(ids, along) / sizes
        variance = np.bincount(ids, (along - mean[ids]) ** 2) / sizes
    edge = float(np.cbrt(abs(np.linalg.det(edges))))
    return np.asarray(np.sqrt(12 * (variance + edge**2 / 12)) + END_VOXELS * edge)
