"""How images are shown: black and white, order of axes, labels or image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_pvs.scans.display import (
    brain_limits,
    contrast_limits,
    display_index,
    place_text,
    scanner_mm,
)


def test_contrast_limits_leave_out_zeros_and_outliers():
    data = np.concatenate([np.zeros(10**6), np.linspace(100, 200, 10**4), [1e6]])
    low, high = contrast_limits(data)
    assert 100 < low < 101
    assert 199 < high < 200
    assert contrast_limits(np.array([0.0, 5.0, 5.0])) == (0, 5)


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


def test_a_voxel_of_the_layers_is_said_in_scanner_millimetres(pvs_scan):
    index = display_index((3, 5, 7), pvs_scan)
    expected = (pvs_scan.grid.affine @ (3, 5, 7, 1))[:3]
    np.testing.assert_allclose(scanner_mm(index, pvs_scan), expected)
    assert place_text(index, pvs_scan) == "RAS 2.4, 4.0, 5.6 mm · voxel 3, 5, 7"
    assert place_text((-5, 0, 0), pvs_scan).endswith("-4.0 mm")  # outside there is no voxel
