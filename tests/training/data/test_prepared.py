import nibabel as nib
import numpy as np
import pytest

from napari_pvs.errors import InputError, InputWarning
from napari_pvs.study.bids import subjects
from napari_pvs.training.data.prepared import load


def test_load_crops_to_the_brain(make_study, make_head):
    subject = subjects(make_study(1))[0]
    got = load(subject)
    head = make_head()
    assert got.name == "sub-01"
    assert got.images.dtype == np.float16
    crop = tuple(slice(1, n - 1) for n in head.brain.shape)  # margin of 2 around the brain
    np.testing.assert_array_equal(got.brain, head.brain[crop])
    np.testing.assert_array_equal(got.label, head.label[crop])
    assert got.voxel_size == pytest.approx((0.8, 0.8, 0.8))
    np.testing.assert_array_equal(got.foreground, np.argwhere(got.label))
    assert not got.images[:, ~got.brain].any()
    assert got.images[1, got.label].mean() > 3


def test_a_label_outside_the_brain_is_not_trained_on(make_study, make_head, write_image):
    subject = subjects(make_study(1))[0]
    head = make_head()
    far = head.label.copy()
    far[2, 2] = True
    assert not head.brain[2, 2].any()
    write_image(subject.label, far)
    with pytest.warns(InputWarning, match="label voxels lie outside the brain mask"):
        got = load(subject)
    assert not (got.label & ~got.brain).any()
    assert got.label.sum() == len(got.foreground) == head.label.sum()


def test_load_turns_the_label_with_the_scan(make_study, tmp_path, make_head):
    subject = subjects(make_study(1))[0]
    for path in (subject.label, subject.t1):  # T2 and mask keep their axes
        image = nib.load(path)
        flipped = image.as_reoriented(np.array([[1, -1], [0, 1], [2, -1]]))
        nib.save(nib.Nifti1Image(np.asarray(flipped.dataobj), flipped.affine), path)
    got = load(subject)
    np.testing.assert_array_equal(got.label, make_head().label[1:-1, 1:-1, 1:-1])
    assert got.images[1, got.label].mean() > 3
    assert got.images[0, got.label].mean() < -3


def test_missing_modality_is_zeros(make_study):
    got = load(subjects(make_study(1, modalities=("T2w",)))[0])
    assert not got.images[0].any()
    assert got.images[1].any()


def test_only_what_lies_outside_the_brain_is_exactly_0(make_study, write_image, make_head):
    subject = subjects(make_study(1))[0]
    coarse = np.round(make_head().t2 / 8) * 8  # many voxels are the median
    write_image(subject.t2, coarse.astype(np.int16))
    got = load(subject)
    np.testing.assert_array_equal(got.images[1] != 0, got.brain)
    assert np.count_nonzero(np.abs(got.images[1].astype(float)) < 2e-3) > 100


def test_load_refuses(make_study, write_image):
    root = make_study(2, labelled=1)
    one, two = subjects(root)
    assert load(two).label is None
    assert load(two).foreground.shape == (0, 3)
    image = nib.load(one.label)
    moved = image.affine.copy()
    moved[0, 3] += 0.4
    write_image(one.label, np.asarray(image.dataobj), moved)
    with pytest.raises(
        InputError,
        match=r"sub-01_desc-pvs_mask\S* is not on the voxel grid of the scan of sub-01",
    ):
        load(one)
    write_image(one.label, np.asarray(image.dataobj)[:-1], image.affine)
    with pytest.raises(InputError, match="is not on the voxel grid"):
        load(one)


def equal(one, two):
    return all(
        np.array_equal(getattr(one, name), getattr(two, name))
        for name in ("images", "label", "brain", "voxel_size", "foreground", "corner")
    )


def test_the_cache_gives_what_was_put_in(make_study, tmp_path):
    subject = subjects(make_study(1))[0]
    plain, cache = load(subject), tmp_path / "cache"
    assert equal(load(subject, cache), plain)
    (folder,) = cache.iterdir()
    (folder / "touched").touch()
    again = load(subject, cache)
    assert equal(again, plain)
    assert [p.name for p in cache.iterdir()] == [folder.name]
    assert (folder / "touched").exists()  # nothing was made anew
    assert isinstance(again.images, np.memmap)  # memory does not grow with the study
    assert again.corner == (1, 1, 1)


def test_a_new_label_needs_no_new_cache(make_study, tmp_path, write_image):
    subject = subjects(make_study(1))[0]
    cache = tmp_path / "cache"
    first = load(subject, cache)
    image = nib.load(subject.label)
    write_image(subject.label, np.zeros(image.shape, np.uint8), image.affine)
    assert len(first.foreground) > 0
    assert len(load(subject, cache).foreground) == 0
    assert len(list(cache.iterdir())) == 1


def test_a_new_scan_is_prepared_anew(make_study, tmp_path, write_image):
    subject = subjects(make_study(1))[0]
    cache = tmp_path / "cache"
    first = load(subject, cache)
    image = nib.load(subject.t1)
    write_image(subject.t1, image.get_fdata()[::-1].astype(np.float32), image.affine)
    assert not np.array_equal(load(subject, cache).images, first.images)


@pytest.mark.parametrize("name", ["images.npy", "about.json"])
def test_a_damaged_cache_is_made_anew(make_study, tmp_path, caplog, name):
    subject = subjects(make_study(1))[0]
    plain, cache = load(subject), tmp_path / "cache"
    load(subject, cache)
    (folder,) = cache.iterdir()
    (folder / name).write_bytes((folder / name).read_bytes()[:60])
    assert equal(load(subject, cache), plain)
    assert "is damaged" in caplog.text
    caplog.clear()
    assert equal(load(subject, cache), plain)
    assert caplog.text == ""


def test_a_cache_with_a_foreign_header_is_made_anew(make_study, tmp_path):
    subject = subjects(make_study(1))[0]
    plain, cache = load(subject), tmp_path / "cache"
    load(subject, cache)
    (path,) = cache.glob("*/brain.npy")
    for odd in (b"(((((", b'"""""', b"[" * 60):  # of each, numpy says something else
        whole = bytearray(path.read_bytes())
        whole[11 : 11 + len(odd)] = odd
        path.write_bytes(whole)
        assert equal(load(subject, cache), plain)


def test_what_is_doubtful_is_told_in_every_run(make_study, make_head, write_image, tmp_path):
    subject = subjects(make_study(1))[0]
    write_image(subject.t2, make_head().t1)
    for _ in range(2):
        with pytest.warns(InputWarning, match="are the same image; give it only once") as told:
            load(subject, tmp_path / "cache")
        assert len(told) == 1


def test_a_cache_that_cannot_be_written_is_done_without(make_study, tmp_path, caplog):
    subject = subjects(make_study(1))[0]
    (tmp_path / "file").touch()
    got = load(subject, tmp_path / "file" / "cache")
    assert equal(got, load(subject))
    assert "sub-01 is kept in memory" in caplog.text
