"""Decisions about single PVS, and what is left."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from napari_pvs.correction.candidates import Scale, candidates
from napari_pvs.correction.component_index import ComponentIndex
from napari_pvs.correction.items import Review
from napari_pvs.correction.review import Queue

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
SHAPE = (30, 30, 30)
T = 0.6


class Desk:
    """A mask, its queue, and edits that the queue follows."""

    def __init__(self, mask, p, review=None, excluded=None):
        self.mask, self.scale = mask, Scale(p, T, 0.5)
        self.index = ComponentIndex(mask)
        items = candidates(mask, self.scale, excluded=excluded)
        self.queue = Queue(items, review or Review(), mask, self.index.entries, self.scale)
        self.minutes = 0

    def edit(self, index, value):
        """Set voxels; return what undoes it."""
        before = self.mask.copy()
        self.mask[index] = value
        self.follow(before)
        return before

    def undo(self, before):
        now = self.mask.copy()
        self.mask[...] = before
        self.follow(now)

    def follow(self, before):
        changed = np.nonzero((before > 0) != (self.mask > 0))
        self.queue.follow(self.mask, self.index.entries, *self.index.update(self.mask, changed))

    def decide(self, item, verdict):
        self.minutes += 1
        self.queue.decide(item, verdict, "AB", NOW + timedelta(minutes=self.minutes))

    def at(self, x, kind="found"):
        return next(i for i in self.queue.items if i.kind == kind and x in i.index[0])

    def state(self):
        """What a rater sees of it, whichever the objects."""
        return sorted(
            (i.kind, *(tuple(axis.tolist()) for axis in i.index), i.verdict or "", i.number or 0)
            for i in self.queue.items
        )


@pytest.fixture
def scene():
    """Three PVS of a mask, and a faint one that it has not."""
    p = np.full(SHAPE, 0.001, np.float32)
    p[2:4, 2:4, 2:12] = 0.999
    p[10:12, 10:12, 2:7] = 0.62
    p[20:22, 20:22, 2:4] = 0.97
    p[2:4, 20:22, 20:24] = 0.45
    return (p >= T).astype(np.uint8), p


def test_decided_items_leave_and_skipped_ones_come_back_last(scene):
    desk = Desk(*scene)
    missed = desk.at(2, "missed")
    first, second, third = (item for item in desk.queue.pending if item.kind == "found")
    desk.decide(first, "skip")
    desk.decide(second, "accept")
    desk.decide(missed, "reject")
    assert desk.queue.pending == [third, first]
    assert desk.queue.reviewed == 2
    desk.decide(third, "skip")
    assert desk.queue.pending == [first, third]
    desk.decide(first, "skip")
    assert desk.queue.pending == [third, first]


def test_the_mask_has_the_last_word(scene):
    desk = Desk(*scene)
    unsure, faint = desk.at(10), desk.at(2, "missed")
    erased = desk.edit(unsure.index, 0)
    drawn = desk.edit(faint.index, 1)
    assert unsure.verdict == "reject"
    assert faint not in desk.queue.items
    # the drawn one is a PVS of the mask, to be looked at
    assert desk.at(2, "found") in desk.queue.pending
    desk.decide(unsure, "reject")
    desk.undo(drawn)
    desk.undo(erased)
    assert {unsure, faint} <= set(desk.queue.pending)
    assert len(desk.queue.items) == 4
    desk.decide(faint, "reject")
    assert faint not in desk.queue.pending


def test_after_a_split_that_is_undone_there_is_one_item_and_it_is_decided(scene):
    desk = Desk(*scene)
    large = desk.at(3)
    before, voxels = desk.state(), large.voxels
    desk.decide(large, "accept")
    accepted = desk.state()
    cut = desk.edit((slice(2, 4), slice(2, 4), slice(6, 7)), 0)
    parts = [i for i in desk.queue.items if i.kind == "found" and 2 in i.index[0]]
    assert sorted(part.voxels for part in parts) == [16, 20]
    assert {part.verdict for part in parts} == {None, "accept"}
    desk.undo(cut)
    assert desk.state() == accepted
    assert desk.at(3).voxels == voxels
    desk.queue.replace(desk.queue.known(desk.at(3)), ())
    assert desk.state() == before


def test_any_edits_undone_in_turn_leave_no_trace(scene):
    mask, p = scene
    desk = Desk(mask, p)
    rng = np.random.default_rng(3)
    steps = []
    for _ in range(40):
        steps.append((desk.state(), None, desk.mask.copy()))
        corner = rng.integers(0, 22, 3)
        box = tuple(slice(c, c + int(rng.integers(1, 9))) for c in corner)
        desk.edit(box, int(rng.integers(0, 2)))
        parts = desk.index.entries
        shown = [i for i in desk.queue.items if i.present]
        assert {i.number for i in shown} == set(parts)
        for item in shown:
            assert all(map(np.array_equal, item.index, parts[item.number].index))
    for state, _, before in reversed(steps):
        desk.undo(before)
        assert desk.state() == state


def test_decisions_survive_json_and_a_new_prediction(scene):
    mask, p = scene
    desk = Desk(mask, p)
    unsure = desk.at(10)
    desk.decide(unsure, "accept")
    desk.queue.write_note(unsure, "beside a lacune", "AB", NOW + timedelta(hours=1))
    kept = Review.model_validate_json(desk.queue.review.model_dump_json())
    assert kept == desk.queue.review
    (decision,) = kept.decisions
    assert (decision.rater, decision.kind, decision.note) == ("AB", "found", "beside a lacune")
    p[10, 10, 4] = 0.75  # another network is surest of another voxel
    again = Desk(mask, p, kept)
    assert again.at(10).verdict == "accept"
    assert again.at(10).note == "beside a lacune"
    assert len(again.queue.pending) == len(desk.queue.pending)


def test_a_note_decides_nothing_and_a_decision_keeps_it(scene):
    desk = Desk(*scene)
    item = desk.at(10)
    desk.queue.write_note(item, "which one?", "AB", NOW)
    assert item.verdict is None
    assert item in desk.queue.pending
    desk.decide(item, "accept")
    assert (item.verdict, item.note) == ("accept", "which one?")


def test_what_was_rejected_is_not_offered_as_missed(scene):
    mask, p = scene
    p[10:12, 10:12, 2:7] = 0.59  # by another network it is below the threshold
    mask[10:12, 10:12, 2:7] = 0
    desk = Desk(mask, p)
    item = desk.at(10, "missed")
    assert item in desk.queue.pending
    desk.decide(item, "reject")
    after = Desk(mask, p, desk.queue.review)
    assert after.at(10, "missed") not in after.queue.pending


def test_what_was_rejected_stays_listed_when_the_queue_is_made_anew(scene):
    desk = Desk(*scene)
    unsure = desk.at(10)
    desk.decide(unsure, "reject")
    before = desk.edit(unsure.index, 0)
    args = desk.queue.review, desk.mask, desk.index.entries, desk.scale
    again = Queue(candidates(desk.mask, desk.scale), *args, before=desk.queue)
    assert again.reviewed == 1
    assert len(again.items) == 4
    desk.queue = again
    desk.undo(before)
    assert len(desk.queue.items) == 4
    assert desk.at(10).verdict is None


def test_what_shape_excludes_is_open_and_kept_by_a_decision(scene):
    mask, p = scene
    left_out = np.zeros(SHAPE, bool)
    left_out[20:22, 20:22, 2:4] = True
    mask[left_out] = 0
    desk = Desk(mask, p, excluded=left_out)
    item = desk.at(20, "excluded")
    assert item in desk.queue.pending
    before = desk.edit(item.index, 1)
    desk.decide(desk.at(20), "accept")
    assert desk.at(20).verdict == "accept"
    assert item not in desk.queue.items
    desk.queue.replace(desk.queue.known(desk.at(20)), ())
    desk.undo(before)
    assert item in desk.queue.pending


def test_a_dispute_that_is_accepted_and_undone_is_open_again():
    agreed = np.zeros(SHAPE, bool)
    other = np.zeros(SHAPE, bool)
    other[10:12, 5, 5:9] = True
    scale, index = Scale(None, T, 0.5), ComponentIndex(agreed)
    items = candidates(agreed, scale, disputed={"ann": other})
    queue = Queue(items, Review(), agreed, index.entries, scale)
    (item,) = queue.pending
    mask = agreed.copy()
    mask[item.index] = True
    queue.follow(mask, index.entries, *index.update(mask, item.index))
    (found,) = queue.items
    assert found.kind == "found"
    queue.decide(found, "accept", "cas", NOW, "disputed")
    (kept,) = queue.review.decisions
    assert (kept.kind, kept.verdict, kept.rater) == ("disputed", "accept", "cas")
    assert queue.pending == []
    # taken back: the voxels first, then the decision
    mask[item.index] = False
    queue.follow(mask, index.entries, *index.update(mask, item.index))
    queue.replace([kept], [])
    assert queue.pending == [item]
