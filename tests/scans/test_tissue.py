"""Tissues of a ball of white matter around a large ventricle, in a shell of cortex."""

import numpy as np
import pytest

from napari_pvs.scans.tissue import FLUID, GREY, ORDER, WHITE, log_posteriors, tissue_order

SHAPE = (36, 36, 36)
AWAY = np.linalg.norm(np.indices(SHAPE) - 17.5, axis=0)
INSIDE = AWAY < 17
TRUTH = np.select([AWAY < 7, AWAY < 13], [FLUID, WHITE], GREY)
SIZE = (2.0, 2.0, 2.0)
LEVELS = {"T1": (1.0, 0.65, 0.2), "T2": (1.0, 1.4, 4.0)}


def image(values: tuple[float, float, float], seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 0.03, SHAPE)
    bias = np.linspace(0.9, 1.1, SHAPE[0])[:, None, None]
    return np.clip((np.array(values)[TRUTH] + noise) * bias, 0.02, None)


@pytest.fixture
def prior() -> tuple[np.ndarray, np.ndarray]:
    """The template knows a small ventricle, and is not sure of anything."""
    wm, gm = np.where(AWAY < 13, 0.8, 0.15), np.where(AWAY < 13, 0.15, 0.75)
    wm[AWAY < 4] = gm[AWAY < 4] = 0.1
    return wm, gm


@pytest.mark.parametrize("given", [("T1",), ("T2",), ("T1", "T2")], ids="+".join)
def test_every_contrast_gives_one_scale(given, prior) -> None:
    images = [image(LEVELS[name], seed) for seed, name in enumerate(given)]
    found = tissue_order(images, INSIDE, *prior, SIZE)
    assert found.shape == (np.count_nonzero(INSIDE),)
    for kind in (WHITE, GREY, FLUID):
        assert np.median(found[TRUTH[INSIDE] == kind]) == pytest.approx(ORDER[kind], abs=0.1)
    white, fluid = found > 0.8, found < 0.375
    assert white[TRUTH[INSIDE] == WHITE].mean() > 0.9
    # also where the template knows nothing of the ventricle
    assert fluid[TRUTH[INSIDE] == FLUID].mean() > 0.9
    assert fluid[TRUTH[INSIDE] != FLUID].mean() < 0.1


@pytest.mark.parametrize("name", ["T1", "T2"])
def test_a_z_score_gives_the_same_tissues(name, prior) -> None:
    raw = image(LEVELS[name], 0)
    scores = (raw - raw[INSIDE].mean()) / raw[INSIDE].std()
    found = [tissue_order([each], INSIDE, *prior, SIZE) for each in (raw, scores)]
    for kind in (WHITE, GREY, FLUID):
        here = TRUTH[INSIDE] == kind
        assert np.median(found[1][here]) == pytest.approx(np.median(found[0][here]), abs=0.1)
    assert np.mean((found[1] < 0.375) == (found[0] < 0.375)) > 0.98


def test_white_matter_is_the_likeliest_class_where_it_is(prior) -> None:
    found = log_posteriors([image(LEVELS["T1"], 0)], INSIDE, *prior, SIZE).argmax(-1) == WHITE
    white = TRUTH[INSIDE] == WHITE
    assert found[white].mean() > 0.9
    assert found[~white].mean() < 0.1
