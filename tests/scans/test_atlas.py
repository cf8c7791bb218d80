"""The template is found again on heads made from it."""

import numpy as np
import pytest
from scipy.ndimage import affine_transform

from napari_pvs.errors import InputError
from napari_pvs.scans.atlas import Atlas, fit_atlas, register
from napari_pvs.scans.grid import Grid
from napari_pvs.scans.template import load_template

SIZE = (3.0, 3.0, 3.0)
SHAPE = (72, 84, 72)


def head_to_mni(pitch: float = 8.0, shrink: float = 1.12) -> np.ndarray:
    """Voxels of a smaller, nodding, turned head, off centre, to MNI mm."""
    a, b = np.deg2rad([pitch, 5.0])
    nod = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    out = np.eye(4)
    out[:3, :3] = shrink * nod @ turn @ np.diag(SIZE)
    out[:3, 3] = np.array([4.0, -14.0, 12.0]) - out[:3, :3] @ (np.array(SHAPE) / 2)
    return out


def carried(values: np.ndarray, to_mni: np.ndarray, order: int = 1) -> np.ndarray:
    matrix = np.linalg.inv(load_template().affine) @ to_mni
    return affine_transform(
        values.astype(np.float32), matrix[:3, :3], matrix[:3, 3], SHAPE, order=order
    )


def furthest(found: np.ndarray, truth: np.ndarray, brain: np.ndarray) -> float:
    """Largest misplacement inside the brain, mm of MNI space."""
    points = np.c_[np.argwhere(brain), np.ones(brain.sum())]
    return float(np.linalg.norm((points @ (found - truth).T)[:, :3], axis=1).max())


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return head_to_mni()


@pytest.fixture(scope="module")
def head(truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """T1, T2 and brain mask; the T2 reverses the tissues' order and adds noise."""
    template = load_template()
    t1 = carried(template.t1, truth)
    brain = t1 > 0.2
    wm, gm = carried(template.wm, truth), carried(template.gm, truth)
    fluid = np.clip(1 - wm - gm, 0, 1)
    noise = np.random.default_rng(0).normal(0, 0.04, (2, *SHAPE))
    t2 = (1.0 * wm + 1.3 * gm + 2.4 * fluid + noise[0]) * brain
    return 900 * (t1 + noise[1] * brain), 500 * t2, brain


@pytest.fixture(scope="module")
def atlas(head: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Atlas:
    t1, t2, brain = head
    return fit_atlas(t1, t2, brain, Grid(SHAPE, np.diag([*SIZE, 1.0])))


def test_the_affine_is_recovered_from_t1(atlas: Atlas, head, truth) -> None:
    assert furthest(atlas.to_mni, truth, head[2]) < 4


def test_the_affine_is_recovered_from_t2_alone(head, truth) -> None:
    assert furthest(register(head[1], head[2], SIZE), truth, head[2]) < 6


def test_intensities_outside_the_brain_and_their_unit_do_not_matter(atlas: Atlas, head) -> None:
    t1, _, brain = head
    skull = np.where(brain, t1, 5000)
    np.testing.assert_array_equal(register(skull, brain, SIZE), atlas.to_mni)


def test_maps_lie_in_the_brain_and_the_regions_share_it(atlas: Atlas, head) -> None:
    brain = head[2]
    for prior in (atlas.wm, atlas.gm):
        assert prior.dtype == np.float32
        assert prior.shape == SHAPE
        assert prior.min() >= 0
        assert 0.9 < prior.max() <= 1
        assert not prior[~brain].any()
    assert not (atlas.deep_grey & atlas.infratentorial).any()
    assert not (atlas.deep_grey & ~atlas.cerebrum).any()
    np.testing.assert_array_equal(atlas.cerebrum | atlas.infratentorial, brain)


def test_regions_land_where_they_were_put(atlas: Atlas, truth) -> None:
    template = load_template()
    for found, values in (
        (atlas.deep_grey, template.deep_grey),
        (atlas.infratentorial, template.infratentorial),
    ):
        wanted = carried(values, truth) > 0.5
        assert 2 * (found & wanted).sum() / (found.sum() + wanted.sum()) > 0.85


def test_no_image_or_no_brain_is_refused(head) -> None:
    grid = Grid(SHAPE, np.diag([*SIZE, 1.0]))
    with pytest.raises(ValueError, match="T1 or a T2"):
        fit_atlas(None, None, head[2], grid)
    with pytest.raises(ValueError, match="empty"):
        fit_atlas(head[0], None, np.zeros(SHAPE, bool), grid)


def test_threads_are_given_back(atlas: Atlas, head) -> None:
    import SimpleITK as sitk

    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(3)
    try:
        found = register(head[0], head[2], SIZE)
        assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == 3
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
    np.testing.assert_array_equal(found, atlas.to_mni)


def test_specks_are_no_brain() -> None:
    specks = np.zeros((60, 60, 60), bool)
    specks[30:33, 30, 30] = specks[45, 20:23, 31] = True
    image = np.arange(specks.size, dtype=np.float32).reshape(specks.shape)
    with pytest.raises(InputError, match="--brain-mask"):
        register(image, specks, (1.0, 1.0, 1.0))
