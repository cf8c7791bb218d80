from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_pvs.scans.grid import Grid, from_ras, inside, overlap, resample, to_ras, with_voxel_size

ORIENTATIONS = [
    "".join(sides[axis] for axis in order)
    for order in permutations(range(3))
    for sides in product("RL", "AP", "SI")
]


def affine_of(orientation, oblique):
    """Map voxels of 0.7, 0.8 and 1.1 mm (in the file's order), turned by 12 degrees if oblique."""
    turn = nib.orientations.inv_ornt_aff(nib.orientations.axcodes2ornt(orientation), (4, 5, 6))
    turn[:3, 3] = 0
    world = nib.eulerangles.euler2mat(0.21, -0.1, 0.15) if oblique else np.eye(3)
    matrix = world @ np.linalg.inv(turn[:3, :3]).round() @ np.diag([0.7, 0.8, 1.1])
    return nib.affines.from_matvec(matrix, [11, -22, 33])


def world_of(data, affine):
    """Where the values 0, 1, 2, ... lie; each occurs once."""
    index = np.argwhere(np.ones(data.shape, bool))
    return nib.affines.apply_affine(affine, index)[np.argsort(data.ravel())]


@pytest.mark.parametrize("oblique", [False, True])
def test_all_48_orientations_go_to_ras_and_back(oblique):
    data = np.random.default_rng(0).permutation(120).reshape(4, 5, 6)
    seen = set()
    for orientation in ORIENTATIONS:
        affine = affine_of(orientation, oblique)
        seen.add("".join(nib.aff2axcodes(affine)))
        turned, ras = to_ras(data, affine)
        assert nib.aff2axcodes(ras) == ("R", "A", "S")
        np.testing.assert_allclose(world_of(turned, ras), world_of(data, affine), atol=1e-9)
        np.testing.assert_array_equal(from_ras(turned, affine), data)
        # As nibabel does it.
        peer = nib.as_closest_canonical(nib.Nifti1Image(data.astype(np.int16), affine))
        np.testing.assert_array_equal(turned, peer.dataobj)
        np.testing.assert_allclose(ras, peer.affine, atol=1e-9)
    assert len(seen) == 48


def test_channels_ride_along():
    data = np.random.default_rng(0).random((4, 5, 6, 2))
    affine = affine_of("PIR", True)
    np.testing.assert_array_equal(from_ras(to_ras(data, affine)[0], affine), data)


def test_grid_is_a_value():
    affine = affine_of("LSA", True)
    grid = Grid((4, 5, 6), affine)
    np.testing.assert_allclose(grid.voxel_size, (0.7, 0.8, 1.1))
    assert grid.voxel_volume == pytest.approx(0.7 * 0.8 * 1.1)
    affine[:] = 0
    assert grid.affine[3, 3] == 1
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 0] = 2
    with pytest.raises(ValueError, match="4x4"):
        Grid((4, 5, 6), np.eye(3))


def test_same_as_looks_at_the_far_corner():
    grid = Grid((100, 100, 100), np.eye(4))
    other = np.eye(4)
    other[0, 0] += 0.099 / 99
    assert grid.same_as(Grid((100, 100, 100), other))
    other[0, 0] += 0.002 / 99
    assert not grid.same_as(Grid((100, 100, 100), other))
    assert not grid.same_as(Grid((100, 100, 99), np.eye(4)))


def test_equal_grids_are_copied():
    data = np.random.default_rng(0).random((4, 5, 6)).astype(np.float32)
    shifted = np.eye(4)
    shifted[0, 3] = 5e-4
    out = resample(data, shifted, Grid(data.shape, np.eye(4)), order=3)
    np.testing.assert_array_equal(out, data)
    assert not np.shares_memory(out, data)


def ramp(grid):
    """A linear function of the world: any linear interpolation must reproduce it."""
    points = nib.affines.apply_affine(grid.affine, np.argwhere(np.ones(grid.shape, bool)))
    return (points @ [1.0, -2.0, 0.5] + 100).reshape(grid.shape).astype(np.float32)


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("size", [0.5, 0.9, 2.5])
def test_resampling_finds_the_place_in_the_world(order, size):
    source = Grid((24, 25, 26), affine_of("PIR", True))
    target = with_voxel_size(
        Grid((20, 20, 20), to_ras(np.zeros(source.shape), source.affine)[1]), size
    )
    out = resample(ramp(source), source.affine, target, order)
    assert out.dtype == np.float32
    # The antialiasing's and spline's edges bend a ramp; look at the middle.
    deep = ndimage.binary_erosion(inside(target, source), iterations=int(np.ceil(5 / size)))
    assert deep.any()
    np.testing.assert_allclose(out[deep], ramp(target)[deep], atol=0.05)


def test_outside_is_zero_and_the_rim_is_not_darkened():
    source = Grid((10, 10, 10), np.eye(4))
    target = Grid((14, 14, 14), nib.affines.from_matvec(np.eye(3), [-2.3, -2.3, -2.3]))
    out = resample(np.full((10, 10, 10), 7, np.float32), source.affine, target, order=1)
    within = inside(target, source)
    np.testing.assert_allclose(out[within], 7, rtol=1e-6)
    assert not out[~within].any()
    assert within.sum() == 10**3


def test_labels_stay_labels():
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 3, 14175], size=(9, 9, 9)).astype(np.int32)
    target = with_voxel_size(Grid((9, 9, 9), np.eye(4)), 0.5)
    out = resample(labels, np.eye(4), target, order=0)
    assert out.dtype == np.int32
    np.testing.assert_array_equal(out, labels.repeat(2, 0).repeat(2, 1).repeat(2, 2))
    mask = resample(labels > 0, np.eye(4), target, order=0)
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, out > 0)


def test_coarser_voxels_are_antialiased():
    """A checkerboard has no signal at four times its period: only its mean may be left."""
    board = (np.indices((32, 32, 32)).sum(0) % 2).astype(np.float32)
    out = resample(board, np.eye(4), with_voxel_size(Grid((32, 32, 32), np.eye(4)), 4.0), order=1)
    np.testing.assert_allclose(out, 0.5, atol=0.02)


def test_overlap():
    large = Grid((20, 20, 20), np.eye(4))
    half = Grid((10, 10, 10), nib.affines.from_matvec(np.eye(3), [15, 0, 0]))
    far = Grid((10, 10, 10), nib.affines.from_matvec(np.eye(3), [500, 0, 0]))
    assert overlap(large, half) == overlap(half, large) == 0.5
    assert overlap(large, far) == 0
    assert overlap(large, large) == 1


@pytest.mark.parametrize("size", [0.8, 1.0, 2.0, (0.5, 1.0, 3.0)])
def test_with_voxel_size_keeps_the_field_of_view(size):
    grid = Grid((20, 31, 42), affine_of("RAS", True))
    other = with_voxel_size(grid, size)
    np.testing.assert_allclose(other.voxel_size, np.broadcast_to(size, 3))
    centres = [
        nib.affines.apply_affine(g.affine, (np.array(g.shape) - 1) / 2) for g in (grid, other)
    ]
    np.testing.assert_allclose(*centres)
    extents = [np.array(g.shape) * g.voxel_size for g in (grid, other)]
    assert (extents[1] > extents[0] - 0.01).all()
    assert (extents[1] < extents[0] + other.voxel_size).all()


def test_with_voxel_size_of_itself_and_of_nonsense():
    grid = Grid((20, 31, 42), affine_of("RAS", True))
    assert grid.same_as(with_voxel_size(grid, grid.voxel_size))
    with pytest.raises(ValueError, match="positive"):
        with_voxel_size(grid, 0)


def test_coarser_voxels_get_the_point_spread_of_their_own_size():
    """FWHM of 1 voxel becomes 3: the variances' difference, (9 - 1) / (8 ln 2); Cardoso 2015."""
    image = np.random.default_rng(0).random((24, 27, 30)).astype(np.float32)
    source = Grid(image.shape, np.eye(4))
    out = resample(image, source.affine, with_voxel_size(source, 3.0), order=1)
    smooth = ndimage.gaussian_filter(image, np.sqrt(8 / 5.545177444479562), mode="nearest")
    # each third voxel's centre is one of the target
    np.testing.assert_allclose(out, smooth[1::3, 1::3, 1::3], atol=1e-4)
    assert image.std() > 5 * out.std()


@pytest.mark.parametrize("corner", list(product((0, 1), repeat=3)))
def test_same_as_looks_at_every_corner(corner):
    """The affine that differs least at one corner differs most at the opposite one."""
    grid = Grid((20, 30, 40), np.diag([0.8, 0.9, 1.0, 1.0]))
    here = np.array(corner) * (np.array(grid.shape) - 1)
    other = grid.affine.copy()
    other[:3, :3] *= 1 + 1e-2
    other[:3, 3] += grid.affine[:3, :3] @ here - other[:3, :3] @ here  # that corner stays
    far = np.linalg.norm(1e-2 * grid.affine[:3, :3] @ (np.array(grid.shape) - 1))
    assert grid.away(other) == pytest.approx(far)
    assert not grid.same_as(Grid(grid.shape, other), far * 0.99)
    assert grid.same_as(Grid(grid.shape, other), far * 1.01)


@settings(max_examples=40, deadline=None)
@given(
    st.permutations(range(3)),
    st.tuples(*[st.sampled_from([-1, 1])] * 3),
    st.tuples(*[st.integers(1, 6)] * 3),
)
def test_turning_to_ras_and_back_changes_nothing(axes, signs, shape):
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, list(axes)] * signs * np.array([0.7, 0.8, 1.1])
    affine[:3, 3] = 3, -20, 11
    data = np.arange(np.prod(shape)).reshape(shape)
    turned, placed = to_ras(data, affine)
    np.testing.assert_array_equal(from_ras(turned, affine), data)
    for index in [(0, 0, 0), tuple(n - 1 for n in shape)]:
        (at,) = np.argwhere(turned == data[index])
        np.testing.assert_allclose((placed @ [*at, 1])[:3], (affine @ [*index, 1])[:3])
