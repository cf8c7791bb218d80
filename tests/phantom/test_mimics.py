import numpy as np
import pytest

from napari_pvs.phantom import mimics
from napari_pvs.phantom.anatomy import Anatomy, Tissue
from napari_pvs.phantom.sites import SITES

EDGES = np.full(3, 1.0)


def _two_banks() -> np.ndarray:
    """Seven voxels of cortex between white matter; voxel 30 is where the banks meet."""
    tissue = np.full((60, 30, 30), Tissue.WHITE_MATTER, np.uint8)
    tissue[27:34] = Tissue.CORTEX
    return tissue


def test_folds_lie_in_the_cortex_where_two_banks_meet() -> None:
    ridge, share = mimics.folds(_two_banks(), np.random.default_rng(0))
    profile = ridge.mean((1, 2))
    assert profile.argmax() == 30
    assert 0.5 < profile[30] < 1.2
    assert profile[29] < 0.6 * profile[30]
    assert profile[28] < 0.1
    assert (np.delete(profile, np.s_[27:34]) < 0).all()
    assert share.min() >= 0
    assert share.max() <= 1


def test_folds_of_subjects_are_open_in_other_stretches() -> None:
    open_part = [
        (mimics.folds(_two_banks(), np.random.default_rng(seed))[1] > 0).mean() for seed in range(6)
    ]
    assert min(open_part) > 0.2
    assert np.ptp(open_part) > 0.1


def test_little_is_folded_where_the_cortex_lies_against_csf(head: Anatomy) -> None:
    ridge, _ = mimics.folds(head.tissue, np.random.default_rng(0))
    assert (ridge > 0.5)[head.tissue == Tissue.CORTEX].mean() < 0.5
    assert (ridge[head.tissue != Tissue.CORTEX] < 0).all()


def test_only_narrow_sulci_are_closed() -> None:
    tissue = _two_banks()
    tissue[30] = Tissue.CSF  # a sulcus of 1 mm
    tissue[:10] = Tissue.CSF  # and a wide space
    tissue[10:13] = Tissue.CORTEX
    ventricles = np.zeros(tissue.shape, bool)
    closed = mimics.closed_sulci(tissue, ventricles)
    assert (closed[30] == Tissue.CORTEX).all()
    np.testing.assert_array_equal(np.delete(closed, 30, 0), np.delete(tissue, 30, 0))
    ventricles[30] = True
    np.testing.assert_array_equal(mimics.closed_sulci(tissue, ventricles), tissue)


def test_folia_are_thin_fissures_of_the_cerebellum() -> None:
    cerebellum = np.zeros((60, 60, 60), np.float32)
    cerebellum[10:50, 10:50, 10:50] = 1
    share = mimics.folia(cerebellum, EDGES, np.random.default_rng(0))
    assert not share[cerebellum == 0].any()
    assert share.min() >= 0
    assert share.max() <= 1
    assert 0.03 < (share > 0.2)[cerebellum > 0].mean() < 0.6
    again = mimics.folia(cerebellum, EDGES, np.random.default_rng(1))
    assert not np.array_equal(share, again)


def test_folia_are_spaced_unevenly() -> None:
    """Around the middle, fissures of a sunburst would come at one distance."""
    cerebellum = np.ones((4, 80, 80), np.float32)
    for seed in range(4):
        share = mimics.folia(cerebellum, EDGES, np.random.default_rng(seed))[2]
        angle = np.linspace(0, 2 * np.pi, 720, endpoint=False)
        y, z = 40 + 12 + 20 * np.cos(angle), 40 + 20 * np.sin(angle)
        dark = share[np.rint(y).astype(int), np.rint(z).astype(int)] > 0.15
        gaps = np.diff(np.flatnonzero(np.diff(dark.astype(int)) == 1))
        assert len(gaps) >= 5
        assert gaps.std() > 0.5 * gaps.mean()


def test_folia_draw_as_much_from_the_subjects_stream_whatever_they_look_like() -> None:
    """What is drawn after them, texture and noise, depends on the size of the cerebellum only."""
    cerebellum = np.zeros((40, 40, 40), np.float32)
    cerebellum[5:30, 5:33, 5:36] = 1
    rng = np.random.default_rng(3)
    mimics.folia(cerebellum, EDGES, rng)
    other = np.random.default_rng(3)
    other.random()
    for scale in (14.0, 4.0):
        mimics.smooth_field((25, 28, 31), EDGES, scale, other)
    other.random(2)
    mimics.smooth_field((25, 28, 31), EDGES, 10.0, other)
    other.random()
    assert rng.random() == other.random()


def test_no_cerebellum_no_folia() -> None:
    nothing = np.zeros((20, 20, 20), np.float32)
    assert not mimics.folia(nothing, EDGES, np.random.default_rng(0)).any()


def test_lesions_are_blobs_with_lacunes_in_a_rim() -> None:
    white = np.zeros((70, 70, 70), bool)
    white[5:65, 5:65, 5:65] = True
    distance = np.full((35, 35, 35), 20, np.float32)
    distance[:17] = 4
    site = SITES["A"].model_copy(update={"plaques": 0.0})
    found = [
        mimics.lesions(white, ~white, distance, EDGES, site, np.random.default_rng(s))
        for s in range(8)
    ]
    for wmh, fluid in found:
        assert wmh.max() <= 1
        assert wmh.min() == 0
        assert 5e-4 < (wmh > 0.5).mean() < 0.2
        assert fluid.max() <= 1
        assert wmh[fluid > 0.5].mean() > 0.8 if fluid.any() else True
    assert any(fluid.max() > 0.5 for _, fluid in found)
    # periventricular ones crowd near the ventricles
    assert np.mean([wmh[:34].sum() > wmh[34:].sum() for wmh, _ in found]) > 0.5


def test_few_lesions_lie_in_basal_ganglia() -> None:
    white = np.zeros((70, 70, 70), bool)
    white[:35] = True
    distance = np.full((35, 35, 35), 20, np.float32)
    site = SITES["A"].model_copy(update={"plaques": 1.0, "halo": (0.0, 0.0)})
    there = [
        mimics.lesions(white, ~white, distance, EDGES, site, np.random.default_rng(seed))[0]
        for seed in range(8)
    ]
    # away from the border, which lesions of white matter cross
    assert sum((wmh[45:] > 0.3).sum() for wmh in there) < 0.2 * sum(
        (wmh[:25] > 0.3).sum() for wmh in there
    )


def test_no_white_matter_no_lesions() -> None:
    nowhere = np.zeros((10, 10, 10), bool)
    distance = np.ones((5, 5, 5), np.float32)
    wmh, fluid = mimics.lesions(
        nowhere, nowhere, distance, EDGES, SITES["A"], np.random.default_rng(0)
    )
    assert not wmh.any()
    assert not fluid.any()


@pytest.mark.parametrize("seed", range(2))
def test_vessels_are_tubes_in_white_matter(seed: int) -> None:
    allowed = np.zeros((50, 50, 50), bool)
    allowed[8:42, 8:42, 8:42] = True
    directions = np.zeros((3, 25, 25, 25), np.float32)
    directions[2] = 1
    share = mimics.vessels(allowed, directions, np.full(3, 0.8), np.random.default_rng(seed))
    assert 0 < share.max() <= 1
    assert 1e-4 < (share > 0.4).mean() < 0.02
    assert not share[:5].any()


def test_no_white_matter_no_vessels() -> None:
    nowhere = np.zeros((10, 10, 10), bool)
    directions = np.zeros((3, 5, 5, 5), np.float32)
    assert not mimics.vessels(nowhere, directions, EDGES, np.random.default_rng(0)).any()


def test_an_infarct_is_larger_than_every_other_lesion() -> None:
    white = np.ones((70, 70, 70), bool)
    distance = np.full((35, 35, 35), 20, np.float32)
    none, all_ = (SITES["A"].model_copy(update={"infarcts": share}) for share in (0.0, 1.0))
    for seed in range(4):
        wmh = [
            mimics.lesions(white, ~white, distance, EDGES, site, np.random.default_rng(seed))[0]
            for site in (none, all_)
        ]
        assert (wmh[1] > 0.5).sum() > (wmh[0] > 0.5).sum() + 500


def test_the_halo_fades_with_the_distance_to_the_ventricles() -> None:
    white = np.ones((40, 40, 40), bool)
    distance = np.repeat(np.arange(20, dtype=np.float32), 400).reshape(20, 20, 20) * 2
    site = SITES["A"].model_copy(update={"halo": (0.9, 0.9)})
    wmh, _ = mimics.lesions(white, ~white, distance, EDGES, site, np.random.default_rng(0))
    profile = np.median(wmh, axis=(1, 2))
    assert profile[0] > 0.3
    assert profile[0] > profile[6] > profile[30]


def test_choroid_plexus_stays_in_the_ventricles() -> None:
    ventricles = np.zeros((40, 40, 40), bool)
    ventricles[10:30, 5:35, 15:25] = True
    share = mimics.choroid_plexus(ventricles, EDGES, np.random.default_rng(0))
    assert 0 < share.max() <= 1
    assert not share[~ventricles].any()
    assert (share[ventricles] > 0.3).mean() < 0.6
    assert not mimics.choroid_plexus(ventricles & False, EDGES, np.random.default_rng(0)).any()
