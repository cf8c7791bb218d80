"""Checks of NIfTI and MGH headers, and the header of a new file."""

import logging
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.errors import InputError
from napari_pvs.scans.grid import TOLERANCE_MM, Grid

VOXEL_RANGE = (0.05, 20.0)
"""Plausible voxel edges in mm; beyond them, the affine is not in millimetres."""
MOST_VOXELS = 2**28
"""645 along each edge; a whole head at 0.4 mm has half as many."""
_PADDING = 4096  # bytes after the voxels that are not worth a warning
_MOST_REST = 2**26
DEFLATE = 1032
"""Highest compression ratio of gzip."""


def check_header(image: Any, path: Path) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Check the header of a nibabel image.

    Returns
    -------
    The affine to use (4x4 float64, voxel index to RAS+ mm; see `_placed`), and sentences on what is
    doubtful about the header.

    Raises
    ------
    InputError
        It is not a single 3D frame of real numbers of plausible size, or its affine is singular or
        not in millimetres.
    """
    _check_dtype(image, path)
    _check_shape(tuple(image.shape), path)
    affine, doubts = _placed(image, path)
    _check_affine(affine, path)
    return affine, doubts


def check_length(image: Any, path: Path, compressed: bool) -> None:
    """Refuse a header that claims more voxels than its file can contain, before allocating them.

    Raises
    ------
    InputError
        It does.
    """
    claimed = math.prod(map(int, image.shape)) * image.get_data_dtype().itemsize
    claimed += max(0, int(image.dataobj.offset))
    there = path.stat().st_size
    if claimed > there * (DEFLATE if compressed else 1):
        raise InputError(
            f"{path} is truncated or damaged: its header claims {claimed:,} bytes, but the file "
            f"has {there:,}{' (compressed)' if compressed else ''}; copy it again from its source."
        )


def voxels_of(image: Any, stream: Any, path: Path) -> tuple[Any, list[str]]:
    """Return the array proxy of the voxels, corrected if they seem to begin inside the header."""
    from nibabel.arrayproxy import ArrayProxy

    header = image.header
    first = getattr(header, "single_vox_offset", 0)
    if image.dataobj.offset >= first:
        return image.dataobj, []
    slope, inter = header.get_slope_inter()
    spec = (header.get_data_shape(), header.get_data_dtype(), first, slope or 1.0, inter or 0.0)
    told = (
        f"{path} says that its voxels begin at byte {image.dataobj.offset}, inside its header; "
        f"they are read from byte {first}, where the header ends."
    )
    return ArrayProxy(stream, spec, mmap=False), [told]


def read_rest(stream: Any, path: Path, notes: bool) -> list[str]:
    """Read to the end, where gzip checks its checksum, and report data that is not in the header.

    Parameters
    ----------
    stream, path
        Of the file, positioned after the voxels.
    notes
        Whether the format has metadata there, as MGH does.

    Raises
    ------
    InputError
        There is too much of it.
    """
    rest = 0
    while chunk := stream.read(2**20):
        rest += len(chunk)
        if rest > _MOST_REST:
            raise InputError(
                f"{path} has over {_MOST_REST >> 20} MB more than its header says; convert or copy "
                "it again from its source."
            )
    if rest > _PADDING and not notes:
        return [
            f"{path} has {rest:,} bytes more than its header says, which are ignored; check its "
            "shape."
        ]
    return []


@contextmanager
def oddities() -> Iterator[list[str]]:
    """Collect what nibabel would log about a header that it repairs."""
    said: list[str] = []
    own, log = threading.get_ident(), logging.getLogger("nibabel.global")

    def keep(record: logging.LogRecord) -> bool:
        if record.thread != own:
            return True
        text = " ".join(record.getMessage().split()).rstrip(".")
        said.extend([text] if text not in said else [])  # nibabel checks twice
        return False

    log.addFilter(keep)
    try:
        yield said
    finally:
        log.removeFilter(keep)


def nifti_header(shape: tuple[int, ...], affine: NDArray[np.float64]) -> Any:
    """Make the NIfTI-1 header of an array without a file."""
    from nibabel import Nifti1Header

    header = Nifti1Header()
    header.set_data_shape(shape)
    header.set_xyzt_units("mm")
    header.set_qform(affine, code="scanner")
    header.set_sform(affine, code="scanner")
    grid = Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)
    if grid.away(header.get_qform()) > TOLERANCE_MM:  # a qform cannot express shear
        header["qform_code"] = 0
    return header


def _check_dtype(image: Any, path: Path) -> None:
    dtype = image.get_data_dtype()
    if dtype.names:
        raise InputError(f"{path} is a colour image (RGB); give one with one value per voxel.")
    if dtype.kind == "c":
        raise InputError(f"{path} has complex values; give the magnitude image.")


def _check_shape(shape: tuple[int, ...], path: Path) -> None:
    if any(n != 1 for n in shape[3:]):
        raise InputError(f"{path} has shape {shape}, more than one 3D frame; give a single frame.")
    if math.prod(map(int, shape)) > MOST_VOXELS:
        raise InputError(
            f"{path} has shape {shape}, more than the {MOST_VOXELS:,} voxels supported; resample "
            "or crop it, or copy it again if that is not its real shape."
        )
    if len(shape) < 3 or min(shape[:3]) < 2:
        raise InputError(f"{path} has shape {shape}, a single 2D slice; give the whole 3D volume.")


def _placed(image: Any, path: Path) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return the affine of the voxels, and sentences on what contradicts it.

    The rule: the sform if it is usable, otherwise the qform, otherwise a guess from the voxel size;
    in MGH files, their own directions. Contradictions beyond rounding are reported with the
    distance.
    """
    from nibabel import Nifti1Header

    header, affine = image.header, np.array(image.affine, dtype=np.float64)
    shape = tuple(map(int, image.shape[:3]))
    if not isinstance(header, Nifti1Header):
        return affine, ()
    sform = header.get_sform() if header["sform_code"] else None
    qform = header.get_qform() if header["qform_code"] else None
    if sform is None and qform is None:
        return affine, (
            f"{path} has neither an sform nor a qform, so its orientation is a guess; check left "
            "and right, or convert it again from DICOM.",
        )
    if sform is None:
        return affine, ()
    if qform is not None and _singular(sform) and not _singular(qform):
        return np.array(qform, dtype=np.float64), (
            f"{path} has an unusable sform; its qform is used instead.",
        )
    remedy = "the sform is used; check its position, or convert it again from DICOM."
    if qform is not None and np.isfinite(qform).all() and np.isfinite(sform).all():
        away = Grid((shape[0], shape[1], shape[2]), sform).away(np.array(qform))
        if away > TOLERANCE_MM:
            return affine, (
                f"{path} contradicts itself: qform and sform place voxels up to {away:.3g} mm "
                f"apart; {remedy}",
            )
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    said = np.abs(np.array(header["pixdim"][1:4], dtype=np.float64))
    if np.abs((said - sizes) * shape).max() > TOLERANCE_MM:
        one, two = (" x ".join(f"{size:.4g}" for size in all_) for all_ in (said, sizes))
        return affine, (
            f"{path} contradicts itself: its voxel size is {one} mm according to pixdim, but {two} "
            f"mm according to the sform; {remedy}",
        )
    return affine, ()


def _singular(affine: NDArray[np.floating[Any]]) -> bool:
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    # the determinant over the edge lengths is 1 for a box and 0 for axes in one plane
    return bool(
        not np.isfinite(affine).all()
        or not sizes.all()
        or abs(np.linalg.det(affine[:3, :3] / sizes)) < 1e-3
    )


def _check_affine(affine: NDArray[np.float64], path: Path) -> None:
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if _singular(affine):
        raise InputError(f"{path} has a singular affine; convert it again from DICOM.")
    if sizes.min() < VOXEL_RANGE[0] or sizes.max() > VOXEL_RANGE[1]:
        text = " x ".join(f"{size:g}" for size in sizes)
        raise InputError(f"{path} has voxels of {text} mm; convert its affine to millimetres.")
