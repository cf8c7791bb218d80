from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from napari_pvs.phantom.acquisition import Acquisition, acquire, draw_acquisition, draw_contrasts
from napari_pvs.phantom.anatomy import Tissue
from napari_pvs.phantom.sites import SITES, Site

EDGES = np.full(3, 0.8)
STILL = np.zeros(3)
CLEAN = Site(
    name="clean",
    t1_snr=(1e6, 1e6),
    bias=(0, 0),
    psf=(0.1, 0.1),
    misregistration=(0, 0),
    motion=0,
)


def scan(clean: np.ndarray, seed: int = 0, shift: np.ndarray = STILL, **site: object) -> np.ndarray:
    changed = CLEAN.model_copy(update=site)
    rng = np.random.default_rng(seed)
    how = draw_acquisition(changed, "T1", EDGES, rng)
    return acquire(clean, how, changed, EDGES, shift, rng)


def flat(value: float = 1.0) -> np.ndarray:
    return np.full((40, 40, 40), value, np.float32)


def test_noise_over_signal_is_the_snr() -> None:
    image = scan(flat(), t1_snr=(20, 20))
    assert image.mean() / image.std() == pytest.approx(20, rel=0.03)


def test_noise_is_rician() -> None:
    air = scan(flat(0), t1_snr=(20, 20))
    assert air.min() > 0
    # Rayleigh: sqrt(pi / 2) / sqrt(2 - pi / 2)
    assert air.mean() / air.std() == pytest.approx(1.913, rel=0.02)


def test_largest_bias_is_as_drawn() -> None:
    field = scan(flat(), bias=(0.2, 0.2)) / scan(flat()).mean() - 1
    assert np.abs(field).max() == pytest.approx(0.2, abs=0.005)
    assert np.abs(np.diff(field, axis=0)).max() < 0.02


def test_point_spread_has_its_width() -> None:
    point = flat(0)
    point[20, 20, 20] = 1000
    line = scan(point, psf=(2.0, 2.0)).sum((1, 2)) - scan(flat(0)).sum((1, 2))
    variance = np.average((np.arange(40) - 20) ** 2, weights=np.where(line > 1, line, 0))
    assert 2.3548 * np.sqrt(variance) == pytest.approx(2.0, rel=0.1)


def test_shift_moves_by_mm() -> None:
    blob = flat(0)
    blob[18:23, 18:23, 18:23] = 100
    moved = scan(blob, shift=np.array([0.4, -1.0, 0.0]))
    centre = np.array(ndimage.center_of_mass(moved)) * EDGES
    still = np.array(ndimage.center_of_mass(scan(blob))) * EDGES
    np.testing.assert_allclose(centre - still, [0.4, -1.0, 0.0], atol=0.02)


def test_motion_leaves_copies_along_one_axis() -> None:
    blob = flat(0)
    blob[20, 20, 20] = 1000
    image = scan(blob, motion=1.0)
    ghosts = np.argwhere(image > 0.01 * image.max())
    assert len(ghosts) == 3
    assert (np.ptp(ghosts, axis=0) > 0).sum() == 1


def test_smoothed_noise_is_correlated_and_keeps_the_snr() -> None:
    for seed in range(20):  # some scans are not smoothed
        image = scan(flat(), seed, t1_snr=(20, 20), smoothing=(1.5, 1.5))
        correlation = np.corrcoef(image[1:].ravel(), image[:-1].ravel())[0, 1]
        assert image.mean() / image.std() == pytest.approx(20, rel=0.05)
        if correlation > 0.3:
            break
    else:
        pytest.fail("no scan was smoothed")


SHARP = Acquisition(fwhm=0.1, smoothing=0, sharpening=0, axis=2, thickness=0, snr=1e6)


def taken(clean: np.ndarray, **how: object) -> np.ndarray:
    rng = np.random.default_rng(0)
    return acquire(clean, replace(SHARP, **how), CLEAN, EDGES, STILL, rng)


def test_slices_average_over_their_thickness() -> None:
    plane = flat(0)
    plane[:, :, 20] = 100
    profiles = {n: taken(plane, thickness=float(n)).mean((0, 1)) for n in (0, 5)}
    width = {n: int((p > 0.01 * p.max()).sum()) for n, p in profiles.items()}
    assert width[0] == 1
    assert 5 <= width[5] <= 20  # one slice or two, and the way to their neighbours
    assert profiles[5].sum() == pytest.approx(profiles[0].sum(), rel=0.5)
    line = flat(0)
    line[20, 20, :] = 100
    for n in (0.0, 5.0):  # within a slice nothing is lost
        assert (taken(line, thickness=n)[20, 20] > 0.9 * taken(line)[20, 20].mean()).all()


def test_noise_of_slices_is_that_of_the_snr_and_alike_across_them() -> None:
    image = taken(flat(), thickness=5.0, snr=20.0)
    assert image.mean() / image.std() == pytest.approx(20, rel=0.05)
    across, along = (np.diff(image, axis=axis).std() for axis in (0, 2))
    assert along < 0.6 * across


def test_sharpening_overshoots_at_an_edge() -> None:
    step = flat(1)
    step[20:] = 2
    soft, sharp = (taken(step, fwhm=2.0, sharpening=share) for share in (0.0, 0.7))
    assert soft.max() / soft[30:].mean() < 1.002
    assert sharp.max() / sharp[30:].mean() > 1.01


def test_the_spread_tells_the_blur() -> None:
    point = flat(0)
    point[20, 20, 20] = 1000
    site = CLEAN.model_copy(update={"psf": (1.8, 1.8), "smoothing": (1.0, 1.0)})
    rng = np.random.default_rng(0)
    how = draw_acquisition(site, "T1", EDGES, rng)
    image = acquire(point, how, site, EDGES, STILL, rng)
    line = image.sum((1, 2)) - np.median(image.sum((1, 2)))
    variance = np.average((np.arange(40) - 20) ** 2, weights=np.where(line > 1, line, 0))
    assert np.sqrt(variance) == pytest.approx(how.spread[0], rel=0.1)


def test_scale_and_type() -> None:
    image = scan(flat())
    assert image.dtype == np.float32
    assert 200 <= image.mean() <= 1200


@pytest.mark.parametrize("name", list(SITES))
@pytest.mark.parametrize("seed", range(3))
def test_contrasts_have_the_right_polarity(name: str, seed: int) -> None:
    site = SITES[name]
    contrasts = draw_contrasts(site, np.random.default_rng(seed))
    t1, t2 = contrasts["T1"], contrasts["T2"]
    assert t1.tissue[Tissue.WHITE_MATTER] == t2.tissue[Tissue.WHITE_MATTER] == 1
    assert t1.csf < t1.tissue[Tissue.CORTEX] < t1.tissue[Tissue.STRIATUM] < 1
    assert t2.csf > t2.tissue[Tissue.CORTEX] > 1
    assert t1.wmh < 1 < t2.wmh < t2.csf
    assert t2.vessel < 1
    for value, low_high in (
        (t1.tissue[Tissue.CORTEX], site.t1_cortex),
        (t2.tissue[Tissue.CORTEX], site.t2_cortex),
        (t1.csf, site.t1_csf),
        (t2.csf, site.t2_csf),
        (t2.wmh, site.t2_wmh),
    ):
        assert low_high[0] - 1e-6 <= value <= low_high[1] + 1e-6
