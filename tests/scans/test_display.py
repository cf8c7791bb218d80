"""How images are shown: black and white, order of axes, labels or image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_pvs.scans.display import (
    AXES,
    brain_limits,
    contrast_limits,
    display_index,
    from_display,
    grid_index,
    looks_like_labels,
    place_text,
    scanner_mm,
    to_display,
)
from napari_pvs.scans.scan import Scan


def test_contrast_limits_leave_out_zeros_and_outliers():
    data = np.concatenate([np.zeros(10**6), np.linspace(100, 200, 10**4), [1e6]])
    low, high = contrast_limits(data)
    assert 100 < low < 101
    assert 199 < high < 200
    assert contrast_limits(np.array([0.0, 5.0, 5.0])) == (0, 5)


def test_an_image_of_zeros_has_contrast_limits():
    assert contrast_limits(np.zeros((2, 3, 4))) == (0, 1)


def test_white_matter_is_a_middle_grey_on_both():
    rng = np.random.default_rng(6)
    # white matter, cortex, deep grey matter and fluid by literature
    tissue = rng.choice(4, 20_000, p=[0.42, 0.38, 0.05, 0.15])
    brain = np.ones(tissue.shape, bool)
    for name, values in (("T1", [1, 0.61, 0.76, 0.25]), ("T2", [1, 1.3, 1.02, 2.4])):
        image = 500 * (np.array(values)[tissue] + rng.normal(0, 0.04, tissue.shape))
        low, high = brain_limits(image, brain, name)
        white, cortex, _, fluid = (500 * np.array(values) - low) / (high - low)
        assert 0.35 < white < 0.65
        assert abs(white - cortex) > 0.1
        assert (fluid < 0.2) if name == "T1" else (fluid > 0.9)
    # no background above black, and no empty range
    assert brain_limits(image, brain, "T2")[0] >= 0
    low, high = brain_limits(np.r_[np.full(999, 7.0), 8.0], np.ones(1000, bool), "T1")
    assert low <= high


def test_the_darkest_and_brightest_of_a_t1():
    """Its 2nd percentile is black, and white matter (the 80th) lies at 60 % of the way to white."""
    image = np.arange(101.0)
    low, high = brain_limits(image, np.ones(101, bool), "T1")
    assert low == pytest.approx(2)
    assert (80 - low) / (high - low) == pytest.approx(0.6)


def test_white_matter_of_a_t2_lies_at_two_fifths():
    """Its 95th percentile is white; the 20th, white matter, lies at 40 % of the way from black."""
    image = np.arange(200.0, 301.0)
    low, high = brain_limits(image, np.ones(101, bool), "T2")
    assert high == pytest.approx(295)
    assert (220 - low) / (high - low) == pytest.approx(0.4)


def test_an_image_of_one_value_has_limits_all_the_same():
    flat = np.full(100, 7.0)
    assert brain_limits(np.r_[flat, 3.0, 9.0], np.ones(102, bool), "T1") == pytest.approx(
        np.percentile(np.r_[flat, 3.0, 9.0], (0.5, 99.5))
    )


SCAN = Scan.from_arrays(np.arange(60.0).reshape(3, 4, 5), None, np.eye(4), np.ones((3, 4, 5), bool))


@settings(max_examples=60, deadline=None)
@given(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 4)))
def test_a_voxel_is_the_same_on_the_grid_and_on_the_screen(index):
    shown = to_display(SCAN.t1)
    assert shown.base is not None  # a view
    np.testing.assert_array_equal(from_display(shown), SCAN.t1)
    at = display_index(index, SCAN)
    assert shown[at] == SCAN.t1[index]
    assert grid_index(at, SCAN) == index


def test_axes_of_the_screen_run_up_back_and_right():
    x, y, z = np.indices((3, 4, 5))
    assert AXES == ("superior", "posterior", "right")
    assert np.diff(to_display(z), axis=0).min() == 1
    assert np.diff(to_display(y), axis=1).max() == -1  # to anterior it rises
    assert np.diff(to_display(x), axis=2).min() == 1


RNG = np.random.default_rng(0)
REGIONS = RNG.integers(0, 190, (4, 4, 4)).repeat(5, 0).repeat(5, 1).repeat(5, 2)
LESIONS = np.zeros((20, 20, 20))
LESIONS[::4, ::4, ::4] = 3
SEVERAL = LESIONS * RNG.integers(1, 9, LESIONS.shape)


@pytest.mark.parametrize(
    ("data", "labels"),
    [
        (REGIONS, True),
        (REGIONS * 1000.0, True),
        (LESIONS, True),  # lone voxels of one value
        (np.zeros((5, 5, 5)), True),
        (SEVERAL, False),  # of several
        (REGIONS + 0.5, False),
        (-REGIONS, False),
        (np.where(REGIONS == 3, 2**24, REGIONS), False),
        (np.where(REGIONS == 3, 2**24 - 1, REGIONS), True),
        (RNG.integers(0, 125, (20, 20, 20)), False),  # a scan of 8 bits
        (np.round(RNG.normal(500, 100, (20, 20, 20))), False),
    ],
)
def test_labels_are_told_from_scans_by_their_neighbours(data, labels):
    assert looks_like_labels(data) is labels


def test_a_voxel_of_the_layers_is_said_in_scanner_millimetres(pvs_scan):
    index = display_index((3, 5, 7), pvs_scan)
    expected = (pvs_scan.grid.affine @ (3, 5, 7, 1))[:3]
    np.testing.assert_allclose(scanner_mm(index, pvs_scan), expected)
    assert place_text(index, pvs_scan) == "RAS 2.4, 4.0, 5.6 mm · voxel 3, 5, 7"
    assert place_text((-5, 0, 0), pvs_scan).endswith("-4.0 mm")  # outside there is no voxel
