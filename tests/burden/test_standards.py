"""Grades and flags of the field's standards, by hand."""

import numpy as np
import pytest

from napari_pvs.burden.standards import SLAB_MM, flag, grade_of, visual_grades
from napari_pvs.inference.shape import rod
from napari_pvs.scans.grid import Grid
from napari_pvs.scans.regions import Place

GRID = Grid((60, 40, 40), np.diag([1.0, 1.0, 1.0, 1.0]))


def many(n: int, z: int, labels: np.ndarray, first: int) -> None:
    """Put n PVS of one voxel into a slice."""
    for at in range(n):
        labels[2 * (at % 28), 2 * (at // 28), z] = first + at


@pytest.mark.parametrize(
    ("count", "grade"), [(0, 0), (1, 1), (10, 1), (11, 2), (20, 2), (21, 3), (40, 3), (41, 4)]
)
def test_the_limits_of_potters_grades(count, grade) -> None:
    assert grade_of(count) == grade


def test_the_fullest_slice_of_the_fuller_side_is_graded() -> None:
    labels = np.zeros(GRID.shape, np.int32)
    many(12, 5, labels, 1)  # left
    many(25, 20, labels, 13)  # right, in two slices that one slab holds
    labels[:, :, 21] = np.roll(labels[:, :, 20], 1, 0)
    many(15, 33, labels, 38)  # right, far above
    where = [Place("centrum semiovale", "left")] * 12
    where += [Place("centrum semiovale", "right")] * 40
    found = {one.region: one for one in visual_grades(labels, where, GRID, "sub-01")}
    semiovale = found["centrum semiovale"]
    assert (semiovale.count, semiovale.grade, semiovale.side) == (25, 3, "right")
    assert abs(semiovale.z_mm - 20.5) <= SLAB_MM
    assert semiovale.subject == "sub-01"
    ganglia = found["basal ganglia"]
    assert (ganglia.count, ganglia.grade, ganglia.side, ganglia.z_mm) == (0, 0, None, None)


def test_midbrain_is_present_or_not_and_the_hippocampus_only_counted() -> None:
    labels = np.zeros(GRID.shape, np.int32)
    many(5, 5, labels, 1)
    where = [Place("midbrain", "left")] * 2 + [Place("hippocampus", "right")] * 3
    found = {one.region: one for one in visual_grades(labels, where, GRID)}
    assert (found["midbrain"].count, found["midbrain"].grade) == (2, 1)
    assert (found["hippocampus"].count, found["hippocampus"].grade) == (3, None)
    none = {one.region: one for one in visual_grades(0 * labels, [], GRID)}
    assert none["midbrain"].grade == 0


def test_a_ball_is_like_a_lacune_and_a_wide_tube_is_not() -> None:
    ball = 5.0
    length, diameter = rod(ball**2 / 20, np.pi / 6 * ball**3)
    assert flag(length, diameter) == "lacune-like"
    tube = rod(12.0**2 / 12, np.pi / 4 * 3.5**2 * 12)
    assert flag(*tube) == "wide"
    narrow = rod(6.0**2 / 12, np.pi / 4 * 1.5**2 * 6)
    assert flag(*narrow) is None
