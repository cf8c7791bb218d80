import numpy as np
import pytest
from scipy import ndimage

from napari_pvs.scans.signal import fluid_level, noise, smoothness

SHAPE = (40, 40, 40)


def test_fluid_is_the_bright_core():
    rng = np.random.default_rng(0)
    image = rng.normal(0, 0.5, SHAPE).astype(np.float32)
    image[10:20, 10:20, 10:20] += 6
    image = ndimage.gaussian_filter(image, 0.6)
    assert fluid_level(image, np.ones(SHAPE, bool)) == pytest.approx(6, abs=0.5)


def test_fluid_without_a_core():
    image = np.zeros(SHAPE, np.float32)
    image[::6, ::6, ::6] = 4.0
    assert fluid_level(image, np.ones(SHAPE, bool)) == 4.0


@pytest.mark.parametrize("fwhm", [0.8, 1.6])
def test_smoothness_of_filtered_noise(fwhm):
    rng = np.random.default_rng(1)
    size = np.array([0.8, 0.8, 1.0])
    image = rng.standard_normal((60, 60, 60)).astype(np.float32)
    image = ndimage.gaussian_filter(image, fwhm / 2.3548 / size)
    image += 0.002 * np.arange(60)[:, None, None]  # anatomy changes slowly
    found = smoothness(image, np.ones(image.shape, bool), size)
    np.testing.assert_allclose(found, fwhm, atol=0.3)


def test_smoothness_asks_only_the_region():
    rng = np.random.default_rng(3)
    image = ndimage.gaussian_filter(rng.standard_normal((60, 60, 60)), 0.8).astype(np.float32)
    slabs = np.zeros(image.shape, bool)
    slabs[np.arange(60) % 5 < 3] = True
    wild = np.where(slabs, image, 1e3 * rng.standard_normal(image.shape)).astype(np.float32)
    expected = smoothness(image, slabs, np.ones(3))
    np.testing.assert_allclose(smoothness(wild, slabs, np.ones(3)), expected)


def test_noise_of_white_matter_with_a_slope():
    rng = np.random.default_rng(2)
    image = rng.normal(0, 0.3, SHAPE) + np.linspace(0, 3, 40)[:, None, None]
    assert noise(image.astype(np.float32), np.ones(SHAPE, bool)) == pytest.approx(0.3, rel=0.1)
