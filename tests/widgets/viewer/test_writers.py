"""The writers, without a viewer."""

import nibabel as nib
import numpy as np
import pytest

from napari_pvs.errors import InputError
from napari_pvs.widgets.viewer.files import read, write_image, write_labels

AFFINE = np.array([[0, 0, 1.2, -5], [-0.8, 0, 0, 9], [0, 0.9, 0, 3], [0, 0, 0, 1.0]])


@pytest.fixture
def scan(tmp_path):
    data = np.random.default_rng(2).integers(1, 900, (5, 6, 7)).astype(np.int16)
    image = nib.Nifti1Image(data, AFFINE)
    image.header["descrip"] = b"kept"
    image.header.set_slope_inter(0.5, 3)
    image.to_filename(tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def test_an_image_is_written_as_it_was(tmp_path, scan):
    ((data, meta, _),) = read(str(scan))
    for name in ("out.nii", "out.nii.gz"):
        out = tmp_path / name
        assert write_image(str(out), data, meta) == [str(out)]
        before, after = nib.load(scan), nib.load(out)
        np.testing.assert_array_equal(after.get_fdata(), before.get_fdata())
        np.testing.assert_array_equal(after.affine, before.affine)
        assert bytes(after.header["descrip"]).rstrip(b"\0") == b"kept"
        for code in ("qform_code", "sform_code"):
            assert after.header[code] == before.header[code]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mgz"])
@pytest.mark.parametrize(("value", "dtype"), [(1, np.uint8), (1035, np.int32)])
def test_labels_painted_on_a_scan_lie_on_its_voxels(tmp_path, scan, suffix, value, dtype):
    ((shown, meta, _),) = read(str(scan))
    labels = np.zeros(shown.shape, np.int64)
    labels[1, 2, 3] = value
    out = tmp_path / f"labels{suffix}"
    write_labels(str(out), labels, {"name": "mine", "metadata": meta["metadata"]})
    image = nib.load(out)
    assert image.get_data_dtype().newbyteorder("=") == dtype  # MGH is big-endian
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-6)
    (index,) = np.argwhere(np.asarray(image.dataobj) == value)
    assert nib.load(scan).get_fdata()[tuple(index)] == shown[1, 2, 3]


def test_empty_labels_can_be_saved(tmp_path):
    out = tmp_path / "empty_mask.nii.gz"
    write_labels(str(out), np.zeros((3, 4, 5), np.int32), {"scale": (1, 1, 1)})
    ((data, _, kind),) = read(str(out))
    assert kind == "labels"
    assert not data.any()


def test_what_napari_would_pass_over_in_silence_is_an_input_error(tmp_path):
    labels = np.full((3, 4, 5), 2**40)
    with pytest.raises(InputError, match=r"'huge'.*32 bits.*smaller numbers"):
        write_labels(str(tmp_path / "a.nii"), labels, {"name": "huge"})
    assert list(tmp_path.iterdir()) == []
