"""Reading a series of DICOM files as one volume, without what they say of the patient."""

import locale
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.errors import InputError
from napari_pvs.scans.checks import require_variety
from napari_pvs.scans.names import SUFFIXES
from napari_pvs.scans.nifti import Geometry, Volume, read_volume, write_like

_POSITION, _ORIENTATION = "0020|0032", "0020|0037"
_DESCRIPTION = "0008|103e"
_UNEVEN = 0.02
"""Share of the distance of slices by which one may differ: headers are rounded."""
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def is_dicom(path: Path) -> bool:
    """Tell whether a path is a folder, or a file that begins as DICOM files do."""
    path = Path(path)
    if path.is_dir():
        return True
    if path.name.lower().endswith(SUFFIXES) or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_image(path: Path) -> Volume:
    """Read a NIfTI or MGH file, or a DICOM series; see `read_volume` and `read_series`.

    Raises
    ------
    InputError
        It cannot be used.
    """
    return read_series(path) if is_dicom(path) else read_volume(path)


def read_series(path: Path) -> Volume:
    """Read a DICOM series, slices in order of their positions, as float32.

    Only intensities and geometry are taken, no other field. Classic series of one file per slice
    and enhanced files of many frames, compressed or not (SimpleITK, by GDCM; where each frame lies
    and how it is scaled, by pydicom). ``benchmarks/dicom.py`` compares it with dcm2niix.

    Parameters
    ----------
    path
        Folder with one series, or any file of a series.

    Returns
    -------
    The volume; its path is that of the folder or file.

    Raises
    ------
    InputError
        There is no series or there are several, a slice is missing, slices are tilted against each
        other, or there are NaN values.
    """
    import SimpleITK as sitk

    path = Path(path)
    files = _series(path)
    with _contained():
        try:
            if len(files) == 1:
                image = sitk.ReadImage(files[0], sitk.sitkFloat32)
            else:
                distance = _distance(files, path)
                reader = sitk.ImageSeriesReader()
                reader.SetFileNames(files)
                reader.SetOutputPixelType(sitk.sitkFloat32)
                image = reader.Execute()
                image.SetSpacing((*image.GetSpacing()[:2], distance))
        except RuntimeError as error:
            raise InputError(
                f"{path} cannot be read as DICOM ({_reason(error)}); convert it (dcm2niix)."
            ) from error
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[..., 0]
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(f"{path} is not one volume of grey values; give another series.")
    if min(image.GetSize()) < 2:
        raise InputError(f"{path} has a single slice; give the folder of the whole series.")
    data = np.ascontiguousarray(sitk.GetArrayFromImage(image).T)
    affine = np.eye(4)
    directions = np.reshape(image.GetDirection(), (3, 3))
    affine[:3, :3] = directions * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    if len(files) == 1:
        data, affine = _in_order(Path(files[0]), data)
    geometry = Geometry.from_affine(data.shape, _LPS @ affine)
    volume = Volume(**vars(replace(geometry, path=path)), data=data)
    require_variety(volume.data, str(path))
    return volume


def convert(path: Path, target: Path) -> Path:
    """Write a DICOM series as NIfTI; return its path.

    Parameters
    ----------
    path
        As for `read_series`.
    target
        ``.nii.gz``.

    Raises
    ------
    InputError
        As `read_series`, or it cannot be written.
    """
    volume = read_series(path)
    write_like(target, volume.data, volume.geometry())
    return target


def _series(path: Path) -> list[str]:
    """List the files of the one series that a folder has, or to which a file belongs."""
    import SimpleITK as sitk

    folder = path if path.is_dir() else path.parent
    reader = sitk.ImageSeriesReader
    with _contained():
        names = {
            one: list(reader.GetGDCMSeriesFileNames(str(folder), one))
            for one in reader.GetGDCMSeriesIDs(str(folder))
        }
    if path.is_file():
        own = [files for files in names.values() if any(path.samefile(one) for one in files)]
        return own[0] if own else [str(path)]
    if not names:
        raise InputError(
            f"{path} is a folder without a DICOM series (folders in it are not searched); give the "
            "folder of one series, or a NIfTI or MGH file."
        )
    if len(names) > 1:
        told = "; ".join(
            f"{_field(files[0], _DESCRIPTION) or 'no description'} ({len(files)} files, such as "
            f"{Path(files[0]).name})"
            for files in names.values()
        )
        raise InputError(
            f"{path} contains {len(names)} series: {told}; give a file of the one that is meant."
        )
    return next(iter(names.values()))


def _in_order(
    path: Path, data: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Put the frames of an enhanced file in the order of their places, each by its own scale.

    GDCM takes them as they are stored, forgets the voxels' size where they are not in order, and
    scales all as the first.

    Parameters
    ----------
    path
        One file of many frames.
    data
        As GDCM has read it.

    Returns
    -------
    The data, and its affine in LPS+.
    """
    frames = _frames(path)
    if len(frames) != data.shape[2]:
        raise InputError(f"{path} does not say where its frames lie; convert it (dcm2niix).")
    angles = np.array([frame.angles for frame in frames])
    normal = np.cross(angles[0, :3], angles[0, 3:])
    order = np.argsort([frame.place @ normal for frame in frames], kind="stable")
    names = [f"frame {at + 1}" for at in order]
    _step(path, [frames[at].place for at in order], angles[order], names)
    first = frames[0]
    factors = np.array([frame.slope / first.slope for frame in frames])
    offsets = [
        frame.intercept - first.intercept * f for frame, f in zip(frames, factors, strict=True)
    ]
    scaled = data[..., order] * factors[order] + np.array(offsets)[order]
    out = np.eye(4)
    out[:3, 0], out[:3, 1] = first.angles[:3] * first.size[1], first.angles[3:] * first.size[0]
    out[:3, 3] = frames[order[0]].place
    out[:3, 2] = (frames[order[-1]].place - frames[order[0]].place) / (len(frames) - 1)
    return np.ascontiguousarray(scaled, np.float32), out


@dataclass(frozen=True, eq=False)
class _Frame:
    """Of an enhanced file: corner (LPS, mm), directions and distances (mm) of its lines, scale."""

    place: NDArray[np.float64]
    angles: NDArray[np.float64]
    size: NDArray[np.float64]
    slope: float
    intercept: float


def _frames(path: Path) -> list[_Frame]:
    """Read what an enhanced file says of each frame; nothing if it is none."""
    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that nobody reads here
        whole = pydicom.dcmread(path, stop_before_pixels=True)
        shared = (whole.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0]
        out = []
        for one in whole.get("PerFrameFunctionalGroupsSequence") or []:

            def told(group: str, field: str, one: Any = one) -> Any:
                inner = one.get(group) or shared.get(group)
                return inner[0].get(field) if inner else None

            place = told("PlanePositionSequence", "ImagePositionPatient")
            angles = told("PlaneOrientationSequence", "ImageOrientationPatient")
            size = told("PixelMeasuresSequence", "PixelSpacing")
            if place is None or angles is None or size is None:
                return []
            slope = told("PixelValueTransformationSequence", "RescaleSlope") or 1
            intercept = told("PixelValueTransformationSequence", "RescaleIntercept") or 0
            where = [np.array(each, np.float64) for each in (place, angles, size)]
            out.append(_Frame(where[0], where[1], where[2], float(slope), float(intercept)))
    return out


def _distance(files: list[str], path: Path) -> float:
    """Return the distance of the slices, mm, which must all be the same."""
    places = [_numbers(file, _POSITION, 3) for file in files]
    angles = np.array([_numbers(file, _ORIENTATION, 6) for file in files])
    return _step(path, places, angles, [Path(file).name for file in files])


def _step(
    path: Path,
    corners: Sequence[NDArray[np.float64]],
    angles: NDArray[np.float64],
    names: Sequence[str],
) -> float:
    """Return the distance of slices in order, mm; refuse them if it differs, or the angles do."""
    if np.abs(angles - angles[0]).max() > 1e-3:
        raise InputError(
            f"{path} has slices at several angles, as localisers do; give another series."
        )
    steps = np.diff(np.array(corners) @ np.cross(angles[0, :3], angles[0, 3:]))
    step = float(np.median(steps))
    if abs(step) < 1e-3:
        raise InputError(
            f"{path} has several images in one place, such as echoes or repetitions; give the "
            "folder of one of them."
        )
    off = np.abs(steps - step) > max(_UNEVEN * abs(step), 1e-3)
    if off.any():
        at = int(np.flatnonzero(off)[0])
        raise InputError(
            f"{path} lacks slices, or has them at uneven distances: {abs(steps[at]):.2f} mm after "
            f"{names[at]}, elsewhere {abs(step):.2f} mm; copy the whole series again."
        )
    return abs(step)


def _field(file: str, key: str) -> str:
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(file)
    with _contained():
        reader.ReadImageInformation()
    return str(reader.GetMetaData(key)).strip() if reader.HasMetaDataKey(key) else ""


def _numbers(file: str, key: str, count: int) -> NDArray[np.float64]:
    try:
        found = np.array([float(part) for part in _field(file, key).split("\\")])
    except ValueError:
        found = np.zeros(0)
    if len(found) != count:
        raise InputError(f"{file} does not say where its slice lies; convert it (dcm2niix).")
    return found


def _reason(error: RuntimeError) -> str:
    """Return the part of ITK's message that tells something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rpartition("): ")[2].rstrip(".") if lines else "no reason given"


class _contained:
    """Keep GDCM's own warnings, which users cannot act on, off the terminal, and the locale as is.

    GDCM sets the process's locale to "C": text of other processes would be read as ASCII.
    """

    def __enter__(self) -> None:
        import SimpleITK as sitk

        self._locale = locale.setlocale(locale.LC_ALL)
        self._before = sitk.ProcessObject.GetGlobalWarningDisplay()
        sitk.ProcessObject.GlobalWarningDisplayOff()

    def __exit__(self, *_: Any) -> None:
        import SimpleITK as sitk

        locale.setlocale(locale.LC_ALL, self._locale)
        if self._before:
            sitk.ProcessObject.GlobalWarningDisplayOn()
