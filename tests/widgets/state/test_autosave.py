"""Drafts after each edit, what is offered after a crash, and what happens on a full disk."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
import time
import weakref
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("napari")

from napari_pvs import files
from napari_pvs.errors import InputError
from napari_pvs.scans.display import display_index
from napari_pvs.scans.scan import load_scan
from napari_pvs.study.bids import subjects
from napari_pvs.study.drafts import DraftStore, Made, recovery_folder
from napari_pvs.study.labels import LabelStore
from napari_pvs.widgets.correct.clicks import Clicker
from napari_pvs.widgets.preferences import preferences
from napari_pvs.widgets.segment.dock import Segment
from napari_pvs.widgets.state import autosave as module
from napari_pvs.widgets.state.autosave import autosave_of
from napari_pvs.widgets.viewer.files import write_labels

LONG = 120_000


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "moment_ms", lambda: 30)
    monkeypatch.setattr(module, "RETRY_MS", 200)


@pytest.fixture
def saving(open_scan, qtbot):
    """Function that returns a session, its autosave, and what it told."""

    def make(**more):
        session = open_scan(**more)
        autosave = autosave_of(session)
        told, offers = [], []
        autosave.told.connect(lambda kind, text: told.append((kind, text)))
        autosave.offered.connect(offers.append)
        return session, autosave, told, offers

    return make


@pytest.fixture
def study_scan(make_study):
    """A study, its first subject, and that subject's scan."""
    root = make_study(subjects=1, labelled=0)
    (subject,) = subjects(root)
    return root, subject, load_scan(subject.t1, subject.t2, subject.brain)


def edit(session, tube, value=1):
    layer = session.labels
    layer.data_setitem(np.nonzero(from_mask(session, tube)), value)


def from_mask(session, tube):
    mask = np.zeros(session.scan.grid.shape, bool)
    mask[tube] = True
    return mask.transpose(2, 1, 0)[:, ::-1]


def told_of(told, kind):
    return [text for one, text in told if one == kind]


def test_every_edit_becomes_a_draft_and_none_is_written_twice(saving, qtbot, tubes, pvs_scan):
    session, autosave, told, _ = saving()
    session.new_labels()
    autosave.rater = "AB"
    edit(session, tubes["sure"])
    assert autosave.dirty
    qtbot.waitUntil(lambda: len(told) == 1, timeout=LONG)
    assert told[0][0] == "info"
    assert told[0][1].startswith("Draft saved at ")
    assert not autosave.dirty
    assert session.save_state.state == "draft"
    assert session.save_state.text.endswith("; not final.")
    offer = DraftStore(pvs_scan).pending()
    assert (offer.revision.author, offer.revision.origin) == ("AB", "drawn")
    np.testing.assert_array_equal(offer.labels, session.array(session.labels))
    # undo is an edit too
    session.labels.undo()
    qtbot.waitUntil(lambda: len(told) == 2, timeout=LONG)
    assert not DraftStore(pvs_scan).pending().labels.any()
    # and what comes back to what was saved is none
    edit(session, tubes["sure"])
    session.labels.undo()
    autosave.flush()
    autosave._thread.wait()
    assert len(list(recovery_folder().rglob("r*.json"))) == 2


def test_what_comes_back_to_what_was_saved_is_saved(saving, qtbot, study_scan):
    root, subject, scan = study_scan
    session, autosave, _, _ = saving(scan=scan)
    session.set_study(root, subject)
    session.new_labels()
    edit(session, (slice(5, 7),) * 3)
    autosave.save_final()
    qtbot.waitUntil(lambda: session.save_state.state == "saved", timeout=LONG)
    edit(session, (slice(8, 9),) * 3)
    assert session.save_state.state == "edited"
    session.labels.undo()
    qtbot.waitUntil(lambda: session.save_state.state == "saved", timeout=LONG)
    assert session.save_state.text.startswith("Saved as revision ")
    assert LabelStore(root, subject.name).pending() is None


def test_strokes_without_a_pause_are_saved_all_the_same(saving, qtbot, tubes, monkeypatch):
    monkeypatch.setattr(module, "LONGEST_S", 0.0)
    monkeypatch.setattr(module, "moment_ms", lambda: 60)
    session, _, told, _ = saving()
    session.new_labels()
    layer, strokes = session.labels, 0
    while not told and strokes < 2000:
        strokes += 1
        layer.data_setitem((np.array([3]), np.array([4]), np.array([5])), strokes % 2)
        qtbot.wait(10)
    assert told_of(told, "info")


def test_what_was_corrected_names_its_weights(saving, predict, qtbot, tubes, pvs_scan):
    session, _, told, _ = saving()
    predict(session)
    edit(session, tubes["missed"])
    qtbot.waitUntil(lambda: bool(told), timeout=LONG)
    revision = DraftStore(pvs_scan).pending().revision
    assert (revision.origin, revision.weights_id) == ("corrected", "aaaabbbbcccc")


def test_a_prediction_that_is_only_shown_has_not_been_corrected(
    saving, predict, qtbot, tubes, pvs_scan
):
    session, _, told, _ = saving()
    session.new_labels()
    predict(session, labels=False)
    edit(session, tubes["sure"])
    qtbot.waitUntil(lambda: bool(told), timeout=LONG)
    revision = DraftStore(pvs_scan).pending().revision
    assert (revision.origin, revision.weights_id) == ("drawn", None)
    # a click that follows its map brings it in
    Clicker(session, session).click("add", display_index((16, 18, 10), session.scan))
    qtbot.waitUntil(lambda: len(told) == 2, timeout=LONG)
    revision = DraftStore(pvs_scan).pending().revision
    assert (revision.origin, revision.weights_id) == ("corrected", "aaaabbbbcccc")


def test_edits_of_an_earlier_session_are_offered_and_come_back_as_one_step(
    saving, qtbot, tubes, pvs_scan
):
    labels = np.zeros(pvs_scan.grid.shape, np.uint8)
    labels[tubes["sure"]] = labels[tubes["doubtful"]] = 1
    DraftStore(pvs_scan).draft(labels, Made("CD", "drawn"))
    session, autosave, _, offers = saving()
    qtbot.waitUntil(lambda: bool(offers and offers[-1]), timeout=LONG)
    assert "Edits by CD" in offers[-1].text
    autosave.restore()
    np.testing.assert_array_equal(session.array(session.labels), labels)
    assert offers[-1] is None
    session.labels.undo()
    assert not session.labels.data.any()
    autosave.restore()  # there is none any more
    assert not session.labels.data.any()


def test_what_was_declined_stays_on_disk(saving, qtbot, tubes, pvs_scan):
    labels = np.zeros(pvs_scan.grid.shape, np.uint8)
    labels[tubes["sure"]] = 1
    DraftStore(pvs_scan).draft(labels, Made("CD", "drawn"))
    _, autosave, _, offers = saving()
    qtbot.waitUntil(lambda: bool(offers and offers[-1]), timeout=LONG)
    autosave.decline()
    assert offers[-1] is None
    assert DraftStore(pvs_scan).pending() is not None


def test_numbers_that_do_not_fit_the_layer_become_a_mask(saving, qtbot, tubes, pvs_scan):
    labels = np.zeros(pvs_scan.grid.shape, np.int32)
    labels[tubes["sure"]] = 1012
    DraftStore(pvs_scan).draft(labels, Made("CD", "drawn"))
    session, autosave, _, offers = saving()
    qtbot.waitUntil(lambda: bool(offers and offers[-1]), timeout=LONG)
    autosave.restore()
    np.testing.assert_array_equal(session.array(session.labels), labels > 0)


def test_in_a_study_drafts_and_final_are_revisions(saving, qtbot, study_scan):
    root, subject, scan = study_scan
    session, autosave, told, _ = saving(scan=scan)
    session.set_study(root, subject)
    session.new_labels()
    assert autosave.in_study
    written = []
    session.study_written.connect(lambda: written.append(1))
    edit(session, (slice(5, 7),) * 3)
    qtbot.waitUntil(lambda: bool(told), timeout=LONG)
    store = LabelStore(root, subject.name)
    assert store.pending().state == "draft"
    autosave.save_final()
    qtbot.waitUntil(lambda: len(told) == 2, timeout=LONG)
    assert told[-1] == ("info", "Saved as revision 2.")
    assert store.current().number == 2
    assert store.pending() is None
    assert session.save_state.text == "Saved as revision 2."
    assert len(written) == 2
    (subject,) = subjects(root)
    assert subject.state == "corrected"
    saved = np.asarray(nib.load(subject.label).dataobj)
    np.testing.assert_array_equal(scan.to_source(session.array(session.labels)), saved)


def test_two_windows_on_one_subject_keep_what_either_saves(saving, qtbot, study_scan):
    root, subject, _ = study_scan
    windows = []
    for cube in (slice(5, 7), slice(9, 12)):
        files_of_it = subject.t1, subject.t2, subject.brain
        session, autosave, told, _ = saving(scan=load_scan(*files_of_it))
        session.set_study(root, subject)
        session.new_labels()
        edit(session, (cube,) * 3)
        windows.append((session, autosave, told))
    store = LabelStore(root, subject.name)
    qtbot.waitUntil(lambda: len(store.revisions()) == 2, timeout=LONG)
    # the later one is current, the other is kept
    for number, (session, autosave, told) in enumerate(windows, start=3):
        autosave.save_final()
        final = f"Saved as revision {number}."
        qtbot.waitUntil(lambda told=told, text=final: ("info", text) in told, timeout=LONG)
        saved = store.load(store.current()).data
        np.testing.assert_array_equal(
            saved, session.scan.to_source(session.array(session.labels).astype(np.int32))
        )
    kept = sorted(store.revisions(), key=lambda one: one.number)
    assert [one.state for one in kept] == ["draft", "draft", "final", "final"]
    assert {one.voxels for one in kept[:2]} == {8, 27}  # whichever came first
    assert [one.voxels for one in kept[2:]] == [8, 27]


def test_a_scan_from_elsewhere_is_not_saved_into_the_open_study(saving, qtbot, study_scan, tubes):
    root, subject, _ = study_scan
    session, autosave, told, _ = saving()  # in memory, such as the sample
    session.set_study(root, subject)
    session.new_labels()
    assert not autosave.in_study
    edit(session, tubes["sure"])
    qtbot.waitUntil(lambda: bool(told), timeout=LONG)
    assert LabelStore(root, subject.name).revisions() == []
    assert list(recovery_folder().rglob("*.nii.gz"))


def test_an_edit_while_the_final_one_is_written_stays_unsaved(saving, qtbot, study_scan):
    root, subject, scan = study_scan
    session, autosave, told, _ = saving(scan=scan)
    session.set_study(root, subject)
    session.new_labels()
    edit(session, (slice(5, 7),) * 3)
    autosave.save_final()
    edit(session, (slice(8, 9),) * 3)
    qtbot.waitUntil(lambda: any("revision" in text for _, text in told), timeout=LONG)
    assert session.save_state.state in ("edited", "draft")
    qtbot.waitUntil(lambda: not autosave.dirty and len(told) > 1, timeout=LONG)
    offer = DraftStore(scan, root, subject.name).pending()
    np.testing.assert_array_equal(offer.labels, session.array(session.labels))


def test_export_writes_the_scans_geometry_and_settles_the_draft(
    saving, qtbot, head_files, tmp_path
):
    scan = load_scan(*head_files)
    session, autosave, told, _ = saving(scan=scan)
    session.new_labels()
    edit(session, (slice(5, 7),) * 3)
    autosave.flush()
    path = tmp_path / "mine.nii.gz"
    autosave.export(path)
    qtbot.waitUntil(lambda: len(told) == 2, timeout=LONG)
    assert told[-1] == ("info", f"Saved {path}.")
    image = nib.load(path)
    np.testing.assert_array_equal(image.affine, nib.load(head_files[0]).affine)
    expected = scan.to_source(session.array(session.labels))
    np.testing.assert_array_equal(np.asarray(image.dataobj), expected)
    assert DraftStore(scan).pending() is None
    assert session.save_state.text == "Saved as mine.nii.gz."


def test_an_export_from_a_study_is_a_copy_and_the_draft_is_still_saved(
    saving, qtbot, study_scan, tmp_path
):
    root, subject, scan = study_scan
    session, autosave, told, _ = saving(scan=scan)
    session.set_study(root, subject)
    session.new_labels()
    edit(session, (slice(5, 7),) * 3)
    autosave.export(tmp_path / "copy.nii.gz")
    qtbot.waitUntil(lambda: len(told) == 2, timeout=LONG)
    assert (tmp_path / "copy.nii.gz").is_file()
    assert told[0][1].endswith("In the study the labels are still a draft.")
    assert told[1][1].startswith("Draft saved")
    assert LabelStore(root, subject.name).pending() is not None
    assert session.save_state.state == "draft"


def test_an_export_that_fails_says_so_and_loses_nothing(saving, qtbot, tubes, tmp_path):
    session, autosave, told, _ = saving()
    session.new_labels()
    edit(session, tubes["sure"])
    autosave.export(tmp_path / "mine.tif")
    qtbot.waitUntil(lambda: bool(told_of(told, "error")), timeout=LONG)
    assert "Nothing is lost" in told_of(told, "error")[0]
    assert session.save_state.state == "edited"
    qtbot.waitUntil(lambda: bool(told_of(told, "info")), timeout=LONG)  # the draft


def test_an_export_is_told_though_older_drafts_could_not_be_settled(
    saving, qtbot, tubes, tmp_path, monkeypatch
):
    session, autosave, told, _ = saving()
    session.new_labels()
    edit(session, tubes["sure"])
    qtbot.waitUntil(lambda: session.save_state.state == "draft", timeout=LONG)
    monkeypatch.setattr(LabelStore, "save", _full)
    path = tmp_path / "mine.nii.gz"
    autosave.export(path)
    qtbot.waitUntil(lambda: session.save_state.state == "saved", timeout=LONG)
    assert told[-1] == ("info", f"Saved {path}.")
    assert np.asarray(nib.load(path).dataobj).any()


def _full(*_, **__):
    raise InputError("the disk is full")


def test_a_full_disk_is_told_and_tried_again(saving, qtbot, tubes, own_folders, pvs_scan):
    own_folders.write_text("in the way of the folder")
    session, autosave, told, _ = saving()
    session.new_labels()
    edit(session, tubes["sure"])
    qtbot.waitUntil(lambda: bool(told_of(told, "error")), timeout=LONG)
    text = told_of(told, "error")[0]
    assert "cannot be written" in text
    assert text.endswith("Your edits stay in the viewer; saving is tried again.")
    assert autosave.dirty
    assert session.save_state.state == "edited"
    own_folders.unlink()
    qtbot.waitUntil(lambda: bool(told_of(told, "info")), timeout=LONG)
    np.testing.assert_array_equal(
        DraftStore(pvs_scan).pending().labels, session.array(session.labels)
    )


def test_a_disk_that_fills_up_while_a_draft_is_written(saving, qtbot, tubes, pvs_scan, monkeypatch):
    session, autosave, told, _ = saving()
    session.new_labels()
    edit(session, tubes["sure"])
    qtbot.waitUntil(lambda: session.save_state.state == "draft", timeout=LONG)
    first = session.array(session.labels).copy()

    def no_room(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", no_room)
        edit(session, tubes["doubtful"])
        qtbot.waitUntil(lambda: bool(told_of(told, "error")), timeout=LONG)
        assert "(No space left on device); make room" in told_of(told, "error")[0]
        assert autosave.dirty
        # the draft before is whole, and nothing half written lies beside it
        np.testing.assert_array_equal(DraftStore(pvs_scan).pending().labels, first)
        assert list(recovery_folder().rglob(".tmp-*")) == []
    qtbot.waitUntil(lambda: session.save_state.state == "draft", timeout=LONG)
    np.testing.assert_array_equal(
        DraftStore(pvs_scan).pending().labels, session.array(session.labels)
    )


def test_every_dock_tells_that_edits_could_not_be_saved(saving, qtbot, tubes, monkeypatch):
    session = saving()[0]
    dock = Segment(session.viewer)
    qtbot.addWidget(dock, before_close_func=lambda dock: dock.stop())
    session.new_labels()
    with monkeypatch.context() as patch:
        patch.setattr(LabelStore, "save", _full)
        edit(session, tubes["sure"])
        qtbot.waitUntil(lambda: dock.notice.kind == "error", timeout=LONG)
        text = dock.notice.text()
        assert text == ("The disk is full Your edits stay in the viewer; saving is tried again.")
    qtbot.waitUntil(lambda: session.save_state.state == "draft", timeout=LONG)
    qtbot.waitUntil(lambda: dock.notice.text() == "", timeout=LONG)  # nothing to tell any more


def test_what_failed_is_saved_when_its_layer_is_corrected_again(
    saving, qtbot, tubes, own_folders, pvs_scan, monkeypatch
):
    monkeypatch.setattr(module, "RETRY_MS", 10**6)
    own_folders.write_text("in the way of the folder")
    session, autosave, told, _ = saving()
    first = session.new_labels()
    edit(session, tubes["sure"])
    session.new_labels()  # which tries to save those before
    qtbot.waitUntil(lambda: bool(told_of(told, "error")), timeout=LONG)
    own_folders.unlink()
    session.set_labels(first)
    assert autosave.dirty
    qtbot.waitUntil(lambda: bool(told_of(told, "info")), timeout=LONG)
    np.testing.assert_array_equal(DraftStore(pvs_scan).pending().labels, session.array(first))


def test_the_sessions_own_draft_is_not_offered(saving, qtbot, tubes):
    session, autosave, told, offers = saving()
    session.new_labels()
    edit(session, tubes["sure"])
    qtbot.waitUntil(lambda: bool(told_of(told, "info")), timeout=LONG)
    offers.clear()
    with qtbot.waitSignal(autosave.reviewed, timeout=LONG):
        autosave.look()
    assert offers == []


def test_an_edit_made_before_the_offer_comes_does_not_keep_it_away(
    saving, qtbot, tubes, pvs_scan, monkeypatch
):
    labels = np.zeros(pvs_scan.grid.shape, np.uint8)
    labels[tubes["sure"]] = 1
    DraftStore(pvs_scan).draft(labels, Made("CD", "drawn"))
    pending = DraftStore.pending

    def slowly(*arguments):
        time.sleep(0.5)
        return pending(*arguments)

    monkeypatch.setattr(DraftStore, "pending", slowly)
    session, autosave, _, offers = saving()
    session.new_labels()
    edit(session, tubes["doubtful"])
    assert autosave.dirty
    qtbot.waitUntil(lambda: bool(offers and offers[-1]), timeout=LONG)
    assert offers[-1].revision.author == "CD"


def test_voxels_that_another_plugin_sets_in_the_array_are_saved(saving, qtbot, tubes, pvs_scan):
    session, autosave, told, _ = saving()
    labels = session.new_labels()
    edit(session, tubes["sure"])
    qtbot.waitUntil(lambda: bool(told_of(told, "info")), timeout=LONG)
    labels.data[from_mask(session, tubes["doubtful"])] = 1
    assert session.unsaved() == [labels]
    autosave.settle(60)
    np.testing.assert_array_equal(DraftStore(pvs_scan).pending().labels, session.array(labels))
    labels.data[:] = 0
    session.set_labels(None)  # as when another subject is opened
    autosave.settle(60)
    assert not DraftStore(pvs_scan).pending().labels.any()


def test_a_study_made_read_only_is_told_and_the_draft_kept_elsewhere(
    saving, qtbot, study_scan, pvs_scan
):
    root, subject, scan = study_scan
    session, _, told, _ = saving(scan=scan)
    session.set_study(root, subject)
    session.new_labels()
    folder = root / "derivatives" / "labels"
    folder.rmdir() if folder.is_dir() else None
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("root writes everywhere, but not into a file")
    edit(session, (slice(5, 7),) * 3)
    qtbot.waitUntil(lambda: bool(told_of(told, "warning")), timeout=LONG)
    assert "Until then, edits are saved in" in told_of(told, "warning")[0]
    assert list(recovery_folder().rglob("*.nii.gz"))
    folder.unlink()
    qtbot.waitUntil(lambda: bool(told_of(told, "info")), timeout=LONG)
    assert LabelStore(root, subject.name).pending() is not None


def test_labels_that_leave_the_viewer_are_saved_first(saving, qtbot, tubes, pvs_scan):
    session, _, told, _ = saving()
    session.new_labels()
    edit(session, tubes["sure"])
    expected = session.array(session.labels).copy()
    session.viewer.layers.remove(session.labels)
    qtbot.waitUntil(lambda: bool(told), timeout=LONG)
    np.testing.assert_array_equal(DraftStore(pvs_scan).pending().labels, expected)


def test_another_scan_brings_its_own_offer(saving, qtbot, tubes, pvs_scan, head_files):
    labels = np.zeros(pvs_scan.grid.shape, np.uint8)
    labels[tubes["sure"]] = 1
    DraftStore(pvs_scan).draft(labels, Made("CD", "drawn"))
    session, autosave, _, offers = saving()
    qtbot.waitUntil(lambda: bool(offers and offers[-1]), timeout=LONG)
    session.viewer.layers.clear()
    assert offers[-1] is None
    autosave.restore()
    assert not len(session.viewer.layers)


def test_the_rater_is_remembered(saving):
    _, autosave, _, _ = saving()
    assert autosave.rater  # who is logged in
    autosave.rater = "  Dr X "
    _, other, _, _ = saving()
    assert other is not autosave
    assert other.rater == "Dr X"


def test_the_session_goes_with_its_viewer_and_takes_its_autosave_along(qapp, own_folders):
    from napari.components import ViewerModel

    from napari_pvs.widgets.state.session import session_of

    viewer = ViewerModel()
    session = session_of(viewer)
    gone = weakref.ref(autosave_of(session))
    assert autosave_of(session) is gone()
    del viewer, session
    gc.collect()
    assert gone() is None


def test_old_drafts_go_after_the_days_that_the_user_prefers(
    open_scan, own_folders, qtbot, monkeypatch
):
    from napari_pvs.study import drafts

    asked = []
    monkeypatch.setattr(drafts, "prune_unfinished", lambda _, days: asked.append(days))
    preferences().correct.keep_drafts_days = 200
    session = open_scan()
    autosave = autosave_of(session)
    session.new_labels().data_setitem((np.array([3]), np.array([3]), np.array([3])), 1)
    autosave.settle(LONG / 1000)
    assert asked == [200]


CRASHING = """
    import sys
    from pathlib import Path
    import numpy as np
    import napari
    from napari_pvs.scans.scan import load_scan
    from napari_pvs.widgets.correct.dock import Correct
    from napari_pvs.widgets.viewer.layers import scan_layers

    viewer = napari.Viewer(show=False)
    for data, meta, _ in scan_layers(load_scan(*map(Path, sys.argv[1:]))):
        viewer.add_image(data, **meta)
    dock = Correct(viewer)
    viewer.window.add_dock_widget(dock)
    dock.autosave.told.connect(lambda kind, text: print(kind, text, flush=True))
    dock.session.new_labels()
    layer = dock.session.labels
    layer.brush_size = 4
    layer.paint((10, 12, 9), 1)
    napari.run(force=True)
"""


def test_after_sigkill_the_last_edit_is_offered(saving, qtbot, head_files, own_folders):
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        pytest.skip("no display; run under xvfb-run")
    names = [str(path) for path in head_files]
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CRASHING), *names],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        line = next((line for line in child.stdout if "Draft saved" in line), "")
        assert line.startswith("info Draft saved at ")
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    finally:
        child.kill()
        child.stdout.close()
    session, autosave, _, offers = saving(scan=load_scan(*head_files))
    qtbot.waitUntil(lambda: bool(offers and offers[-1]), timeout=LONG)
    assert datetime.now(UTC) - offers[-1].revision.time < timedelta(hours=1)
    autosave.restore()
    painted = session.labels.data
    assert painted[10, 12, 9] == 1
    assert 4 <= painted.sum() <= 30
    assert Path(names[0]).is_file()


@pytest.fixture
def tilted(tmp_path, make_head):
    """A scan whose file is rotated by 15 degrees, and that file."""
    head, angle = make_head(tubes=0), np.radians(15)
    affine = np.eye(4)
    affine[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine[:3, :3] *= 0.8
    affine[:3, 3] = -10, -20, 5
    paths = tmp_path / "T1w.nii.gz", tmp_path / "brain.nii.gz"
    for path, array in zip(paths, (head.t1.astype(np.float32), head.brain), strict=True):
        nib.save(nib.Nifti1Image(np.asarray(array, np.float32), affine), path)
    return load_scan(paths[0], None, paths[1]), paths[0]


@pytest.mark.parametrize("scaled", [True, False])
def test_a_layer_of_the_users_own_is_saved_in_the_geometry_of_the_scan(
    saving, qtbot, tilted, tmp_path, scaled
):
    scan, path = tilted
    session, autosave, told, _ = saving(scan=scan)
    like = {"scale": session.t1.scale, "translate": session.t1.translate} if scaled else {}
    layer = session.viewer.add_labels(np.zeros(session.t1.data.shape, np.uint8), **like)
    session.set_labels(layer)
    edit(session, (slice(5, 7), slice(8, 10), slice(3, 6)))
    autosave.export(tmp_path / "mine.nii.gz")
    qtbot.waitUntil(lambda: any("mine.nii.gz" in text for _, text in told), timeout=LONG)
    data, meta, _ = layer.as_layer_data_tuple()
    write_labels(str(tmp_path / "by_napari.nii.gz"), data, meta)
    expected = np.zeros(scan.grid.shape, bool)
    expected[5:7, 8:10, 3:6] = True
    for name in ("mine", "by_napari"):
        written = nib.load(tmp_path / f"{name}.nii.gz")
        np.testing.assert_allclose(written.affine, nib.load(path).affine, atol=1e-4)
        np.testing.assert_array_equal(np.asarray(written.dataobj) > 0, scan.to_source(expected))


def test_what_is_edited_while_another_layer_is_corrected_is_not_forgotten(
    saving, qtbot, study_scan
):
    root, subject, scan = study_scan
    session, _, _, _ = saving(scan=scan)
    session.set_study(root, subject)
    first = session.new_labels()
    edit(session, (slice(5, 7),) * 3)
    qtbot.waitUntil(lambda: session.save_state.state == "draft", timeout=LONG)
    session.new_labels(name="second")
    assert session.unsaved() == []
    first.data_setitem(tuple(np.array([[12, 13, 14], [12, 12, 12], [12, 12, 12]])), 1)
    assert session.unsaved() == [first]
    session.set_labels(first)
    assert session.save_state.state == "edited"
    qtbot.waitUntil(lambda: session.save_state.state == "draft", timeout=LONG)
    newest = max(LabelStore(root, subject.name).revisions(), key=lambda one: one.number)
    assert newest.voxels == np.count_nonzero(first.data) == 11


@pytest.mark.parametrize("error", [MemoryError("no room"), ValueError("a bug")])
def test_whatever_stops_a_draft_is_said_and_tried_again(
    saving, qtbot, study_scan, monkeypatch, error
):
    root, subject, scan = study_scan
    session, _, told, _ = saving(scan=scan)
    session.set_study(root, subject)
    session.new_labels()
    save, tries = LabelStore.save, []

    def fail_once(self, *arguments, **values):
        tries.append(1)
        if len(tries) == 1:
            raise error
        return save(self, *arguments, **values)

    monkeypatch.setattr(LabelStore, "save", fail_once)
    with qtbot.captureExceptions() as caught:
        edit(session, (slice(5, 7),) * 3)
        qtbot.waitUntil(lambda: bool(told_of(told, "info")), timeout=LONG)
    assert caught[0][0] is type(error)  # its traceback is not lost
    assert str(error) in told_of(told, "error")[0]
    assert "stay in the viewer" in told_of(told, "error")[0]
    assert session.save_state.state == "draft"


def test_numbers_that_no_label_file_holds_are_saved_as_one(saving, qtbot, study_scan):
    root, subject, scan = study_scan
    session, _, told, _ = saving(scan=scan)
    session.set_study(root, subject)
    session.set_labels(session.viewer.add_labels(np.zeros(session.t1.data.shape, np.int64)))
    edit(session, (slice(5, 7),) * 3, 2**40)
    qtbot.waitUntil(lambda: session.save_state.state == "draft", timeout=LONG)
    assert not told_of(told, "error")


def test_what_is_restored_keeps_the_weights_it_came_from(saving, qtbot, study_scan):
    root, subject, scan = study_scan
    mask = np.zeros(scan.grid.shape, np.uint8)
    mask[5:8, 5:8, 5:8] = 1
    DraftStore(scan, root, subject.name).draft(mask, Made("AB", "corrected", "w" * 12))
    session, autosave, _, offers = saving(scan=scan)
    session.set_study(root, subject)
    autosave.look()
    qtbot.waitUntil(lambda: bool(offers and offers[-1]), timeout=LONG)
    autosave.restore()
    autosave.save_final()
    qtbot.waitUntil(lambda: session.save_state.state == "saved", timeout=LONG)
    saved = LabelStore(root, subject.name).current()
    assert (saved.origin, saved.weights_id) == ("corrected", "w" * 12)


def test_a_copied_prediction_is_remembered_when_its_layer_is_gone(
    saving, qtbot, study_scan, predict
):
    root, subject, scan = study_scan
    session, autosave, _, _ = saving(scan=scan)
    session.set_study(root, subject)
    found = np.full(scan.grid.shape, 0.01, np.float32)
    found[5:9, 5:9, 5:9] = 0.9
    prediction = predict(session, labels=True, found=found)
    session.viewer.layers.remove(prediction.layer)
    edit(session, (slice(9, 10),) * 3)
    autosave.save_final()
    qtbot.waitUntil(lambda: session.save_state.state == "saved", timeout=LONG)
    saved = LabelStore(root, subject.name).current()
    assert (saved.origin, saved.weights_id) == ("corrected", prediction.weights_id)


def test_decisions_are_known_where_an_earlier_draft_is_damaged(saving, qtbot, study_scan):
    from napari_pvs.correction.items import Decision, Review

    root, subject, scan = study_scan
    place = DraftStore(scan, root, subject.name)
    one = Decision(point=(1, 1, 1), kind="found", verdict="reject", time=datetime.now(UTC))
    place.save_review(Review(decisions=(one,)))
    mask = np.zeros(scan.grid.shape, np.uint8)
    mask[5:8, 5:8, 5:8] = 1
    draft = place.draft(mask, Made("AB", "drawn")).revision
    LabelStore(root, subject.name).path(draft).write_bytes(b"")
    session, autosave, told, _ = saving(scan=scan)
    session.set_study(root, subject)
    reviews = []
    autosave.reviewed.connect(reviews.append)
    autosave.look()
    qtbot.waitUntil(lambda: bool(told_of(told, "warning")), timeout=LONG)
    assert "was altered" in told_of(told, "warning")[0]
    assert reviews[-1].decisions == (one,)
