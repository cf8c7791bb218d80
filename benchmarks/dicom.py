"""Whether DICOM files are read right: by napari-pvs (SimpleITK, which has GDCM) and by dcm2niix.

    pip install pydicom pylibjpeg pylibjpeg-rle pylibjpeg-openjpeg dcm2niix
    python benchmarks/dicom.py

Synthetic series of one volume, tilted against the scanner's axes, with a slope and an intercept, as
a scanner of each kind would write it: one file per slice or one enhanced file of many; frames
in order or not; plain or compressed; intensities scaled alike or frame by frame. *Right*: every
voxel's value, and where it lies, to 0.01 mm. *Refused*: an error instead of a volume, which costs
time; *wrong* costs a result. A name is in every file; no output may have it.
"""

import argparse
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import records
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    MRImageStorage,
    RLELossless,
    generate_uid,
)

from napari_pvs.errors import InputError
from napari_pvs.scans.dicom import read_series

NAME = "Doe^Jane"
SHAPE = (80, 72, 12)
SIZE = (0.9, 1.1, 1.5)
COLUMNS = np.array([0.0, 0.98, -0.199]), np.array([0.0, -0.199, -0.98])
"""Directions of columns and rows in LPS: sagittal, tilted."""
CORNER = np.array([-20.0, -30.0, 10.0])
SLOPE, INTERCEPT = 2.0, -3.0


def main() -> None:
    """Write, read, compare, print."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    rng = np.random.default_rng(0)
    stored = np.cumsum(rng.integers(0, 30, SHAPE), axis=0).astype(np.uint16)
    rows = []
    print("series\tnapari-pvs\tdcm2niix")
    for name, write in variants().items():
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made) / "series"
            folder.mkdir()
            expected = write(folder, stored)
            row = {"series": name}
            for by, read in (("napari-pvs", ours), ("dcm2niix", theirs)):
                row[by] = verdict(read, folder, expected)
        rows.append(row)
        print(*row.values(), sep="\t", flush=True)
    told = {by: [row[by].split(":")[0] for row in rows] for by in ("napari-pvs", "dcm2niix")}
    for by, found in told.items():
        print(by, *(f"{word}: {found.count(word)}" for word in ("right", "refused", "wrong")))
    print(records.keep("dicom", {"rows": rows, "pydicom": pydicom.__version__}))


Image = NDArray[np.float64]
Writer = Callable[[Path, NDArray[np.uint16]], Image]


def variants() -> dict[str, Writer]:
    """Return what writes each kind of series; each returns the values that its voxels have."""
    order = np.random.default_rng(1).permutation(SHAPE[2])
    return {
        "classic": classic(),
        "classic, RLE": classic(RLELossless),
        "classic, JPEG 2000 lossless": classic(JPEG2000Lossless),
        "classic, a slope for each slice": classic(slopes=True),
        "enhanced": enhanced(),
        "enhanced, slices from the other end": enhanced(order=np.arange(SHAPE[2])[::-1]),
        "enhanced, frames in another order": enhanced(order=order),
        "enhanced, RLE": enhanced(syntax=RLELossless),
        "enhanced, JPEG 2000 lossless": enhanced(syntax=JPEG2000Lossless),
        "enhanced, a slope for each frame": enhanced(slopes=True),
        "enhanced, a frame missing": enhanced(order=np.delete(np.arange(SHAPE[2]), 5)),
    }


def common(uid: str) -> Dataset:
    """Return what every file of a scanner has."""
    one = Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = uid
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = generate_uid()
    one.PatientName, one.PatientID, one.PatientBirthDate = NAME, "12345", "19500101"
    one.StudyInstanceUID, one.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    one.FrameOfReferenceUID, one.Modality, one.Manufacturer = "1.2.3.2", "MR", "NoBody"
    one.SeriesNumber, one.AcquisitionNumber, one.InstanceNumber = 5, 1, 1
    one.SeriesDescription = "t1_mprage"
    one.ImageType = ["ORIGINAL", "PRIMARY", "M", "NONE"]
    one.StudyDate = one.ContentDate = one.SeriesDate = "20240101"
    one.StudyTime = one.ContentTime = one.SeriesTime = one.AcquisitionTime = "101010"
    one.Rows, one.Columns = SHAPE[1], SHAPE[0]
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 0
    return one


def place(at: int) -> list[str]:
    """Position of a slice."""
    normal = np.cross(*COLUMNS)
    return [f"{value:.6f}" for value in CORNER + SIZE[2] * at * normal]


def angles() -> list[str]:
    """Orientation of all slices."""
    return [f"{value:.6f}" for value in np.ravel(COLUMNS)]


def slope(at: int, slopes: bool) -> float:
    """Slope of a slice."""
    return SLOPE + 0.125 * at if slopes else SLOPE


def scaled(stored: NDArray[np.uint16], slopes: bool, some: NDArray[np.intp]) -> Image:
    """Return the values of the slices that are there."""
    factors = np.array([slope(at, slopes) for at in sorted(some)])
    return stored[..., np.sort(some)] * factors + INTERCEPT


def classic(syntax: str | None = None, slopes: bool = False) -> Writer:
    """One file per slice."""

    def write(folder: Path, stored: NDArray[np.uint16]) -> Image:
        for number, at in enumerate(np.random.default_rng(2).permutation(SHAPE[2])):
            one = common(MRImageStorage)
            one.InstanceNumber = int(at) + 1
            one.ImagePositionPatient, one.ImageOrientationPatient = place(at), angles()
            one.PixelSpacing = [SIZE[1], SIZE[0]]
            one.SliceThickness = one.SpacingBetweenSlices = SIZE[2]
            one.RescaleSlope, one.RescaleIntercept = slope(at, slopes), INTERCEPT
            one.RepetitionTime, one.EchoTime = 2000, 3
            one.PixelData = np.ascontiguousarray(stored[..., at].T).tobytes()
            save(one, folder / f"IM{number:03d}.dcm", syntax)
        return scaled(stored, slopes, np.arange(SHAPE[2]))

    return write


def enhanced(
    order: NDArray[np.intp] | None = None, syntax: str | None = None, slopes: bool = False
) -> Writer:
    """One file of many frames."""
    frames = np.arange(SHAPE[2]) if order is None else order

    def write(folder: Path, stored: NDArray[np.uint16]) -> Image:
        one = common(EnhancedMRImageStorage)
        one.NumberOfFrames = len(frames)
        shared = Dataset()
        shared.PixelMeasuresSequence = single(
            PixelSpacing=[SIZE[1], SIZE[0]], SliceThickness=SIZE[2], SpacingBetweenSlices=SIZE[2]
        )
        shared.PlaneOrientationSequence = single(ImageOrientationPatient=angles())
        one.SharedFunctionalGroupsSequence = Sequence([shared])
        index = Dataset()
        index.DimensionOrganizationUID = "1.2.3.9"
        one.DimensionOrganizationSequence = Sequence([index])
        pointer = Dataset()
        pointer.DimensionOrganizationUID = "1.2.3.9"
        pointer.DimensionIndexPointer, pointer.FunctionalGroupPointer = 0x00209057, 0x00209111
        one.DimensionIndexSequence = Sequence([pointer])
        groups = []
        for at in frames:
            frame = Dataset()
            frame.FrameContentSequence = single(
                StackID="1", InStackPositionNumber=int(at) + 1, DimensionIndexValues=[int(at) + 1]
            )
            frame.PlanePositionSequence = single(ImagePositionPatient=place(at))
            frame.PixelValueTransformationSequence = single(
                RescaleSlope=slope(at, slopes), RescaleIntercept=INTERCEPT, RescaleType="US"
            )
            groups.append(frame)
        one.PerFrameFunctionalGroupsSequence = Sequence(groups)
        one.PixelData = np.ascontiguousarray(stored[..., frames].T).tobytes()
        save(one, folder / "IM000.dcm", syntax)
        return scaled(stored, slopes, frames)

    return write


def single(**values: Any) -> Sequence:
    """Return a sequence of one item."""
    item = Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return Sequence([item])


def save(one: Dataset, path: Path, syntax: str | None) -> None:
    """Write, compressed if asked for."""
    if syntax is not None:
        one.compress(syntax)
    one.save_as(path, enforce_file_format=True)


def ours(folder: Path) -> tuple[Image, NDArray[np.float64]]:
    """Read as napari-pvs does."""
    volume = read_series(folder)
    return np.asarray(volume.data, float), volume.affine


def theirs(folder: Path) -> tuple[Image, NDArray[np.float64]]:
    """Convert by dcm2niix."""
    out = folder.with_name("out")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    program = shutil.which("dcm2niix")
    done = subprocess.run(
        [program, "-z", "n", "-f", "scan", "-o", out, folder],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    made = sorted(out.glob("*.nii"))
    if done.returncode or len(made) != 1:
        raise InputError(f"{len(made)} volumes, exit code {done.returncode}")
    for file in out.iterdir():
        if any(word.encode() in file.read_bytes() for word in ("Doe", "Jane", "12345")):
            raise AssertionError(f"{file.name} names the patient")
    image = nib.load(made[0])
    return np.asarray(image.dataobj, float), image.affine


def verdict(read: Callable[..., Any], folder: Path, expected: Image) -> str:
    """Say whether a reader is right."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data, affine = read(folder)
    except (InputError, AssertionError) as error:
        return f"refused: {str(error).replace(str(folder), 'it')}"
    missing = expected.shape[2] != SHAPE[2]
    if missing:
        return f"wrong: a volume of {data.shape}, although a slice is missing"
    lps = np.eye(4)
    columns, rows = COLUMNS
    lps[:3, :3] = np.stack([columns, rows, np.cross(columns, rows)], 1) * SIZE
    lps[:3, 3] = CORNER
    true = np.diag([-1.0, -1, 1, 1]) @ lps
    # where the voxels of the file lie among those of the truth
    index = np.stack(np.meshgrid(*map(np.arange, data.shape), indexing="ij"), -1)
    where = nib.affines.apply_affine(np.linalg.inv(true) @ affine, index)
    nearest = np.rint(where).astype(int)
    off = float(np.abs((where - nearest) * SIZE).max())
    inside = ((nearest >= 0) & (nearest < expected.shape)).all(-1)
    if data.shape != expected.shape and sorted(data.shape) != sorted(expected.shape):
        return f"wrong: a volume of {data.shape}"
    if not inside.all() or off > 0.01:
        return "wrong: voxels lie elsewhere"
    error = np.abs(data - expected[tuple(np.moveaxis(nearest, -1, 0))]).max()
    return "right" if error < 1e-2 else f"wrong: values differ by up to {error:.0f}"


if __name__ == "__main__":
    main()
