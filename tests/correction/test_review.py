"""Decisions about single PVS, and what is left."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from napari_pvs.correction import review as module
from napari_pvs.correction.review import MOST_MISSED, Queue, Review, arrived, candidates

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
SHAPE = (30, 30, 30)
T = 0.6


@pytest.fixture
def scene():
    """Three PVS of a mask, and a faint one that it has not."""
    p = np.full(SHAPE, 0.001, np.float32)
    p[2:4, 2:4, 2:12] = 0.999
    p[10:12, 10:12, 2:7] = 0.62
    p[20:22, 20:22, 2:4] = 0.97
    p[2:4, 20:22, 20:24] = 0.45
    return (p >= T).astype(np.uint8), p


def listed(mask, p, **more):
    return candidates(mask, p, T, 0.5, **more)


def by_x(items):
    return {item.point[0]: item for item in items}


def queue_of(mask, p, review=None):
    review = review or Review()
    known = [decision.point for decision in review.decisions]
    return Queue(listed(mask, p, known=known), review, mask)


def test_decided_items_leave_and_skipped_ones_come_back_last(scene):
    queue = queue_of(*scene)
    missed = next(item for item in queue.pending if item.kind == "missed")
    first, second, third = (item for item in queue.pending if item.kind == "found")
    queue.decide(first, "skip", "AB", NOW)
    queue.decide(second, "accept", "AB", NOW)
    queue.decide(missed, "reject", "AB", NOW)
    assert queue.pending == [third, first]
    queue.decide(third, "skip", "AB", NOW)
    assert queue.pending == [first, third]
    queue.decide(first, "skip", "AB", NOW)
    assert queue.pending == [third, first]


def test_the_mask_has_the_last_word(scene):
    mask, p = scene
    queue = queue_of(mask, p)
    unsure = by_x(queue.items)[10]
    faint = next(item for item in queue.items if item.kind == "missed")
    erased = mask.copy()
    erased[10:12, 10:12, 2:7] = 0
    erased[2:4, 20:22, 20:24] = 1
    queue.look(erased)
    assert queue.verdict(unsure) == "reject"
    assert queue.verdict(faint) == "accept"
    queue.decide(unsure, "reject", "AB", NOW)
    queue.decide(faint, "accept", "AB", NOW)
    assert not {unsure, faint} & set(queue.pending)
    queue.look(mask)  # undone
    assert {unsure, faint} <= set(queue.pending)
    queue.decide(faint, "reject", "AB", NOW)
    assert faint not in queue.pending


def test_decisions_survive_json_and_a_new_prediction(scene):
    mask, p = scene
    queue = queue_of(mask, p)
    unsure = by_x(queue.items)[10]
    queue.decide(unsure, "accept", "AB", NOW)
    kept = Review.model_validate_json(queue.review.model_dump_json())
    assert kept == queue.review
    (decision,) = kept.decisions
    assert (decision.rater, decision.time, decision.kind) == ("AB", NOW, "found")
    p[10, 10, 4] = 0.75  # another network is surest of another voxel
    again = queue_of(mask, p, kept)
    assert unsure.point not in [item.point for item in again.pending]
    assert len(again.pending) == len(queue.pending)


def test_what_was_rejected_is_not_offered_as_missed(scene):
    mask, p = scene
    p[10:12, 10:12, 2:7] = 0.59  # by another network it is below the threshold
    unsure_point = (10, 10, 2)
    mask[10:12, 10:12, 2:7] = 0
    offered = [item.point for item in queue_of(mask, p).pending]
    assert unsure_point in offered
    queue = queue_of(mask, p)
    item = next(i for i in queue.items if i.point == unsure_point)
    queue.decide(item, "reject", "AB", NOW)
    after = queue_of(mask, p, queue.review)
    assert unsure_point not in [item.point for item in after.pending]


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
    reasons = {i.point[0]: i.reason for i in listed(*doubtful) if i.mean_probability < 0.99}
    assert reasons[10].startswith("The network is unsure (mean probability 0.62); 10.0 mm³, ")
    assert "changes by 500 % when the threshold moves by 0.1" in reasons[20]
    assert reasons[2].startswith("Perhaps missed: mean probability 0.45, 8.0 mm³")


def test_the_point_is_the_voxel_that_the_network_is_surest_of(doubtful):
    mask, p = doubtful
    p[11, 10, 5] = 0.7
    assert (11, 10, 5) in [item.point for item in listed(mask, p)]


def test_without_a_prediction_the_largest_come_first(doubtful):
    mask, _ = doubtful
    items = candidates(mask, None, T, 0.5)
    assert [item.voxels for item in items] == [40, 20, 8]
    assert items[0].reason.startswith("No prediction to compare with: 20.0 mm³")


@pytest.mark.parametrize("p", [None, np.full(SHAPE, 0.001, np.float32)])
def test_an_empty_mask_has_no_items(p):
    assert candidates(np.zeros(SHAPE, np.uint8), p, T, 0.5) == []


def test_two_pvs_share_the_room_that_joins_them():
    p = np.full(SHAPE, 0.001, np.float32)
    p[5, 5, 2:6] = p[5, 5, 10:14] = 0.9
    p[5, 5, 6:10] = 0.55
    items = listed((p >= T).astype(np.uint8), p)
    assert [item.instability for item in items] == pytest.approx([0.5, 0.5])


def test_no_more_than_two_hundred_are_listed_as_missed():
    p = np.full((64, 64, 64), 0.001, np.float32)
    p[::4, ::4, ::4] = p[1::4, ::4, ::4] = 0.5
    items = candidates(np.zeros(p.shape, np.uint8), p, T, 0.5)
    assert len(items) == MOST_MISSED
    assert {item.kind for item in items} == {"missed"}


def test_points_of_earlier_decisions_are_carried_on(doubtful):
    mask, p = doubtful
    items = listed(mask, p, known=[(11, 11, 6), (0, 0, 0), (99, 99, 99)])
    assert (11, 11, 6) in [item.point for item in items]
    assert len(items) == len(listed(mask, p))


def arriving(before, now, p, known=()):
    return arrived(now > 0, now != before, p, T, 0.5, known)


def test_what_an_edit_brings_is_listed_as_if_all_were_looked_at(monkeypatch):
    monkeypatch.setattr(module, "_AROUND", 4)
    rng = np.random.default_rng(2)
    p = rng.random((60, 40, 40)).astype(np.float32)
    before = np.zeros(p.shape, np.uint8)
    before[5:7, 5:7, 5:12] = before[40:42, 20:22, 20:30] = 1
    known = [item.point for item in candidates(before, p, T, 0.5) if item.kind == "found"]
    assert len(known) == 2
    assert arriving(before, before, p, known) == []
    now = before.copy()
    now[40:42, 26:28, 20:26] = 1  # beside the second, which the box around it cuts
    (item,) = arriving(before, now, p, known)
    found = [one for one in candidates(now, p, T, 0.5, known=known) if one.kind == "found"]
    (expected,) = (one for one in found if one.point not in known)
    assert item == replace(expected, instability=item.instability)
    # one that goes on outside of the box around the edit
    longer = now.copy()
    longer[10:36, 30, 30] = 1
    most = longer.copy()
    most[22, 31, 30] = 1
    (item,) = arriving(longer, most, p, [*known, item.point])
    assert item.voxels == 27
    # a PVS that is cut in two: the part without the known point is new
    cut = before.copy()
    cut[40:42, 20:22, 25] = 0
    (item,) = arriving(before, cut, p, known)
    assert item.voxels in (20, 16)
    assert arriving(before, np.zeros_like(before), p, known) == []
    # joined to a known one, it is not
    joined = before.copy()
    joined[40:42, 22, 20:30] = 1
    assert arriving(before, joined, p, known) == []


@pytest.mark.parametrize("volume", [1.0, 0.99999993])
def test_a_missed_voxel_of_the_smallest_volume_is_listed_in_an_oblique_scan(volume):
    p = np.zeros(SHAPE, np.float32)
    p[5, 5, 5] = 0.5
    p[15, 15, 15] = 0.9  # above the threshold: the user has rejected it
    found = candidates(np.zeros(SHAPE, np.uint8), p, T, volume)
    assert [item.point for item in found] == [(5, 5, 5)]
