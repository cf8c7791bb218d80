import gzip
import re
import struct
import tracemalloc
import warnings

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_pvs.errors import InputError, InputWarning
from napari_pvs.scans import header
from napari_pvs.scans.nifti import Geometry, encoded, read_labels, read_volume, write_like

OBLIQUE = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.1, 0.2, 0.3) @ np.diag([-0.8, 0.9, 1.1]), [10, -20, 30]
)
SHAPE = (5, 6, 7)


@pytest.fixture
def data():
    return np.random.default_rng(0).normal(100, 20, SHAPE).astype(np.float32)


def save(path, data, affine=OBLIQUE, kind=nib.Nifti1Image, dtype=None):
    image = kind(data, affine)
    if dtype is not None:
        image.set_data_dtype(dtype)
    content = image.to_bytes()  # nib.save leaves .mgh files open
    path.write_bytes(gzip.compress(content) if path.suffix.lower() in (".gz", ".mgz") else content)
    return path


def load(path):
    content = path.read_bytes()
    content = gzip.decompress(content) if path.suffix in (".gz", ".mgz") else content
    return (nib.MGHImage if ".mg" in path.name else nib.Nifti1Image).from_bytes(content)


def message(path, read=read_volume):
    """The error's text: one sentence that names the file."""
    with pytest.raises(InputError) as caught:
        read(path)
    text = str(caught.value)
    assert str(path) in text
    assert text.endswith(".")
    assert "\n" not in text
    return text.replace(str(path), "FILE")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.nii", nib.Nifti1Image),
        ("a.nii.gz", nib.Nifti1Image),
        ("A.NII.GZ", nib.Nifti1Image),
        ("a.nii", nib.Nifti2Image),
        ("a.mgh", nib.MGHImage),
        ("a.mgz", nib.MGHImage),
    ],
)
def test_reads_every_format(tmp_path, data, name, kind):
    volume = read_volume(save(tmp_path / name, data, kind=kind))
    assert volume.data.dtype == np.float32
    np.testing.assert_array_equal(volume.data, data)
    np.testing.assert_allclose(volume.affine, OBLIQUE, atol=1e-5)
    assert volume.affine.dtype == np.float64
    assert volume.shape == SHAPE
    assert volume.path == tmp_path / name
    assert volume.warnings == ()


def test_slope_is_applied(tmp_path, data):
    volume = read_volume(save(tmp_path / "a.nii", data, dtype=np.int16))
    assert volume.data.dtype == np.float32
    np.testing.assert_allclose(volume.data, data, atol=0.01)


def test_labels_are_integers_even_if_stored_as_floats(tmp_path):
    labels = np.zeros(SHAPE, np.float32)
    labels[1:3] = 14175
    read = read_labels(save(tmp_path / "a.nii.gz", labels))
    assert read.data.dtype == np.int32
    np.testing.assert_array_equal(read.data, labels)


def test_an_empty_mask_is_a_valid_label_file(tmp_path):
    assert not read_labels(save(tmp_path / "a.nii", np.zeros(SHAPE, np.uint8))).data.any()


@pytest.mark.parametrize("value", [0.5, 1e20])
def test_labels_that_are_not_integers(tmp_path, data, value):
    data[0, 0, 0] = value
    assert "not integers" in message(save(tmp_path / "a.nii", data), read_labels)


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1, 2**40, -(2**63)])
def test_labels_beyond_32_bits(tmp_path, value):
    labels = np.zeros(SHAPE, np.int64)
    labels[0, 0, 0] = value
    image = nib.Nifti1Image(labels, OBLIQUE, dtype=np.int64)
    (tmp_path / "a.nii").write_bytes(image.to_bytes())
    assert "not integers" in message(tmp_path / "a.nii", read_labels)


def test_labels_scaled_by_their_writer(tmp_path):
    labels = np.random.default_rng(0).integers(0, 4, SHAPE)
    image = nib.Nifti1Image((labels * 1.0004).astype(np.float32), OBLIQUE)
    (tmp_path / "a.nii").write_bytes(image.to_bytes())
    assert "not integers" in message(tmp_path / "a.nii", read_labels)  # 3 reads as 3.0012
    image = nib.Nifti1Image((labels * 1.0003).astype(np.float32), OBLIQUE)
    (tmp_path / "a.nii").write_bytes(image.to_bytes())
    np.testing.assert_array_equal(read_labels(tmp_path / "a.nii").data, labels)


@pytest.mark.parametrize(("kind", "most"), [(np.uint8, 6), (np.float32, 9)])
def test_reading_labels_takes_little_more_than_they_do(tmp_path, kind, most):
    path = save(tmp_path / "a.nii", np.ones((64, 64, 64), kind))
    assert _peak(lambda: read_labels(path)) < most * 64**3


def test_writing_takes_no_float_copies(tmp_path):
    rng = np.random.default_rng(0)
    probability = rng.random((64, 64, 64)).astype(np.float32)
    like = Geometry.from_affine(probability.shape, OBLIQUE)
    labels = (100 * probability).astype(np.int32)
    for array, most in ((probability, 3), (labels, 0.5), (labels > 50, 0.5)):
        peak = _peak(lambda a=array: write_like(tmp_path / "a.nii", a, like, scaled=True))
        assert peak < most * 64**3


def _peak(job):
    """Bytes that a job allocates at most, once it has run."""
    job()
    tracemalloc.start()
    try:
        job()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# Writing


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_write_keeps_the_header(tmp_path, data, kind):
    image = kind(data, OBLIQUE)
    image.header["descrip"] = b"scanner 7"
    image.header["cal_max"] = 900
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_qform(OBLIQUE, code=1)
    image.header.set_sform(OBLIQUE, code=4)
    image.header.set_slope_inter(3, 1)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"hello"))
    nib.save(image, tmp_path / "in.nii.gz")
    volume = read_volume(tmp_path / "in.nii.gz")
    labels = np.arange(data.size).reshape(SHAPE)
    write_like(tmp_path / "out.nii.gz", labels, volume)
    out = nib.load(tmp_path / "out.nii.gz")
    assert type(out) is kind
    assert out.get_data_dtype() == np.int32
    np.testing.assert_array_equal(np.asarray(out.dataobj), labels)
    assert (out.dataobj.slope, out.dataobj.inter) == (1, 0)
    np.testing.assert_array_equal(out.affine, volume.affine)
    np.testing.assert_array_equal(out.header.get_qform(), volume.header.get_qform())
    for field in ("descrip", "qform_code", "sform_code", "xyzt_units", "pixdim"):
        np.testing.assert_array_equal(out.header[field], volume.header[field], err_msg=field)
    assert out.header["sform_code"] == 4
    assert out.header["cal_max"] == 0
    assert out.header.extensions[0].get_content() in (b"hello", "hello")


@pytest.mark.parametrize("extension", [".nii", ".nii.gz", ".mgh", ".mgz"])
@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (bool, np.uint8),
        (np.uint8, np.int32),
        (np.int64, np.int32),
        (np.float64, np.float32),
        (np.float16, np.float32),
    ],
)
def test_stored_types(tmp_path, data, extension, given, stored):
    path = tmp_path / f"out{extension}"
    array = (data > 100).astype(given)
    write_like(path, array, read_volume(save(tmp_path / "in.nii", data)))
    out = load(path)
    assert out.get_data_dtype().newbyteorder("=") == stored  # MGH is big-endian
    np.testing.assert_array_equal(np.asarray(out.dataobj), array)
    np.testing.assert_allclose(out.affine, OBLIQUE, atol=1e-5)


@pytest.mark.parametrize("shape", [(*SHAPE, 1), (*SHAPE, 1, 1)])
def test_trailing_axes_of_one_come_back(tmp_path, data, shape):
    volume = read_volume(save(tmp_path / "in.nii", data.reshape(shape)))
    assert volume.data.shape == volume.shape == SHAPE
    write_like(tmp_path / "out.nii", volume.data > 100, volume)
    out = nib.load(tmp_path / "out.nii")
    assert out.shape == shape
    np.testing.assert_array_equal(out.dataobj[..., 0].reshape(SHAPE), data > 100)


def test_mgz_in_mgz_and_nifti_out(tmp_path, data):
    volume = read_volume(save(tmp_path / "in.mgz", data, kind=nib.MGHImage))
    for name in ("out.mgz", "out.nii.gz"):
        write_like(tmp_path / name, data > 100, volume)
        out = load(tmp_path / name)
        np.testing.assert_array_equal(np.asarray(out.dataobj), data > 100)
        np.testing.assert_allclose(out.affine, volume.affine, atol=1e-5)
    assert out.header["qform_code"] == out.header["sform_code"] == 1
    assert out.header.get_xyzt_units()[0] == "mm"


def test_scaled_probability(tmp_path, data):
    volume = read_volume(save(tmp_path / "in.nii", data))
    probability = np.random.default_rng(1).random(SHAPE).astype(np.float32)
    probability[0, 0, :2] = 0, 1
    write_like(tmp_path / "out.nii.gz", probability, volume, scaled=True)
    out = nib.load(tmp_path / "out.nii.gz")
    assert out.get_data_dtype() == np.int16
    read = np.asarray(out.dataobj)
    np.testing.assert_allclose(read, probability, atol=2e-5)
    assert read[0, 0, 0] == 0
    assert read[0, 0, 1] == pytest.approx(1, abs=1e-7)
    write_like(tmp_path / "out.mgz", probability, volume, scaled=True)
    np.testing.assert_array_equal(load(tmp_path / "out.mgz").dataobj, probability)
    with pytest.raises(ValueError, match="0 to 1"):
        write_like(tmp_path / "bad.nii", probability + 1, volume, scaled=True)


def test_equal_arrays_give_equal_bytes(tmp_path, data):
    volume = read_volume(save(tmp_path / "in.nii", data))
    for name in ("a.nii.gz", "b.nii.gz"):
        write_like(tmp_path / name, data > 100, volume)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_the_file_can_be_overwritten_while_its_volume_lives(tmp_path, data):
    path = save(tmp_path / "a.nii", data)
    volume = read_volume(path)
    path.write_bytes(bytes(path.stat().st_size))
    np.testing.assert_array_equal(volume.data, data)


def test_geometry_without_a_file(tmp_path):
    geometry = Geometry.from_affine(SHAPE, OBLIQUE)
    write_like(tmp_path / "out.nii", np.ones(SHAPE, bool), geometry)
    out = nib.load(tmp_path / "out.nii")
    assert out.shape == SHAPE
    np.testing.assert_allclose(out.affine, OBLIQUE, atol=1e-5)


def test_write_refuses(tmp_path, data):
    volume = read_volume(save(tmp_path / "in.nii", data))
    with pytest.raises(ValueError, match="shape"):
        write_like(tmp_path / "out.nii", data[1:], volume)
    with pytest.raises(ValueError, match="32 bits"):
        write_like(tmp_path / "out.nii", np.full(SHAPE, 2**40), volume)
    with pytest.raises(InputError, match=r"out\.png"):
        write_like(tmp_path / "out.png", data, volume)
    assert [p.name for p in tmp_path.iterdir()] == ["in.nii"]


# Wrong input


def test_missing(tmp_path):
    assert message(tmp_path / "a.nii") == "FILE does not exist; check the path."


def test_folder(tmp_path):
    assert "folder" in message(tmp_path)


def test_empty_file(tmp_path):
    (tmp_path / "a.nii.gz").touch()
    assert "empty" in message(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("name", ["a.dcm", "a.txt", "a.gz", "a.img"])
def test_wrong_extension(tmp_path, name):
    (tmp_path / name).write_bytes(b"x" * 500)
    assert "NIfTI" in message(tmp_path / name)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mgz", "a.mgh"])
@pytest.mark.parametrize("content", [b"hello", b"not an image " * 100])
def test_not_an_image(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    message(tmp_path / name)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_named_as_if_compressed(tmp_path, data, kind):
    save(tmp_path / "a.nii", data, kind=kind).rename(tmp_path / "a.nii.gz")
    assert "not compressed, although its name says so; rename" in message(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("name", ["a.nii.gz", "a.mgz"])
def test_gzipped_text(tmp_path, name):
    with gzip.open(tmp_path / name, "wb") as file:
        file.write(b"not an image " * 100)
    message(tmp_path / name)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mgh", "a.mgz"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_truncated(tmp_path, data, name, share):
    kind = nib.MGHImage if ".mg" in name else nib.Nifti1Image
    path = save(tmp_path / name, data, kind=kind)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    message(path)


def test_corrupt_gzip(tmp_path):
    data = np.random.default_rng(0).random((20, 20, 20)).astype(np.float32)
    path = save(tmp_path / "a.nii.gz", data)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = bytes(200)
    path.write_bytes(content)
    assert "damaged" in message(path)


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 1), (1, 6, 7), (5, 6, 1, 1)])
def test_single_slice(tmp_path, shape):
    path = save(tmp_path / "a.nii", np.random.default_rng(0).random(shape).astype(np.float32))
    assert re.search("2D.*3D", message(path))


@pytest.mark.parametrize("shape", [(5, 6, 7, 2), (5, 6, 7, 1, 3), (5, 6, 1, 40)])
def test_more_than_one_frame(tmp_path, shape):
    path = save(tmp_path / "a.nii", np.zeros(shape, np.float32))
    assert str(shape) in message(path)


def test_colours(tmp_path):
    rgb = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert "RGB" in message(save(tmp_path / "a.nii", rgb))


def test_complex(tmp_path, data):
    assert "magnitude" in message(save(tmp_path / "a.nii", data.astype(np.complex64)))


@pytest.mark.parametrize("read", [read_volume, read_labels])
def test_not_finite(tmp_path, data, read):
    data[0, 0, :3] = np.nan, np.inf, -np.inf
    assert " 3 NaN or infinite" in message(save(tmp_path / "a.nii", data), read)


def test_constant(tmp_path):
    assert "value 3 everywhere" in message(save(tmp_path / "a.nii", np.full(SHAPE, 3.0)))


@pytest.mark.parametrize("row", [(0, 0, 0, 0), (0, 0.8, 0, 0), (np.nan, 0, 0, 0)])
def test_singular_affine(tmp_path, data, row):
    image = nib.Nifti1Image(data, np.diag([1, 0.8, 1, 1]))
    image.header["sform_code"] = 1
    image.header["srow_x"] = row
    (tmp_path / "a.nii").write_bytes(image.header.binaryblock + bytes(4) + data.tobytes("F"))
    assert "singular" in message(tmp_path / "a.nii")


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_affine_not_in_millimetres(tmp_path, data, factor):
    affine = np.diag([factor, factor, factor, 1])
    assert "millimetres" in message(save(tmp_path / "a.nii", data, affine))


def test_neither_sform_nor_qform(tmp_path, data):
    image = nib.Nifti1Image(data, None)
    image.header.set_zooms((0.8, 0.9, 1.0))
    nib.save(image, tmp_path / "a.nii")
    with pytest.warns(InputWarning, match=r"a\.nii has neither"):
        volume = read_volume(tmp_path / "a.nii")
    assert len(volume.warnings) == 1
    np.testing.assert_allclose(np.abs(np.diag(volume.affine)[:3]), (0.8, 0.9, 1.0), rtol=1e-6)
    write_like(tmp_path / "out.nii", data > 100, volume)
    out = nib.load(tmp_path / "out.nii")
    assert out.header["sform_code"] == out.header["qform_code"] == 0
    np.testing.assert_array_equal(out.affine, volume.affine)


def test_mask_that_was_scaled_by_its_writer(tmp_path):
    mask = np.zeros((4, 5, 6), np.float32)
    mask[1:3] = 1
    image = nib.Nifti1Image(mask, np.eye(4))
    image.set_data_dtype(np.uint8)  # nibabel picks a slope of 1/255
    nib.save(image, tmp_path / "scaled.nii.gz")
    assert np.array_equal(read_labels(tmp_path / "scaled.nii.gz").data, mask)


def edited(path, *fields):
    """Overwrite bytes of a NIfTI header: offset, struct format, value."""
    whole = bytearray(
        gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    )
    for offset, form, value in fields:
        struct.pack_into(form, whole, offset, *np.atleast_1d(value).tolist())
    path.write_bytes(gzip.compress(whole, mtime=0) if path.suffix == ".gz" else whole)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((2000, 2000, 500), "more than the 268,435,456 voxels supported"),
        ((32767, 32767, 32767), "more than the 268,435,456 voxels"),
        ((600, 600, 600), r"claims [\d,]+ bytes, but the file has"),
    ],
)
def test_what_a_header_claims_is_held_against_the_file(tmp_path, data, name, shape, words):
    path = edited(save(tmp_path / name, data), (42, "<3h", shape))
    for read in (read_volume, read_labels):
        assert _peak(lambda read=read: message(path, read)) < 2**20
        assert re.search(words, message(path, read))


@pytest.mark.parametrize("sizes", [(2**31 - 1,) * 3, (2**20, 2**20, 4), (-5, 6, 7)])
def test_an_mgh_header_that_claims_too_much(tmp_path, data, sizes):
    path = save(tmp_path / "a.mgh", data, kind=nib.MGHImage)
    path.write_bytes(path.read_bytes()[:4] + struct.pack(">3i", *sizes) + path.read_bytes()[16:])
    assert _peak(lambda: message(path)) < 2**20


@pytest.mark.parametrize("sizes", [(2**62, 2, 2), (2**31, 2**31, 4)])
def test_a_nifti_2_header_that_claims_too_much(tmp_path, data, sizes):
    path = save(tmp_path / "a.nii", data, kind=nib.Nifti2Image)
    assert _peak(lambda: message(edited(path, (24, "<3q", sizes)))) < 2**20


def test_a_stream_that_does_not_end_is_left(tmp_path, monkeypatch):
    path = save(tmp_path / "a.nii.gz", np.ones((5, 6, 7), np.uint8))
    whole = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(whole + bytes(5000)))
    with pytest.warns(InputWarning, match=r"has 5,000 bytes more than its header says"):
        read_labels(path)
    monkeypatch.setattr(header, "_MOST_REST", 2**20)
    path.write_bytes(gzip.compress(whole + bytes(2**21)))
    assert "1 MB more than its header says" in message(path, read_labels)


def test_voxels_do_not_begin_inside_the_header(tmp_path):
    mask = np.random.default_rng(0).random(SHAPE) < 0.3
    path = edited(save(tmp_path / "a.nii", mask.astype(np.uint8)), (108, "<f", 0))
    with pytest.warns(
        InputWarning, match=r"begin at byte 0, inside its header; they are read from"
    ):
        np.testing.assert_array_equal(read_labels(path).data, mask)
    edited(path, (348, "<4B", (1, 0, 0, 0)))  # something stands between
    message(path, read_labels)


def test_what_nibabel_mends_is_told_in_our_words(tmp_path, data, capfd):
    path = edited(save(tmp_path / "a.nii", data), (108, "<f", 360))
    path.write_bytes(path.read_bytes()[:352] + bytes(8) + path.read_bytes()[352:])
    with pytest.warns(
        InputWarning, match=r"a.nii has an odd header: vox offset .*not divisible by 16.*\.$"
    ) as said:
        assert read_volume(path).warnings == (str(said[0].message),)
    assert capfd.readouterr() == ("", "")


def test_a_mask_of_255_in_an_int8_file_is_one(tmp_path):
    mask = np.random.default_rng(0).random(SHAPE) < 0.3
    path = save(tmp_path / "a.nii.gz", (mask * 255).astype(np.uint8).view(np.int8))
    with pytest.warns(InputWarning, match=rf"has {mask.sum()} negative numbers, because its"):
        got = read_labels(path)
    np.testing.assert_array_equal(got.data, mask * 255)
    assert len(got.warnings) == 1


def test_other_negative_labels_are_background(tmp_path):
    labels = np.random.default_rng(0).integers(-2, 3, SHAPE).astype(np.int16)
    path = save(tmp_path / "a.nii.gz", labels)
    with pytest.warns(
        InputWarning, match=rf"{(labels < 0).sum()} negative numbers, which count as"
    ):
        np.testing.assert_array_equal(read_labels(path).data, np.maximum(labels, 0))


def tilted(affine, degrees, shift=(0, 12, 3)):
    turn = nib.affines.from_matvec(nib.eulerangles.euler2mat(x=np.deg2rad(degrees)), shift)
    return turn @ affine


@pytest.mark.parametrize(
    ("degrees", "shift", "told"), [(8, (0, 12, 3), True), (0, (0.05, 0, 0), False)]
)
def test_qform_against_sform(tmp_path, data, degrees, shift, told, recwarn):
    image = nib.Nifti1Image(data, OBLIQUE)
    other = tilted(OBLIQUE, degrees, shift)
    image.header.set_sform(OBLIQUE, 2)
    image.header.set_qform(other, 1)
    path = tmp_path / "a.nii"
    path.write_bytes(image.to_bytes())
    got = read_volume(path)
    np.testing.assert_allclose(got.affine, OBLIQUE, atol=1e-5)
    if told:
        (text,) = got.warnings
        away = float(re.search(r"up to ([\d.]+) mm apart; the sform is used", text)[1])
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in SHAPE])).reshape(3, -1)
        moved = [nib.affines.apply_affine(a, corners.T) for a in (OBLIQUE, other)]
        assert away == pytest.approx(np.linalg.norm(moved[0] - moved[1], axis=1).max(), rel=0.01)
    else:
        assert got.warnings == ()
    assert len(recwarn) == told


def test_pixdim_against_sform(tmp_path, data):
    path = edited(save(tmp_path / "a.nii", data), (80, "<3f", (1, 1, 1)))
    with pytest.warns(
        InputWarning,
        match=r"1 x 1 x 1 mm according to pixdim, but 0.8 x 0.9 x 1.1 mm according to the sform",
    ):
        np.testing.assert_allclose(read_volume(path).affine, OBLIQUE, atol=1e-5)


def test_an_sform_that_cannot_be_used_leaves_the_qform(tmp_path, data):
    image = nib.Nifti1Image(data, OBLIQUE)
    image.header.set_qform(OBLIQUE, 1)
    path = tmp_path / "a.nii"
    path.write_bytes(image.to_bytes())
    edited(path, (280, "<12f", np.zeros(12)))
    with pytest.warns(InputWarning, match="its qform is used instead"):
        np.testing.assert_allclose(read_volume(path).affine, OBLIQUE, atol=1e-4)
    edited(path, (252, "<h", 0))  # no qform either
    assert "singular affine" in message(path)


def test_an_mgh_file_without_directions_is_doubted(tmp_path, data):
    path = save(tmp_path / "a.mgh", data, kind=nib.MGHImage)
    whole = bytearray(path.read_bytes())
    struct.pack_into(">h", whole, 28, 0)
    path.write_bytes(whole)
    with pytest.warns(InputWarning, match="does not state its orientation"):
        read_volume(path)


def test_our_own_header_of_a_sheared_grid_does_not_contradict_itself(tmp_path, data):
    affine = OBLIQUE.copy()
    affine[:3, 0] += 0.2 * affine[:3, 1]
    write_like(tmp_path / "a.nii.gz", data, Geometry.from_affine(SHAPE, affine))
    np.testing.assert_allclose(read_volume(tmp_path / "a.nii.gz").affine, affine, atol=1e-5)


def test_encoded_is_what_would_be_written(tmp_path):
    mask = np.random.default_rng(0).random(SHAPE) < 0.3
    like = Geometry.from_affine(SHAPE, OBLIQUE)
    write_like(tmp_path / "a.nii.gz", mask, like)
    assert encoded(mask, like) == (tmp_path / "a.nii.gz").read_bytes()
    with pytest.raises(ValueError, match="shape"):
        encoded(mask[1:], like)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[st.integers(2, 6)] * 3),
    st.sampled_from(["a.nii", "a.nii.gz", "a.mgz"]),
    st.integers(0, 2**32 - 1),
)
def test_labels_come_back_from_any_format(tmp_path_factory, shape, name, seed):
    labels = np.random.default_rng(seed).integers(0, 2**31 - 1, shape).astype(np.int32)
    path = tmp_path_factory.mktemp("any") / name
    write_like(path, labels, Geometry.from_affine(shape, OBLIQUE))
    np.testing.assert_array_equal(read_labels(path).data, labels)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["a.nii", "a.nii.gz", "a.mgh", "a.mgz"]),
    st.lists(st.tuples(st.integers(0, 399), st.binary(min_size=1, max_size=8)), max_size=4),
    st.integers(-600, 600),
)
def test_any_bytes_are_read_or_refused_in_one_sentence(tmp_path_factory, name, changes, length):
    folder = tmp_path_factory.mktemp("any")
    whole = bytearray(
        (nib.MGHImage if ".mg" in name else nib.Nifti1Image)(
            np.arange(60, dtype=np.float32).reshape(3, 4, 5), OBLIQUE
        ).to_bytes()
    )
    for at, change in changes:
        whole[at : at + len(change)] = change
    whole = whole[: len(whole) + length] if length < 0 else whole + bytes(length)
    path = folder / name
    path.write_bytes(gzip.compress(whole, mtime=0) if name.endswith("z") else whole)
    for read in (read_volume, read_labels):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InputWarning)
            try:
                read(path)
            except InputError as error:
                assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mgz"])
def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch, name):
    path, like = tmp_path / name, Geometry.from_affine((4, 5, 6), np.eye(4))
    write_like(path, np.zeros(like.shape, np.uint8), like)
    before = path.read_bytes()

    def full(self, stream, **_):
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    for kind in (nib.Nifti1Image, nib.MGHImage):
        monkeypatch.setattr(kind, "to_stream", full)
    with pytest.raises(OSError, match="No space left"):
        write_like(path, np.ones(like.shape, np.uint8), like)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == [name]
