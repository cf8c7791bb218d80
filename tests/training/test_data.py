import nibabel as nib
import numpy as np
import pytest

from napari_pvs.errors import InputError
from napari_pvs.study.bids import subjects
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.data import Loaded, batches, load


def loaded(shape=(30, 26, 34), voxels=((4, 5, 6), (20, 20, 30)), name="a"):
    """A subject whose T1 tells where each voxel lies, and whose T2 holds the label."""
    label = np.zeros(shape, bool)
    for voxel in voxels:
        label[voxel] = True
    place = np.arange(1, label.size + 1, dtype=np.float32).reshape(shape) / label.size
    images = np.stack([place, label]).astype(np.float16)
    brain = np.zeros(shape, bool)
    brain[2:-2, 2:-2, 2:-2] = True
    return Loaded(name, images, label, brain, (0.8, 0.8, 0.8), np.argwhere(label).astype(np.int16))


def config(**values):
    small = {"study": "x", "batch": 4, "patch": (16,), "steps": 3, "warmup": 1, "epochs": 2}
    return TrainingConfig(**(small | values))


def same(first, second):
    return all(
        np.array_equal(a, b)
        for x, y in zip(first, second, strict=True)
        for a, b in zip(x, y, strict=True)
    )


def test_same_whatever_the_first_step():
    people = [loaded(), loaded((20, 22, 24), ((9, 9, 9),))]
    whole = list(batches(people, config(), 0, 6))
    assert len(whole) == 6
    assert same(list(batches(people, config(), 4, 6)), whole[4:])
    assert same(list(batches(people, config(), 0, 6)), whole)
    other = list(batches(people, config(seed=1), 0, 6))
    assert not same(other[:1], whole[:1])
    assert not same(whole[:1], whole[1:2])
    assert list(batches(people, config(), 6, 6)) == []


def test_shapes_and_alignment():
    for images, labels in batches([loaded()], config(), 0, 6):
        assert images.shape == (4, 2, 16, 16, 16)
        assert labels.shape == (4, 1, 16, 16, 16)
        assert images.dtype == labels.dtype == np.float32
        np.testing.assert_array_equal(images[:, 1], labels[:, 0])


def test_larger_patches_take_turns_and_are_fewer():
    shapes = [images.shape for images, _ in batches([loaded()], config(patch=(8, 16)), 0, 4)]
    assert shapes == [(4, 2, 8, 8, 8), (1, 2, 16, 16, 16)] * 2
    shapes = [images.shape for images, _ in batches([loaded()], config(patch=(12, 8)), 0, 2)]
    assert shapes == [(1, 2, 12, 12, 12), (4, 2, 8, 8, 8)]


@pytest.mark.parametrize("patch", [8, 9, 16])
def test_warm_up_draws_only_patches_with_pvs(patch):
    people = [loaded(), loaded(voxels=())]
    for _, labels in batches(people, config(warmup=2, patch=(patch,), batch=8), 0, 6):
        assert (labels.sum((1, 2, 3, 4)) > 0).all()


def test_share_of_patches_on_pvs_after_the_warm_up():
    people = [loaded(), loaded(voxels=())]

    def share(**values):
        drawn = batches(people, config(warmup=0, batch=40, patch=(8,), **values), 0, 5)
        return np.mean([(labels.sum((1, 2, 3, 4)) > 0).mean() for _, labels in drawn])

    assert share(foreground=1.0) == 1
    assert share(foreground=0.0) < 0.2
    assert share(foreground=0.0) < share(foreground=0.5) < 0.75


def test_without_pvs_the_warm_up_draws_from_the_brain():
    images, labels = next(batches([loaded(voxels=())], config(), 0, 1))
    assert images.any()
    assert not labels.any()


def test_patches_across_the_border_are_padded():
    subject = loaded((10, 12, 9), ((1, 1, 1),))  # smaller than a patch
    places = set(np.unique(subject.images[0]))
    for images, labels in batches([subject], config(warmup=2), 0, 6):
        for image, label in zip(images, labels, strict=True):
            assert label.sum() == 1
            inside = image[0] > 0
            assert set(np.unique(image[0][inside])) <= places
            low, high = np.argwhere(inside).min(0), np.argwhere(inside).max(0)
            assert inside[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))].all()
            np.testing.assert_array_equal(image[1], label[0])


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


def test_load_refuses(make_study, write_image):
    root = make_study(2, labelled=1)
    one, two = subjects(root)
    with pytest.raises(InputError, match="sub-02 has no label"):
        load(two)
    image = nib.load(one.label)
    moved = image.affine.copy()
    moved[0, 3] += 0.4
    write_image(one.label, np.asarray(image.dataobj), moved)
    with pytest.raises(InputError, match=r"sub-01_desc-pvs_mask\S* lies on another grid.*sub-01"):
        load(one)
    write_image(one.label, np.asarray(image.dataobj)[:-1], image.affine)
    with pytest.raises(InputError, match="lies on another grid"):
        load(one)
