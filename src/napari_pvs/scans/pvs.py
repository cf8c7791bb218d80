"""Masks of PVS, read with an eye on what was given by mistake."""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_pvs.errors import InputError, InputWarning
from napari_pvs.scans.checks import Placed
from napari_pvs.scans.grid import Grid
from napari_pvs.scans.nifti import Volume, read_labels

MOST = 0.1
"""A larger share of an image is no PVS: a scan without its skull, or a mask of white matter."""

OUTSIDE = 0.02
"""A larger share of a mask outside the brain is no rounding at its surface."""


def read_pvs(path: Path) -> Volume:
    """Read a mask or label map of PVS, as `read_labels`.

    What marks more than `MOST` of its voxels is read with an `InputWarning`.
    """
    volume = read_labels(path)
    share = np.count_nonzero(volume.data > 0) / volume.data.size
    if share > MOST:
        warnings.warn(
            f"{path} marks {share:.0%} of its voxels, where PVS fill less than 1 %; give a mask of "
            "PVS if this is a scan or a mask of something else.",
            InputWarning,
            stacklevel=2,
        )
    return volume


def warn_of_outside(voxels: int, inside: int, sentence: str) -> None:
    """Tell how much of a mask lies outside the brain, or another region, by an `InputWarning`.

    Parameters
    ----------
    voxels, inside
        Of the mask, and of these those inside; up to `OUTSIDE` of them may be out.
    sentence
        What is told; its ``{}`` becomes "205 of 327".
    """
    outside = voxels - inside
    if outside > OUTSIDE * voxels:
        warnings.warn(sentence.format(f"{outside} of {voxels}"), InputWarning, stacklevel=3)


def read_on(path: Path, grid: Grid, scan: object) -> NDArray[np.integer]:
    """Read a mask of PVS on the voxels of a scan, as `read_pvs`; nothing is interpolated.

    Parameters
    ----------
    path
        Its axes may be flipped or swapped.
    grid
        Of the scan, RAS+.
    scan
        Its name, for the user.

    Returns
    -------
    uint8 or int32 (X, Y, Z), in the grid's order.

    Raises
    ------
    InputError
        The file is no label image or lies on other voxels.
    """
    volume = read_pvs(path)
    placed = Placed.turned(str(path), volume.data, volume.affine)
    if not placed.grid.same_as(grid):
        raise InputError(
            f"{path} does not lie on the voxels of {scan}; give a mask that was drawn on this "
            "scan, or resample it."
        )
    data = placed.data
    return data.astype(np.uint8 if data.max() < 256 else np.int32)
