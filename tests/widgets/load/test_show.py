"""What comes with a subject that is shown, and what becomes of the one before."""

import numpy as np
import pytest

pytest.importorskip("napari")

from napari_pvs.errors import InputError
from napari_pvs.study.bids import subjects
from napari_pvs.study.drafts import DraftStore
from napari_pvs.study.labels import LabelStore
from napari_pvs.widgets.load.dock import Load

LONG = 300_000


@pytest.fixture
def shown(make_dock, make_study, wait):
    """The Load dock with a subject whose label is revision 1, its store, and who saves another."""
    root = make_study(subjects=2, labelled=0)
    dock = make_dock(Load)
    dock.subjects.study = root
    first, dock.other = subjects(root)
    store = LabelStore(root, first.name)
    dock.load_subject(first)
    wait(dock)
    scan = dock.session.scan

    def save(author, at):
        label = np.zeros(scan.grid.shape, bool)
        label[at] = True
        return store.save(scan.to_source(label), scan.source, author=author, origin="drawn")

    save("AB", (9, 9, 9))
    dock.load_subject(first)
    wait(dock)
    return dock, store, save


def test_a_label_is_made_from_the_revision_that_was_loaded(shown, qtbot):
    dock, store, save = shown
    save("CD", (9, 9, 12))  # another rater, while this one looks
    dock.session.labels.paint((9, 9, 9), 1)
    dock.autosave.save_final()
    qtbot.waitUntil(lambda: dock.session.save_state.state == "saved", timeout=LONG)
    mine = store.current()
    assert (mine.number, mine.parent, mine.origin) == (3, 1, "corrected")
    # and the next one from that, whoever saves in between
    save("CD", (9, 9, 13))
    dock.session.labels.paint((9, 9, 10), 1)
    dock.autosave.save_final()
    qtbot.waitUntil(lambda: store.current().number == 5, timeout=LONG)
    assert store.current().parent == 3


def test_new_labels_and_those_of_another_subject_are_made_from_no_revision(shown, qtbot, wait):
    dock, store, _ = shown
    dock.session.new_labels()
    dock.session.labels.paint((9, 9, 9), 1)
    dock.autosave.save_final()
    qtbot.waitUntil(lambda: dock.session.save_state.state == "saved", timeout=LONG)
    assert (store.current().parent, store.current().origin) == (None, "drawn")
    dock.load_subject(dock.other)
    wait(dock)
    dock.session.new_labels()
    dock.session.labels.paint((9, 9, 9), 1)
    dock.autosave.save_final()
    qtbot.waitUntil(lambda: dock.session.save_state.state == "saved", timeout=LONG)
    assert LabelStore(dock.subjects.study, dock.other.name).current().parent is None


def test_labels_that_were_put_aside_do_not_lie_on_the_next_subject(shown, wait):
    dock, _, _ = shown
    aside = dock.session.labels
    dock.session.new_labels()
    for said in (True, False):  # once is enough
        dock.load_subject(dock.other)
        wait(dock)
        assert aside in dock.viewer.layers
        assert not aside.visible
        assert (f"{aside.name!r} belongs to the previous scan" in dock.notice.text()) == said
    assert dock.session.labels is not aside


def edited_at_the_last_moment(dock, qtbot):
    """Load the other subject, and edit when it has been read; return the labels' layer."""
    labels = dock.session.labels
    labels.brush_size = 1
    dock.load_subject(dock.other)
    with qtbot.waitSignal(dock._job.finished, timeout=LONG):
        pass
    labels.paint((9, 9, 9), 1)
    assert dock.session.save_state.state == "edited"
    with qtbot.waitSignal(dock._job.ended, timeout=LONG):
        pass
    return labels


def test_an_edit_in_the_last_moment_gets_its_draft_and_the_layer_goes(shown, qtbot):
    dock, store, _ = shown
    labels = edited_at_the_last_moment(dock, qtbot)
    assert store.pending().voxels == 2
    assert labels not in dock.viewer.layers
    assert dock.session.subject.name == dock.other.name
    assert dock.notice.kind == "info"
    assert len(dock.viewer.layers) == 2


def test_where_it_gets_none_the_layer_stays_and_that_is_said(shown, qtbot, monkeypatch):
    dock, store, _ = shown

    def refuse(*_, **__):
        raise InputError("the disk is full; make room.")

    monkeypatch.setattr(DraftStore, "draft", refuse)
    labels = edited_at_the_last_moment(dock, qtbot)
    assert store.pending() is None
    assert labels in dock.viewer.layers
    assert labels.data.sum() == 2
    assert not labels.visible
    assert "is not saved yet; it was hidden" in dock.notice.text()
