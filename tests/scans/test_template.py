"""Regions of the template hold what they should, by MNI coordinates."""

import numpy as np
import pytest

from napari_pvs.scans.template import RegionMap, load_template


def test_the_maps_are_those_that_nilearn_loads() -> None:
    from nilearn import datasets

    template = load_template()
    for name, values in (("", template.t1), ("gm_", template.gm), ("wm_", template.wm)):
        image = getattr(datasets, f"load_mni152_{name}template")(resolution=1)
        np.testing.assert_array_equal(np.asarray(image.dataobj, np.float32), values)
        np.testing.assert_array_equal(image.affine, template.affine)


@pytest.mark.parametrize(
    ("point", "region"),
    [
        ((13, 12, 10), "caudate"),
        ((26, 4, 2), "putamen"),
        ((-20, -6, -2), "pallidum"),
        ((-12, -18, 8), "thalamus"),
    ],
)
def test_deep_grey_holds(point: tuple[int, int, int], region: str) -> None:
    template = load_template()
    assert template.deep_grey[tuple(np.array(point) - template.affine[:3, 3].astype(int))]


@pytest.mark.parametrize(
    ("point", "place"),
    [
        ((0, -30, -35), "pons"),
        ((25, -65, -35), "cerebellum"),
        ((0, -60, -15), "vermis"),
    ],
)
def test_infratentorial_holds(point: tuple[int, int, int], place: str) -> None:
    template = load_template()
    assert template.infratentorial[tuple(np.array(point) - template.affine[:3, 3].astype(int))]


@pytest.mark.parametrize(
    ("point", "place"),
    [
        ((40, 0, 0), "insula"),
        ((50, -20, -25), "temporal lobe"),
        ((20, -90, -5), "occipital lobe"),
        ((25, -5, -22), "amygdala"),
        ((25, -40, 25), "white matter"),
        ((0, 20, 15), "corpus callosum or ventricle"),
    ],
)
def test_neither_region_holds(point: tuple[int, int, int], place: str) -> None:
    template = load_template()
    index = tuple(np.array(point) - template.affine[:3, 3].astype(int))
    assert not template.deep_grey[index]
    assert not template.infratentorial[index]


def test_points_beyond_the_map_have_its_last_voxel() -> None:
    index = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    regions = RegionMap(index, index == 23, np.array([-1.0, 2, 5]))
    found, ventricle = regions.at(np.array([[0.2, 4, 8], [90, 90, 90], [-90, 2.6, 5]]))
    assert found.tolist() == [23, 23, 4]
    assert ventricle.tolist() == [True, True, False]


def test_region_volumes_are_plausible() -> None:
    template = load_template()
    # The template's brain is a third larger than the mean adult's; mm3 are voxels here.
    assert 40e3 < template.deep_grey.sum() < 75e3
    assert 150e3 < template.infratentorial.sum() < 290e3
    np.testing.assert_array_equal(template.deep_grey, template.deep_grey[::-1])


def test_regions_are_those_that_counts_by_region_were_made_with() -> None:
    """A shift of one point of their tables by a millimetre moves tens of voxels."""
    template = load_template()
    counts = {"deep_grey": 57386, "infratentorial": 240814}
    for name, count in counts.items():
        assert getattr(template, name).sum() == pytest.approx(count, abs=4)
    slabs = template.infratentorial.sum(axis=(0, 2))[::10]
    expected = [58, 2429, 3930, 4955, 4995, 3908, 2079, 1095, 268]
    np.testing.assert_allclose(slabs[4:13], expected, atol=2)
    assert not slabs[:4].any()
    assert not slabs[13:].any()
    assert not (template.deep_grey & template.infratentorial).any()
    assert not template.infratentorial[template.t1 == 0].any()
