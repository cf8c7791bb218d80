import numpy as np
import pytest

from napari_pvs.inference.patches import grid, sample, starts, tiles


def test_the_papers_grid():
    boxes = grid((176, 192, 240))
    assert len(boxes) == 1540
    assert len({tuple(s.start for s in box) for box in boxes}) == 1540


@pytest.mark.parametrize("shape", [(32, 33, 47), (48, 49, 64), (100, 31, 80)])
def test_every_voxel_is_covered_by_whole_patches(shape):
    count = np.zeros([max(n, 32) for n in shape], int)
    for box in grid(shape):
        assert all(s.stop - s.start == 32 for s in box)
        assert all(s.start >= 0 and s.stop <= n for s, n in zip(box, count.shape, strict=True))
        count[box] += 1
    assert count.min() >= 1
    assert count.max() <= 27


def test_starts_of_a_short_axis():
    assert starts(20, 32, 16) == [0]
    assert starts(32, 32, 16) == [0]
    assert starts(33, 32, 16) == [0, 1]


def masks():
    rng = np.random.default_rng(0)
    ball = sum((g - 22) ** 2 for g in np.ogrid[:45, :44, :47]) < 20**2
    yield "ball", ball
    yield "scattered", rng.random((41, 30, 50)) < 0.001
    yield "full", np.ones((37, 48, 20), bool)
    corners = np.zeros((48, 48, 48), bool)
    corners[:2, :2, :2] = corners[-2:, -2:, -2:] = True
    yield "corners", corners
    one = np.zeros((9, 48, 48), bool)
    one[8, 0, 47] = True
    yield "one voxel", one


@pytest.mark.parametrize("limit", [1000, 12_000, 40_000, 10**9])
@pytest.mark.parametrize(("halo", "factor"), [(4, 8), (3, 4), (0, 1)])
@pytest.mark.parametrize("mask", [pytest.param(m, id=n) for n, m in masks()])
def test_tiles(mask, limit, halo, factor):
    count = np.zeros(mask.shape, int)
    for window, tile in tiles(mask, limit, halo, factor):
        count[tile] += 1
        assert mask[tile].any()
        edges = []
        for w, t, n in zip(window, tile, mask.shape, strict=True):
            assert 0 <= w.start <= t.start < t.stop <= w.stop <= n
            # a whole halo but at the array's ends
            assert w.start == 0 or t.start - w.start >= halo
            assert w.stop == n or w.stop - t.stop >= halo
            assert w.start % factor == 0
            assert (w.stop - w.start) % factor == 0 or w.stop == n
            edges.append(w.stop - w.start)
        smallest = max(t.stop - t.start for t in tile) <= max(1, 2 * halo)
        assert np.prod(edges) <= limit or smallest
    assert count.max() == 1
    assert count[mask].all()


def test_few_tiles_where_the_limit_is_far():
    mask = np.ones((40, 40, 40), bool)
    assert len(list(tiles(mask, 10**9, 16, 8))) == 1


def test_less_is_computed_than_the_box_around_the_mask():
    mask = np.zeros((160, 160, 160), bool)
    mask[10:70, 20:80, 20:80] = mask[90:150, 80:150, 90:140] = True
    windows = [window for window, _ in tiles(mask, 10**7, 4, 8)]
    assert len(windows) == 2
    computed = sum(np.prod([s.stop - s.start for s in window]) for window in windows)
    assert computed < 0.4 * 144 * 136 * 128


def test_a_cut_that_does_not_pay_is_not_made():
    mask = np.ones((96, 96, 96), bool)
    assert len(list(tiles(mask, 96**3, 16, 8))) == 1
    halves = [window for window, _ in tiles(mask, 96**3 - 1, 16, 8)]
    assert len(halves) == 2


def test_empty_tiles_are_left_out():
    corners = dict(masks())["corners"]
    tiled = [tile for _, tile in tiles(corners, 12_000, 4, 2)]
    assert [tuple(s.stop - s.start for s in tile) for tile in tiled] == [(2, 2, 2)] * 2


def test_a_sample_is_spread_evenly_over_a_mask():
    mask = np.zeros((60, 50, 40), bool)
    mask[10:50, 5:45, 5:35] = True
    boxes = sample(mask, 24, 16)
    assert len(boxes) == 24
    assert {tuple(side.stop - side.start for side in box) for box in boxes} == {(16, 16, 16)}
    assert all(mask[box].mean() > 0.1 for box in boxes)
    middles = np.array([[side.start + 8 for side in box] for box in boxes])
    assert (np.abs(middles.mean(0) - [30, 25, 20]) < 5).all()
    assert (np.ptp(middles, axis=0) > [30, 24, 15]).all()


@pytest.mark.parametrize("shape", [(3, 20, 20), (1, 1, 1), (16, 16, 17)])
def test_a_sample_of_a_small_array_lies_inside_it(shape):
    mask = np.zeros(shape, bool)
    mask[-1, -1, -1] = True
    boxes = sample(mask, 5, 16)
    assert len(boxes) == 5
    for box in boxes:
        assert mask[box].shape == tuple(min(16, n) for n in shape)
        assert mask[box].any()
