"""PVS are counted, each once, where most of it lies."""

import numpy as np
import pytest

from napari_pvs.burden.count import count
from napari_pvs.burden.regions import ALL
from napari_pvs.scans.grid import Grid
from napari_pvs.scans.regions import ELSEWHERE, Place, Regions, places

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


@pytest.fixture
def sided(regions):
    """The same regions; a left half up to the 8th voxel, and half of the third region unseen."""
    sides = np.where(np.arange(12) < 9, 1, 2).astype(np.uint8)[:, None, None]
    sides = np.broadcast_to(sides, GRID.shape)
    tissue = np.ones(GRID.shape, bool)
    tissue[0] = False
    return Regions(regions.names, regions.index, sides, tissue, (1.0, 0.5, 0.0))


def test_each_side_has_rows_that_add_up(mask, sided):
    brain = np.ones(GRID.shape, bool)
    found = count(mask, GRID, regions=sided, brain=brain)
    # the second PVS has two voxels on the left, and one by a corner on the right: 2 + 1
    assert [(one.id, one.side) for one in found.pvs] == [(1, "left"), (2, "right"), (3, "right")]
    rows = {(one.region, one.side): one for one in found.burden}
    assert list(rows)[:4] == [(ALL, "both"), (ALL, "left"), (ALL, "right"), ("first", "both")]
    for region in (ALL, "first", "second", ELSEWHERE):
        both, left, right = (rows[region, side] for side in ("both", "left", "right"))
        assert both.count == left.count + right.count
        assert both.volume_mm3 == left.volume_mm3 + right.volume_mm3
    assert (rows[ALL, "left"].count, rows[ALL, "right"].count) == (1, 2)
    # only tissue counts for the volume
    assert rows["first", "both"].region_mm3 == 36.0
    assert rows["first", "right"].region_mm3 == 0.0
    assert rows["second", "both"].seen_percent == 50.0


def test_a_region_that_is_not_in_the_scan_is_missing_not_empty(mask, sided):
    rows = {(one.region, one.side): one for one in count(mask, GRID, regions=sided).burden}
    empty, missing = rows["first", "both"], rows["third", "left"]
    assert (empty.count, empty.volume_mm3) == (0, 0)
    assert (missing.count, missing.volume_mm3, missing.region_mm3) == (None, None, None)
    assert (empty.seen_percent, missing.seen_percent) == (100.0, 0.0)


def test_ties_go_to_the_region_named_first_and_to_the_left():
    labels = np.zeros((4, 1, 1), np.int32)
    labels[:] = 1
    index = np.array([2, 1, 1, 2], np.uint16).reshape(4, 1, 1)
    sides = np.array([2, 2, 1, 1], np.uint8).reshape(4, 1, 1)
    assert places(labels, 1, Regions(("a", "b"), index, sides)) == [Place("a", "left")]
    # neither the order of voxels nor flipping them changes it
    flipped = Regions(("a", "b"), index[::-1], sides[::-1])
    assert places(labels, 1, flipped) == [Place("a", "left")]
    assert places(labels, 1, Regions(("a", "b"), 0 * index, 0 * sides)) == [Place(ELSEWHERE, None)]
