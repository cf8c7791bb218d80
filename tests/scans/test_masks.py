import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from napari_pvs.scans.masks import (
    bounding_box,
    box_of,
    connected_components,
    distance_inside,
    fill_holes,
    moved,
    thick,
    voxels_in,
    voxels_of,
)


def test_bounding_box():
    mask = np.zeros((10, 12, 14), bool)
    mask[3, 4:7, 13] = True
    assert bounding_box(mask) == (slice(3, 4), slice(4, 7), slice(13, 14))
    assert bounding_box(mask, 2) == (slice(1, 6), slice(2, 9), slice(11, 14))
    assert bounding_box(mask, 99) == (slice(0, 10), slice(0, 12), slice(0, 14))
    with pytest.raises(ValueError, match="empty"):
        bounding_box(np.zeros((3, 3, 3), bool))


def test_bounding_box_with_a_margin_in_millimetres():
    mask = np.zeros((20, 20, 20), bool)
    mask[10, 10, 10] = True
    found = bounding_box(mask, np.divide(3.0, (1.0, 0.8, 2.0)))
    assert found == (slice(7, 14), slice(6, 15), slice(8, 13))
    for edge, size in zip(found, (1.0, 0.8, 2.0), strict=True):
        assert (10 - edge.start) * size >= 3


@pytest.mark.parametrize("seed", range(20))
def test_holes_are_those_of_scipy(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 24, 3))
    mask = ndimage.gaussian_filter(rng.standard_normal(shape), rng.uniform(0.3, 1.5)) > 0
    found = fill_holes(mask)
    np.testing.assert_array_equal(found, ndimage.binary_fill_holes(mask))
    assert found.dtype == bool
    assert found.flags.c_contiguous


def test_a_pit_in_the_border_is_no_hole():
    mask = np.ones((5, 5, 5), bool)
    mask[2, 2, 2] = False
    assert fill_holes(mask).all()
    mask[2, 2, 1] = False  # two voxels, still closed
    assert fill_holes(mask).all()
    mask[2, 2, 0] = False
    np.testing.assert_array_equal(fill_holes(mask), mask)
    mask[2, 2, 0:2] = True
    mask[0, 0, 2] = False
    assert not fill_holes(mask)[0, 0, 2]


def test_holes_joined_over_an_edge_are_open():
    """Faces join background voxels, edges and corners do not."""
    mask = np.ones((5, 5, 5), bool)
    mask[2, 2, 2] = mask[1, 1, 2] = False
    mask[0, 1, 2] = False
    filled = fill_holes(mask)
    assert filled[2, 2, 2]
    assert not filled[1, 1, 2]


@settings(max_examples=60, deadline=None)
@given(arrays(bool, array_shapes(min_dims=3, max_dims=3, max_side=5)), st.integers(0, 3))
def test_boxes_and_voxels_of_any_mask(mask, margin):
    voxels = voxels_of(mask)
    np.testing.assert_array_equal(voxels, np.nonzero(mask))
    if not mask.any():
        return
    box = bounding_box(mask)
    assert mask[box].sum() == mask.sum()
    for axis in range(3):  # no smaller box holds it
        inner = np.moveaxis(mask[box], axis, 0)
        assert inner[0].any()
        assert inner[-1].any()
    wide = bounding_box(mask, margin)
    for a, b, n in zip(box, wide, mask.shape, strict=True):
        assert (b.start, b.stop) == (max(0, a.start - margin), min(n, a.stop + margin))
    assert voxels_in(box) == mask[box].size
    low, high = [side.start for side in box], [side.stop for side in box]
    assert box_of(low, high) == box
    there = moved(box, (1, -2, margin))
    assert moved(there, (-1, 2, -margin)) == box
    assert voxels_in(there) == voxels_in(box)
    assert [b.start - a.start for a, b in zip(box, there, strict=True)] == [1, -2, margin]


def test_depth_is_in_millimetres_and_ends_at_no_border():
    mask = np.ones((6, 5, 4), bool)
    assert np.isinf(distance_inside(mask, (1, 1, 1))).all()
    mask[0] = False
    found = distance_inside(mask, (2.0, 1, 1))
    np.testing.assert_allclose(found[:, 2, 2], [0, 2, 4, 6, 8, 10])
    assert found.dtype == np.float32


def test_thick_parts_hold_a_ball():
    mask = np.zeros((40, 20, 20), bool)
    mask[2:14, 4:16, 4:16] = True  # a block of 12 mm
    mask[14:38, 9:11, 9:11] = True  # and a pipe of 2 mm out of it
    found = thick(mask, (1, 1, 1), 4)
    assert found[2:14, 4:16, 4:16].all()
    assert not found[18:].any()
    assert not thick(mask, (1, 1, 1), 14).any()


@given(
    arrays(bool, array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=9)),
    st.sampled_from([6, 26]),
    st.integers(0, 2),
)
def test_components_are_those_of_scipy_in_any_view(mask, connectivity, axis):
    """Lines and slices with gaps between their voxels in memory too."""
    near = ndimage.generate_binary_structure(3, 1 if connectivity == 6 else 3)
    for view in (mask, mask.T, mask[::2], mask.take([0], axis), mask[:, :1, -1:], mask[:1, :1]):
        found, count = connected_components(view, connectivity)
        expected, number = ndimage.label(view, near)
        assert (count, found.shape) == (number, view.shape)
        assert not found[~view].any()
        pairs = np.unique(np.stack([found[view], expected[view]]), axis=1)
        assert pairs.shape[1] == number


def test_components_of_a_dashed_line():
    line = np.zeros((1, 1, 40), bool)
    line[..., ::2] = True
    for view in (line, line.T, np.asfortranarray(line)):
        assert connected_components(view)[1] == 20
