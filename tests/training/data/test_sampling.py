import threading

import numpy as np
import pytest

from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.data.prepared import PreparedSubject
from napari_pvs.training.data.sampling import ahead, draw, patches_of
from napari_pvs.training.distributed.world import Share


def loaded(shape=(30, 26, 34), voxels=((4, 5, 6), (20, 20, 30)), name="a", corner=(0, 0, 0)):
    """A subject whose T1 tells where each voxel lies, and whose T2 holds the label."""
    label = np.zeros(shape, bool)
    for voxel in voxels:
        label[voxel] = True
    place = np.arange(1, label.size + 1, dtype=np.float32).reshape(shape) / label.size
    images = np.stack([place, label]).astype(np.float16)
    brain = np.zeros(shape, bool)
    brain[2:-2, 2:-2, 2:-2] = True
    voxels = np.argwhere(label).astype(np.int16)
    return PreparedSubject(name, images, label, brain, (0.8, 0.8, 0.8), voxels, corner)


def config(**values):
    return TrainingConfig(**({"study": "x", "patch": (16,)} | values))


def patches(people, step=0, count=4, on_pvs_only=False, stream=1, share=None, **values):
    return draw(
        people,
        config(**values),
        step,
        stream=stream,
        count=count,
        on_pvs_only=on_pvs_only,
        target=lambda subject: subject.label,
        share=share,
    )


def same(one, two):
    return np.array_equal(one.images, two.images) and np.array_equal(one.target, two.target)


def test_a_step_has_its_own_random_stream():
    people = [loaded(), loaded((20, 22, 24), ((9, 9, 9),))]
    assert same(patches(people, 3), patches(people, 3))
    assert not same(patches(people, 3), patches(people, 4))
    assert not same(patches(people, 3), patches(people, 3, stream=2))
    assert not same(patches(people, 3), patches(people, 3, seed=1))


def test_shapes_and_alignment():
    got = patches([loaded()])
    assert got.images.shape == (4, 2, 16, 16, 16)
    assert got.target.shape == (4, 1, 16, 16, 16)
    assert got.images.dtype == got.target.dtype == np.float32
    np.testing.assert_array_equal(got.images[:, 1], got.target[:, 0])


@pytest.mark.parametrize(
    ("edges", "shapes"),
    [
        ((8, 16), [(4, 2, 8, 8, 8), (1, 2, 16, 16, 16), (4, 2, 8, 8, 8)]),
        ((12, 8), [(1, 2, 12, 12, 12), (4, 2, 8, 8, 8), (1, 2, 12, 12, 12)]),
    ],
)
def test_larger_patches_take_turns_and_are_fewer(edges, shapes):
    assert [patches([loaded()], step, patch=edges).images.shape for step in range(3)] == shapes


@pytest.mark.parametrize("patch", [8, 9, 16])
def test_on_pvs_only(patch):
    people = [loaded(), loaded(voxels=())]
    for step in range(6):
        got = patches(people, step, 8, on_pvs_only=True, patch=(patch,))
        assert (got.target.sum((1, 2, 3, 4)) > 0).all()


def test_share_of_patches_on_pvs():
    people = [loaded(), loaded(voxels=())]

    def share(**values):
        drawn = [patches(people, step, 40, patch=(8,), **values).target for step in range(5)]
        return np.mean([(target.sum((1, 2, 3, 4)) > 0).mean() for target in drawn])

    assert share(foreground=1.0) == 1
    assert share(foreground=0.0) < 0.2
    assert share(foreground=0.0) < share(foreground=0.5) < 0.75


def test_without_pvs_patches_come_from_the_brain():
    got = patches([loaded(voxels=())], on_pvs_only=True)
    assert got.images.any()
    assert not got.target.any()


def test_patches_across_the_border_are_padded():
    subject = loaded((10, 12, 9), ((1, 1, 1),))  # smaller than a patch
    places = set(np.unique(subject.images[0]))
    for step in range(6):
        got = patches([subject], step, on_pvs_only=True)
        for image, label in zip(got.images, got.target, strict=True):
            assert label.sum() == 1
            inside = image[0] > 0
            assert set(np.unique(image[0][inside])) <= places
            low, high = np.argwhere(inside).min(0), np.argwhere(inside).max(0)
            assert inside[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))].all()
            np.testing.assert_array_equal(image[1], label[0])


def test_origin_is_in_the_voxels_of_the_scan():
    corner = (5, 6, 7)
    subject = loaded(corner=corner)
    got = patches([subject], count=8, patch=(8,), foreground=0)
    for image, (name, start) in zip(got.images, got.origin, strict=True):
        assert name == "a"
        low = np.array(start) - corner
        if (low < 0).any() or (low + 8 > subject.brain.shape).any():
            continue
        cut = tuple(slice(a, a + 8) for a in low)
        np.testing.assert_array_equal(image, subject.images[(slice(None), *cut)])


def test_no_target():
    got = draw([loaded()], config(), 0, stream=2, count=2, on_pvs_only=False, target=None)
    assert got.target is None
    absent = draw(
        [loaded()], config(), 0, stream=2, count=2, on_pvs_only=False, target=lambda _: None
    )
    assert (absent.target == -1).all()


def test_ahead_makes_the_next_while_one_is_used():
    made = []
    second = threading.Event()

    def make(step):
        made.append(step)
        if step == 4:
            second.set()
        return step * 10

    steps = ahead(make, 3, 6)
    assert next(steps) == 30
    assert second.wait(10)
    assert list(steps) == [40, 50]
    assert made == [3, 4, 5]
    assert list(ahead(make, 6, 6)) == []


def test_ahead_passes_on_errors():
    def make(step):
        raise KeyError(step)

    with pytest.raises(KeyError):
        next(ahead(make, 0, 2))


def test_shares_of_a_step_are_its_patches():
    people = [loaded(), loaded((20, 22, 24), ((9, 9, 9),), name="b", corner=(1, 2, 3))]
    whole = patches(people, 3)
    for start, stop in ((0, 1), (1, 4), (2, 2)):
        part = patches(people, 3, share=Share(start, stop, 4))
        np.testing.assert_array_equal(part.images, whole.images[start:stop])
        np.testing.assert_array_equal(part.target, whole.target[start:stop])
        assert part.origin == whole.origin[start:stop]


def test_larger_patches_are_fewer():
    given = config(patch=(16, 24))
    assert [patches_of(given, step, 8) for step in (0, 1, 2)] == [8, 2, 8]
    assert patches_of(given, 1, 1) == 1


@pytest.mark.parametrize(("statistics", "most"), [("scan", 1), ("fixed", 3)])
def test_patches_of_a_step_are_of_one_scan_where_its_statistics_count(statistics, most):
    people = [loaded(name=name) for name in "abc"]
    steps = [
        {name for name, _ in patches(people, step, count=12, statistics=statistics).origin}
        for step in range(12)
    ]
    assert max(map(len, steps)) == most
    assert set().union(*steps) == set("abc")
