"""Where a connected mask is cut."""

import numpy as np
import pytest

from napari_pvs.correction.click import halves

SIZE = (0.8, 0.8, 0.8)


def dumbbell(edge=5, neck=1):
    mask = np.zeros((edge, edge, 2 * edge + 3), bool)
    mask[:, :, :edge] = mask[:, :, -edge:] = True
    mask[2 : 2 + neck, 2 : 2 + neck, edge:-edge] = True
    return mask


def test_a_dumbbell_is_cut_at_its_neck():
    mask = dumbbell()
    one = halves(mask, SIZE)
    ends = {bool(one[0, 0, 0]), bool(one[0, 0, -1])}
    assert ends == {True, False}
    assert one[:, :, :5].all() or not one[:, :, :5].any()
    assert one[:, :, -5:].all() or not one[:, :, -5:].any()
    assert not (one & ~mask).any()


@pytest.mark.parametrize("count", [2, 3, 40, 49, 50, 200])
def test_a_line_is_cut_in_the_middle(count):
    mask = np.ones((1, 1, count), bool)
    one = halves(mask, SIZE)
    assert abs(int(one.sum()) - count / 2) <= 0.5
    assert np.count_nonzero(np.diff(one[0, 0].astype(int))) == 1


def test_a_line_is_cut_near_a_voxel():
    one = halves(np.ones((1, 1, 60), bool), SIZE, near=(0, 0, 50))
    (where,) = np.flatnonzero(np.diff(one[0, 0].astype(int)))[None]
    assert abs(int(where[0]) - 50) <= 3


def test_the_cut_is_the_same_every_time():
    mask = dumbbell(edge=8, neck=3)
    first = halves(mask, SIZE)
    for _ in range(3):
        np.testing.assert_array_equal(halves(mask, SIZE), first)
