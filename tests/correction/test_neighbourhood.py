"""Looking around a voxel."""

import numpy as np
import pytest

from napari_pvs.correction.neighbourhood import around, ball, component_at, inside, snap, unravel
from napari_pvs.errors import InputError

SHAPE = (40, 20, 30)


def test_boxes_end_at_the_faces():
    assert around((3, 19, 15), SHAPE, (5, 2, 4)) == (slice(0, 9), slice(17, 20), slice(11, 20))
    assert inside((3, 19, 15), (slice(0, 9), slice(17, 20), slice(11, 20))) == (3, 2, 4)


def test_a_ball_is_round_in_mm():
    found = ball((9, 9, 9), (4, 4, 4), 2.0, (1.0, 0.5, 2.0))
    assert found[:, 4, 4].sum() == 5
    assert found[4, :, 4].sum() == 9
    assert found[4, 4].sum() == 3
    assert not found[2, 4, 5]


def test_unravel_counts_as_numpy_does():
    values = np.zeros(SHAPE)
    values[7, 3, 21] = 1
    assert unravel(int(values.argmax()), SHAPE) == (7, 3, 21)


def test_snap_takes_the_nearest_voxel_in_mm():
    mask = np.zeros(SHAPE, np.uint8)
    mask[10, 10, 12] = mask[12, 10, 10] = 1
    assert snap((10, 10, 12), mask, (1, 1, 1)) == (10, 10, 12)
    assert snap((11, 10, 10), mask, (1, 1, 1)) == (12, 10, 10)
    assert snap((10, 10, 10), mask, (1.4, 1, 0.5)) == (10, 10, 12)
    for size in ((1, 1, 1), (2, 2, 2)):
        with pytest.raises(InputError, match="no PVS at this point"):
            snap((10, 10, 10), mask, size)


@pytest.mark.parametrize("length", [3, 33, 34, 40])
def test_a_component_is_followed_as_far_as_it_goes(length):
    mask = np.zeros(SHAPE, np.uint8)
    mask[:length, 10, 15] = 1
    mask[:, 18, 15] = 1
    for x in (0, length - 1):
        part, box = component_at((x, 10, 15), mask)
        assert np.count_nonzero(part) == length
        whole = np.zeros(SHAPE, bool)
        whole[box] = part
        np.testing.assert_array_equal(whole[:, 10, 15], mask[:, 10, 15] > 0)
