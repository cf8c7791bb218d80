"""Reading and writing NIfTI and MGH files without altering their geometry."""

import gzip
import io
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_pvs.errors import InputError, InputWarning
from napari_pvs.files import atomic, require_fetched
from napari_pvs.scans.checks import require_finite, require_variety
from napari_pvs.scans.header import (
    check_header,
    check_length,
    nifti_header,
    oddities,
    read_rest,
    voxels_of,
)

NIFTI = (".nii", ".nii.gz")
MGH = (".mgh", ".mgz")
COMPRESSED = (".gz", ".mgz")
_SIZES = {n.to_bytes(4, order): n for n in (348, 540) for order in ("little", "big")}
"""The first four bytes of NIfTI-1 and NIfTI-2."""
SCALE = 32767
"""A probability of 1 is stored as this int16 value."""


class NotIntegers(InputError):
    """A file that should contain labels contains other numbers."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Geometry:
    """How a file arranges its voxels in space: all that is needed to write another like it.

    Parameters
    ----------
    shape
        Three axes, in the file's own order.
    affine
        4x4 float64, voxel index to RAS+ mm.
    header
        Copy of the nibabel header; its data shape is the one on disk, perhaps ``(x, y, z, 1)``.
    path
        The file it came from, if any.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    header: Any
    path: Path | None = None

    @classmethod
    def from_affine(cls, shape: tuple[int, int, int], affine: NDArray[np.float64]) -> "Geometry":
        """Return the geometry of an array without a file; it is written as NIfTI-1."""
        affine = np.array(affine, dtype=np.float64)
        return cls(shape=shape, affine=affine, header=nifti_header(shape, affine))


@dataclass(frozen=True, eq=False, kw_only=True)
class Volume(Geometry):
    """One 3D file in memory.

    Parameters
    ----------
    data
        float32 intensities (slope applied) or int32 labels, in the file's own axis order.
    warnings
        Sentences on what looked doubtful; each was also issued as an `InputWarning`.
    """

    data: NDArray[Any]
    warnings: tuple[str, ...] = ()

    def geometry(self) -> Geometry:
        """Return only the geometry, which does not keep the voxels in memory."""
        return Geometry(shape=self.shape, affine=self.affine, header=self.header, path=self.path)


def read_volume(path: Path, *, constant: bool = False) -> Volume:
    """Read a 3D image as float32.

    Parameters
    ----------
    path
        NIfTI or MGH.
    constant
        Accept an image with a single value, since a probability map may be 0 throughout.

    Raises
    ------
    InputError
        The file is missing, damaged, not NIfTI or MGH, not a single 3D frame of real numbers, has
        NaN or infinite values or only one value, or has no usable affine.
    """
    volume = _read(Path(path), np.dtype(np.float32))
    if not constant:
        require_variety(volume.data, str(path))
    return volume


def read_labels(path: Path) -> Volume:
    """Read a 3D mask or label map as non-negative int32; integers stored as floats are accepted.

    Negative numbers become background, except those that an int8 header makes of 128 to 255.

    Raises
    ------
    InputError
        As `read_volume`, except that a single value is allowed; or the values are not integers.
    """
    volume = _read(Path(path), None)
    if volume.data.dtype == np.int8 and volume.data.min() < 0:
        wrapped = int(np.count_nonzero(volume.data < 0))
        text = (
            f"{path} has {wrapped} negative numbers, because its header says signed 8-bit; they "
            "are read as unsigned, so that -1 is 255."
        )
        warnings.warn(text, InputWarning, stacklevel=2)
        volume = replace(volume, data=volume.data.view(np.uint8), warnings=(*volume.warnings, text))
    labels = np.empty_like(volume.data, dtype=np.int32)
    # slice by slice, because intermediate values take 25 bytes per voxel
    for values, whole in zip(volume.data.T, labels.T, strict=True):
        if not _rounded(values, whole):
            raise NotIntegers(
                f"{path} has values that are not integers; give a mask or a label map (threshold a "
                "probability map first)."
            )
    if labels.min() < 0:
        negative = int(np.count_nonzero(labels < 0))
        text = f"{path} has {negative} negative numbers, which count as background."
        warnings.warn(text, InputWarning, stacklevel=2)
        volume = replace(volume, warnings=(*volume.warnings, text))
        np.maximum(labels, 0, out=labels)
    return replace(volume, data=labels)


def write_like(path: Path, array: NDArray[Any], like: Geometry, *, scaled: bool = False) -> None:
    """Write ``array`` with the affine, header and exact shape of the file that ``like`` came from.

    Parameters
    ----------
    path
        ``.nii``, ``.nii.gz``, ``.mgh`` or ``.mgz``; written atomically.
    array
        In the axis order of ``like``. bool is stored as uint8, other integers as int32, floats as
        float32.
    like
        A `Volume` or its `Geometry`.
    scaled
        Store a probability (0 to 1) in half the space: as int16 with a slope, 0 and 1 exact. MGH
        has no slope, so float32 is kept.

    Raises
    ------
    InputError
        The extension is not one of the four, or the folder cannot be written.
    ValueError
        The shapes differ, or a value is out of range for the type.
    """
    from nibabel.freesurfer.mghformat import MGHHeader, MGHImage

    path = Path(path)
    _check_extension(path)
    mgh = _ends(path, MGH)
    scaled = scaled and not mgh
    stored = _storable(_fitting(array, like), scaled)
    if mgh:
        header = like.header.copy() if isinstance(like.header, MGHHeader) else None
        image = MGHImage(stored, like.affine, header)
        image.set_data_dtype(stored.dtype)
    else:
        image = _nifti_image(stored, like, SCALE if scaled else 1)
    with atomic(path) as temporary, _stream(temporary, "wb") as stream:
        image.to_stream(stream)


def encoded(array: NDArray[Any], like: Geometry) -> bytes:
    """Return the bytes of the ``.nii.gz`` that `write_like` would write; equal for equal arrays.

    Raises
    ------
    ValueError
        As `write_like`.
    """
    whole = io.BytesIO()
    with _compressed(whole, "wb") as stream:
        _nifti_image(_storable(_fitting(array, like), False), like, 1).to_stream(stream)
    return whole.getvalue()


def _fitting(array: NDArray[Any], like: Geometry) -> NDArray[Any]:
    if array.shape != like.shape:
        raise ValueError(f"array has shape {array.shape}, the scan {like.shape}")
    return array


def _read(path: Path, dtype: np.dtype[Any] | None) -> Volume:
    """Read header and voxels; a ``dtype`` of None keeps the file's type."""
    if path.is_dir():
        raise InputError(f"{path} is a folder; give one NIfTI or MGH file.")
    require_fetched(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path.")
    _check_extension(path)
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty; copy it again from its source.")
    try:
        with _stream(path, "rb") as stream:
            image, odd = _image_in(stream, path)
            affine, doubts = check_header(image, path)
            check_length(image, path, compressed=_ends(path, COMPRESSED))
            voxels, shifted = voxels_of(image, stream, path)
            data = np.asarray(voxels, dtype=dtype)
            doubts = (*odd, *shifted, *doubts, *read_rest(stream, path, _ends(path, MGH)))
    except PermissionError as error:
        raise InputError(f"{path} cannot be read; change its permissions.") from error
    except (EOFError, OSError, ValueError, OverflowError, zlib.error) as error:
        raise InputError(
            f"{path} is truncated or damaged; copy it again from its source."
        ) from error
    x, y, z = image.shape[:3]
    data = data.reshape(x, y, z)
    require_finite(data, str(path))
    for text in doubts:
        warnings.warn(text, InputWarning, stacklevel=3)
    return Volume(
        shape=(x, y, z),
        affine=affine,
        header=image.header.copy(),
        path=path,
        data=data,
        warnings=doubts,
    )


def _rounded(values: NDArray[Any], out: NDArray[np.int32]) -> bool:
    """Round values into ``out``; return whether they were integers."""
    if values.dtype.kind in "iu":
        out[...] = values
        return np.array_equal(out, values)
    with np.errstate(invalid="ignore"):
        out[...] = np.rint(values)
    # in a mask that was saved with a scale factor, 1 may read as 1.0000001
    return bool((np.abs(out - values) <= 1e-3).all())


def _image_in(stream: Any, path: Path) -> tuple[Any, list[str]]:
    """Read the header; also return what nibabel finds odd about it."""
    import nibabel as nib

    told: list[str] = []
    if _ends(path, MGH):
        kind: Any = nib.MGHImage
        if stream.read(30)[28:] == b"\0\0":  # goodRASFlag, which nibabel overwrites
            told.append(
                f"{path} does not state its orientation, so that is a guess; check left and right, "
                "or convert it again from its source."
            )
        stream.seek(0)
    else:
        size = stream.read(4)
        stream.seek(0)
        if size not in _SIZES:
            raise InputError(f"{path} is not a NIfTI file; convert or copy it again.")
        kind = nib.Nifti1Image if _SIZES[size] == 348 else nib.Nifti2Image
    try:
        with oddities() as odd:
            # a memory map would keep the file open, and change when it is overwritten
            image = kind.from_file_map({"image": nib.FileHolder(fileobj=stream)}, mmap=False)
        return image, [*told, *(f"{path} has an odd header: {text}." for text in odd)]
    except (EOFError, OSError, zlib.error):
        raise
    except Exception as error:  # nibabel's parsers may raise anything on damaged bytes
        reason = (str(error).splitlines() or [""])[0].rstrip(".")
        raise InputError(
            f"{path} is not a readable NIfTI or MGH file ({type(error).__name__}: {reason}); "
            "convert or copy it again."
        ) from error


@contextmanager
def _stream(path: Path, mode: Literal["rb", "wb"]) -> Iterator[Any]:
    with path.open(mode) as raw:
        if not _ends(path, COMPRESSED):
            yield raw
            return
        if mode == "rb":
            if raw.read(4) in _SIZES:
                raise InputError(
                    f"{path} is not compressed, although its name says so; rename it to end in "
                    ".nii."
                )
            raw.seek(0)
        with _compressed(raw, mode) as stream:
            yield stream


def _compressed(raw: IO[bytes], mode: Literal["rb", "wb"]) -> gzip.GzipFile:
    # no name and no time in the file, so that equal arrays give equal bytes
    return gzip.GzipFile("", mode, compresslevel=4, fileobj=raw, mtime=0)


def _ends(path: Path, suffixes: tuple[str, ...]) -> bool:
    return path.name.lower().endswith(suffixes)


def _check_extension(path: Path) -> None:
    if not _ends(path, NIFTI + MGH):
        raise InputError(
            f"{path} does not end in .nii, .nii.gz, .mgh or .mgz; give a NIfTI or MGH file "
            "(dcm2niix converts DICOM)."
        )


def _storable(array: NDArray[Any], scaled: bool) -> NDArray[Any]:
    if array.dtype == bool:
        return array.view(np.uint8)
    if array.dtype == np.int32:
        return array
    if array.dtype.kind in "iu":
        stored = array.astype(np.int32)
        if not np.array_equal(stored, array):
            raise ValueError("a label number does not fit into 32 bits")
        return stored
    if not scaled:
        return array.astype(np.float32, copy=False)
    if not (array.min() >= 0 and array.max() <= 1):
        raise ValueError("a probability is outside 0 to 1")
    whole = np.empty_like(array, dtype=np.int16)
    for values, out in zip(array, whole, strict=True):  # slice by slice, to save memory
        out[...] = np.rint(values * np.float32(SCALE))
    return whole


def _nifti_image(stored: NDArray[Any], like: Geometry, scale: int) -> Any:
    import nibabel as nib

    if isinstance(like.header, nib.Nifti1Header):
        header = like.header.copy()
    else:
        header = nifti_header(stored.shape, like.affine)
    kind: Any = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    # with the scan's display window, a mask would look black
    header["cal_min"] = header["cal_max"] = 0
    image = kind(stored.reshape(header.get_data_shape()), like.affine, header)
    image.set_data_dtype(stored.dtype)
    image.header.set_slope_inter(1 / scale, 0)
    return image
