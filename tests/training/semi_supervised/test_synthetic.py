from dataclasses import replace

import numpy as np
import pytest

from napari_pvs.errors import InputError
from napari_pvs.phantom.acquisition import draw_contrasts
from napari_pvs.phantom.anatomy import Anatomy, Tissue, icbm152
from napari_pvs.phantom.sites import SITES
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.distributed.world import ALONE
from napari_pvs.training.semi_supervised import synthetic as module
from napari_pvs.training.semi_supervised.ground import WHITE, Ground
from napari_pvs.training.semi_supervised.synthetic import fitted_site, subjects


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    return icbm152()


@pytest.fixture
def shown(cut_out, anatomy):
    """Function that makes a scan of known contrasts and SNR, and what is measured there."""

    def make(contrasts, snr, spread=(0.5, 0.5, 0.5)):
        shares = module._shares(anatomy, np.random.default_rng(1))
        one = cut_out()
        tissue = np.zeros(one.brain.shape, np.uint8)
        tissue[10:20, 10:20, 10:20] = WHITE
        images = np.zeros((2, *one.brain.shape), np.float16)
        fluids, noises = [0.0, 0.0], [0.0, 0.0]
        for at, name in enumerate(("T1", "T2")):
            if name in contrasts:
                white, fluid, unit = module._normalised(contrasts[name].tissue[None], shares)
                images[at][tissue == WHITE] = white[0]
                fluids[at], noises[at] = float(fluid[0]), float(1 / (snr * unit[0]))
        ground = Ground(tissue, tuple(fluids), (spread, spread), tuple(noises))
        return replace(one, images=images), ground

    return make


@pytest.mark.parametrize("seed", range(2))
def test_contrasts_and_noise_are_those_of_the_scan(shown, anatomy, seed):
    rng = np.random.default_rng(seed)
    contrasts = draw_contrasts(SITES["random"], rng)
    scan, ground = shown(contrasts, 14.0)
    site = fitted_site([scan], [ground], anatomy)
    shares = module._shares(anatomy, rng)
    for at, name in enumerate(("t1", "t2")):
        wanted = contrasts[name.upper()].tissue[None]
        found = wanted.copy()  # what differs little in a brain is left
        for field, tissue in (("cortex", Tissue.CORTEX), ("csf", Tissue.CSF)):
            found[0, tissue] = np.mean(getattr(site, f"{name}_{field}"))
        white, fluid, _ = module._normalised(found, shares)
        assert white[0] == pytest.approx(float(scan.images[at].max() or scan.images[at].min()),
                                         abs=0.5)  # fmt: skip
        assert fluid[0] == pytest.approx(ground.fluid[at], rel=0.35)
        low, high = getattr(site, f"{name}_snr")
        assert low / 1.5 < 14 < high * 1.5
    assert site.voxel_size == ((0.8, 0.8),) * 3
    assert site.sliced == 0
    assert site.smoothing[0] == pytest.approx(0.5 * 2.3548)


def test_what_is_smoother_along_one_axis_has_slices(shown, anatomy):
    contrasts = draw_contrasts(SITES["A"], np.random.default_rng(0))
    scan, ground = shown(contrasts, 20.0, (0.5, 0.5, 1.2))
    site = fitted_site([scan], [ground], anatomy)
    assert site.sliced == 1
    assert site.slices == pytest.approx((1.2 * 2.3548 * 0.8,) * 2)
    assert site.smoothing == pytest.approx((0.5 * 2.3548,) * 2)


def test_a_modality_that_no_scan_has_is_left_open(shown, anatomy):
    contrasts = draw_contrasts(SITES["A"], np.random.default_rng(0))
    scan, ground = shown({"T2": contrasts["T2"]}, 20.0)
    site = fitted_site([scan], [ground], anatomy)
    assert site.t1_csf == SITES["random"].t1_csf
    assert site.t2_csf != SITES["random"].t2_csf


def config(**values):
    return TrainingConfig(study="x", method="m2ss", synthetic=2, **values)


@pytest.mark.parametrize("has", [(True, True), (False, True)])
def test_subjects_look_like_the_scans_and_have_labels(cut_out, tmp_path, has):
    alive = []
    scans = [cut_out(*has)]
    made = subjects(tmp_path, config(), scans, ALONE, lambda: alive.append(1))
    assert [one.name for one in made] == ["synthetic-01", "synthetic-02"]
    assert len(alive) == 3  # one scan is measured, two are made
    for one in made:
        assert one.voxel_size == scans[0].voxel_size
        assert tuple(bool(image.any()) for image in one.images) == has
        assert one.images.dtype == np.float16
        assert one.label[tuple(one.foreground.T)].all()
        assert len(one.foreground) == one.label.sum() > 0
        assert one.images.shape[1:] == one.brain.shape == one.label.shape
    assert not np.array_equal(made[0].label[:20, :20, :20], made[1].label[:20, :20, :20])


def test_a_resumed_run_opens_them_again(cut_out, tmp_path, monkeypatch):
    first = subjects(tmp_path, config(), [cut_out()], ALONE, lambda: None)
    monkeypatch.setattr(module, "make_subject", lambda *_: pytest.fail("it is there"))
    again = subjects(tmp_path, config(), [cut_out()], ALONE, lambda: None)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.label, other.label)
        assert (one.voxel_size, one.corner) == (other.voxel_size, other.corner)


def test_a_damaged_one_is_named(cut_out, tmp_path):
    subjects(tmp_path, config(), [cut_out()], ALONE, lambda: None)
    (path, *_) = sorted(tmp_path.rglob("*.npz"))
    whole = path.read_bytes()
    for part in (whole[:100], whole[: len(whole) // 2], b""):
        path.write_bytes(part)
        with pytest.raises(InputError, match=f"{path.name} is damaged; delete it"):
            subjects(tmp_path, config(), [cut_out()], ALONE, lambda: None)


def test_they_depend_on_the_seed(cut_out, tmp_path):
    one, other = (
        subjects(tmp_path / str(n), config(seed=n), [cut_out()], ALONE, lambda: None)[0]
        for n in range(2)
    )
    assert one.label.shape != other.label.shape or not np.array_equal(one.label, other.label)
