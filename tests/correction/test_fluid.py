"""Fluid that is no PVS, and what is asked about it."""

import numpy as np
import pytest

from napari_pvs.correction.click import Change, NothingFound, grow
from napari_pvs.correction.evidence import Evidence
from napari_pvs.correction.fluid import ASK_MM3, Level, fluid_space, question

SHAPE = (48, 48, 40)
SIZE = (1.0, 1.0, 1.0)
BOX = (slice(4, 44), slice(4, 44), slice(4, 36))


@pytest.fixture
def head():
    """T2 of a brain with a ventricle, a sulcus, a cleft of the ventricle, and two PVS."""
    rng = np.random.default_rng(0)
    brain = np.zeros(SHAPE, bool)
    brain[6:42, 6:42, 6:34] = True
    parts = {
        "ventricle": (slice(20, 28), slice(20, 28), slice(14, 26)),
        "cleft": (slice(23, 25), slice(28, 33), slice(18, 22)),
        "sulcus": (slice(10, 12), slice(6, 20), slice(10, 24)),
        "pvs": (slice(34, 36), slice(12, 14), slice(12, 20)),
        "giant": (slice(33, 36), slice(30, 33), slice(10, 28)),
    }
    t2 = np.where(brain, 100 + rng.normal(0, 5, SHAPE), 0).astype(np.float32)
    for part in parts.values():
        t2[part] = 190
    return t2, brain, parts


def space(image, brain, t1=None):
    images = (t1, image)
    levels = tuple(None if one is None else Level.of(one, brain) for one in images)
    return fluid_space(images, levels, brain, BOX, SIZE)


def filled(found):
    whole = np.zeros(SHAPE, bool)
    whole[BOX] = found
    return whole


def test_ventricles_sulci_and_their_clefts_are_found_and_pvs_are_not(head):
    t2, brain, parts = head
    found = filled(space(t2, brain))
    for name in ("ventricle", "cleft", "sulcus"):
        assert found[parts[name]].mean() > 0.95, name
    for name in ("pvs", "giant"):
        assert not found[parts[name]].any(), name
    # a T1 shows them dark
    t1 = np.where(brain, 200 - t2, 0).astype(np.float32)
    for found in (filled(space(None, brain, t1)), filled(space(t2, brain, t1))):
        assert all(found[parts[name]].mean() > 0.95 for name in ("ventricle", "cleft", "sulcus"))
        assert not any(found[parts[name]].any() for name in ("pvs", "giant"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cleft", "this touches a ventricle, cistern or sulcus (40 mm³)"),
        ("sulcus", "this touches a ventricle, cistern or sulcus (392 mm³)"),
        ("giant", "this is larger than a PVS usually is (162 mm³)"),
        ("pvs", None),
    ],
)
def test_what_is_asked(head, name, words):
    t2, brain, parts = head
    where = np.zeros(SHAPE, bool)
    where[parts[name]] = True
    change = Change(np.nonzero(where), 1, "probability")
    assert question(change, space(t2, brain), BOX, SIZE) == words
    assert ASK_MM3 < 162


def test_an_image_of_one_value_has_no_fluid(head):
    _, brain, _ = head
    assert not space(np.where(brain, 7.0, 0), brain).any()
    assert Level.of(np.ones(SHAPE), np.zeros(SHAPE, bool)).spread == np.inf


def test_a_growth_as_large_as_no_pvs_is_refused():
    values = np.zeros(SHAPE, np.float32)
    values[10:30, 20:23, 10:30] = 0.5  # a sheet: narrow, but 1,200 mm³
    evidence = Evidence(values, tuple(slice(0, n) for n in SHAPE), "probability")
    with pytest.raises(NothingFound, match="mm³ large, and no PVS is; paint it if you are sure"):
        grow((20, 21, 20), evidence, np.zeros(SHAPE, np.uint8), SIZE)
