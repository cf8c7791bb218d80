import numpy as np
import pytest

from napari_pvs.errors import InputError
from napari_pvs.scans import brain
from napari_pvs.scans.brain import brain_mask, doubts_of_mask, doubts_of_person, stripped_mask
from napari_pvs.scans.grid import Grid

GRID = Grid((64, 64, 64), np.diag([3.5, 3.5, 3.5, 1]))


def ball(radius_mm):
    distance = np.linalg.norm(np.indices(GRID.shape) - 32, axis=0) * 3.5
    return distance < radius_mm


def scan(head, background=0.0):
    rng = np.random.default_rng(0)
    return np.where(head, rng.normal(100, 10, GRID.shape), background).astype(np.float32)


@pytest.mark.parametrize("background", [0.0, -0.83, 7.0])
def test_a_stripped_brain_tells_its_mask(background):
    expected = ball(70)  # 1.4 L
    image = scan(expected, background)
    image[32, 32, 30:34] = background  # a hole
    image[5, 5, 5] = 50  # a speck
    np.testing.assert_array_equal(brain_mask(image, None, GRID), expected)
    np.testing.assert_array_equal(brain_mask(None, image, GRID), expected)


def test_negative_values_inside_are_brain():
    image = scan(ball(70))
    image[30:34, 30:34, 2:62][image[30:34, 30:34, 2:62] > 0] *= -1
    np.testing.assert_array_equal(brain_mask(image, None, GRID), ball(70))


def test_what_is_not_stripped():
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 1, GRID.shape).astype(np.float32)
    assert stripped_mask(scan(ball(70)) + noise, GRID) is None  # noisy air
    assert stripped_mask(scan(ball(95)), GRID) is None  # 3.6 L: a head over zeroed air
    assert stripped_mask(scan(ball(40)), GRID) is None  # 0.27 L
    assert stripped_mask(np.zeros(GRID.shape, np.float32), GRID) is None
    filled = np.ones((120, 120, 120), np.float32)  # as large as a brain, and hardly any air
    filled[0] = filled[-1] = filled[:, 0] = filled[:, -1] = filled[..., 0] = filled[..., -1] = 0
    assert stripped_mask(filled, Grid(filled.shape, np.eye(4))) is None
    neck = ball(70)
    neck[14:50, 14:50, :33] = True
    assert stripped_mask(scan(neck), GRID) is None  # reaches the border


def test_the_t1_is_used_if_there_is_one(monkeypatch):
    seen = []

    def fake(image, device):
        seen.append((image, device))
        return ball(60)

    monkeypatch.setattr(brain, "deepbet_mask", fake)
    t1, t2 = scan(ball(95)), scan(ball(95)) + 1
    np.testing.assert_array_equal(brain_mask(t1, t2, GRID, "cuda"), ball(60))
    brain_mask(None, t2, GRID)
    assert [(image is t1, device) for image, device in seen] == [(True, "cuda"), (False, "cpu")]


@pytest.mark.parametrize("radius", [0, 40, 90])
def test_no_brain(monkeypatch, radius):
    monkeypatch.setattr(brain, "deepbet_mask", lambda image, device: ball(radius))
    with pytest.raises(
        InputError, match=r"^no brain was found in a\.nii; .*brain mask \(--brain-mask\)\.$"
    ):
        brain_mask(scan(ball(95)), None, GRID, name="a.nii")


@pytest.mark.parametrize("smooth", [0, 1])
def test_noise_without_a_head_is_no_brain(monkeypatch, smooth):
    from scipy.ndimage import gaussian_filter

    monkeypatch.setattr(brain, "deepbet_mask", lambda image, device: ball(60))
    grid = Grid((64, 64, 64), np.diag([1.0, 1, 1, 1]) * [3.5, 3.5, 3.5, 1])
    noise = np.random.default_rng(0).normal(100, 20, grid.shape)
    if smooth:  # by 1 mm
        noise = gaussian_filter(noise, 1 / 3.5)
    with pytest.raises(InputError, match=r"^n\.nii looks like noise, with no head in it; give"):
        brain_mask(noise.astype(np.float32), None, grid, name="n.nii")
    # what varies as anatomy does is one, though as bright as its surroundings
    slow = gaussian_filter(noise, 3).astype(np.float32)
    np.testing.assert_array_equal(brain_mask(slow, None, grid), ball(60))


def test_t2_is_folded_to_the_ranks_of_t1():
    bone, white, grey, fluid = 0.15, 1.0, 1.27, 2.4
    t2 = np.repeat([0.0, bone, white, grey, fluid], [400, 100, 500, 250, 50])
    air, bone, white, grey, fluid = brain.t1_like(t2)[[0, 450, 600, 1100, 1299]]
    assert white > grey > bone > fluid >= air == 0


def head_over_zeroed_air(bone=30):
    """A small defaced head, 2.2 L: scalp, bone, and a brain of 1.1 L."""
    rng = np.random.default_rng(0)
    image = np.where(ball(81), rng.normal(110, 8, GRID.shape), 0)
    image[ball(76)] = rng.normal(bone, 5, GRID.shape)[ball(76)]
    image[ball(64)] = rng.normal(100, 8, GRID.shape)[ball(64)]
    return image.astype(np.float32)


@pytest.mark.parametrize("bone", [30, 100])  # without a layer of bone its volume tells
def test_a_small_head_over_zeroed_air_is_no_brain(monkeypatch, bone):
    monkeypatch.setattr(brain, "deepbet_mask", lambda image, device: ball(64))
    image = head_over_zeroed_air(bone)
    assert stripped_mask(image, GRID) is not None
    np.testing.assert_array_equal(brain_mask(image, None, GRID), ball(64))
    np.testing.assert_array_equal(brain_mask(None, image, GRID), ball(64))


def test_what_is_left_of_a_partly_stripped_head_goes(monkeypatch):
    image = scan(ball(70))
    left = ball(90) & ~ball(66)
    left[:, :46] = False
    image[left] = 100
    monkeypatch.setattr(brain, "deepbet_mask", lambda image, device: ball(70))
    monkeypatch.setattr(brain, "LARGE_ML", 0.0)  # so that it is looked at
    found = brain_mask(image, None, GRID)
    assert found[ball(70)].all()
    assert not found[~ball(75)].any()


def test_a_plain_stripped_brain_is_not_computed_again(monkeypatch):
    monkeypatch.setattr(brain, "deepbet_mask", lambda image, device: pytest.fail("computed"))
    np.testing.assert_array_equal(brain_mask(scan(ball(68)), None, GRID), ball(68))


@pytest.mark.parametrize("found", [np.zeros(GRID.shape, bool), ball(70.5)])
def test_a_large_stripped_brain_stays_as_it_is(monkeypatch, found):
    monkeypatch.setattr(brain, "deepbet_mask", lambda image, device: found)
    np.testing.assert_array_equal(brain_mask(scan(ball(71)), None, GRID), ball(71))


def test_neither():
    with pytest.raises(ValueError, match="neither"):
        brain_mask(None, None, GRID)


def test_deepbet_on_nothing():
    assert not brain.deepbet_mask(np.zeros((32, 32, 32), np.float32), "cpu").any()


@pytest.mark.parametrize(
    ("edge", "share", "words"),
    [
        (128, 0.35, None),  # 2.1 L of head
        (128, 0.01, "has 16 mL, but an adult brain has 900 to 1,900; give the mask of this"),
        (160, 0.9, "has 3686 mL"),
        (100, 0.01, None),  # a part of a head
    ],
)
def test_doubts_of_mask(edge, share, words):
    brain = np.zeros((edge,) * 3, bool)
    brain[: round(edge * share)] = True
    grid = Grid(brain.shape, np.eye(4))
    said = doubts_of_mask(brain, grid, "m.nii")
    assert len(said) == (words is not None)
    if words:
        assert said[0].startswith(f"m.nii {words}")


def test_a_mask_of_another_head_is_doubted_with_its_share():
    whole, other = ball(70), np.roll(ball(75), 6, 0)
    assert doubts_of_person(whole, scan(whole), GRID, "m.nii", "t1.nii") == []
    assert doubts_of_person(ball(72), scan(whole), GRID, "m.nii", "t1.nii") == []
    (text,) = doubts_of_person(other, scan(whole), GRID, "m.nii", "t1.nii")
    assert text.startswith("m.nii has ")
    assert "% of its voxels more than 10 mm outside the brain in t1.nii" in text
    noise = np.random.default_rng(1).normal(0, 1, GRID.shape)
    assert doubts_of_person(other, scan(whole) + noise, GRID, "m.nii", "t1.nii") == []
