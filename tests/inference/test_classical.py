"""Tubes in a block of noisy white matter are found by both baselines."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_pvs.inference.classical import (
    FRANGI_THRESHOLD,
    FULL_SCORE,
    INTENSITY_THRESHOLD,
    frangi,
    intensity_threshold,
    local_contrast,
)

SHAPE = (40, 44, 36)
SIZE = (0.8, 0.8, 0.8)
METHODS = [(frangi, FRANGI_THRESHOLD), (intensity_threshold, INTENSITY_THRESHOLD)]
Score = Callable[..., np.ndarray]


class Block:
    """White matter with bias, fluid around it, tubes of 40 % fluid."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.region = np.zeros(SHAPE, bool)
        self.region[4:-4, 4:-4, 4:-4] = True
        x, y, z = np.indices(SHAPE)
        self.tubes = np.zeros(SHAPE, bool)
        for a, b in ((10, 10), (20, 28), (30, 14), (12, 34)):
            slant = (z - 18) * rng.uniform(-0.4, 0.4)
            near = (x - a - slant) ** 2 + (y - b) ** 2 <= 1.2
            self.tubes |= near & (np.abs(z - 18) < 8)
        part = gaussian_filter(np.where(self.tubes, 0.4, 0), 0.4)
        bias = np.linspace(0.9, 1.1, SHAPE[0])[:, None, None]
        outside = ~np.pad(np.ones([n - 4 for n in SHAPE], bool), 2)
        noise = rng.normal(0, 0.04, (2, *SHAPE))
        self.t2 = 400 * ((1 + 1.4 * part + outside * 1.4) * bias + noise[0])
        self.t1 = 900 * ((1 - 0.8 * part - outside * 0.8) * bias + noise[1])


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    return 2 * (found & truth).sum() / (found.sum() + truth.sum())


@pytest.fixture(scope="module")
def block() -> Block:
    return Block()


@pytest.mark.parametrize(("score", "threshold"), METHODS)
@pytest.mark.parametrize("given", ["t1", "t2", "both"])
def test_tubes_are_found_at_the_default_threshold(
    block: Block, score: Score, threshold: float, given: str
) -> None:
    t1 = None if given == "t2" else block.t1
    t2 = None if given == "t1" else block.t2
    found = score(t1, t2, block.region, SIZE)
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.max() <= 1
    assert not found[~block.region].any()
    assert dice(found >= threshold, block.tubes) > 0.5


@pytest.mark.parametrize(("score", "threshold"), METHODS)
def test_the_opposite_contrast_is_not_found(block: Block, score: Score, threshold: float) -> None:
    found = score(None, -block.t2, block.region, SIZE) >= threshold
    assert dice(found, block.tubes) < 0.05


@pytest.mark.parametrize(("score", "threshold"), METHODS)
def test_noise_alone_gives_next_to_nothing(score: Score, threshold: float) -> None:
    noise = np.random.default_rng(1).normal(100, 5, SHAPE)
    found = score(None, noise, np.ones(SHAPE, bool), SIZE) >= threshold
    assert found.mean() < 0.005


@pytest.mark.parametrize(("score", "threshold"), METHODS)
def test_scores_do_not_depend_on_unit_or_far_tissue(
    block: Block, score: Score, threshold: float
) -> None:
    first = score(block.t1, block.t2, block.region, SIZE)
    other = np.where(block.region, block.t2 * 0.01 + 7, 1e4)
    second = score(block.t1, other, block.region, SIZE)
    np.testing.assert_allclose(first, second, atol=2e-3)


def test_thick_slices_are_searched_at_the_finest_spacing(block: Block) -> None:
    thick = (slice(None), slice(None), slice(None, None, 2))
    found = frangi(None, block.t2[thick], block.region[thick], (0.8, 0.8, 1.6))
    assert found.shape == block.region[thick].shape
    assert dice(found >= FRANGI_THRESHOLD, block.tubes[thick]) > 0.4


def test_contrast_is_in_robust_standard_deviations(block: Block) -> None:
    contrast = local_contrast(None, block.t2, block.region, SIZE)
    inside = contrast[block.region & ~block.tubes]
    assert np.std(np.clip(inside, -3, 3)) == pytest.approx(1, abs=0.2)
    assert contrast[block.tubes].mean() > 4
    strongest = intensity_threshold(None, block.t2, block.region, SIZE)
    np.testing.assert_allclose(
        strongest[block.region], np.clip(contrast[block.region] / FULL_SCORE, 0, 1)
    )


@pytest.mark.parametrize("score", [frangi, intensity_threshold])
def test_an_empty_region_scores_nothing(block: Block, score: Score) -> None:
    assert not score(None, block.t2, np.zeros(SHAPE, bool), SIZE).any()


@pytest.mark.parametrize("score", [frangi, intensity_threshold])
def test_no_image_and_a_flat_image_are_refused(block: Block, score: Score) -> None:
    with pytest.raises(ValueError, match="T1 or a T2"):
        score(None, None, block.region, SIZE)
    with pytest.raises(ValueError, match="no contrast"):
        score(None, np.ones(SHAPE), block.region, SIZE)
