"""Point and click: add, remove, split and regrow single PVS of a mask.

A PVS is a 26-connected component of the mask. The functions change nothing themselves; they return
the voxels to change, so that a viewer can apply them as one undoable step. Arrays may have any axis
order, the same for all arguments of a call.
"""

import itertools
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_pvs.correction.evidence import LENGTH_MM, Evidence, Source
from napari_pvs.correction.neighbourhood import (
    SNAP_MM,
    Point,
    VoxelSize,
    ball,
    component_at,
    connected,
    inside,
    snap,
    unravel,
)
from napari_pvs.errors import InputError
from napari_pvs.scans.masks import Box

LARGEST_MM3 = 150.0
"""No PVS is larger: it would be 3 mm wide along all of its 20 mm."""
WIDTH_MM = 3.0
"""Widest possible PVS; anything wider is a ventricle, a sulcus or a lesion."""
_TIGHTER = (1.0, 1.25, 1.5)  # separates neighbours, while a solid blob stays wide
_STEP = 1 / 3  # share of its volume that a PVS gains or loses when regrown


class NothingFound(InputError):
    """There is no PVS at the point; other evidence may show one."""


@dataclass(frozen=True, eq=False)
class Change:
    """Voxels to set to one value.

    Attributes
    ----------
    indices
        The voxels, as a numpy index of three arrays.
    value
        1 to add them to the mask, 0 to remove them.
    source
        The evidence they were grown from; None if nothing was grown.
    """

    indices: tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]
    value: Literal[0, 1]
    source: Source | None = None


def grow(point: Point, evidence: Evidence, mask: NDArray[Any], voxel_size: VoxelSize) -> Change:
    """Add the PVS at a point: connected voxels that reach a share of the evidence at the peak.

    The peak is looked for within 1.5 mm of the point; for the share see `Evidence.level`. The
    growth keeps one voxel away from other PVS, leaves out what is wider than 3 mm, and begins anew
    at a higher share where the result would be longer than 20 mm or larger than 150 mm³.

    Parameters
    ----------
    point
        Voxel index.
    evidence
        Around the point.
    mask
        (X, Y, Z), whole volume; above 0 is PVS.
    voxel_size
        In mm.

    Raises
    ------
    NothingFound
        The evidence has no peak there, or only structures too wide or large for a PVS.
    InputError
        The point already belongs to a PVS.
    """
    require_background(point, mask)
    free = _free(mask[evidence.box] > 0)
    at = inside(point, evidence.box)
    near = ball(free.shape, at, SNAP_MM, voxel_size) & free
    seed = unravel(int(np.where(near, evidence.values, -np.inf).argmax()), free.shape)
    peak = float(evidence.values[seed]) if near[seed] else 0.0
    if peak < evidence.floor:
        raise NothingFound("nothing here looks like a PVS; paint it if you are sure it is one.")
    region = None
    for tighter in _TIGHTER:
        above = (evidence.values >= evidence.level(peak, tighter)) & free
        found = _narrow(connected(above, seed), seed, voxel_size)
        if found is not None:
            region = found
            if _fits(region, voxel_size):
                return _change(region, evidence.box, 1, evidence.source)
    if region is None:
        raise NothingFound(
            f"the structure here is wider than {WIDTH_MM:g} mm, too wide for a PVS; paint it if "
            "you are sure it is one."
        )
    region = connected(region & ball(free.shape, seed, LENGTH_MM / 2, voxel_size), seed)
    volume = np.count_nonzero(region) * float(np.prod(voxel_size))
    if volume > LARGEST_MM3:
        raise NothingFound(
            f"what lies here is {volume:.0f} mm³ large, and no PVS is; paint it if you are sure "
            "that it is one."
        )
    return _change(region, evidence.box, 1, evidence.source)


def require_background(point: Point, mask: NDArray[Any]) -> None:
    """Refuse a voxel that is already part of a PVS.

    Raises
    ------
    InputError
        It is.
    """
    if mask[point]:
        raise InputError("this voxel already belongs to a PVS; click beside it, or regrow it.")


def remove(point: Point, mask: NDArray[Any], voxel_size: VoxelSize) -> Change:
    """Remove the PVS at a point.

    Raises
    ------
    InputError
        There is no PVS within 1.5 mm.
    """
    return _change(*component_at(snap(point, mask, voxel_size), mask), 0)


def split(point: Point, mask: NDArray[Any], voxel_size: VoxelSize) -> Change:
    """Cut the PVS at a point in two where it is thinnest near the point.

    Of the two sides, the voxels of one that touch the other are removed.

    Raises
    ------
    InputError
        There is no PVS within 1.5 mm, or it is too small.
    """
    from scipy.ndimage import binary_dilation

    point = snap(point, mask, voxel_size)
    whole, box = component_at(point, mask)
    if np.count_nonzero(whole) > 2:
        one = halves(whole, voxel_size, inside(point, box))
        two = whole & ~one
        cube = np.ones((3, 3, 3), bool)
        cuts = [(a & binary_dilation(b, cube), a) for a, b in ((one, two), (two, one))]
        left = [(np.count_nonzero(cut), cut) for cut, side in cuts if (side & ~cut).any()]
        if left:
            return _change(min(left, key=lambda pair: pair[0])[1], box, 0)
    raise InputError("this PVS is too small to be split; erase a voxel of it instead.")


def regrow(
    point: Point,
    evidence: Evidence,
    mask: NDArray[Any],
    voxel_size: VoxelSize,
    towards: Literal["more", "less"],
) -> Change:
    """Make the PVS at a point larger or smaller by about a third.

    ``more`` adds the neighbouring voxels with the most evidence, except those that touch another
    PVS; ``less`` removes the voxels with the least, and whatever that cuts off.

    Parameters
    ----------
    point, mask, voxel_size
        As in `grow`.
    evidence
        Around the point; voxels outside its box do not change.

    Raises
    ------
    InputError
        There is no PVS within 1.5 mm, it has no room to grow, or nothing of it would be left.
    """
    from scipy.ndimage import binary_dilation

    whole, box = component_at(snap(point, mask, voxel_size), mask)
    count = max(1, round(_STEP * np.count_nonzero(whole)))
    own = _move(whole, box, evidence.box)
    scores = evidence.values.ravel()
    if towards == "more":
        present = mask[evidence.box] > 0
        room = binary_dilation(own, np.ones((3, 3, 3), bool)) & ~present & _free(present & ~own)
        ranked = np.flatnonzero(room)
        if not len(ranked):
            raise InputError("this PVS has no room to grow; remove a neighbouring PVS first.")
        gained = np.zeros(own.shape, bool)
        gained.flat[ranked[np.argsort(-scores[ranked], kind="stable")[:count]]] = True
        return _change(gained, evidence.box, 1, evidence.source)
    ranked = np.flatnonzero(own)
    if len(ranked) <= count:
        raise InputError("this PVS cannot get any smaller; remove it instead.")
    order = np.argsort(scores[ranked], kind="stable")
    kept = own.copy()
    kept.flat[ranked[order[:count]]] = False
    kept = connected(kept, unravel(int(ranked[order[-1]]), own.shape))
    return _change(own & ~kept, evidence.box, 0, evidence.source)


def _free(present: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels that touch no PVS, so that a new PVS there stays separate."""
    from scipy.ndimage import binary_dilation

    return np.asarray(~binary_dilation(present, np.ones((3, 3, 3), bool)), bool)


def _narrow(
    region: NDArray[np.bool_], seed: Point, voxel_size: VoxelSize
) -> NDArray[np.bool_] | None:
    """Drop the parts that hold a ball wider than a PVS; None if the seed is in one of them."""
    import edt

    # count the whole edge of a voxel, as a mask of a PVS of that width does
    edge = min(voxel_size)
    radius = (WIDTH_MM + edge) / 2
    core = edt.edt(region, anisotropy=voxel_size, black_border=False) > radius
    if not core.any():
        return region
    wide = edt.edt(~core, anisotropy=voxel_size, black_border=False) <= radius + edge
    return None if wide[seed] else connected(region & ~wide, seed)


def _fits(region: NDArray[np.bool_], voxel_size: VoxelSize) -> bool:
    """Whether a PVS can be as long and as large."""
    volume = np.count_nonzero(region) * float(np.prod(voxel_size))
    return bool(volume <= LARGEST_MM3) and _length(region, voxel_size) <= LENGTH_MM


def _length(region: NDArray[np.bool_], voxel_size: VoxelSize) -> float:
    """Distance between its two ends, approximately, mm."""
    points = np.argwhere(region) * np.array(voxel_size)
    far = points[np.square(points - points[0]).sum(1).argmax()]
    return float(np.sqrt(np.square(points - far).sum(1).max()))


def _change(
    mask: NDArray[np.bool_], box: Box, value: Literal[0, 1], source: Source | None = None
) -> Change:
    x, y, z = (i + s.start for i, s in zip(np.nonzero(mask), box, strict=True))
    return Change((x, y, z), value, source)


def _move(part: NDArray[np.bool_], box: Box, to: Box) -> NDArray[np.bool_]:
    """Move a mask from one box to another, cropping what lies outside."""
    out = np.zeros([side.stop - side.start for side in to], bool)
    index = np.argwhere(part) + [b.start - t.start for b, t in zip(box, to, strict=True)]
    index = index[((index >= 0) & (index < out.shape)).all(1)]
    out[tuple(index.T)] = True
    return out


Ends = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]

_NEAR_MM = 2.0


def halves(
    mask: NDArray[np.bool_],
    voxel_size: tuple[float, float, float],
    near: tuple[int, int, int] | None = None,
) -> NDArray[np.bool_]:
    """Cut a connected mask in two where it is thinnest.

    The voxels are ordered by the second eigenvector of their neighbourhood graph (Fiedler 1973),
    which runs along a tube, through the neck of a dumbbell, and from one to the other of two tubes
    that touch. The cut is made where it separates the fewest neighbours.

    Parameters
    ----------
    mask
        (X, Y, Z), one 26-connected component of two voxels or more.
    voxel_size
        In mm.
    near
        A voxel; the cut is made within 2 mm of it. If None, the cut also favours halves of equal
        size (least conductance).

    Returns
    -------
    (X, Y, Z), true in one of the halves.
    """
    points = np.argwhere(mask)
    n = len(points)
    one, two, weight = _edges(mask, voxel_size)
    rank = np.empty(n, np.intp)
    rank[np.argsort(_fiedler(n, one, two, weight), kind="stable")] = np.arange(n)
    # an edge is cut wherever the cut falls between the ranks of its two ends
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
    """Pairs of 26-neighbours, as positions in the mask, with larger weights for closer ones."""
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
    else:  # below 0 the matrix is regular; a fixed start makes the result reproducible
        start = np.linspace(-1, 1, n)
        vectors = eigsh(laplacian, k=2, sigma=-1e-4, v0=start)[1]
    return np.asarray(vectors[:, 1], np.float64)
