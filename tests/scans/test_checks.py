import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_pvs.errors import InputError
from napari_pvs.scans.checks import (
    Placed,
    covered,
    depths,
    doubts_of_contrast,
    doubts_of_fluid,
    doubts_of_grid,
    doubts_of_place,
    require_contrast,
    t2_likeness,
)
from napari_pvs.scans.grid import Grid


def values(fluid, grey, share):
    """White matter at 100, 45 % of the tissue, with noise."""
    rng = np.random.default_rng(0)
    tissue = rng.choice(3, size=20000, p=[share, 0.55 * (1 - share), 0.45 * (1 - share)])
    return np.array([fluid, grey, 100.0])[tissue] + rng.normal(0, 5, 20000)


def layered(fluid, grey, share):
    """Brain values and their depth: 60 % fluid and grey outside, white matter at 100 inside."""
    rng = np.random.default_rng(0)
    depth = rng.uniform(0, 30, 20000)
    fluid_or_grey = np.where(rng.random(20000) < share, fluid, grey)
    tissue = np.where(depth < 18, fluid_or_grey, 100.0)
    return tissue + rng.normal(0, 5, 20000), depth


def test_likeness_without_depths_is_the_tail():
    assert t2_likeness(np.arange(101)) == 0
    assert t2_likeness(np.r_[np.zeros(90), np.full(11, 5)]) == 0.5
    assert t2_likeness(np.ones(10)) == 0


def test_likeness_does_not_depend_on_the_unit():
    values, depth = layered(240, 127, 0.1)
    assert t2_likeness(7 * values - 900, depth) == pytest.approx(t2_likeness(values, depth))


def test_likeness_where_every_voxel_is_as_deep():
    values = np.arange(101.0)
    assert t2_likeness(values, np.full(101, np.inf)) == 0


@pytest.mark.parametrize("share", [0.06, 0.1, 0.25])
def test_t1_and_t2_are_told_apart_at_any_share_of_fluid(share):
    t1, t2 = ("a", values(25, 61, share)), ("b", values(240, 127, share))
    assert doubts_of_contrast(t1, t2) == []
    assert doubts_of_contrast(t1, None) == doubts_of_contrast(None, t2) == []
    assert "swapped" in doubts_of_contrast(t2, t1)[0]
    assert doubts_of_contrast(None, None) == []


def test_the_same_image_twice():
    image = values(25, 61, 0.1)
    assert "same image" in doubts_of_contrast(("a", image), ("b", image.copy()))[0]


@pytest.mark.parametrize("share", [0, 0.06, 0.25])
@pytest.mark.parametrize("faint", [False, True])
def test_depth_tells_t1_from_t2_where_fluid_is_like_cortex(share, faint):
    """Where fluid is faint, the tails follow the shares of grey and white: the wrong way here."""
    one, depth = layered(45 if faint else 25, 50, share)
    two, _ = layered(170 if faint else 240, 160, share)
    t1, t2 = ("a", one), ("b", two)
    if faint:
        assert t2_likeness(two) < t2_likeness(one)
    assert t2_likeness(one, depth) < -0.1 < 0.1 < t2_likeness(two, depth)
    assert doubts_of_contrast(t1, t2, depth) == []
    assert doubts_of_contrast(t1, None, depth) == doubts_of_contrast(None, t2, depth) == []
    assert "swapped" in doubts_of_contrast(t2, t1, depth)[0]
    assert "was given as T1" in doubts_of_contrast(t2, None, depth)[0]
    assert "was given as T2" in doubts_of_contrast(None, t1, depth)[0]


def test_depths_are_millimetres_from_the_surface_but_not_from_the_field_of_view():
    brain = np.zeros((9, 5, 5), bool)
    brain[2:] = True
    found = np.zeros(brain.shape)
    found[brain] = depths(brain, (2.0, 1.0, 1.0))
    np.testing.assert_array_equal(found[:, 2, 2], [0, 0, 2, 4, 6, 8, 10, 12, 14])
    np.testing.assert_array_equal(found[:, 0, 0], found[:, 2, 2])


def test_contrast_is_required():
    require_contrast("a", np.arange(9.0))
    with pytest.raises(InputError, match="a has no contrast"):
        require_contrast("a", np.r_[np.zeros(90), np.arange(10.0)])


def test_covered():
    brain = np.ones((10, 10, 10), bool)
    grid = Grid(brain.shape, np.eye(4))

    def slab(n):
        return Placed("b", np.zeros((10, 10, n)), Grid((10, 10, n), np.eye(4)))

    assert covered(brain, grid, slab(10))[1] == []
    kept, notes = covered(brain, grid, slab(4))
    assert kept.sum() == 400
    assert notes == ["b covers 40% of the brain; the rest is ignored."]
    brain[:, :, :9] = False
    with pytest.raises(InputError, match="b covers 0% of the brain"):
        covered(brain, grid, slab(4))


@pytest.mark.parametrize(
    ("size", "found"), [((0.8, 0.8, 0.8), 0), ((1, 1, 2), 0), ((2.5, 2, 2), 1), ((0.5, 1, 1.2), 1)]
)
def test_doubts_of_grid(size, found):
    image = Placed.turned("a", np.zeros((5, 6, 7)), np.diag([*size, 1]))
    assert len(doubts_of_grid(image)) == found


@pytest.fixture(scope="module")
def brain():
    """A ball of 1 mm voxels with ventricles and folded cortex: T1, T2, mask and grid."""
    shape = (70, 84, 66)
    rng = np.random.default_rng(0)
    at = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    radius = np.sqrt((at**2).sum(0))
    mask = radius < 0.9
    folds = gaussian_filter(rng.normal(0, 1, shape), 2.5)
    grey = (radius > 0.72) & (folds > -0.05) | (folds > 0.16)
    fluid = (np.hypot(at[0] / 0.2, at[2] / 0.3) < 1) & (abs(at[1]) < 0.4) | (radius > 0.86)
    tissue = np.where(fluid, 0, np.where(grey, 1, 2))
    noise = rng.normal(0, 3, (2, *shape))
    t1 = np.array([30.0, 70, 100])[tissue] + noise[0]
    t2 = np.array([350.0, 140, 100])[tissue] + noise[1]
    t1[~mask] = t2[~mask] = 0
    return t1, t2, mask, Grid(shape, np.eye(4))


def placed(name, data, grid):
    return Placed(name, np.asarray(data, np.float32), grid)


def place(first, second, region, levels=24):
    return doubts_of_place(first, second, region, remedy="mend it", levels=levels)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("voxels", [0, 2, 12])
def test_a_displaced_image_is_doubted_with_its_distance(brain, axis, voxels):
    t1, t2, mask, grid = brain
    moved = placed("t2.nii", np.roll(t2, voxels, axis), grid)
    said = place(placed("t1.nii", t1, grid), moved, mask)
    if voxels < 12:
        assert said == []
        return
    (text,) = said
    assert text.startswith("t2.nii seems to be 12 mm away from t1.nii: ")
    assert text.endswith("; mend it.")


def test_another_head_is_doubted(brain):
    t1, _, mask, grid = brain
    other = gaussian_filter(np.random.default_rng(1).normal(0, 1, mask.shape), 3)
    (text,) = place(placed("t1.nii", t1, grid), placed("t2.nii", other, grid), mask)
    assert text.startswith("t2.nii hardly agrees with t1.nii (0.0")


def test_a_mask_of_another_place_is_doubted(brain):
    t1, _, mask, grid = brain
    first, everywhere = placed("t1.nii", t1, grid), np.ones_like(mask)
    assert place(first, placed("mask.nii", mask, grid), everywhere, levels=2) == []
    moved = np.roll(mask, (0, 10, 8), (0, 1, 2))
    (text,) = place(first, placed("mask.nii", moved, grid), everywhere, levels=2)
    assert text.startswith("mask.nii seems to be 14 mm away from t1.nii") or "12 mm" in text


def test_of_a_small_field_nothing_is_said(brain):
    t1, t2, mask, _ = brain
    box = (slice(20, 50), slice(20, 50), slice(20, 50))
    grid = Grid((30, 30, 30), np.eye(4))
    moved = placed("t2.nii", np.roll(t2, 12, 1)[box], grid)
    assert place(placed("t1.nii", t1[box], grid), moved, mask[box]) == []


def test_a_flair_is_doubted(brain):
    t1, t2, mask, grid = brain
    depth = depths(mask, grid.voxel_size)
    for fluid, told in ((350, False), (20, True)):
        image = np.where(t2 > 250, fluid, t2)
        said = doubts_of_fluid(t1[mask], ("f.nii", image[mask]), depth, 2.0)
        assert bool(said) == told
    assert said[0].startswith("f.nii shows fluid dark")
    assert doubts_of_fluid(t1[mask], ("f.nii", image[mask]), depth, 0.01) == []
