"""Masks of PVS, read with an eye on what was given by mistake."""

import warnings
from pathlib import Path

import numpy as np

from napari_pvs.errors import InputWarning
from napari_pvs.scans.nifti import Volume, read_labels

MOST = 0.1
"""A larger share of an image is no PVS: a scan without its skull, or a mask of white matter."""


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
