import logging

import numpy as np
import pytest

from napari_pvs.errors import InputError
from napari_pvs.inference.search_region import PartOfBrain
from napari_pvs.training import place as module
from napari_pvs.training.place import Place, raw


@pytest.fixture
def two_pvs(cut_out):
    """A scan, and the probability of two PVS on either side of its middle."""
    one = cut_out()
    probability = np.full(one.brain.shape, 0.1, np.float32)
    middle = len(probability) // 2
    probability[middle - 8 : middle - 5, 20, 20] = 0.9
    probability[middle + 5 : middle + 8, 20, 20] = 0.9
    return one, probability, middle


def test_what_lies_elsewhere_is_none(two_pvs, monkeypatch):
    one, probability, middle = two_pvs
    asked = []

    def half(*scan):
        asked.append(scan)
        region = np.ones(one.brain.shape, bool)
        region[middle:] = False
        return region

    monkeypatch.setattr(module, "plausible", half)
    place = Place("tissue")
    found = place(one, probability, 0.5)
    np.testing.assert_array_equal(found[:middle], probability[:middle])
    assert not found[middle:].any()
    np.testing.assert_array_equal(place(one, probability, 0.5), found)
    assert len(asked) == 1  # a scan's region is found once


def test_a_pvs_stays_whole(two_pvs, monkeypatch):
    one, probability, middle = two_pvs
    region = np.zeros(one.brain.shape, bool)
    region[: middle + 6] = True  # a third of the second one
    monkeypatch.setattr(module, "plausible", lambda *_: region)
    found = Place("tissue")(one, probability, 0.5)
    assert (found > 0.5).sum() == 6


def test_brain_leaves_nothing_out(two_pvs, monkeypatch):
    one, probability, _ = two_pvs
    monkeypatch.setattr(module, "plausible", lambda *_: pytest.fail("not needed"))
    assert Place("brain")(one, probability, 0.5) is probability


@pytest.mark.parametrize(
    ("error", "said"), [(PartOfBrain("little"), False), (InputError("does not fit"), True)]
)
def test_where_it_cannot_tell_nothing_is_left_out(two_pvs, monkeypatch, caplog, error, said):
    one, probability, _ = two_pvs

    def refuse(*_):
        raise error

    monkeypatch.setattr(module, "plausible", refuse)
    with caplog.at_level(logging.WARNING):
        assert Place("tissue")(one, probability, 0.5) is probability
    assert (f"does not fit {one.name}" in caplog.text) == said


@pytest.mark.parametrize("has", [(True, True), (True, False), (False, True)])
def test_intensities_for_the_template(cut_out, has):
    one = cut_out(*has)
    t1, t2, brain, grid = raw(one)
    assert (t1 is not None, t2 is not None) == has
    for image in (t1, t2):
        if image is not None:
            assert (image[brain] > 0).all()
            assert not image[~brain].any()
    assert (grid.shape, grid.voxel_size) == (brain.shape, one.voxel_size)
