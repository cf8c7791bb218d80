"""Ventricles, cisterns and sulci around a point: fluid that is no PVS, however narrow it is.

Arrays have any axis order, the same for all of a call.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.correction.click import WIDTH_MM, Change
from napari_pvs.correction.neighbourhood import VoxelSize
from napari_pvs.scans.masks import Box, connected_components, distance_inside

ASK_MM3 = 60.0
"""A growth that is larger is asked about: a PVS 2 mm wide and 20 mm long has 63 mm³."""
T2_FLUID, T1_FLUID = 4.5, -2.5
"""Where fluid begins, in robust standard deviations from the brain's median: CSF lies at 5.6 to
10.6 on T2. Where both images are there, each has to be beyond `BOTH` of its level."""
BOTH = 0.75
_THIN = 2  # along each axis, of the voxels that the brain's median is taken of


@dataclass(frozen=True)
class Level:
    """Median and robust standard deviation of an image inside the brain."""

    middle: float
    spread: float

    @classmethod
    def of(cls, image: NDArray[Any], brain: NDArray[np.bool_]) -> "Level":
        """Measure them on a few voxels; the spread is infinite where all are the same."""
        thin = (slice(None, None, _THIN),) * 3
        values = image[thin][brain[thin]]
        if not len(values):
            return cls(0.0, np.inf)
        low, middle, high = np.percentile(values, (25, 50, 75))
        return cls(float(middle), float(high - low) / 1.349 or np.inf)


def fluid_space(
    images: tuple[NDArray[Any] | None, NDArray[Any] | None],
    levels: tuple[Level | None, Level | None],
    brain: NDArray[np.bool_],
    box: Box,
    voxel_size: VoxelSize,
) -> NDArray[np.bool_]:
    """Find the fluid of ventricles, cisterns and sulci in a box.

    It is fluid that is, somewhere in the box, wider than a PVS, or that reaches the outside of the
    brain: whatever is connected with it by voxel faces.

    Parameters
    ----------
    images
        T1 and T2, one of them may be missing.
    levels
        Of both.
    brain
        Brain mask.
    box
        Where to look.
    voxel_size
        In mm.

    Returns
    -------
    bool, the box's shape.
    """
    inside = np.asarray(brain[box], bool)
    several = all(image is not None for image in images)
    fluid = inside.copy()
    for image, level, sign, begins in zip(
        images, levels, (-1, 1), (-T1_FLUID, T2_FLUID), strict=True
    ):
        if image is not None and level is not None:
            away = sign * (np.asarray(image[box], np.float32) - level.middle) / level.spread
            fluid &= away >= begins * (BOTH if several else 1)
    if not fluid.any():
        return fluid
    # a voxel counts with its whole edge, as in `click.grow`
    radius = (WIDTH_MM + min(voxel_size)) / 2
    # distances to tissue alone: beyond the box and the brain, fluid may go on
    no_tissue = fluid | ~inside
    wide = distance_inside(no_tissue, voxel_size) > radius
    parts, _ = connected_components(no_tissue, 6)
    named = np.unique(parts[wide])
    return np.asarray(np.isin(parts, named[named > 0]) & fluid, bool)


def question(
    change: Change, space: NDArray[np.bool_], box: Box, voxel_size: VoxelSize
) -> str | None:
    """Say why a growth may be no PVS; None where nothing speaks against it.

    Parameters
    ----------
    change
        What a click would add.
    space
        From `fluid_space`, in ``box``.
    voxel_size
        In mm.
    """
    from scipy.ndimage import binary_dilation

    volume = len(change.indices[0]) * float(np.prod(voxel_size))
    near = binary_dilation(space, np.ones((3, 3, 3), bool))
    inner = tuple(axis - side.start for axis, side in zip(change.indices, box, strict=True))
    if near[inner].any():
        return f"this touches a ventricle, cistern or sulcus ({volume:.0f} mm³)"
    if volume > ASK_MM3:
        return f"this is larger than a PVS usually is ({volume:.0f} mm³)"
    return None
