"""Length and diameter of rods that are known."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from napari_pvs.inference.shape import END_VOXELS, curved_lengths, moments, rod, rod_of


def drawn(length, diameter, direction, size):
    """A rod of points, 0.05 mm apart, in voxels that hold most of it."""
    unit = np.array(direction) / np.linalg.norm(direction)
    size = np.array(size)
    axes = np.meshgrid(*[np.arange(n) for n in np.ceil(24 / size).astype(int)], indexing="ij")
    points = np.stack(axes, -1) * size - 12
    along = points @ unit
    off = np.linalg.norm(points - along[..., None] * unit, axis=-1)
    return (abs(along) <= length / 2) & (off <= diameter / 2)


@pytest.mark.parametrize("direction", [(1, 0, 0), (1, 1, 0), (1, 2, 3)])
@pytest.mark.parametrize("size", [(0.5, 0.5, 0.5), (0.5, 0.4, 0.8)])
def test_a_rod_is_as_long_and_thick_as_it_is(direction, size):
    mask = drawn(10, 3, direction, size)
    found = moments(mask.astype(np.int32), np.diag(size))
    voxels, spread = found.sizes, found.variances
    assert voxels.tolist() == [0, np.count_nonzero(mask)]
    length, diameter = rod(spread[1, 2], voxels[1] * np.prod(size))
    assert length == pytest.approx(10, rel=0.07)
    assert diameter == pytest.approx(3, rel=0.07)
    np.testing.assert_allclose(np.sqrt(16 * spread[1, :2]), 3, rtol=0.15)  # of a disc, d²/16


def test_a_single_voxel_is_as_long_as_its_longest_edge():
    labels = np.zeros((3, 3, 3), np.int32)
    labels[1, 1, 1] = 2
    found = moments(labels, np.diag((0.5, 0.8, 0.6)))
    voxels, spread = found.sizes, found.variances
    assert voxels.tolist() == [0, 0, 1]
    assert rod(spread[2, 2], 0.24)[0] == pytest.approx(0.8)


def test_voxels_may_lean():
    edges = np.array([[0.8, 0, 0.4], [0, 0.9, 0], [0, 0, 1]])
    where = np.indices((40, 12, 30)).reshape(3, -1).T @ edges.T - (22, 5, 15)
    upright = (abs(where[:, 2]) <= 10) & (np.hypot(where[:, 0], where[:, 1]) <= 1.5)
    mask = upright.reshape(40, 12, 30)
    found = moments(mask.astype(np.int32), edges)
    voxels, spread = found.sizes, found.variances
    length, diameter = rod(spread[1, 2], voxels[1] * np.linalg.det(edges))
    assert length == pytest.approx(20, rel=0.07)
    assert diameter == pytest.approx(3, rel=0.07)


def test_nothing_has_no_components():
    found = moments(np.zeros((2, 2, 2), np.int32), np.eye(3))
    voxels, spread = found.sizes, found.variances
    assert voxels.tolist() == [0]
    assert spread.shape == (1, 3)


def test_one_pvs_is_measured_as_all_are():
    mask = drawn(10, 3, (1, 2, 3), (0.5, 0.4, 0.8))
    edges = np.diag((0.5, 0.4, 0.8))
    found = moments(mask.astype(np.int32), edges)
    volume = np.count_nonzero(mask) * 0.5 * 0.4 * 0.8
    assert rod_of(np.argwhere(mask), edges) == pytest.approx(rod(found.variances[1, 2], volume))


def arc(radius, turn, width=1.2):
    """Voxels of a bent tube whose course is ``radius * turn`` long, in voxels."""
    at = np.linspace(0, turn, 400)
    line = np.stack([40 + radius * np.cos(at), 40 + radius * np.sin(at), 5 + 0 * at], 1)
    grid = np.argwhere(np.ones((80, 80, 11), bool))
    away, _ = cKDTree(line).query(grid, distance_upper_bound=width)
    return grid[np.isfinite(away)]


@pytest.mark.parametrize(("radius", "turn"), [(8, 2.5), (12, 1.5), (6, np.pi)])
def test_the_length_of_a_bent_tube_is_that_along_its_course(radius, turn):
    points = arc(radius, turn)
    (curved,) = curved_lengths(points, np.zeros(len(points), int), np.eye(3) * 0.8)
    true = 0.8 * (radius * turn + 2 * 1.2)  # with its round ends
    straight, _ = rod_of(points, np.eye(3) * 0.8)
    assert straight < 0.9 * true
    assert curved == pytest.approx(true, rel=0.12)


def test_lengths_do_not_depend_on_the_others_or_on_the_axes():
    first, second = arc(8, 2.5), np.array([(1, 1, 1), (1, 1, 2), (1, 1, 3)])
    both = np.concatenate([first, second])
    ids = np.repeat([0, 2], [len(first), len(second)])
    found = curved_lengths(both, ids, np.eye(3))
    assert np.isnan(found[1])  # nobody has this number
    alone = curved_lengths(first, np.zeros(len(first), int), np.eye(3))
    assert found[0] == pytest.approx(alone[0], rel=1e-9)
    # 3 voxels in a row spread like a rod of 3
    assert found[2] == pytest.approx(3 + END_VOXELS)
    turn = np.array([[0, -1.0, 0], [0.8, 0, 0], [0, 0, 0.6]])
    scaled = curved_lengths(second, np.zeros(3, int), turn)
    assert scaled[0] == pytest.approx(np.sqrt(12 * (2 / 3 * 0.36 + 0.48 ** (2 / 3) / 12))
                                      + END_VOXELS * 0.48 ** (1 / 3))  # fmt: skip


def test_touching_pvs_of_two_numbers_stay_apart_and_pieces_have_no_course():
    row = np.array([(x, 0, 0) for x in range(6)])
    found = curved_lengths(row, np.array([0, 0, 0, 1, 1, 1]), np.eye(3))
    assert found.tolist() == pytest.approx([3 + END_VOXELS] * 2)
    assert np.isnan(curved_lengths(row[[0, 1, 4, 5]], np.zeros(4, int), np.eye(3))).all()
    assert not curved_lengths(row[:0], np.zeros(0, int), np.eye(3)).size
    one = curved_lengths(row[:1], np.zeros(1, int), np.eye(3))
    assert one.tolist() == [1 + END_VOXELS]
