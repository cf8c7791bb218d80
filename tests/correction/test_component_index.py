"""The list of PVS of a mask, followed through edits."""

import cc3d
import numpy as np
import pytest

from napari_pvs.correction import component_index
from napari_pvs.correction.component_index import ComponentIndex

SHAPE = (30, 28, 26)


def check(found, mask):
    """Its entries are exactly the connected parts of the mask."""
    parts = cc3d.connected_components(mask > 0, connectivity=26)
    painted = np.zeros(mask.shape, int)
    for key, entry in found.entries.items():
        assert key == entry.id
        assert not painted[entry.index].any()
        painted[entry.index] = key
        assert painted[entry.point] == key
        assert found.at(entry.point) == key
    assert len(found.entries) == parts.max()
    np.testing.assert_array_equal(painted > 0, mask > 0)
    assert len(np.unique(np.stack([painted[mask > 0], parts[mask > 0]]), axis=1).T) == parts.max()


def difference(before, after):
    return np.nonzero((before > 0) != (after > 0))


@pytest.mark.parametrize("many", [component_index._MANY, 30])
def test_random_edits_give_what_counting_anew_gives(monkeypatch, many):
    monkeypatch.setattr(component_index, "_MANY", many)
    rng = np.random.default_rng(1)
    mask = (rng.random(SHAPE) > 0.97).astype(np.uint8)
    found = ComponentIndex(mask)
    check(found, mask)
    for _ in range(50):
        before = mask.copy()
        for _ in range(rng.integers(1, 4)):
            corner = [int(rng.integers(0, n - 3)) for n in SHAPE]
            box = tuple(slice(c, c + int(rng.integers(1, 5))) for c in corner)
            mask[box] = rng.integers(0, 2)
        known = {key: entry.index for key, entry in found.entries.items()}
        gone, new = found.update(mask, difference(before, mask))
        check(found, mask)
        assert gone == set(known) - set(found.entries)
        assert new >= set(found.entries) - set(known)
        for key in set(found.entries) - new:
            np.testing.assert_array_equal(known[key], found.entries[key].index)


def two():
    mask = np.zeros(SHAPE, np.uint8)
    mask[5, 5, 2:8] = mask[5, 5, 10:20] = mask[20, 20, 20] = 1
    return mask


def test_numbers_begin_with_the_largest():
    assert [entry.voxels for entry in ComponentIndex(two()).entries.values()] == [10, 6, 1]


def test_a_pvs_that_grows_keeps_its_number():
    mask = two()
    found = ComponentIndex(mask)
    key = found.at((20, 20, 20))
    after = mask.copy()
    after[20, 20, 21] = 1
    assert found.update(after, difference(mask, after)) == (set(), {key})
    assert found.entries[key].voxels == 2


def test_of_two_that_join_the_larger_keeps_its_number_and_undone_both_have_theirs():
    mask = two()
    found = ComponentIndex(mask)
    small, large = found.at((5, 5, 3)), found.at((5, 5, 12))
    joined = mask.copy()
    joined[5, 5, 8:10] = 1
    assert found.update(joined, difference(mask, joined)) == ({small}, {large})
    gone, new = found.update(mask, difference(joined, mask))
    assert not gone
    assert found.at((5, 5, 12)) == large
    assert found.at((5, 5, 3)) == small
    assert len(new) == 2


@pytest.mark.parametrize("many", [component_index._MANY, 0])
def test_what_is_deleted_and_comes_back_has_its_number_again(monkeypatch, many):
    monkeypatch.setattr(component_index, "_MANY", many)
    mask = two()
    found = ComponentIndex(mask)
    numbers = {point: found.at(point) for point in ((5, 5, 3), (5, 5, 12), (20, 20, 20))}
    empty, third = np.zeros_like(mask), mask.copy()
    third[25, 3, 3] = 1
    assert found.update(empty, difference(mask, empty))[0] == set(numbers.values())
    _, new = found.update(third, difference(empty, third))
    assert {point: found.at(point) for point in numbers} == numbers
    assert new - set(numbers.values()) == {found.at((25, 3, 3))}
    # and in labels that replace the deleted ones
    again = ComponentIndex(mask, before=found)
    assert {point: again.at(point) for point in numbers} == numbers
    assert len(again.entries) == 3


def test_an_edit_elsewhere_and_no_edit_change_nothing():
    mask = two()
    found = ComponentIndex(mask)
    nothing = np.nonzero(np.zeros(SHAPE))
    assert found.update(mask, nothing) == (set(), set())
    after = mask.copy()
    after[5, 5, 21] = 1  # beside one of them, but not touching
    gone, new = found.update(after, difference(mask, after))
    assert not gone
    assert len(new) == 1


def test_an_empty_mask():
    empty = np.zeros(SHAPE, np.uint8)
    found = ComponentIndex(empty)
    assert found.entries == {}
    assert found.at((1, 1, 1)) is None
    mask = two()
    gone, new = found.update(mask, difference(empty, mask))
    assert (gone, len(new)) == (set(), 3)
    gone, new = found.update(empty, difference(mask, empty))
    assert (len(gone), new) == (3, set())


def test_dots_in_a_row():
    mask = np.zeros(SHAPE, np.uint8)
    mask[5, 5, ::2] = 1
    found = ComponentIndex(mask)
    check(found, mask)
    before = mask.copy()
    mask[5, 5, 4] = 0
    found.update(mask, difference(before, mask))
    check(found, mask)
