"""Where to cut a connected PVS in two."""

import itertools

import numpy as np
from numpy.typing import NDArray

Ends = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]

_NEAR_MM = 2.0


def halves(
    mask: NDArray[np.bool_],
    voxel_size: tuple[float, float, float],
    near: tuple[int, int, int] | None = None,
) -> NDArray[np.bool_]:
    """Cut a connected mask in two at its thinnest place.

    The voxels are ordered along the mask by the second eigenvector of their neighbourhood graph
    (Fiedler 1973), which runs along a tube, through the neck of a dumbbell and across two tubes
    that touch; then they are cut where fewest neighbours are parted.

    Parameters
    ----------
    mask
        (X, Y, Z), one 26-connected part of two voxels or more.
    voxel_size
        In mm.
    near
        A voxel; the cut is made within 2 mm of it. Where None, parts as equal as can be count as
        well (least conductance).

    Returns
    -------
    (X, Y, Z), true in one of the halves.
    """
    points = np.argwhere(mask)
    n = len(points)
    one, two, weight = _edges(mask, voxel_size)
    rank = np.empty(n, np.intp)
    rank[np.argsort(_fiedler(n, one, two, weight), kind="stable")] = np.arange(n)
    # an edge is parted by every cut between the ranks of its ends
    parted = np.zeros(n + 1)
    np.add.at(parted, np.minimum(rank[one], rank[two]) + 1, weight)
    np.add.at(parted, np.maximum(rank[one], rank[two]) + 1, -weight)
    cut = np.cumsum(parted)[1:n]  # cut[k]: between ranks k and k + 1
    if near is None:
        sizes = np.arange(1, n)
        best = int((cut / np.minimum(sizes, n - sizes)).argmin())
    else:
        distance = np.linalg.norm((points - np.array(near)) * voxel_size, axis=1)
        close = np.unique(np.clip(rank[distance <= max(_NEAR_MM, distance.min())], 0, n - 2))
        best = int(close[cut[close].argmin()])
    out = np.zeros(mask.shape, bool)
    out[tuple(points[rank > best].T)] = True
    return out


def _edges(mask: NDArray[np.bool_], voxel_size: tuple[float, float, float]) -> Ends:
    """Pairs of 26-neighbours by their order in the mask, closer ones weighing more."""
    number = np.full(np.array(mask.shape) + 2, -1, np.intp)
    number[1:-1, 1:-1, 1:-1][mask] = np.arange(np.count_nonzero(mask))
    inner = number[1:-1, 1:-1, 1:-1]
    shifts = [s for s in itertools.product((-1, 0, 1), repeat=3) if s > (0, 0, 0)]
    ones, twos, weights = [], [], []
    for shift in shifts:
        box = tuple(slice(1 + s, 1 + s + n) for s, n in zip(shift, mask.shape, strict=True))
        both = mask & (number[box] >= 0)
        ones.append(inner[both])
        twos.append(number[box][both])
        length = float(np.linalg.norm(np.multiply(shift, voxel_size)))
        weights.append(np.full(len(ones[-1]), min(voxel_size) / length))
    return np.concatenate(ones), np.concatenate(twos), np.concatenate(weights)


def _fiedler(
    n: int, one: NDArray[np.intp], two: NDArray[np.intp], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    from scipy.sparse import coo_array, diags_array
    from scipy.sparse.linalg import eigsh

    joined = coo_array((weight, (one, two)), shape=(n, n)).tocsr()
    joined = joined + joined.T
    laplacian = (diags_array(joined.sum(axis=1)) - joined).tocsc()
    if n < 50:
        vectors = np.linalg.eigh(laplacian.toarray())[1]
    else:  # a shift below 0, where the matrix is regular; the start makes it repeatable
        start = np.linspace(-1, 1, n)
        vectors = eigsh(laplacian, k=2, sigma=-1e-4, v0=start)[1]
    return np.asarray(vectors[:, 1], np.float64)
