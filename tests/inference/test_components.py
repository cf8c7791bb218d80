import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from skimage.measure import regionprops

from napari_pvs.inference.components import drop_round, is_round, label, round_ones, table, within
from napari_pvs.inference.config import SegmentConfig
from napari_pvs.inference.segment import components
from napari_pvs.scans.grid import Grid

TURN = np.array([[0, -0.7, 0, 10], [0.9, 0, 0, -20], [0, 0, 1.1, 5], [0, 0, 0, 1.0]])


def test_diagonal_voxels_are_one():
    score = np.zeros((6, 6, 6), np.float32)
    score[1, 1, 1] = score[2, 2, 2] = 0.9
    score[4, 4, 4] = 0.9  # a gap of one voxel
    labels = label(score, 0.5, 0, 1)
    assert labels.dtype == np.int32
    assert labels[1, 1, 1] == labels[2, 2, 2] == 1
    assert labels[4, 4, 4] == 2


def test_ordered_by_size_and_threshold_included():
    score = np.zeros((12, 5, 5), np.float32)
    score[0, 0, :2] = 0.6
    score[3, 0, :4] = 0.6
    score[6, 0, :3] = 0.6
    score[9, 0, :5] = 0.59
    labels = label(score, 0.6, 0, 1)
    assert [int(labels[x, 0, 0]) for x in (0, 3, 6, 9)] == [3, 1, 2, 0]


@pytest.mark.parametrize(("smallest", "kept"), [(0, 3), (1.0, 3), (1.01, 2), (2, 2), (2.5, 1)])
def test_smallest_volume(smallest, kept):
    score = np.zeros((9, 4, 5), np.float32)
    score[0, 0, :2] = score[3, 0, :4] = score[6, 0, :5] = 1
    labels = label(score, 0.5, smallest, 0.5)
    assert labels.max() == kept
    assert set(np.unique(labels)) == set(range(kept + 1))


def test_smallest_volume_is_exact_for_voxels_of_08_mm():
    score = np.zeros((3, 3, 5), np.float32)
    score[0, 0, :2] = 1
    volume = 0.8**3
    assert label(score, 0.5, 2 * volume, volume).max() == 1


@pytest.mark.parametrize("volume", [1.0, 0.99999993, 1.00000005])
def test_smallest_volume_asks_for_as_many_voxels_in_an_oblique_scan(volume):
    score = np.zeros((3, 3, 5), np.float32)
    score[0, 0, 0] = 1
    assert label(score, 0.5, 1.0, volume).max() == 1


def test_empty():
    score = np.zeros((4, 4, 4), np.float32)
    labels = label(score, 0.5, 1, 1)
    assert not labels.any()
    assert table(labels, score, Grid((4, 4, 4), np.eye(4))) == []


def test_table_against_skimage():
    rng = np.random.default_rng(0)
    score = rng.random((20, 18, 16)).astype(np.float32)
    labels = label(score, 0.93, 0, 0.7 * 0.9 * 1.1)
    grid = Grid(labels.shape, TURN)
    rows = table(labels, score, grid)
    wanted = regionprops(labels, score)
    assert len(rows) == len(wanted) > 20
    for row, region in zip(rows, wanted, strict=True):
        assert row.id == region.label
        assert row.voxels == region.area
        assert row.volume_mm3 == pytest.approx(region.area * 0.7 * 0.9 * 1.1, abs=1e-4)
        assert row.mean_probability == pytest.approx(region.intensity_mean, abs=1e-4)
        centre = TURN[:3, :3] @ region.centroid + TURN[:3, 3]
        np.testing.assert_allclose((row.x_mm, row.y_mm, row.z_mm), centre, atol=1e-3)
    assert [r.voxels for r in rows] == sorted((r.voxels for r in rows), reverse=True)


def test_table_skips_numbers_that_are_not_there():
    labels = np.zeros((4, 4, 4), np.int32)
    labels[0, 0, 0], labels[2, 2, 2:] = 2, 5  # a user erased the others
    rows = table(labels, np.ones(labels.shape), Grid(labels.shape, np.eye(4)))
    assert [(r.id, r.voxels) for r in rows] == [(2, 1), (5, 2)]


def test_round_and_wide_is_left_out_and_a_tube_stays():
    axes = np.meshgrid(*(np.arange(24),) * 3, indexing="ij")
    ball = sum((a - 6) ** 2 for a in axes) <= 2.5**2
    tube = (axes[0] >= 14) & (axes[0] < 17) & (axes[1] >= 14) & (axes[1] < 17)
    speck = np.zeros_like(ball)
    speck[20:22, 2, 2] = True
    labels = label((ball | tube | speck).astype(np.float32), 0.5, 0, 1.0)
    assert labels.max() == 3
    kept = drop_round(labels, (1.0, 1.0, 1.0), 2.8)
    assert np.array_equal(kept > 0, tube | speck)
    assert kept.max() == 2
    # the same voxels at half the size are no wider than a PVS
    assert np.array_equal(drop_round(labels, (0.5, 0.5, 0.5), 2.8), labels)
    assert drop_round(labels, (1.0, 1.0, 1.0), None) is labels
    empty = np.zeros((4, 4, 4), np.int32)
    assert np.array_equal(drop_round(empty, (1.0, 1.0, 1.0), 2.8), empty)


def plain_label(score, threshold, smallest, voxel_volume):
    """`label` as whole passes over the volume."""
    import cc3d

    found = cc3d.connected_components(score >= threshold, connectivity=26)
    sizes = np.bincount(found.ravel())
    sizes[0] = 0
    keep = np.flatnonzero((sizes > 0) & (sizes * voxel_volume >= smallest - 1e-9))
    renumber = np.zeros(len(sizes), np.int32)
    renumber[keep[np.argsort(-sizes[keep], kind="stable")]] = np.arange(1, len(keep) + 1)
    return renumber[found]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("threshold", [0.0, 0.9, 0.97, 2.0])
def test_only_pvs_voxels_are_looked_at_with_the_same_answer(order, threshold):
    rng = np.random.default_rng(1)
    score = np.asarray(rng.random((23, 30, 27)).astype(np.float32), order=order)
    labels = label(score, threshold, 1.0, 0.5)
    np.testing.assert_array_equal(labels, plain_label(score, threshold, 1.0, 0.5))
    kept = drop_round(np.asarray(labels, order=order), (1.0, 1.0, 1.0), 1.5)
    inside = kept > 0
    assert inside.any() == (threshold in (0.9, 0.97))
    assert labels.dtype == kept.dtype == np.int32
    # what is kept keeps its order
    numbers = np.unique(labels[inside])
    np.testing.assert_array_equal(kept[inside], np.searchsorted(numbers, labels[inside]) + 1)


@pytest.mark.parametrize("seed", range(3))
def test_a_lower_threshold_never_loses_a_voxel(seed):
    """With the defaults: nothing is left out for its shape."""
    rng = np.random.default_rng(seed)
    score = gaussian_filter(rng.random((30, 30, 30)), 1.5).astype(np.float32)
    score = (score - score.min()) / np.ptp(score)
    grid = Grid(score.shape, np.eye(4) * [0.8, 0.8, 0.8, 1])
    masks = [components(score, t, grid, SegmentConfig()) > 0 for t in (0.9, 0.8, 0.7, 0.6, 0.5)]
    for strict, loose in itertools.pairwise(masks):
        assert strict.any()
        assert loose[strict].all()


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    thresholds=st.tuples(st.floats(0.02, 0.99), st.floats(0.02, 0.99)).map(sorted),
    smallest=st.floats(0, 20),
)
def test_a_lower_threshold_loses_no_voxel_and_what_shape_excludes_is_told(
    seed, thresholds, smallest
):
    score = gaussian_filter(np.random.default_rng(seed).random((24, 20, 22)), 1.2)
    score = ((score - score.min()) / np.ptp(score)).astype(np.float32)
    low, high = (label(score, t, smallest, 0.5) for t in thresholds)
    assert not ((high > 0) & (low == 0)).any()
    for labels in (low, high):
        told = np.isin(labels, round_ones(labels, (0.8, 0.8, 0.8), 1.5))
        kept = drop_round(labels, (0.8, 0.8, 0.8), 1.5) > 0
        np.testing.assert_array_equal(kept | told, labels > 0)
        assert not (kept & told).any()


def test_one_component_is_round_where_all_of_them_together_are():
    rng = np.random.default_rng(5)
    above = gaussian_filter(rng.random((40, 40, 40)), 1.5) > 0.53
    labels = label(above, 0.5, 0.0, 1.0)
    size = (1.0, 0.7, 1.4)
    told = set(round_ones(labels, size, 2.4).tolist())
    alone = {
        number
        for number in range(1, labels.max() + 1)
        if is_round(np.argwhere(labels == number), size, 2.4)
    }
    assert alone == told
    assert 0 < len(told) < labels.max()


def test_components_stay_or_go_whole() -> None:
    probability = np.full((12, 12, 12), 0.1, np.float32)
    region = np.zeros(probability.shape, bool)
    region[:6] = True
    probability[4:8, 2, 2] = 0.9  # half in the region
    probability[5:10, 6, 6] = 0.8  # a fifth
    probability[9:12, 9, 9] = 0.7  # none
    probability[11, 2, 2] = 0.7  # none, and too small to be listed
    kept, gone = within(probability, region, 0.5, 2.0, 1.0)
    assert (kept[4:8, 2, 2] == np.float32(0.9)).all()
    assert not kept[5:10, 6, 6].any()  # its part in the region too
    assert not kept[9:12, 9, 9].any()
    assert kept[0, 0, 0] == np.float32(0.1)
    assert kept[8, 0, 0] == kept[11, 2, 2] == 0
    assert np.unique(gone[5:10, 6, 6]).tolist() == [1]  # the largest first
    assert np.unique(gone[9:12, 9, 9]).tolist() == [2]
    assert np.count_nonzero(gone) == 8


def test_all_stays_within_everything() -> None:
    probability = np.zeros((5, 5, 5), np.float32)
    probability[1:3, 1, 1] = 0.6
    kept, gone = within(probability, np.ones(probability.shape, bool), 0.5, 0, 1.0)
    np.testing.assert_array_equal(kept, probability)
    assert not gone.any()
