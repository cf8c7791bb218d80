"""Reading masks of PVS, with checks for files given by mistake."""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_pvs.errors import InputError, InputWarning
from napari_pvs.scans.checks import Placed
from napari_pvs.scans.grid import Grid
from napari_pvs.scans.nifti import Volume, read_labels

MOST = 0.1
"""A mask with a larger share of voxels is not of PVS, but a stripped scan or of white matter."""

OUTSIDE = 0.02
"""A larger share of a mask outside the brain is more than rounding at its surface."""


def read_pvs(path: Path) -> Volume:
    """Read a mask or label map of PVS; see `read_labels`.

    If it marks more than `MOST` of its voxels, there is an `InputWarning`.
    """
    volume = read_labels(path)
    share = np.count_nonzero(volume.data > 0) / volume.data.size
    if share > MOST:
        warnings.warn(
            f"{path} marks {share:.0%} of its voxels, but PVS fill less than 1 %; give a mask of "
            "PVS if this is a scan or a mask of something else.",
            InputWarning,
            stacklevel=2,
        )
    return volume


def warn_of_outside(voxels: int, inside: int, sentence: str) -> None:
    """Warn (`InputWarning`) about a mask that lies partly outside the brain or another region.

    Parameters
    ----------
    voxels, inside
        Number of voxels of the mask, and of those inside; a share up to `OUTSIDE` is tolerated.
    sentence
        The warning; its ``{}`` becomes "205 of 327".
    """
    outside = voxels - inside
    if outside > OUTSIDE * voxels:
        warnings.warn(sentence.format(f"{outside} of {voxels}"), InputWarning, stacklevel=3)


def read_on(path: Path, grid: Grid, scan: object) -> NDArray[np.integer]:
    """Read a mask of PVS on the voxels of a scan; see `read_pvs`. Nothing is interpolated.

    Parameters
    ----------
    path
        Its axes may be flipped or swapped.
    grid
        Of the scan, RAS+.
    scan
        What messages call it.

    Returns
    -------
    uint8 or int32 (X, Y, Z), in the grid's order.

    Raises
    ------
    InputError
        The file is not a label image, or is on another grid.
    """
    volume = read_pvs(path)
    placed = Placed.turned(str(path), volume.data, volume.affine)
    if not placed.grid.same_as(grid):
        raise InputError(
            f"{path} is not on the voxel grid of {scan}; give a mask drawn on this scan, or "
            "resample it."
        )
    data = placed.data
    return data.astype(np.uint8 if data.max() < 256 else np.int32)
