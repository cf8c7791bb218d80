"""What makes images of a scan doubtful or useless, in words."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.errors import InputError
from napari_pvs.scans.grid import Grid, inside, overlap, to_ras

MIN_OVERLAP = 0.1
"""Share of the smaller field of view, or of the brain, that two images must have in common."""
COARSE_MM = 2.0
ANISOTROPIC = 2.0
T1_TAIL = 0.4
T2_TAIL = 0.0
"""A lone T1 with a brighter tail, or a T2 with a darker one, looks like the other. A simulated T1
with 0.5 L of fluid reached 0.21, T2 0.30 to 0.58."""


@dataclass(frozen=True, eq=False)
class Placed:
    """An image or mask in RAS+ order, on its own grid, and what messages call it."""

    name: str
    data: NDArray[Any]
    grid: Grid

    @classmethod
    def turned(cls, name: str, data: NDArray[Any], affine: NDArray[np.float64]) -> "Placed":
        """Turn to RAS+."""
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
    """Restrict the brain to an image's field of view; say so if more than a rim is lost.

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
        return kept, [f"{image.name} covers {share:.0%} of the brain; the rest is left out."]
    return kept, []


def require_contrast(name: str, values: NDArray[np.floating]) -> None:
    """Raise `InputError` if the interquartile range of the brain's values is zero."""
    low, high = np.percentile(values, (25, 75))
    if not high > low:
        raise InputError(
            f"{name} has no contrast inside the brain mask (interquartile range zero); give "
            "another image or mask."
        )


def tail(values: NDArray[np.floating]) -> float:
    """Return the asymmetry of the 5th and 95th percentile about the median, -1 to 1.

    Fluid is the tail of a brain's intensities: dark on T1, so negative (-0.48 and -0.22 on two
    subjects), bright on T2, so positive (0.58). Percentiles, because moments follow vessels.
    """
    low, middle, high = np.percentile(values, (5, 50, 95))
    return float((high + low - 2 * middle) / (high - low)) if high > low else 0.0


def doubts_of_contrast(
    t1: tuple[str, NDArray[np.floating]] | None, t2: tuple[str, NDArray[np.floating]] | None
) -> list[str]:
    """Tell whether T1 and T2 look like one another; each is a name and the brain's values."""
    if t1 and t2:
        if np.array_equal(t1[1], t2[1]):
            return [f"{t1[0]} and {t2[0]} hold the same image; give it once."]
        # wide ventricles bring the two tails of a true pair within 0.05 of each other
        if tail(t1[1]) > tail(t2[1]) + 0.1:
            return [f"{t1[0]} looks like a T2 and {t2[0]} like a T1; they may be swapped."]
    elif t1 and tail(t1[1]) > T1_TAIL:
        return [f"{t1[0]} was given as T1 but looks like a T2."]
    elif t2 and tail(t2[1]) < T2_TAIL:
        return [f"{t2[0]} was given as T2 but looks like a T1."]
    return []


def doubts_of_grid(image: Placed) -> list[str]:
    """Tell whether voxels are too coarse or too long for perivascular spaces."""
    size = image.grid.voxel_size
    text = " x ".join(f"{edge:.3g}" for edge in size)
    if max(size) > COARSE_MM:
        return [f"{image.name} has voxels of {text} mm; most perivascular spaces need 1 mm."]
    if max(size) > ANISOTROPIC * min(size):
        return [f"{image.name} has elongated voxels of {text} mm; tubes along them are blurred."]
    return []
