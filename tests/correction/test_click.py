"""Adding, removing, splitting and regrowing single PVS."""

import numpy as np
import pytest

from napari_pvs.correction.click import NothingFound, grow, halves, regrow, remove, split
from napari_pvs.correction.evidence import Evidence, from_map
from napari_pvs.correction.neighbourhood import component_at
from napari_pvs.errors import InputError

SIZE = (0.8, 0.8, 0.8)
SHAPE = (60, 50, 40)


def gaussian(shape, centre, sigma, axis=None, ends=(0, 0)):
    """A ball, or a tube along an axis, that falls off with distance in voxels."""
    grid = np.stack(np.indices(shape), -1).astype(float) - centre
    if axis is not None:
        along = grid[..., axis]
        grid[..., axis] = np.maximum(np.maximum(ends[0] - along, along - ends[1]), 0)
    return np.exp(-np.square(grid).sum(-1) / (2 * sigma**2)).astype(np.float32)


@pytest.fixture
def tube():
    """Probability of a tube of 7 voxels and more, along z, under any sensible threshold."""
    return 0.4 * gaussian(SHAPE, (20, 25, 20), 1.0, axis=2, ends=(-4, 4))


def empty():
    return np.zeros(SHAPE, np.uint8)


def clicked(point, probability, mask, size=SIZE):
    return grow(point, from_map(probability, point, size), mask, size)


def apply(change, mask):
    out = mask.copy()
    out[change.indices] = change.value
    return out


def level(probability):
    return from_map(probability, (20, 25, 20), SIZE).level(float(probability.max()))


def test_a_click_adds_the_voxels_above_a_share_of_the_local_peak(tube):
    mask = empty()
    change = clicked((20, 25, 20), tube, mask)
    assert change.source == "probability"
    np.testing.assert_array_equal(apply(change, mask) > 0, tube >= level(tube))
    assert not mask.any()  # nothing was changed in place


@pytest.mark.parametrize("offset", [(1, 0, 0), (0, -1, 3), (-1, 1, -4)])
def test_a_click_beside_it_finds_the_same_pvs(tube, offset):
    near = tuple(np.add((20, 25, 20), offset))
    found = apply(clicked(near, tube, empty()), empty())
    np.testing.assert_array_equal(found > 0, tube >= level(tube))


def test_a_pvs_in_the_corner_of_the_volume(tube):
    corner = 0.3 * gaussian(SHAPE, (0, 0, 39), 1.0)
    found = apply(clicked((0, 0, 39), corner, empty()), empty())
    np.testing.assert_array_equal(found > 0, corner >= level(corner))


def test_other_pvs_are_kept_one_voxel_away_from(tube):
    mask = empty()
    mask[20:22, 24:27, 22:27] = 1
    change = clicked((20, 25, 17), tube, mask)
    grown = apply(change, empty()) > 0
    assert grown.any()
    part, _ = component_at((20, 25, 17), apply(change, mask))
    assert np.count_nonzero(part) == np.count_nonzero(grown)
    assert change.indices[2].max() == 20


def test_a_click_on_a_pvs_adds_nothing(tube):
    mask = empty()
    mask[20, 25, 20] = 1
    with pytest.raises(InputError, match="already belongs to a PVS; click beside it"):
        clicked((20, 25, 20), tube, mask)


def test_nothing_grows_where_nothing_is(tube):
    with pytest.raises(NothingFound, match="nothing here looks like a PVS; paint it"):
        clicked((45, 10, 20), tube, empty())
    surrounded = empty()
    surrounded[17:24, 22:29, :] = 1
    surrounded[20, 25, 20] = 0
    with pytest.raises(NothingFound):
        clicked((20, 25, 20), tube, surrounded)


def test_a_blob_wider_than_a_pvs_is_refused(tube):
    lesion = np.clip(3 * gaussian(SHAPE, (40, 25, 20), 4.0), 0, 0.9)
    with pytest.raises(NothingFound, match="wider than 3 mm, too wide for a PVS"):
        clicked((40, 25, 20), lesion, empty())


def test_the_growth_does_not_leak_into_a_ventricle(tube):
    ventricle = np.zeros(SHAPE, np.float32)
    ventricle[:, 30:, :] = 1.0
    leg = 0.8 * gaussian(SHAPE, (20, 22, 20), 1.0, axis=1, ends=(-4, 10))
    both = np.maximum(leg, ventricle)
    change = clicked((20, 20, 20), both, empty())
    assert change.indices[1].max() < 30
    assert change.indices[1].min() <= 18
    assert 25 < len(change.indices[0]) < 120


def test_no_pvs_is_longer_than_two_centimetres():
    long = 0.6 * gaussian(SHAPE, (30, 25, 20), 1.0, axis=0, ends=(-30, 30))
    change = clicked((30, 25, 20), long, empty())
    extent = np.ptp(change.indices[0]) * SIZE[0]
    assert 15 < extent <= 20


def test_a_long_chain_is_cut_where_it_is_faint():
    first = 0.6 * gaussian(SHAPE, (15, 25, 20), 1.0, axis=0, ends=(-10, 10))
    second = 0.6 * gaussian(SHAPE, (42, 25, 20), 1.0, axis=0, ends=(-10, 10))
    bridge = 0.34 * gaussian(SHAPE, (29, 25, 20), 0.7, axis=0, ends=(-8, 8))
    change = clicked((15, 25, 20), np.maximum(np.maximum(first, second), bridge), empty())
    assert change.indices[0].min() <= 5
    assert change.indices[0].max() < 30


def test_voxels_may_have_unequal_edges():
    size = (0.5, 0.5, 2.0)
    thick = 0.5 * gaussian(SHAPE, (30, 25, 20), 2.0, axis=2, ends=(-2, 2))
    change = clicked((30, 25, 20), thick, empty(), size)
    np.testing.assert_array_equal(apply(change, empty()) > 0, thick >= level(thick))


def test_a_growth_in_turned_axes_is_the_same(tube):
    plain = apply(clicked((20, 25, 20), tube, empty()), empty())
    turned, mask = tube.transpose(2, 1, 0)[:, ::-1], empty().transpose(2, 1, 0)[:, ::-1]
    point = (20, SHAPE[1] - 1 - 25, 20)
    change = grow(point, from_map(turned, point, SIZE), mask, SIZE)
    np.testing.assert_array_equal(apply(change, mask), plain.transpose(2, 1, 0)[:, ::-1])


def two_tubes(gap=0):
    """Two tubes along z that touch end to end through one voxel."""
    mask = empty()
    mask[10:12, 10:12, 5:15] = 1
    mask[10, 10, 15] = 1
    mask[10:12, 10:12, 16:28] = 1
    return mask


def test_remove_takes_one_pvs_and_no_other():
    mask = two_tubes()
    mask[40, 40, 5:10] = 1
    gone = apply(remove((11, 11, 8), mask, SIZE), mask)
    assert np.argwhere(gone)[:, 0].min() == 40
    assert np.count_nonzero(gone) == 5


def test_remove_follows_a_pvs_across_the_volume():
    mask = empty()
    mask[np.arange(60), 25, 20] = 1
    mask[5, :20, 3] = 1
    gone = apply(remove((0, 25, 20), mask, SIZE), mask)
    np.testing.assert_array_equal(np.argwhere(gone)[:, 0], 5)
    assert gone.sum() == 20


def test_a_click_may_miss_by_a_voxel_but_no_more():
    mask = two_tubes()
    assert apply(remove((12, 11, 8), mask, SIZE), mask).sum() == 0
    with pytest.raises(InputError, match="there is no PVS at this point; click on one"):
        remove((14, 11, 8), mask, SIZE)


@pytest.mark.parametrize("clicked_at", [(11, 11, 13), (10, 10, 15), (10, 10, 17)])
def test_split_parts_two_pvs_at_the_neck(clicked_at):
    mask = two_tubes()
    change = split(clicked_at, mask, SIZE)
    assert len(change.indices[0]) <= 2
    after = apply(change, mask)
    low, _ = component_at((10, 10, 6), after)
    high, _ = component_at((10, 10, 26), after)
    assert np.count_nonzero(low) + np.count_nonzero(high) == after.sum()
    assert abs(np.count_nonzero(low) - 40) <= 2


def test_split_of_an_even_tube_is_made_where_the_click_is():
    mask = empty()
    mask[10:12, 10:12, 5:30] = 1
    for z in (9, 17, 25):
        change = split((10, 10, z), mask, SIZE)
        assert change.value == 0
        assert np.abs(change.indices[2] - z).max() <= 4
        assert len(change.indices[0]) == 4


def test_split_parts_two_tubes_side_by_side():
    mask = empty()
    mask[10:12, 10, 5:25] = 1
    mask[13:15, 10, 5:25] = 1
    mask[12, 10, 14] = 1  # they touch here
    after = apply(split((12, 10, 14), mask, SIZE), mask)
    one, _ = component_at((10, 10, 6), after)
    two, _ = component_at((14, 10, 6), after)
    assert np.count_nonzero(one) == np.count_nonzero(two) == 40


@pytest.mark.parametrize("voxels", [1, 2])
def test_what_is_too_small_is_not_split(voxels):
    mask = empty()
    mask[5, 5, 5 : 5 + voxels] = 1
    with pytest.raises(InputError, match="too small to be split; erase a voxel"):
        split((5, 5, 5), mask, SIZE)


def test_three_voxels_are_split_by_the_middle_one():
    mask = empty()
    mask[5, 5, 5:8] = 1
    change = split((5, 5, 6), mask, SIZE)
    assert len(change.indices[0]) == 1
    assert 0 < apply(change, mask).sum() == 2


def test_more_adds_the_best_third_and_less_takes_the_worst_away(tube):
    mask = (tube >= 0.3).astype(np.uint8)
    before = int(mask.sum())
    evidence = from_map(tube, (20, 25, 20), SIZE)
    more = apply(regrow((20, 25, 20), evidence, mask, SIZE, "more"), mask)
    assert more.sum() == before + max(1, round(before / 3))
    assert ((more > 0) | (mask == 0)).all()
    assert tube[(more > 0) & (mask == 0)].min() >= tube[(tube < 0.3) & (more == 0)].max() * 0.9
    less = apply(regrow((20, 25, 20), evidence, mask, SIZE, "less"), mask)
    assert 0 < less.sum() <= before - round(before / 3)
    assert (mask >= less).all()
    assert less[20, 25, 20]


def test_less_keeps_the_pvs_in_one_piece():
    # a faint neck: without it the brighter end stays
    mask = two_tubes()
    values = np.where(mask, 0.5, 0).astype(np.float32)
    values[10, 10, 15], values[10:12, 10:12, 16:28] = 0.1, 0.8
    evidence = from_map(values, (10, 10, 15), SIZE)
    less = apply(regrow((10, 10, 8), evidence, mask, SIZE, "less"), mask)
    part, _ = component_at((10, 10, 20), less)
    assert np.count_nonzero(part) == less.sum()


def test_more_stops_at_its_neighbours(tube):
    mask = empty()
    mask[20, 25, 20] = 1
    mask[18:23, 23:28, 18:23] |= np.pad(np.zeros((3, 3, 3), np.uint8), 1, constant_values=1)
    evidence = from_map(tube, (20, 25, 20), SIZE)
    with pytest.raises(InputError, match="has no room to grow; remove a neighbouring PVS"):
        regrow((20, 25, 20), evidence, mask, SIZE, "more")


def test_less_of_one_voxel_is_refused(tube):
    mask = empty()
    mask[20, 25, 20] = 1
    with pytest.raises(InputError, match="cannot get any smaller; remove it instead"):
        regrow((20, 25, 20), from_map(tube, (20, 25, 20), SIZE), mask, SIZE, "less")


def test_what_lies_outside_the_evidence_stays():
    mask = empty()
    mask[np.arange(60), 25, 20] = 1
    box = (slice(0, 10), slice(20, 30), slice(15, 25))
    evidence = Evidence(np.random.default_rng(0).random((10, 10, 10), np.float32), box, "network")
    change = regrow((3, 25, 20), evidence, mask, SIZE, "more")
    assert change.indices[0].max() < 10
    assert change.source == "network"


def dumbbell(edge=5, neck=1):
    mask = np.zeros((edge, edge, 2 * edge + 3), bool)
    mask[:, :, :edge] = mask[:, :, -edge:] = True
    mask[2 : 2 + neck, 2 : 2 + neck, edge:-edge] = True
    return mask


def test_a_dumbbell_is_cut_at_its_neck():
    mask = dumbbell()
    one = halves(mask, SIZE)
    ends = {bool(one[0, 0, 0]), bool(one[0, 0, -1])}
    assert ends == {True, False}
    assert one[:, :, :5].all() or not one[:, :, :5].any()
    assert one[:, :, -5:].all() or not one[:, :, -5:].any()
    assert not (one & ~mask).any()


@pytest.mark.parametrize("count", [2, 3, 40, 49, 50, 200])
def test_a_line_is_cut_in_the_middle(count):
    mask = np.ones((1, 1, count), bool)
    one = halves(mask, SIZE)
    assert abs(int(one.sum()) - count / 2) <= 0.5
    assert np.count_nonzero(np.diff(one[0, 0].astype(int))) == 1


def test_a_line_is_cut_near_a_voxel():
    one = halves(np.ones((1, 1, 60), bool), SIZE, near=(0, 0, 50))
    (where,) = np.flatnonzero(np.diff(one[0, 0].astype(int)))[None]
    assert abs(int(where[0]) - 50) <= 3


def test_the_cut_is_the_same_every_time():
    mask = dumbbell(edge=8, neck=3)
    first = halves(mask, SIZE)
    for _ in range(3):
        np.testing.assert_array_equal(halves(mask, SIZE), first)
