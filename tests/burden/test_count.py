"""PVS are counted, each once, where most of it lies."""

import numpy as np
import pytest

from napari_pvs.burden.count import ALL, ELSEWHERE, count
from napari_pvs.burden.regions import Regions
from napari_pvs.scans.grid import Grid

GRID = Grid((12, 6, 6), np.diag([0.5, 1.0, 2.0, 1.0]))


@pytest.fixture
def mask():
    mask = np.zeros(GRID.shape, bool)
    mask[0:5, 1, 1] = True  # 5 voxels: 2 in the first region, 3 in the second
    mask[8:10, 3, 1] = True
    mask[10, 4, 2] = True  # by a corner it belongs to the one before
    mask[11, 0, 5] = True
    return mask


@pytest.fixture
def regions():
    index = np.zeros(GRID.shape, np.uint16)
    index[:2], index[2:7] = 1, 2
    return Regions(("first", "second", "third"), index)


def test_every_pvs_is_in_one_region_and_in_all(mask, regions):
    brain = np.ones(GRID.shape, bool)
    found = count(mask, GRID, subject="sub-1", state="corrected", regions=regions, brain=brain)
    assert [(one.id, one.region, one.volume_mm3) for one in found.pvs] == [
        (1, "second", 5.0),
        (2, ELSEWHERE, 3.0),
        (3, ELSEWHERE, 1.0),
    ]
    assert [one.region for one in found.burden] == [ALL, "first", "second", "third", ELSEWHERE]
    every, first, second, third, elsewhere = found.burden
    assert {(one.subject, one.state) for one in found.burden} == {("sub-1", "corrected")}
    assert (every.count, every.volume_mm3, every.region_mm3) == (3, 9.0, 432.0)
    assert every.volume_percent == pytest.approx(100 * 9 / 432, abs=1e-5)
    assert every.count_per_ml == pytest.approx(3 / 0.432, abs=1e-4)
    assert (first.count, first.region_mm3, first.volume_percent) == (0, 72.0, 0.0)
    assert (first.length_mm, first.diameter_mm) == (None, None)
    assert (second.count, second.region_mm3) == (1, 180.0)
    # five voxels of 0.5 mm in a row, and one of the longest edge
    assert second.length_mm == pytest.approx(2.5, abs=1e-3)
    assert second.diameter_mm == pytest.approx(np.sqrt(4 * 5 / (np.pi * 2.5)), abs=1e-3)
    assert (third.region_mm3, third.volume_percent, third.count_per_ml) == (0.0, None, None)
    assert (elsewhere.count, elsewhere.region_mm3, elsewhere.volume_percent) == (2, None, None)


def test_without_regions_all_is_one(mask):
    found = count(mask, GRID)
    assert {one.region for one in found.pvs} == {ALL}
    (every,) = found.burden
    assert (every.count, every.region_mm3, every.count_per_ml) == (3, None, None)
    nothing = count(np.zeros(GRID.shape, bool), GRID)
    assert nothing.pvs == ()
    assert (nothing.burden[0].count, nothing.burden[0].volume_mm3) == (0, 0)


def test_a_length_on_leaning_voxels_is_that_in_the_world():
    lean = np.eye(4)
    lean[0, 2] = 0.5
    mask = np.zeros((30, 3, 20), bool)
    for z in range(20):
        mask[20 - z // 2, 1, z] = True  # straight up
    (one,) = count(mask, Grid(mask.shape, lean)).pvs
    assert one.length_mm == pytest.approx(20, abs=0.1)


def test_shapes_that_differ_are_a_mistake_of_the_caller(mask, regions):
    with pytest.raises(ValueError, match="differ in shape"):
        count(mask[1:], GRID, regions=regions)
    with pytest.raises(ValueError, match="differ in shape"):
        count(mask, GRID, brain=mask[1:])
