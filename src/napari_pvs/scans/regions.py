"""Regions and sides of the brain on the voxels of a scan, and in which of them each PVS lies."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_pvs.errors import InputError
from napari_pvs.scans.deform import FLUID_TO, WHITE_FROM, Deformation, Progress, deform
from napari_pvs.scans.masks import Mask, bounding_box
from napari_pvs.scans.scan import Scan
from napari_pvs.scans.template import REGIONS, WHITE_MATTER, load_regions

Side = Literal["left", "right"]
SIDES: tuple[Side, Side] = ("left", "right")
ELSEWHERE = "elsewhere"
"""The region of a PVS that touches none."""
WHOLE_ML = 500.0
"""A template is laid over no less brain: a slab of it is found anywhere."""
LIKENESS, OVERLAP, VENTRICLES = 0.5, 0.92, 0.5
"""Least `Deformation.likeness`, `Deformation.overlap` and share of the template's ventricles that
the scan shows as fluid, below which a doubt is told; see ``benchmarks/regions.py``."""
MISSING, PARTLY = 0.1, 0.8
"""Shares of a region inside the brain mask: less than the first, and it is not in the scan; less
than the second, and only a part of it is."""
_EVERY = 7  # voxels of the template's regions, of which one is looked up
_CHUNK = 2**19  # voxels that are looked up at a time


@dataclass(frozen=True)
class Quality:
    """How well the template lies on a scan: see `Deformation`, and `VENTRICLES`."""

    likeness: float
    overlap: float
    ventricles: float


@dataclass(frozen=True, eq=False)
class Regions:
    """In which region, and on which side, each voxel lies.

    Attributes
    ----------
    names
        Of the regions.
    index
        uint16 (X, Y, Z): 0 in none, n in that of the n-th name.
    sides
        uint8 (X, Y, Z): 0 unknown, 1 left, 2 right; None where no side is known at all.
    tissue
        bool (X, Y, Z): the voxels that count for the volume of a region; None for all.
    seen
        Share of each region that lies in the scan, 0 to 1. What is not in it is missing: nothing
        can be said of its PVS.
    doubts
        Sentences on what looks wrong.
    quality
        Of the registration, where there was one.
    """

    names: tuple[str, ...]
    index: NDArray[np.uint16]
    sides: NDArray[np.uint8] | None = None
    tissue: Mask | None = None
    seen: tuple[float, ...] = ()
    doubts: tuple[str, ...] = ()
    quality: Quality | None = None

    def missing(self, name: str) -> bool:
        """Tell whether a region is not in the scan."""
        return bool(self.seen) and self.seen[self.names.index(name)] < MISSING

    def volumes(self, voxel_volume: float) -> dict[tuple[str, Side | None], float]:
        """Return mm³ of each region, whole (None) and by side; those that are missing are left out.

        Parameters
        ----------
        voxel_volume
            In mm³.
        """
        index = self.index if self.tissue is None else np.where(self.tissue, self.index, 0)
        sizes = np.bincount(index.ravel(), minlength=len(self.names) + 1)
        out: dict[tuple[str, Side | None], float] = {}
        by_side = []
        if self.sides is not None:
            for number in range(1, len(SIDES) + 1):
                there = index[self.sides == number]
                by_side.append(np.bincount(there, minlength=len(self.names) + 1))
        for at, name in enumerate(self.names, start=1):
            if self.missing(name):
                continue
            out[name, None] = float(sizes[at] * voxel_volume)
            for side, counts in zip(SIDES, by_side, strict=False):
                out[name, side] = float(counts[at] * voxel_volume)
        return out


@dataclass(frozen=True)
class Place:
    """The region of a PVS, and its side, None where no side is known."""

    region: str
    side: Side | None


def places(labels: NDArray[np.integer], n: int, regions: Regions) -> list[Place]:
    """Give each PVS the region that has most of its voxels, and the side that has.

    Of equals the region that is named first counts, and the left. What touches no region is
    `ELSEWHERE`.

    Parameters
    ----------
    labels
        (X, Y, Z): 0 background, k the k-th PVS.
    n
        How many PVS there are.
    regions
        On the same voxels.
    """
    voxels = np.flatnonzero(labels > 0)
    ids = np.take(labels, voxels).astype(np.int64)

    def most(classes: NDArray[np.integer], width: int) -> NDArray[np.intp]:
        at = np.take(classes, voxels).astype(np.int64)
        votes = np.bincount(ids * width + at, minlength=(n + 1) * width).reshape(n + 1, width)
        votes[:, 0] = 0
        return np.asarray(votes[1:].argmax(1))

    named = (ELSEWHERE, *regions.names)
    where = most(regions.index, len(named))
    if regions.sides is None:
        return [Place(named[at], None) for at in where]
    of_side = most(regions.sides, len(SIDES) + 1)
    sides = (None, *SIDES)
    return [Place(named[at], sides[side]) for at, side in zip(where, of_side, strict=True)]


def place_of(voxels: NDArray[np.integer], regions: Regions) -> Place:
    """Return the region and side of one PVS, as `places` does.

    Parameters
    ----------
    voxels
        (n, 3), of the scan's grid.
    regions
        On that grid.
    """
    at = tuple(voxels.T)

    def most(classes: NDArray[np.integer]) -> int:
        votes = np.bincount(classes[at])
        votes[0] = 0
        return int(votes.argmax())

    region = (ELSEWHERE, *regions.names)[most(regions.index)]
    if regions.sides is None:
        return Place(region, None)
    return Place(region, (None, *SIDES)[most(regions.sides)])


def fit_regions(scan: Scan, progress: Progress | None = None) -> Regions:
    """Lay the template over a scan, and carry its regions and sides to every voxel of the brain.

    The regions are those of `template.REGIONS`: docs/concepts/regions.md defines them. Every
    voxel of the brain has a region and a side, those of the ventricles that of the nearest
    region, so that a PVS has them too. White matter counts for the volume of its regions, not the
    cortex beside it; of the others all but fluid counts.

    Parameters
    ----------
    scan
        T1, T2 or both.
    progress
        As for `deform`.

    Raises
    ------
    InputError
        Less than `WHOLE_ML` of brain, or a mask that is unlike a brain.
    """
    volume = float(np.count_nonzero(scan.brain)) * scan.grid.voxel_volume / 1000
    name = str(scan.source.path or "the scan")
    if volume < WHOLE_ML:
        raise InputError(
            f"{name} shows {volume:.0f} mL of brain, too little to lay a template over; count with "
            "a label map of the brain (--regions), or without regions."
        )
    found = deform(scan.t1, scan.t2, scan.brain, scan.grid, progress)
    return of_deformation(found, scan.brain, name)


def of_deformation(found: Deformation, brain: Mask, name: str) -> Regions:
    """Return the regions of a scan of a known deformation, as `fit_regions`.

    Parameters
    ----------
    found, brain
        Of the scan.
    name
        What sentences call it.
    """
    on_scan = carry(found, brain)
    seen = _seen(found, brain)
    inside = on_scan.ventricles
    fluid = float(np.mean(on_scan.fluid[inside])) if inside.any() else 0.0
    quality = Quality(round(found.likeness, 4), round(found.overlap, 4), round(fluid, 4))
    white = np.isin(on_scan.index, WHITE_MATTER)
    tissue = np.where(white, on_scan.white, ~on_scan.fluid) & ~inside & brain
    doubts = tuple(_doubts(quality, seen, name))
    return Regions(REGIONS, on_scan.index, on_scan.sides, tissue, seen, doubts, quality)


@dataclass(frozen=True, eq=False)
class Carried:
    """The template on the voxels of a scan (X, Y, Z), 0 and False outside the brain.

    ``index`` and ``sides`` are those of `Regions`; ``ventricles`` the template's; ``white`` and
    ``fluid`` what is mostly so in the scan, at `deform.STEP_MM`.
    """

    index: NDArray[np.uint16]
    sides: NDArray[np.uint8]
    ventricles: Mask
    white: Mask
    fluid: Mask


def carry(found: Deformation, brain: Mask) -> Carried:
    """Look up every voxel of a brain mask in the template."""
    atlas = load_regions()
    box = bounding_box(brain)
    corner = np.array([side.start for side in box])
    inside = np.argwhere(brain[box])
    index, sides = np.zeros(brain.shape, np.uint16), np.zeros(brain.shape, np.uint8)
    masks = [np.zeros(brain.shape, bool) for _ in range(3)]
    for start in range(0, len(inside), _CHUNK):
        voxels = inside[start : start + _CHUNK] + corner
        at = tuple(voxels.T)
        points = found.points(voxels)
        index[at], masks[0][at] = atlas.at(points)
        sides[at] = np.where(points[:, 0] < 0, 1, 2)
        tissue = found.tissue_at(voxels)
        masks[1][at], masks[2][at] = tissue > WHITE_FROM, tissue < FLUID_TO
    return Carried(index, sides, *masks)


def _seen(found: Deformation, brain: Mask) -> tuple[float, ...]:
    """Return which share of each region of the template lies inside the brain mask."""
    atlas = load_regions()
    shares = []
    for points in atlas.points(_EVERY):
        at = np.rint(found.voxels(points)).astype(np.intp)
        within = ((at >= 0) & (at < brain.shape)).all(1)
        shares.append(float(np.count_nonzero(brain[tuple(at[within].T)]) / len(at)))
    return tuple(shares)


def _doubts(found: Quality, seen: tuple[float, ...], name: str) -> list[str]:
    why = []
    if found.likeness < LIKENESS:
        why.append(f"tissues correlate by {found.likeness:.2f}, not by {LIKENESS:.2f} or more")
    if found.overlap < OVERLAP:
        why.append(f"brains overlap by {found.overlap:.2f}, not by {OVERLAP:.2f} or more")
    if found.ventricles < VENTRICLES:
        why.append(f"only {found.ventricles:.0%} of its ventricles lie on fluid")
    out = []
    if why:
        out.append(
            f"the template fits {name} poorly ({'; '.join(why)}): look at the regions before you "
            "use them, or give a label map (--regions)."
        )
    gone = [one for one, share in zip(REGIONS, seen, strict=True) if share < MISSING]
    cut = [
        f"{share:.0%} of {one}"
        for one, share in zip(REGIONS, seen, strict=True)
        if MISSING <= share < PARTLY
    ]
    if gone:
        out.append(f"{name} does not show {', '.join(gone)}; counts there are n/a, not 0.")
    if cut:
        out.append(f"{name} shows only {', '.join(cut)}; counts there cover that part only.")
    return out
