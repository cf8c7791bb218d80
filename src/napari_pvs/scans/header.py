"""Which NIfTI and MGH headers a scan can be read from, and the header of a new file."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.errors import InputError

VOXEL_RANGE = (0.05, 20.0)
"""Edge lengths in mm; anything else is a file whose affine is not in millimetres."""


def check_header(image: Any, path: Path) -> tuple[str, ...]:
    """Check the header of a nibabel image.

    Returns
    -------
    What is doubtful about it, in words.

    Raises
    ------
    InputError
        It is not one 3D frame of real numbers, or its affine is singular or not in millimetres.
    """
    from nibabel import Nifti1Header

    _check_dtype(image, path)
    _check_shape(tuple(image.shape), path)
    _check_affine(image, path)
    header = image.header
    if isinstance(header, Nifti1Header) and not (header["qform_code"] or header["sform_code"]):
        return (
            f"{path} has neither an sform nor a qform, so its orientation is a guess; check left "
            "and right, or convert it again from DICOM.",
        )
    return ()


def nifti_header(shape: tuple[int, ...], affine: NDArray[np.float64]) -> Any:
    """Make the NIfTI-1 header of an array that never was a file."""
    from nibabel import Nifti1Header

    header = Nifti1Header()
    header.set_data_shape(shape)
    header.set_xyzt_units("mm")
    header.set_qform(affine, code="scanner")
    header.set_sform(affine, code="scanner")
    return header


def _check_dtype(image: Any, path: Path) -> None:
    dtype = image.get_data_dtype()
    if dtype.names:
        raise InputError(f"{path} holds colours (RGB); give an image of one value per voxel.")
    if dtype.kind == "c":
        raise InputError(f"{path} holds complex numbers; give the magnitude image.")


def _check_shape(shape: tuple[int, ...], path: Path) -> None:
    if any(n != 1 for n in shape[3:]):
        raise InputError(
            f"{path} has shape {shape}, more than one 3D frame; give a single frame of it."
        )
    if len(shape) < 3 or min(shape[:3]) < 2:
        raise InputError(f"{path} has shape {shape}, a single 2D slice; give the whole 3D volume.")


def _check_affine(image: Any, path: Path) -> None:
    affine = image.affine
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    # The determinant over the edge lengths is 1 for a box and 0 for axes in one plane.
    if (
        not np.isfinite(affine).all()
        or not sizes.all()
        or abs(np.linalg.det(affine[:3, :3] / sizes)) < 1e-3
    ):
        raise InputError(f"{path} has a singular affine; convert it again from DICOM.")
    if sizes.min() < VOXEL_RANGE[0] or sizes.max() > VOXEL_RANGE[1]:
        text = " x ".join(f"{size:g}" for size in sizes)
        raise InputError(f"{path} has voxels of {text} mm; correct its affine to millimetres.")
