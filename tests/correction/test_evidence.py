"""What speaks for a PVS around a point."""

import itertools

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_pvs.correction.click import NothingFound, grow
from napari_pvs.correction.evidence import (
    EDGE,
    Evidence,
    from_intensities,
    from_map,
    network_edges,
    window,
)
from napari_pvs.correction.neighbourhood import around
from napari_pvs.inference.predictor import Predictor

SIZE = (0.8, 0.8, 0.8)


@pytest.mark.parametrize("point", [(0, 0, 0), (30, 59, 99), (17, 33, 51), (63, 0, 77)])
def test_windows_hold_the_point_and_start_where_the_full_pass_pools(point):
    shape = (64, 60, 100)
    box = window(point, shape)
    for side, i, n in zip(box, point, shape, strict=True):
        assert side.start % 8 == 0
        assert 0 <= side.start <= i < side.stop <= n
        assert EDGE - 7 <= side.stop - side.start <= EDGE


def test_windows_of_small_volumes_are_the_volume():
    assert window((3, 4, 5), (24, 28, 26)) == (slice(0, 24), slice(0, 28), slice(0, 26))


def test_a_click_in_the_middle_lies_in_the_middle_of_its_window():
    for i in range(40, 60):
        (side, *_) = window((i, i, i), (100, 100, 100))
        assert abs((side.start + side.stop) / 2 - i) <= 4


def test_windows_have_the_size_that_the_network_sees():
    assert network_edges(SIZE, (0.65, 1.1)) == (40, 40, 40)
    assert network_edges((0.5, 1.1, 2.2), (0.65, 1.1)) == (52, 40, 20)


def test_a_map_is_cut_out_around_the_point():
    values = np.random.default_rng(0).random((80, 30, 60), np.float32)
    evidence = from_map(values, (40, 3, 59), SIZE)
    assert evidence.box == (slice(15, 66), slice(0, 29), slice(34, 60))
    np.testing.assert_array_equal(evidence.values, values[evidence.box])
    assert evidence.source == "probability"
    assert around((40, 3, 59), values.shape, (1, 4, 2)) == (
        slice(39, 42),
        slice(0, 8),
        slice(57, 60),
    )


@pytest.mark.parametrize(
    ("source", "peak", "tighter", "level"),
    [
        ("intensity", 2.6, 1.0, 2.0),  # noise
        ("intensity", 10.0, 1.0, 5.0),
        ("intensity", 10.0, 1.5, 7.5),
        ("probability", 1.0, 1.0, 0.6),
        ("network", 0.5, 1.0, 0.2),
        ("network", 1.0, 9.9, 0.9),
    ],
)
def test_the_level_of_a_growth(source, peak, tighter, level):
    evidence = Evidence(np.zeros((1, 1, 1), np.float32), (slice(0, 1),) * 3, source)
    assert evidence.level(peak, tighter) == pytest.approx(level)


@pytest.fixture
def tissue():
    """White matter with one fluid tube, dark on T1 and bright on T2."""
    rng = np.random.default_rng(3)
    tube = np.zeros((64, 64, 56), bool)
    tube[30:32, 30:32, 20:34] = True
    fluid = 0.4 * gaussian_filter(tube.astype(float), 0.5)
    noise = [gaussian_filter(rng.normal(0, 0.04, tube.shape), 0.4) for _ in range(2)]
    brain = np.zeros(tube.shape, bool)
    brain[3:-3, 3:-3, 3:-3] = True
    t1, t2 = 1 - 0.7 * fluid + noise[0], 1 + 1.4 * fluid + noise[1]
    return (t1 * brain).astype(np.float32), (t2 * brain).astype(np.float32), brain, tube


@pytest.mark.parametrize("modalities", ["both", "T1", "T2"])
def test_a_pvs_grows_from_intensities_alone(tissue, modalities):
    t1, t2, brain, tube = tissue
    t1, t2 = (None if modalities == "T2" else t1), (None if modalities == "T1" else t2)
    evidence = from_intensities(t1, t2, brain, (30, 30, 26), SIZE)
    change = grow((30, 30, 26), evidence, np.zeros(tube.shape, np.uint8), SIZE)
    assert change.source == "intensity"
    grown = np.zeros(tube.shape, bool)
    grown[change.indices] = True
    assert 2 * np.count_nonzero(grown & tube) / (grown.sum() + tube.sum()) > 0.75


def test_noise_is_mostly_refused_and_never_large(tissue):
    t1, t2, brain, tube = tissue
    sizes = []
    for point in itertools.product((12, 22, 40, 50), (12, 22, 40, 50), (12, 28, 40)):
        evidence = from_intensities(t1, t2, brain, point, SIZE)
        try:
            change = grow(point, evidence, np.zeros(tube.shape, np.uint8), SIZE)
            sizes.append(len(change.indices[0]))
        except NothingFound:
            sizes.append(0)
    assert np.mean(np.array(sizes) > 0) < 0.2
    assert max(sizes) < np.count_nonzero(tube)


def test_a_constant_image_holds_nothing():
    flat, brain = np.ones((30, 30, 30), np.float32), np.ones((30, 30, 30), bool)
    evidence = from_intensities(flat, None, brain, (15, 15, 15), SIZE)
    assert not evidence.values.any()


def test_a_local_pass_is_the_full_pass_inside_the_window(tiny_weights, make_head):
    head = make_head(shape=(64, 64, 64))
    images = np.stack([head.t1, head.t2]) / 100
    predictor = Predictor(tiny_weights, "cpu")
    full = predictor.predict_array(images, head.brain)
    box = window((32, 32, 32), head.brain.shape)
    local = predictor.predict_array(images[(slice(None), *box)], head.brain[box])
    middle = (slice(12, 28),) * 3
    np.testing.assert_allclose(local[middle], full[box][middle], atol=1e-5)
