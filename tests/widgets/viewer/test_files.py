"""The reader, without a viewer."""

import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_pvs.errors import InputError
from napari_pvs.widgets.viewer.files import (
    get_reader,
    looks_like_labels,
    read,
    write_image,
    write_labels,
)

DATA = Path(os.environ.get("NAPARI_PVS_DATA", Path(__file__).parents[4] / "shared" / "data"))
SHAPE = (8, 9, 10)


def noise(low=50, high=200, dtype=np.int16):
    return np.random.default_rng(1).integers(low, high, SHAPE).astype(dtype)


def blob(value=1, dtype=np.uint8):
    data = np.zeros(SHAPE, dtype)
    data[2:6, 3:7, 4:8] = value
    return data


def save(path, data):
    if str(path).endswith(".mgz"):
        nib.MGHImage(data, np.eye(4)).to_filename(path)
    else:
        image = nib.Nifti1Image(data, np.eye(4))
        image.to_filename(path)
    return str(path)


def test_only_nifti_and_mgz_are_ours():
    for name in ("a.nii", "a.nii.gz", "b/a.mgz", "A.NII.GZ", ["a.nii", "b.mgz"]):
        assert get_reader(name) is read
    assert get_reader(str(Path(__file__).parent)) is None
    for name in ("a.gz", "a.tif", "a.tar.gz", ["a.nii", "b.tif"]):
        assert get_reader(name) is None


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("sub-01_T1w.nii.gz", noise(), "image"),
        ("norm.mgz", noise(1, 120, np.uint8), "image"),
        ("float.nii", noise().astype(np.float32) + 0.5, "image"),
        ("negative.nii", blob(-1, np.int16), "image"),
        ("wm.nii.gz", blob(), "labels"),
        ("stored_as_float.nii.gz", blob(2, np.float32), "labels"),
        ("aseg.mgz", blob(1007, np.int32), "labels"),
        ("sub-01_desc-pvs_mask.nii.gz", np.zeros(SHAPE, np.uint8), "labels"),
        ("sub-01_dseg.nii.gz", noise(), "labels"),
        ("my_labels.nii", noise(), "labels"),
        ("mask.nii", blob(), "labels"),
    ],
)
def test_what_becomes_a_labels_layer(tmp_path, name, data, kind):
    ((shown, meta, given),) = read(save(tmp_path / name, data))
    assert given == kind
    assert meta["name"] == name.split(".")[0]
    np.testing.assert_array_equal(shown, data.transpose(2, 1, 0)[:, ::-1])
    assert shown.dtype == (np.int32 if kind == "labels" else np.float32)
    assert ("contrast_limits" in meta) == (kind == "image")


def test_lone_voxels_are_labels_only_if_there_is_one_value():
    data = np.zeros((9, 9, 9))
    data[::2, ::2, ::2] = 1
    assert looks_like_labels(data)
    data[0, 0, 0] = 7
    assert not looks_like_labels(data)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("real/ljubljana_p07_T2.nii.gz", "image"),
        ("real/ljubljana_p07_wmlgt.nii.gz", "labels"),
        ("real/openneuro_ds004230_PS11_norm.mgz", "image"),
        ("real/openneuro_ds004230_PS11_aparc.a2009s+aseg.mgz", "labels"),
    ],
)
def test_real_files(name, kind):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    ((data, meta, given),) = read(str(path))
    assert given == kind
    assert meta["scale"] == pytest.approx((1, 1, 1), abs=1e-5)
    source = nib.load(path)
    mean = np.argwhere(data > 0).mean(0) * meta["scale"] + meta["translate"]
    x, y, z = nib.affines.apply_affine(
        source.affine, np.argwhere(np.asarray(source.dataobj) > 0).mean(0)
    )
    np.testing.assert_allclose(mean, (z, -y, x), atol=1e-3)


def test_several_paths_give_several_layers(tmp_path):
    paths = [save(tmp_path / "a.nii.gz", noise()), save(tmp_path / "b_mask.mgz", blob())]
    assert [(meta["name"], kind) for _, meta, kind in read(paths)] == [
        ("a", "image"),
        ("b_mask", "labels"),
    ]


def test_wrong_files_say_what_to_do(tmp_path):
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"no scan")
    cases = {
        str(tmp_path / "absent.nii"): "does not exist; ",
        str(broken): "damaged; ",
        save(tmp_path / "flat.nii", np.full(SHAPE, 3, np.int16)): "3 everywhere; ",
        save(tmp_path / "time.nii", np.zeros((4, 4, 4, 3), np.int16)): "single frame",
    }
    for path, words in cases.items():
        with pytest.raises(InputError, match=words) as caught:
            read(path)
        assert path in str(caught.value)


def test_reading_and_writing_need_neither_napari_nor_qt(tmp_path):
    path = save(tmp_path / "a.nii.gz", noise())
    code = f"""
import sys
for name in ("napari", "qtpy", "magicgui", "PyQt6", "PySide6"):
    sys.modules[name] = None
from napari_pvs.widgets.viewer import files, layers, sample
data, meta, kind = files.get_reader({path!r})({path!r})[0]
files.write_image({str(tmp_path / "b.nii.gz")!r}, data, meta)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    np.testing.assert_array_equal(nib.load(tmp_path / "b.nii.gz").get_fdata(), noise())


def test_masks_of_nothing_and_probabilities_called_masks_open(tmp_path):
    empty = save(tmp_path / "sub-01_PVS.nii.gz", blob(0))
    assert read(empty)[0][2] == "labels"
    soft = save(tmp_path / "pvs_prob_mask.nii.gz", blob() * np.float32(0.7))
    assert read(soft)[0][2] == "image"
    with pytest.raises(InputError, match="0 everywhere"):
        read(save(tmp_path / "sub-01_T1w.nii.gz", blob(0)))


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
