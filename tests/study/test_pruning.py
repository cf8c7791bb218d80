"""Which drafts go: when labels are final, and when they never become so."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from napari_pvs.scans.nifti import Geometry
from napari_pvs.study.drafts import KEPT, YOUNGEST_DAYS, prune, prune_unfinished
from napari_pvs.study.labels import LabelStore


@pytest.fixture
def save(tmp_path):
    """Function that saves a label unlike all others; its attribute is the store."""
    store = LabelStore(tmp_path, "sub-01")
    like = Geometry.from_affine((4, 4, 60), np.eye(4))
    made = []

    def one(author="AB", origin="corrected", state="draft", age=None):
        label = np.zeros((4, 4, 60), np.uint8)
        label[0, 0, len(made)] = 1
        made.append(1)
        revision = store.save(label, like, author=author, origin=origin, state=state)
        if age is not None:
            made_old(store, revision, age)
        return revision

    one.store = store
    return one


NOON = datetime(2026, 6, 15, 12, tzinfo=UTC)
OLD = YOUNGEST_DAYS + 10


def made_old(store, revision, age):
    """Write another time, so many days before `NOON`, into a sidecar."""
    path = store.path(revision).with_name(f"r{revision.number:04d}.json")
    about = json.loads(path.read_text())
    path.write_text(json.dumps(about | {"time": (NOON - timedelta(days=age)).isoformat()}))


def numbers(store):
    return [revision.number for revision in store.revisions()]


def test_before_anything_is_final_all_drafts_stay(save):
    for _ in range(KEPT + 4):
        save()
    assert prune(save.store) == 0
    assert len(numbers(save.store)) == KEPT + 4


def test_the_newest_stay_and_every_raters_last_and_predictions(save):
    save("napari-pvs", "predicted")  # 1
    save("CD")  # 2
    save("CD")  # 3, the last of CD
    for _ in range(KEPT + 2):  # 4 to KEPT + 5
        save()
    final = save(state="final").number
    save()  # begun since
    assert prune(save.store) == 4
    left = [1, 3, *range(final - KEPT + 1, final), final, final + 1]
    assert numbers(save.store) == left
    for revision in save.store.revisions():
        assert save.store.load(revision).data.sum() == 1
    # no image is left of those that went, and no number is given twice
    folder = save.store.path(save.store.revisions()[0]).parent
    assert len(list(folder.glob("*.nii.gz"))) == len(left)
    assert save().number == final + 2
    assert prune(save.store) == 0 or numbers(save.store)[-1] == final + 2


def test_what_cannot_be_deleted_stays_without_a_word(save, monkeypatch):
    for _ in range(KEPT + 2):
        save()
    save(state="final")

    def refuse(*_, **__):
        raise PermissionError("read-only")

    monkeypatch.setattr("pathlib.Path.unlink", refuse)
    assert prune(save.store) == 0
    assert len(numbers(save.store)) == KEPT + 3


def test_unfinished_labels_keep_the_last_of_each_day_and_rater_and_all_that_is_young(save):
    hour = 1 / 24
    save("napari-pvs", "predicted", age=OLD + 9)  # 1
    save(age=OLD + 8)  # 2, goes
    save("CD", age=OLD + 8 - hour)  # 3, the last of CD
    save(age=OLD + 8 - hour)  # 4, the last of its day
    save(age=OLD + 1)  # 5, goes
    save(age=OLD + 1 - hour)  # 6, goes
    save(age=OLD + 1 - 2 * hour)  # 7, the last of its day
    save("AB", state="final", age=OLD)  # 8
    save(age=OLD - hour)  # 9, goes: begun since, and gone on from
    save(age=OLD - 2 * hour)  # 10
    for at in range(KEPT + 3):  # 11 to KEPT + 13: young
        save(age=YOUNGEST_DAYS - 1 - at * hour / 10)
    left = [1, 3, 4, 7, 8, 10, *range(11, KEPT + 14)]
    assert prune_unfinished(save.store, 10**4, NOON) == 0
    assert prune_unfinished(save.store, OLD + 5, NOON) == 1
    assert prune_unfinished(save.store, 0, NOON) == 3  # no less than it should
    assert numbers(save.store) == left
    assert prune_unfinished(save.store, 0, NOON) == 0
    for revision in save.store.revisions():
        assert save.store.load(revision).data.sum() == 1


def test_the_newest_drafts_of_a_scan_stay_however_old(save):
    for _ in range(KEPT + 2):
        save(age=10 * OLD)
    assert prune_unfinished(save.store, OLD, NOON) == 2
    assert numbers(save.store) == list(range(3, KEPT + 3))
    assert save.store.pending().number == KEPT + 2


def test_what_is_damaged_is_left_as_it_is(save):
    for _ in range(KEPT + 2):
        save(age=OLD)
    folder = save.store.path(save.store.revisions()[0]).parent
    (folder / "r0003.json").write_text("{")
    assert prune_unfinished(save.store, OLD, NOON) == 0
    assert len(list(folder.glob("*.json"))) == KEPT + 2
