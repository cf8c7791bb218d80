import numpy as np
import pytest
from scipy import ndimage

from napari_pvs.phantom.acquisition import acquire, draw_contrasts
from napari_pvs.phantom.anatomy import Tissue
from napari_pvs.phantom.sites import SITES, Site

EDGES = np.full(3, 0.8)
STILL = np.zeros(3)
CLEAN = Site(
    name="clean",
    snr=(1e6, 1e6),
    bias=(0, 0),
    psf=(0.1, 0.1),
    misregistration=(0, 0),
    motion=0,
)


def scan(clean: np.ndarray, seed: int = 0, shift: np.ndarray = STILL, **site: object) -> np.ndarray:
    changed = CLEAN.model_copy(update=site)
    return acquire(clean, changed, EDGES, shift, np.random.default_rng(seed))


def flat(value: float = 1.0) -> np.ndarray:
    return np.full((40, 40, 40), value, np.float32)


def test_noise_over_signal_is_the_snr() -> None:
    image = scan(flat(), snr=(20, 20))
    assert image.mean() / image.std() == pytest.approx(20, rel=0.03)


def test_noise_is_rician() -> None:
    air = scan(flat(0), snr=(20, 20))
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


def test_smoothing_after_the_noise_makes_it_fainter() -> None:
    rough, smooth = scan(flat(), snr=(20, 20)), scan(flat(), snr=(20, 20), smoothing=(1.5, 1.5))
    assert smooth.std() < 0.7 * rough.std()


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
