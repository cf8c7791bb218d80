"""Decisions about single PVS, and what is left."""

from datetime import UTC, datetime

import numpy as np
import pytest

from napari_pvs.correction.review import Queue, Review, candidates

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
