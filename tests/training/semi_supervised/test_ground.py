from types import SimpleNamespace

import numpy as np
import pytest

from napari_pvs.training.semi_supervised import ground as grounds
from napari_pvs.training.semi_supervised.ground import GREY, WHITE, load, measure, save


def test_a_cut_out_of_a_brain(cut_out):
    one = cut_out()
    found = measure(one)
    assert found.fluid == pytest.approx((-4, 6), abs=0.4)
    assert found.noise == pytest.approx((0.2, 0.2), rel=0.15)
    assert max(map(max, found.spread)) < 0.5  # of white noise
    assert set(np.unique(found.tissue)) == {0, WHITE}  # basal ganglia want a whole brain
    white = found.tissue == WHITE
    assert white[30:38, 30:38, 30:38].mean() > 0.9
    assert not white[:8].any()
    assert not white[14:26, 18:22, 18:22].any()  # nor within 1.2 mm of the ventricle
    assert white[30:38, 30:38, -1].mean() > 0.9  # where the array ends is no fluid


@pytest.mark.parametrize("has", [(True, False), (False, True)])
def test_one_modality(cut_out, has):
    found = measure(cut_out(*has))
    assert (found.tissue == WHITE)[30:38, 30:38, 30:38].mean() > 0.8
    for there, fluid, noise in zip(has, found.fluid, found.noise, strict=True):
        assert (abs(fluid) > 3) == (noise > 0) == there


def test_a_scan_without_contrast_offers_nothing(cut_out):
    flat = cut_out(noise=0)
    flat.images[:] = 0.5
    assert not (measure(flat).tissue == WHITE).any()


def test_smoothness_is_kept_in_voxels(cut_out, monkeypatch):
    wide = 2 * np.sqrt(2 * np.log(2)) * np.array([1.6, 0.8, 0.4])  # FWHM in mm
    monkeypatch.setattr(grounds, "smoothness", lambda *_: wide)
    for spread in measure(cut_out()).spread:
        assert spread == pytest.approx((2, 1, 0.5), rel=1e-3)


def test_it_is_kept_beside_the_pseudo_labels(cut_out, tmp_path):
    one = cut_out()
    assert load(tmp_path, one) is None
    found = measure(one)
    save(tmp_path, one.name, found)
    again = load(tmp_path, one)
    np.testing.assert_array_equal(again.tissue, found.tissue)
    assert (again.fluid, again.spread, again.noise) == (found.fluid, found.spread, found.noise)
    assert load(tmp_path, cut_out(edge=32)) is None  # of another scan
    (tmp_path / "sub-01.json").write_text("{")
    assert load(tmp_path, one) is None


def test_whole_brains_get_the_template_and_others_white_matter(cut_out, monkeypatch):
    asked = []

    def refuse(*_):
        asked.append(1)
        raise grounds.InputError("the brain mask is too unlike a brain")

    monkeypatch.setattr("napari_pvs.scans.atlas.fit_atlas", refuse)
    measure(cut_out())
    assert asked == []  # it is cut
    whole = cut_out()
    whole.brain[:] = False
    whole.brain[2:-2, 2:-2, 2:-2] = True
    whole.images[:, ~whole.brain] = 0
    assert (measure(whole).tissue == WHITE).any()
    assert asked == [1]


def test_basal_ganglia_are_told_from_white_matter_by_the_template(cut_out, monkeypatch):
    whole = cut_out()
    whole.brain[:] = False
    whole.brain[2:-2, 2:-2, 2:-2] = True
    region, deep = np.zeros((2, *whole.brain.shape), bool)
    region[27:36, 6:34, 6:34] = True
    deep[32:38, 6:34, 6:34] = True
    monkeypatch.setattr(
        "napari_pvs.scans.atlas.fit_atlas", lambda *_: SimpleNamespace(deep_grey=deep)
    )
    monkeypatch.setattr("napari_pvs.inference.search_region.search_region", lambda *_: region)
    found = measure(whole).tissue
    assert set(np.unique(found[27:32, 10:30, 10:30])) == {WHITE}
    assert set(np.unique(found[33:36, 10:30, 10:30])) == {GREY}
    assert not found[36:].any()  # outside the region
    assert not found[32, 10:30, 10:30].any()  # between them
