"""Regions of the template on the voxels of a scan."""

import numpy as np
import pytest

from napari_pvs.errors import InputError
from napari_pvs.scans.grid import Grid
from napari_pvs.scans.nifti import Geometry
from napari_pvs.scans.regions import Regions, carry, fit_regions, of_deformation, place_of, places
from napari_pvs.scans.scan import Scan
from napari_pvs.scans.template import REGIONS, load_regions


@pytest.fixture(scope="module")
def regions(bent) -> Regions:
    return of_deformation(bent.found, bent.brain, "head.nii.gz")


def dice(one: np.ndarray, two: np.ndarray) -> float:
    return 2 * np.count_nonzero(one & two) / (one.sum() + two.sum())


def test_regions_and_ventricles_lie_where_they_were_put(bent, regions) -> None:
    wanted, ventricles = load_regions().at(bent.truth.reshape(-1, 3))
    wanted, ventricles = (one.reshape(bent.brain.shape) for one in (wanted, ventricles))
    assert dice(carry(bent.found, bent.brain).ventricles, ventricles & bent.brain) > 0.8
    for number, name in enumerate(REGIONS, start=1):
        here, there = regions.index == number, (wanted == number) & bent.brain
        assert dice(here, there) > (0.6 if name == "hippocampus" else 0.7), name
    sided = np.abs(bent.truth[..., 0]) > 4
    wrong = (regions.sides == np.where(bent.truth[..., 0] < 0, 2, 1)) & bent.brain & sided
    assert np.count_nonzero(wrong) < 0.01 * np.count_nonzero(bent.brain & sided)


def test_every_voxel_of_the_brain_has_a_region_and_a_side(bent, regions) -> None:
    np.testing.assert_array_equal(regions.index > 0, bent.brain)
    np.testing.assert_array_equal(regions.sides > 0, bent.brain)
    assert regions.names == REGIONS
    assert not (regions.tissue & ~bent.brain).any()


def test_a_whole_head_is_not_doubted(regions) -> None:
    assert regions.doubts == ()
    assert min(regions.seen) > 0.8
    assert not any(regions.missing(name) for name in REGIONS)
    volumes = regions.volumes(2.5**3)
    for name in REGIONS:
        assert volumes[name, None] == volumes[name, "left"] + volumes[name, "right"]
    # no cortex: the template's brain has 1.9 L
    white = volumes["centrum semiovale", None] + volumes["other white matter", None]
    assert 300e3 < white < 800e3


def test_what_the_field_of_view_cuts_off_is_missing(bent) -> None:
    low = np.argwhere(
        load_regions().at(bent.truth.reshape(-1, 3))[0].reshape(bent.brain.shape) == 7
    )
    cut = bent.brain.copy()
    cut[:, :, : int(low[:, 2].mean()) + 1] = False  # through the pons
    found = of_deformation(bent.found, cut, "head.nii.gz")
    assert found.missing("medulla")
    assert not found.missing("pons")
    assert ("medulla", None) not in found.volumes(1.0)
    told = " ".join(found.doubts)
    assert "head.nii.gz does not show medulla; counts there are n/a, not 0." in told
    assert "% of pons" in told


@pytest.mark.parametrize("sided", [True, False])
def test_one_pvs_lies_where_all_do(sided) -> None:
    rng = np.random.default_rng(1)
    shape = (9, 8, 7)
    labels = rng.integers(0, 60, shape)
    index = rng.integers(0, 4, shape).astype(np.uint16)
    index[labels == 5] = 0
    sides = rng.integers(0, 3, shape).astype(np.uint8) if sided else None
    regions = Regions(("a", "b", "c"), index, sides)
    all_of_them = places(labels, 59, regions)
    assert all_of_them[4].region == "elsewhere"
    for n, place in enumerate(all_of_them, start=1):
        assert place_of(np.argwhere(labels == n), regions) == place


def test_too_little_brain_gets_no_template() -> None:
    t1 = np.random.default_rng(0).normal(100, 20, (40, 40, 40)).astype(np.float32)
    affine = np.diag([2.0, 2.0, 1.5, 1.0])
    grid, brain = Grid(t1.shape, affine), np.ones(t1.shape, bool)
    source = Geometry.from_affine(t1.shape, affine)
    scan = Scan(t1=t1, t2=None, grid=grid, brain=brain, source=source)
    with pytest.raises(InputError, match=r"the scan shows 384 mL of brain, too little"):
        fit_regions(scan)
