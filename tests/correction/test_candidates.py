"""Which PVS are listed, in which order, and why."""

import numpy as np
import pytest

from napari_pvs.correction.candidates import MOST_MISSED, Scale, beside, candidates, measured
from napari_pvs.correction.component_index import ComponentIndex

SHAPE = (30, 30, 30)
T = 0.6


@pytest.fixture
def doubtful():
    """A sure large PVS, an unsure one, a shaky one, a faint one that the mask has not."""
    p = np.full(SHAPE, 0.001, np.float32)
    p[2:4, 2:4, 2:12] = 0.999  # sure
    p[10:12, 10:12, 2:7] = 0.62  # unsure
    p[20:22, 20:22, 2:4] = 0.97  # shaky: a sure core
    p[20:22, 20:22, 4:14] = 0.55  # and a tail right below the threshold
    p[2:4, 20:22, 20:24] = 0.45  # faint
    p[25, 2, 25] = 0.5  # faint, but too small
    p[13:19, 2:8, 15:21] = 0.9  # wide: left out for its shape
    mask = (p >= T).astype(np.uint8)
    mask[13:19, 2:8, 15:21] = 0
    return mask, p


def listed(mask, p, **more):
    return candidates(mask, Scale(p, T, 0.5), **more)


def by_x(items):
    return {item.point[0]: item for item in items}


def test_doubt_and_influence_decide_the_order(doubtful):
    items = listed(*doubtful)
    assert [item.kind for item in items].count("missed") == 1
    assert items == sorted(items, key=lambda i: -i.priority)
    place = {item.point[0]: rank for rank, item in enumerate(items)}
    assert place[2] == 1 or len(items) == 4
    sure = next(item for item in items if item.mean_probability > 0.99)
    assert items[-1] is sure
    unsure = by_x(items)[10]
    assert unsure.uncertainty > 0.9 > 0.1 > sure.uncertainty
    assert unsure.voxels == 20
    assert unsure.volume_mm3 == 10
    shaky = by_x(items)[20]
    assert shaky.instability == pytest.approx(40 / 8)
    assert unsure.instability == pytest.approx(1)
    assert sure.instability == 0


def test_shares_add_up(doubtful):
    found = [item for item in listed(*doubtful) if item.kind == "found"]
    assert sum(item.volume_share for item in found) == pytest.approx(1)
    assert sum(item.count_share for item in found) == pytest.approx(1)


def test_every_item_says_why(doubtful):
    mask, p = doubtful
    left_out = np.zeros(SHAPE, bool)
    left_out[13:19, 2:8, 15:21] = True
    reasons = {i.point[0]: i.reason for i in listed(mask, p, excluded=left_out)}
    assert reasons[10] == "Uncertain (probability 0.62); 10.0 mm³"
    assert reasons[20] == "Threshold-sensitive (±0.1); 4.0 mm³"
    assert reasons[13] == "Excluded by shape (probability 0.90); 108.0 mm³"
    reasons = {i.point[1]: i.reason for i in listed(mask, p) if i.point[0] == 2}
    assert reasons[20] == "Possibly missed (probability 0.45); 8.0 mm³"
    assert reasons[2] == "Large (probability 1.00); 20.0 mm³"


@pytest.mark.parametrize(("near", "told"), [(4, True), (5, False)])
def test_what_touches_a_lesion_comes_first_and_says_so(doubtful, near, told):
    mask, p = doubtful
    lesions = np.zeros(SHAPE, bool)
    lesions[near, near : near + 4, 12:16] = True  # beside the corner of the surest one
    scale = Scale(p, T, 0.5, (1, 1, 0.5), beside(lesions))
    sure = next(i for i in candidates(mask, scale) if i.kind == "found" and i.point[0] == 2)
    assert sure.lesion is told
    assert (sure.cue == "touches a lesion") is told
    assert (sure.doubt == 1) is told
    found = ComponentIndex(mask)
    one = by_x(measured(found.entries, found.entries, mask, scale))[2]
    assert one.lesion is told
    if told:
        assert sure.reason == "Touches a lesion (probability 1.00); 20.0 mm³"


def test_a_missed_one_says_that_it_touches_a_lesion(doubtful):
    mask, p = doubtful
    lesions = np.zeros(SHAPE, bool)
    lesions[2, 20, 20] = True
    (missed,) = (
        i for i in candidates(mask, Scale(p, T, 0.5, lesions=lesions)) if i.kind == "missed"
    )
    said = "Possibly missed, touches a lesion (probability 0.45); 8.0 mm³"
    assert missed.reason == said
    assert missed.doubt < 1  # most are lesions indeed


@pytest.mark.parametrize(
    ("edges", "lesions", "told"),
    [
        ((1.0, 1.0, 1.0), None, True),
        ((0.5, 0.5, 0.5), None, False),  # as wide as a PVS may be
        ((0.5, 0.5, 2.0), None, False),  # long
        ((1.0, 1.0, 1.0), np.zeros(SHAPE, bool), False),  # a map knows better
        (None, None, False),
    ],
)
def test_without_a_map_what_has_the_shape_of_a_lesion_is_doubted(edges, lesions, told):
    x, y, z = np.ogrid[:30, :30, :30]
    p = np.where((x - 9) ** 2 + (y - 9) ** 2 + (z - 9) ** 2 <= 6, 0.99, 0.001).astype(np.float32)
    p[20:22, 20:22, 2:14] = 0.99
    scale = Scale(p, T, 0.5, edges, lesions)
    items = by_x(candidates((p >= T).astype(np.uint8), scale))
    ball = next(item for point, item in items.items() if point < 15)
    assert ball.round is told
    assert (ball.reason.startswith("Wide and round, as lesions are (prob")) is told
    assert (ball.doubt == 1) is told
    assert not next(item for point, item in items.items() if point > 15).round


def test_lesions_are_widened_by_one_voxel_to_all_sides():
    lesions = np.zeros((7, 7, 7), bool)
    assert not beside(lesions).any()
    lesions[0, 3, 3] = True
    expected = np.zeros((7, 7, 7), bool)
    expected[0:2, 2:5, 2:5] = True
    np.testing.assert_array_equal(beside(lesions), expected)
    assert lesions.sum() == 1


def test_what_shape_excludes_is_listed_until_it_is_labelled(doubtful):
    mask, p = doubtful
    left_out = np.zeros(SHAPE, bool)
    left_out[13:19, 2:8, 15:21] = True
    (item,) = (i for i in listed(mask, p, excluded=left_out) if i.kind == "excluded")
    assert item.voxels == 216
    mask[left_out] = 1
    assert all(i.kind != "excluded" for i in listed(mask, p, excluded=left_out))


def test_the_point_is_the_voxel_that_the_network_is_surest_of(doubtful):
    mask, p = doubtful
    p[11, 10, 5] = 0.7
    assert (11, 10, 5) in [item.point for item in listed(mask, p)]


def test_without_a_prediction_the_largest_come_first(doubtful):
    mask, _ = doubtful
    items = candidates(mask, Scale(None, T, 0.5))
    assert [item.voxels for item in items] == [40, 20, 8]
    assert items[0].reason == "Drawn, no prediction; 20.0 mm³"


@pytest.mark.parametrize("p", [None, np.full(SHAPE, 0.001, np.float32)])
def test_an_empty_mask_has_no_items(p):
    assert listed(np.zeros(SHAPE, np.uint8), p) == []


def test_two_pvs_share_the_room_that_joins_them():
    p = np.full(SHAPE, 0.001, np.float32)
    p[5, 5, 2:6] = p[5, 5, 10:14] = 0.9
    p[5, 5, 6:10] = 0.55
    items = listed((p >= T).astype(np.uint8), p)
    assert [item.instability for item in items] == pytest.approx([0.5, 0.5])


def test_no_more_than_two_hundred_are_listed_as_missed():
    p = np.full((64, 64, 64), 0.001, np.float32)
    p[::4, ::4, ::4] = p[1::4, ::4, ::4] = 0.5
    items = listed(np.zeros(p.shape, np.uint8), p)
    assert len(items) == MOST_MISSED
    assert {item.kind for item in items} == {"missed"}


def test_single_pvs_are_measured_as_in_the_list_of_all():
    rng = np.random.default_rng(2)
    p = rng.random((60, 40, 40)).astype(np.float32)
    mask = np.zeros(p.shape, np.uint8)
    mask[5:7, 5:7, 5:12] = mask[40:42, 20:22, 20:30] = 1
    p[mask > 0] += 0.3
    p[p < 0.99] *= 0.4  # few voxels beside them at the lower threshold
    found = ComponentIndex(mask)
    expected = {i.point: i for i in listed(mask, p) if i.kind == "found"}
    for item in measured(found.entries, found.entries, mask, Scale(p, T, 0.5)):
        other = expected.pop(item.point)
        for name in ("voxels", "mean_probability", "uncertainty", "instability", "priority"):
            assert getattr(item, name) == pytest.approx(getattr(other, name)), name
        assert found.at(item.point) == item.number
    assert not expected


@pytest.mark.parametrize("volume", [1.0, 0.99999993])
def test_a_missed_voxel_of_the_smallest_volume_is_listed_in_an_oblique_scan(volume):
    p = np.zeros(SHAPE, np.float32)
    p[5, 5, 5] = 0.5
    p[15, 15, 15] = 0.9  # above the threshold: the user has rejected it
    found = candidates(np.zeros(SHAPE, np.uint8), Scale(p, T, volume))
    assert [item.point for item in found] == [(5, 5, 5)]


def test_what_two_raters_disagree_about_comes_first_and_by_name():
    agreed, p = np.zeros(SHAPE, bool), np.full(SHAPE, 0.01, np.float32)
    agreed[2:4, 5, 5:9] = True
    disputed = {name: np.zeros(SHAPE, bool) for name in ("ann", "bob")}
    disputed["ann"][10:12, 5, 5:9] = True
    disputed["bob"][20:22, 5, 5:9] = disputed["bob"][25:27, 5, 5:9] = True
    p[15:17, 5, 5:9] = 0.5  # would be possibly missed
    for probability in (p, None):
        scale = Scale(probability, T, 0.5)
        items = candidates(agreed, scale, disputed=disputed)
        assert [item.kind for item in items].count("disputed") == 3
        assert {item.kind for item in items} == {"disputed", "found"}
        asked = [item for item in items if item.kind == "disputed"]
        assert sorted(item.rater for item in asked) == ["ann", "bob", "bob"]
        (ann,) = (item for item in asked if item.rater == "ann")
        assert set(ann.index[0]) == {10, 11}
        assert ann.reason.startswith("Only ann has it")
        assert (ann.cue, ann.doubt) == ("disputed", 1.0)
