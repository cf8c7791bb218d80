"""Checks of a scan's images: sentences on what is doubtful, errors for what is unusable."""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.errors import InputError
from napari_pvs.scans.grid import Grid, inside, overlap, to_ras
from napari_pvs.scans.masks import Mask, bounding_box, distance_inside

MIN_OVERLAP = 0.1
"""Share of the smaller field of view, or of the brain, that two images must have in common."""
COARSE_MM = 2.0
ANISOTROPIC = 2.0
T1_MOST = 0.2
T2_LEAST = 0.0
"""A single T1 with a higher `t2_likeness`, or T2 with a lower one, looks like the other."""
DEEP_MM = 10.0
FLUID_LEAST = 0.3
PLACE_MM, REACH_MM = 4.0, 16.0
AGREE_LEAST = 0.06
LEAST_ML = 60.0
"""Below this volume of brain, positions are not judged, because there are too few voxels."""
_SAMPLES = 6000
PAIR_LEAST = -0.1
"""A T2 is this much less T2-like than its T1 only if they are swapped."""


@dataclass(frozen=True, eq=False)
class Placed:
    """An image or mask in RAS+ order, on its own grid, and what messages call it."""

    name: str
    data: NDArray[Any]
    grid: Grid

    @classmethod
    def turned(cls, name: str, data: NDArray[Any], affine: NDArray[np.float64]) -> "Placed":
        """Reorient to RAS+."""
        data, affine = to_ras(data, affine)
        return cls(name, data, Grid((data.shape[0], data.shape[1], data.shape[2]), affine))


def require_overlap(first: Placed, second: Placed) -> None:
    """Raise `InputError` unless the fields of view overlap."""
    if overlap(first.grid, second.grid) < MIN_OVERLAP:
        raise InputError(
            f"{second.name} does not overlap with {first.name}; give images of one subject that "
            "are aligned by their headers."
        )


def covered(
    brain: NDArray[np.bool_], grid: Grid, image: Placed
) -> tuple[NDArray[np.bool_], list[str]]:
    """Restrict the brain to an image's field of view, with a sentence if more than a rim is lost.

    Raises
    ------
    InputError
        The image covers less than `MIN_OVERLAP` of the brain.
    """
    kept = brain & inside(grid, image.grid)
    share = kept.sum() / brain.sum()
    if share < MIN_OVERLAP:
        raise InputError(
            f"{image.name} covers {share:.0%} of the brain; give images of one subject that are "
            "aligned by their headers."
        )
    if share < 0.98:
        return kept, [f"{image.name} covers {share:.0%} of the brain; the rest is ignored."]
    return kept, []


def require_contrast(name: str, values: NDArray[np.floating]) -> None:
    """Raise `InputError` if the interquartile range of the brain's values is zero."""
    low, high = np.percentile(values, (25, 75))
    if not high > low:
        raise InputError(
            f"{name} has no contrast inside the brain mask (interquartile range zero); give "
            "another image or mask."
        )


def depths(brain: Mask, voxel_size: tuple[float, float, float]) -> NDArray[np.float32]:
    """Return the distance of each brain voxel from the surface, in mm, in the order of ``brain``.

    The border of a field of view that cuts through the brain does not count as its surface.
    """
    box = bounding_box(brain, margin=1)
    return distance_inside(brain[box], voxel_size)[brain[box]]


def t2_likeness(values: NDArray[np.floating], depth: NDArray[np.floating] | None = None) -> float:
    """Distinguish T2 (above 0) from T1 (below 0) by the brain's values, whatever their unit.

    Two signs that rarely fail together are added, in units of the range from the 5th to the 95th
    percentile. Cortex and sulci are bright on T2 and dark on T1: the median of the brain's rim (the
    outer 5 to 30 % of its volume) minus that of its inner half. Fluid is the bright tail of a T2
    and the dark tail of a T1: the middle of the range minus the median. Where fluid hardly differs
    from cortex, the shares of grey and white matter decide the sign of the second.

    On 52 synthetic subjects from four sites and two real scans, T1 had -0.58 to -0.21, T2 0.33 to
    0.49, and a T2 at least 0.56 more than its T1.

    Parameters
    ----------
    depth
        Of each value, from `depths`; without it only the second sign is used.
    """
    low, middle, high = np.percentile(values, (5, 50, 95))
    if not high > low:
        return 0.0
    rise = (high + low) / 2 - middle
    if depth is not None:
        outer, inner, half = np.quantile(depth, (0.05, 0.3, 0.5), method="nearest")
        rim = values[(depth >= outer) & (depth <= inner)]
        rise += np.median(rim) - np.median(values[depth >= half])
    return float(rise / (high - low))


def doubts_of_contrast(
    t1: tuple[str, NDArray[np.floating]] | None,
    t2: tuple[str, NDArray[np.floating]] | None,
    depth: NDArray[np.floating] | None = None,
) -> list[str]:
    """Say whether T1 and T2 seem to be swapped, or the same image.

    Parameters
    ----------
    t1, t2
        A name and the brain's values.
    depth
        Of each value, from `depths`.
    """
    if t1 and t2 and np.array_equal(t1[1], t2[1]):
        return [f"{t1[0]} and {t2[0]} are the same image; give it only once."]
    one, two = (t2_likeness(image[1], depth) if image else 0.0 for image in (t1, t2))
    if t1 and t2:
        if two - one < PAIR_LEAST:
            return [f"{t1[0]} looks like a T2 and {t2[0]} like a T1; they may be swapped."]
    elif t1 and one > T1_MOST:
        return [f"{t1[0]} was given as T1 but looks like a T2."]
    elif t2 and two < T2_LEAST:
        return [f"{t2[0]} was given as T2 but looks like a T1."]
    return []


def doubts_of_fluid(
    t1: NDArray[np.floating],
    t2: tuple[str, NDArray[np.floating]],
    depth: NDArray[np.float32],
    voxel_volume: float,
) -> list[str]:
    """Say whether ventricular fluid, dark on the T1, is dark on the T2 as well, as on a FLAIR.

    The measure is the median T2 in the darkest twentieth of the T1 deeper than `DEEP_MM`, minus the
    median there, in interquartile ranges. A real T2 had 2.8, the FLAIR made from it -0.2, its T1
    -2.4. If no ventricles are visible, that twentieth is grey matter, which is bright on a FLAIR.

    Parameters
    ----------
    t1, t2
        The brain's values, the T2's with its name.
    depth
        Of each value, from `depths`.
    voxel_volume
        In mm³; less than `LEAST_ML` of deep brain is not judged.
    """
    deep = depth > DEEP_MM
    if np.count_nonzero(deep) * voxel_volume < LEAST_ML * 1000:
        return []
    one, two = t1[deep], t2[1][deep]
    low, middle, high = np.percentile(two, (25, 50, 75))
    fluid = np.median(two[one <= np.percentile(one, 5)]) - middle
    if high > low and fluid / (high - low) < FLUID_LEAST:
        return [
            f"{t2[0]} shows fluid dark, as the T1 does, and so looks like a FLAIR; give a T2 that "
            "is not a FLAIR, or the T1 alone."
        ]
    return []


@dataclass(frozen=True)
class Agreement:
    """How much an image tells of another in its place, and how much more it would elsewhere.

    Attributes
    ----------
    here, best
        Mutual information (a share of the lesser entropy) in place, and after the best move.
    away_mm
        How far that move goes.
    """

    here: float
    best: float
    away_mm: float

    @property
    def moved(self) -> bool:
        """Whether the second image seems to lie elsewhere."""
        far = self.away_mm >= 1.5 * PLACE_MM
        return far and self.best > max(1.3 * self.here, AGREE_LEAST)


def agreement_of(first: Placed, second: Placed, region: Mask, levels: int = 24) -> Agreement | None:
    """Compare the mutual information of two images in place with that after moves by up to 16 mm.

    Both at `PLACE_MM`. Of a real T1 and T2 it was 0.39; 0.03 with the T2 12 mm off, which moving
    back made 0.39; 0.01 to 0.02 with three scans of other people.

    Parameters
    ----------
    first, second
        On the same grid.
    region
        Where to look.
    levels
        Grey levels of the second; 2 for a mask.

    Returns
    -------
    None where the region has less than `LEAST_ML`.
    """
    step = [max(1, round(PLACE_MM / edge)) for edge in first.grid.voxel_size]
    size = np.multiply(step, first.grid.voxel_size)
    inside = _coarse(region, step) > 0.5
    if np.count_nonzero(inside) * np.prod(size) < LEAST_ML * 1000:
        return None
    voxels = np.argwhere(inside)
    voxels = voxels[:: 1 + len(voxels) // _SAMPLES]
    reach = np.ceil(REACH_MM / size).astype(int)
    moving = np.pad(_coarse(second.data, step), [(n, n) for n in reach], mode="edge")
    one = _levels(_coarse(first.data, step)[tuple(voxels.T)], 24)
    two = _levels(moving, levels)

    def information(move: tuple[int, ...]) -> float:
        return _information(one, two[tuple((voxels + reach + move).T)], 24, levels)

    moves = list(product(*(range(-n, n + 1) for n in reach)))
    found = [information(move) for move in moves]
    best = int(np.argmax(found))
    away = float(np.linalg.norm(np.multiply(moves[best], size)))
    return Agreement(information((0, 0, 0)), found[best], away)


def doubts_of_place(
    first: Placed, second: Placed, region: Mask, *, remedy: str, levels: int = 24
) -> list[str]:
    """Tell whether a second image lies elsewhere than the first, or shows another head.

    Parameters
    ----------
    first, second, region, levels
        As for `agreement_of`; nothing is said where that tells nothing.
    remedy
        What the user can do: the end of the sentence.
    """
    found = agreement_of(first, second, region, levels)
    if found is None:
        return []
    if found.moved:
        return [
            f"{second.name} seems to be {found.away_mm:.0f} mm away from {first.name}: shifted by "
            f"that much it agrees better ({found.best:.2f} instead of {found.here:.2f}); {remedy}."
        ]
    if found.here < AGREE_LEAST:
        return [
            f"{second.name} hardly agrees with {first.name} ({found.here:.2f}; images of one head "
            f"have over {AGREE_LEAST:.2f}) and may show another head or place; {remedy}."
        ]
    return []


def _coarse(image: NDArray[Any], step: list[int]) -> NDArray[np.float32]:
    """Average blocks of voxels, dropping incomplete blocks at the end."""
    x, y, z = (n // k for n, k in zip(image.shape, step, strict=True))
    blocks = image[: x * step[0], : y * step[1], : z * step[2]]
    blocks = blocks.reshape(x, step[0], y, step[1], z, step[2])
    return np.asarray(blocks.mean((1, 3, 5), dtype=np.float32))


def _levels(values: NDArray[np.float32], levels: int) -> NDArray[np.intp]:
    if levels == 2:
        return np.asarray(values > 0.5, np.intp)
    edges = np.quantile(values, np.linspace(0, 1, levels + 1)[1:-1])
    return np.searchsorted(edges, values, side="right")


def _information(one: NDArray[np.intp], two: NDArray[np.intp], n: int, m: int) -> float:
    """Return the mutual information of two sequences of levels over the smaller entropy."""
    joint = np.bincount(one * m + two, minlength=n * m).reshape(n, m) / len(one)

    def entropy(shares: NDArray[np.float64]) -> float:
        present = shares[shares > 0]
        return float(-(present * np.log(present)).sum())

    first, second = entropy(joint.sum(1)), entropy(joint.sum(0))
    return (first + second - entropy(joint)) / max(min(first, second), 1e-9)


def doubts_of_grid(image: Placed) -> list[str]:
    """Say whether voxels are too coarse or too elongated for PVS."""
    size = image.grid.voxel_size
    text = " x ".join(f"{edge:.3g}" for edge in size)
    if max(size) > COARSE_MM:
        return [f"{image.name} has voxels of {text} mm; most PVS need about 1 mm to be visible."]
    if max(size) > ANISOTROPIC * min(size):
        return [f"{image.name} has elongated voxels of {text} mm, which blur PVS along them."]
    return []


def require_finite(data: NDArray[Any], name: str) -> None:
    """Refuse NaN and infinite voxels.

    Raises
    ------
    InputError
        There are some; the sentence begins with ``name``.
    """
    if data.dtype.kind == "f" and (bad := data.size - int(np.isfinite(data).sum())):
        raise InputError(
            f"{name} has {bad} NaN or infinite values; replace them, for example by 0."
        )


def require_variety(data: NDArray[Any], name: str) -> None:
    """Refuse an image with a single value.

    Raises
    ------
    InputError
        As `require_finite`, or all voxels are equal.
    """
    require_finite(data, name)
    first = data.flat[0]
    if (data == first).all():
        raise InputError(f"{name} has the value {first:g} everywhere; give another image.")
