"""DICOM series are read slice by slice in order, and refused where their geometry is unsound."""

import locale
from contextlib import contextmanager

import numpy as np
import pytest

from napari_pvs.errors import InputError
from napari_pvs.scans.dicom import convert, is_dicom, read_image, read_series
from napari_pvs.scans.nifti import read_volume

sitk = pytest.importorskip("SimpleITK")
NAME = "DOE^JANE"
SHAPE = (10, 12, 8)
COSINES = np.array([[0.0, 0.98, 0.199], [1.0, 0, 0], [0, -0.199, 0.98]]).T
"""Sagittal-like and tilted: directions of columns, rows and slices in LPS, as rows."""


@contextmanager
def locale_as_it_was():
    """Writing sets the process's locale to "C", by which later tests would read text as ASCII."""
    before = locale.setlocale(locale.LC_ALL)
    yield
    locale.setlocale(locale.LC_ALL, before)


@pytest.fixture(scope="module", autouse=True)
def _dictionary(tmp_path_factory):
    """Read a file first: before that, a process writes no orientation."""
    path = str(tmp_path_factory.mktemp("first") / "a.dcm")
    with locale_as_it_was():
        sitk.WriteImage(sitk.Image(4, 4, sitk.sitkInt16), path)
        sitk.ReadImage(path)


@locale_as_it_was()
def write(folder, skip=(), uid="1.2.3", description="t1_mprage", shift=0.0, shuffle=True, turn=()):
    """Write a series of one file per slice, in files named in any order; return its voxels."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    data = (2 * rng.integers(0, 500, SHAPE) - 3).astype(np.int16)  # by the slope of the files
    across = np.cross(COSINES[0], COSINES[1])
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    order = rng.permutation(SHAPE[2]) if shuffle else np.arange(SHAPE[2])
    for number, at in enumerate(order):
        if at in skip:
            continue
        image = sitk.GetImageFromArray(np.ascontiguousarray(data[..., at].T))
        image.SetSpacing((0.9, 1.1))
        columns = COSINES[:2] if at not in turn else COSINES[[1, 0]]
        place = np.array([-20.0, -30, 10]) + across * (1.5 * at + (shift if at == 3 else 0))
        values = {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.4", "0008|0060": "MR",
            "0020|000d": "1.2.1", "0020|000e": f"{uid}.1",
            "0008|0018": f"{uid}.2.{at + 1}", "0020|0013": str(number), "0008|103e": description,
            "0010|0010": NAME, "0018|0050": "1.5",
            "0020|0032": "\\".join(f"{v:.6f}" for v in place),
            "0020|0037": "\\".join(f"{v:.6f}" for v in np.ravel(columns)),
            "0028|1052": "-3", "0028|1053": "2",
        }  # fmt: skip
        for key, value in values.items():
            image.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"IM{number:04d}.{uid}.dcm"))
        writer.Execute(image)
    return data


def test_a_series_has_the_values_and_places_of_its_files(tmp_path):
    data = write(tmp_path / "a")
    before = locale.setlocale(locale.LC_ALL)
    found = read_series(tmp_path / "a")
    assert locale.setlocale(locale.LC_ALL) == before  # which GDCM sets to "C"
    assert found.path == tmp_path / "a"
    assert found.data.dtype == np.float32
    np.testing.assert_array_equal(found.data, data)
    # a voxel lies where its file says, in RAS
    across = np.cross(COSINES[0], COSINES[1])
    place = np.array([-20.0, -30, 10]) + 0.9 * 4 * COSINES[0] + 1.1 * 5 * COSINES[1]
    place += 1.5 * 6 * across
    np.testing.assert_allclose((found.affine @ [4, 5, 6, 1])[:3], place * [-1, -1, 1], atol=1e-3)


def test_one_of_its_files_stands_for_the_series(tmp_path):
    write(tmp_path / "a")
    other = write(tmp_path / "a", uid="1.2.4", description="t2_space") + 0
    file = next((tmp_path / "a").glob("*1.2.4.dcm"))
    assert is_dicom(file)
    np.testing.assert_array_equal(read_image(file).data, other)
    assert read_image(file).shape == SHAPE


def test_several_series_are_listed_in_one_sentence(tmp_path):
    write(tmp_path / "a")
    write(tmp_path / "a", uid="1.2.4", description="t2_space")
    with pytest.raises(InputError) as caught:
        read_series(tmp_path / "a")
    said = str(caught.value)
    assert "contains 2 series" in said
    assert "t1_mprage (8 files, such as IM" in said
    assert "t2_space (8 files" in said
    assert NAME not in said


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"skip": (4,)}, r"lacks slices.*3\.00 mm after IM.*elsewhere 1\.50 mm"),
        ({"shift": 0.4}, "uneven distances"),
        ({"turn": (2,)}, "several angles"),
    ],
)
def test_an_unsound_geometry_is_refused(tmp_path, given, match):
    write(tmp_path / "a", **given)
    with pytest.raises(InputError, match=match):
        read_series(tmp_path / "a")


def test_what_is_no_series_is_refused(tmp_path, write_image):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="a folder without a DICOM series"):
        read_image(tmp_path / "empty")
    write(tmp_path / "one", skip=range(1, SHAPE[2]))
    with pytest.raises(InputError, match="a single slice"):
        read_series(tmp_path / "one")
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(bytes(128) + b"DICM" + b"nothing that follows makes sense")
    assert is_dicom(broken)
    with pytest.raises(InputError, match="cannot be read as DICOM"):
        read_image(broken)
    nifti = write_image(tmp_path / "a.nii", np.ones((3, 3, 3)))
    assert not is_dicom(nifti)
    assert not is_dicom(tmp_path / "nowhere")


def test_what_is_converted_knows_no_patient(tmp_path):
    write(tmp_path / "a")
    made = convert(tmp_path / "a", tmp_path / "out" / "T1w.nii.gz")
    import gzip

    content = gzip.decompress(made.read_bytes())
    assert NAME.encode() not in content
    assert b"DOE" not in content
    back = read_volume(made)
    np.testing.assert_array_equal(back.data, read_series(tmp_path / "a").data)
    np.testing.assert_allclose(back.affine, read_series(tmp_path / "a").affine, atol=1e-4)


def enhanced(path, order=tuple(range(SHAPE[2])), slopes=None, places=None, compressed=False):
    """Write one enhanced file of many frames in some order; return the voxels in theirs."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, RLELossless

    def group(**values):
        item = pydicom.Dataset()
        for name, value in values.items():
            setattr(item, name, value)
        return pydicom.Sequence([item])

    def item(**groups):
        one = pydicom.Dataset()
        for name, value in groups.items():
            setattr(one, name, value)
        return one

    stored = np.random.default_rng(0).integers(0, 900, SHAPE).astype(np.uint16)
    slopes = [2.0] * SHAPE[2] if slopes is None else slopes
    across = np.cross(COSINES[0], COSINES[1])
    one = pydicom.Dataset()
    one.file_meta = pydicom.dataset.FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.SOPClassUID, one.SOPInstanceUID = EnhancedMRImageStorage, "1.2.3.4"
    one.PatientName, one.Modality, one.SeriesInstanceUID = NAME, "MR", "1.2.3"
    one.Rows, one.Columns, one.NumberOfFrames = SHAPE[1], SHAPE[0], len(order)
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 0
    angles = [f"{value:.6f}" for value in np.ravel(COSINES[:2])]
    one.SharedFunctionalGroupsSequence = pydicom.Sequence(
        [
            item(
                PixelMeasuresSequence=group(PixelSpacing=[1.1, 0.9], SliceThickness=1.5),
                PlaneOrientationSequence=group(ImageOrientationPatient=angles),
            )
        ]
    )
    frames = []
    for at in order:
        away = 1.5 * at if places is None else places[at]
        place = [f"{v:.6f}" for v in np.array([-20.0, -30, 10]) + across * away]
        frames.append(
            item(
                PlanePositionSequence=group(ImagePositionPatient=place),
                PixelValueTransformationSequence=group(
                    RescaleSlope=slopes[at], RescaleIntercept=-3, RescaleType="US"
                ),
            )
        )
    one.PerFrameFunctionalGroupsSequence = pydicom.Sequence(frames)
    one.PixelData = np.ascontiguousarray(stored[..., list(order)].T).tobytes()
    if compressed:
        one.compress(RLELossless)
    path.parent.mkdir(exist_ok=True)
    one.save_as(path, enforce_file_format=True)
    return stored * np.array(slopes) - 3


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"compressed": True},
        {"order": (5, 2, 7, 0, 1, 6, 4, 3)},
        {"order": tuple(range(8))[::-1]},
        {"slopes": [2.0, 1.5, 3, 1, 0.5, 2, 4, 1.25], "order": (5, 2, 7, 0, 1, 6, 4, 3)},
    ],
)
def test_an_enhanced_file_has_the_values_and_places_of_its_frames(tmp_path, given):
    expected = enhanced(tmp_path / "a" / "one.dcm", **given)
    found = read_series(tmp_path / "a")
    np.testing.assert_allclose(found.data, expected, rtol=1e-6)
    across = np.cross(COSINES[0], COSINES[1])
    place = np.array([-20.0, -30, 10]) + 0.9 * 4 * COSINES[0] + 1.1 * 5 * COSINES[1]
    place += 1.5 * 6 * across
    np.testing.assert_allclose((found.affine @ [4, 5, 6, 1])[:3], place * [-1, -1, 1], atol=1e-3)
    made = convert(tmp_path / "a", tmp_path / "T1w.nii")
    assert b"DOE" not in made.read_bytes()


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"order": (0, 1, 2, 4, 5, 6, 7)}, r"lacks slices.*after frame 3, elsewhere 1\.50 mm"),
        ({"places": [0, 1.5, 3, 4.5, 0, 1.5, 3, 4.5]}, "uneven|in one place"),
    ],
)
def test_enhanced_files_of_unsound_geometry_are_refused(tmp_path, given, match):
    enhanced(tmp_path / "a" / "one.dcm", **given)
    with pytest.raises(InputError, match=match) as caught:
        read_series(tmp_path / "a")
    assert NAME not in str(caught.value)


def test_frames_that_say_nothing_of_their_place_are_refused(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    enhanced(tmp_path / "a" / "one.dcm")
    one = pydicom.dcmread(tmp_path / "a" / "one.dcm")
    for frame in one.PerFrameFunctionalGroupsSequence:
        del frame.PlanePositionSequence
    one.save_as(tmp_path / "a" / "one.dcm")
    with pytest.raises(InputError, match="does not say where its frames lie"):
        read_series(tmp_path / "a")
