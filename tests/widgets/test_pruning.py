"""Which drafts go when labels are final."""

import numpy as np
import pytest

from napari_pvs.scans.nifti import Geometry
from napari_pvs.study.labels import LabelStore
from napari_pvs.widgets.pruning import KEPT, prune


@pytest.fixture
def save(tmp_path):
    """Function that saves a label unlike all others; its attribute is the store."""
    store = LabelStore(tmp_path, "sub-01")
    like = Geometry.from_affine((4, 4, 60), np.eye(4))
    made = []

    def one(author="AB", origin="corrected", state="draft"):
        label = np.zeros((4, 4, 60), np.uint8)
        label[0, 0, len(made)] = 1
        made.append(1)
        return store.save(label, like, author=author, origin=origin, state=state)

    one.store = store
    return one


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
