"""The Load dock, by its buttons, with real files and the real helper process."""

import gc
import shutil
import weakref
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("napari")

from napari.components import ViewerModel
from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
from qtpy.QtGui import QDropEvent

from napari_pvs.scans.scan import load_scan
from napari_pvs.study.bids import subjects
from napari_pvs.study.labels import LabelStore
from napari_pvs.widgets import worker
from napari_pvs.widgets.layers import from_display
from napari_pvs.widgets.load import Load

LONG = 300_000


@pytest.fixture
def dock(qtbot):
    viewer = ViewerModel()
    dock = Load(viewer)
    dock.viewer = viewer
    qtbot.addWidget(dock, before_close_func=lambda dock: dock.stop())
    return dock


def click(qtbot, button):
    assert button.isEnabled(), button.toolTip()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def wait(qtbot, dock):
    if dock.busy:  # asking again and again would take the processor from the process
        with qtbot.waitSignal(dock._job.ended, timeout=LONG):
            pass


def drop(dock, *paths):
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    copy, left = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton
    event = QDropEvent(QPointF(5, 5), copy, data, left, Qt.KeyboardModifier.NoModifier)
    dock.dragEnterEvent(event)
    assert event.isAccepted()
    dock.dropEvent(event)


def listed(dock):
    return [row.subject.name for row in dock.subjects.table.rows]


def test_dropped_files_are_shown_with_the_brains_contrast(dock, qtbot, head_files, head):
    assert "choose or drop a T1" in dock.load.toolTip()
    assert dock.hint.text() == "To load, choose or drop a T1, a T2, or both."
    t1, t2, brain = head_files
    brain = brain.rename(brain.with_name("brain_mask.nii.gz"))
    drop(dock, t2, brain, t1)
    assert [row.given for row in dock.rows.values()] == [t1, t2, brain]
    assert dock.rows["t2"].label.text() == "t2.nii.gz"
    click(qtbot, dock.load)
    assert dock.bar.isVisibleTo(dock)
    wait(qtbot, dock)
    assert not dock.bar.isVisibleTo(dock)
    assert dock.notice.text() == "Loaded T1 + T2: 24×28×26 voxels of 0.8×0.8×0.8 mm."
    session = dock.session
    assert list(dock.viewer.layers) == [session.t1, session.t2]
    assert (session.t1.visible, session.t2.visible) == (False, True)
    np.testing.assert_array_equal(from_display(session.t1.data), head.t1)
    inside = head.t2[head.brain]
    expected = np.percentile(inside, (0.5, 99.5))
    np.testing.assert_allclose(session.t2.contrast_limits, expected, rtol=1e-5)
    assert session.t2.axis_labels == ("superior", "posterior", "right")
    assert {str(unit) for unit in session.t2.units} == {"millimeter"}
    assert session.scan.source.path == t1
    click(qtbot, dock.rows["t2"].none)
    assert dock.rows["t2"].given is None


def test_wrong_files_stay_in_the_dock_as_a_sentence(dock, qtbot, head_files, tmp_path):
    broken = tmp_path / "T1.nii.gz"
    broken.write_bytes(b"no scan")
    drop(dock, broken)
    click(qtbot, dock.load)
    wait(qtbot, dock)
    assert dock.notice.kind == "error"
    assert "T1.nii.gz is truncated or damaged; copy it again" in dock.notice.text()
    # swapped: shown all the same, with a warning
    drop(dock, head_files[0].rename(tmp_path / "T2.nii.gz"), head_files[1].rename(broken),
         head_files[2].rename(tmp_path / "brain_mask.nii.gz"))  # fmt: skip
    click(qtbot, dock.load)
    wait(qtbot, dock)
    assert dock.notice.kind == "warning"
    assert "may be swapped" in dock.notice.text()
    assert dock.session.scan is not None


def test_layers_become_the_scan(dock, qtbot, head, tmp_path):
    viewer = dock.viewer
    size = (0.9, 0.8, 0.7)
    t2 = viewer.add_image(head.t2, scale=size, name="mine")
    brain = viewer.add_labels(head.brain.astype(np.uint8), scale=size)
    assert "select an Image layer" in dock.rows["t2"].layer.toolTip()
    click(qtbot, dock.rows["brain"].layer)
    viewer.layers.selection.active = t2
    assert "select a Labels layer" in dock.rows["brain"].layer.toolTip()
    click(qtbot, dock.rows["t2"].layer)
    assert dock.rows["brain"].given is brain
    click(qtbot, dock.load)
    wait(qtbot, dock)
    session = dock.session
    assert (session.scan.modalities, session.t1) == (("T2",), None)
    np.testing.assert_array_equal(session.t2.data, head.t2)
    np.testing.assert_allclose(session.t2.scale, size)
    assert t2 in viewer.layers  # the user's own layers stay
    flat = viewer.add_image(np.zeros((5, 6)), name="flat")
    viewer.layers.selection.active = flat
    click(qtbot, dock.rows["t2"].layer)
    click(qtbot, dock.load)
    assert dock.notice.text() == "the layer 'flat' has 2 axes; save a layer of three."


def test_a_study_is_listed_and_its_subjects_are_loaded(dock, qtbot, make_study):
    root = make_study(subjects=4, labelled=1)
    second, third = subjects(root)[1:3]
    scan = load_scan(second.t1, second.t2, second.brain)
    label = nib.load(root / "derivatives/labels/sub-01/anat/sub-01_desc-pvs_mask.nii.gz")
    give = {"author": "a", "like": scan.source}
    for one, origin, state in ((second, "corrected", "final"), (third, "predicted", "draft")):
        LabelStore(root, one.name).save(np.asarray(label.dataobj), origin=origin, state=state,
                                        **give)  # fmt: skip
    drop(dock, root)
    rows = dock.subjects.table
    for _ in range(2):  # they are listed, then their labels are counted
        with qtbot.waitSignal(dock.subjects._jobs[0].ended, timeout=LONG):
            pass
    assert all(row.count for row in rows.rows[:3])
    assert [row.subject.state for row in rows.rows] == [
        "reference", "corrected", "segmented", "new",
    ]  # fmt: skip
    volume = float(np.asarray(label.dataobj).sum() * 0.512)
    assert [row.volume_mm3 for row in rows.rows[:3]] == pytest.approx([volume] * 3, abs=1e-3)
    assert (rows.rows[3].volume_mm3, rows.rows[3].count) == (None, None)
    qtbot.keyClicks(dock.subjects.search, "corr")
    assert [row.subject.name for row in rows.shown()] == ["sub-02"]
    rows.selectRow(0)
    qtbot.keyClick(rows, Qt.Key.Key_Return)
    wait(qtbot, dock)
    session = dock.session
    assert (session.study, session.subject.name) == (root, "sub-02")
    np.testing.assert_array_equal(session.array(session.labels), np.asarray(label.dataobj))
    assert session.reference is None
    # labels that nobody saved are not lost with the next subject
    session.labels.data_setitem((np.array([2]), np.array([2]), np.array([2])), 1)
    edited = session.labels
    dock.subjects.search.clear()
    dock.load_subject(rows.rows[0].subject)
    wait(qtbot, dock)
    assert (session.labels, edited.visible) == (None, False)
    assert edited in dock.viewer.layers
    assert "'PVS labels' was not saved, so it stays, hidden" in dock.notice.text()
    np.testing.assert_array_equal(session.array(session.reference), np.asarray(label.dataobj))
    assert len(dock.viewer.layers) == 4
    # the study goes away while it is open
    shutil.move(root, root.with_name("moved"))
    click(qtbot, dock.refresh)
    with qtbot.waitSignal(dock.subjects._jobs[0].ended, timeout=LONG):
        pass
    assert dock.notice.kind == "error"
    assert f"{root} is not a folder" in dock.notice.text()
    assert len(listed(dock)) == 4
    dock.load_subject(rows.rows[2].subject)
    wait(qtbot, dock)
    assert "does not exist; check the path" in dock.notice.text()


def test_memory_of_a_scan_returns_when_another_is_loaded(dock, qtbot, make_study):
    root = make_study(subjects=3, labelled=3)
    scans, folders = [], []
    for subject in subjects(root):
        dock.load_subject(subject)
        wait(qtbot, dock)
        scans.append(weakref.ref(dock.session.scan))
        folders.append(worker.stored(dock.session.scan))
    gc.collect()
    assert [scan() is not None for scan in scans] == [False, False, True]
    assert [folder.exists() for folder in folders] == [False, False, True]
    assert len(dock.viewer.layers) == 3


def test_cancelling_leaves_what_was_there(dock, qtbot, head_files):
    dock.take([Path(path) for path in head_files[:2]])
    click(qtbot, dock.load)
    first = dock._job
    click(qtbot, dock.load)  # in place of the first
    assert not first.running
    assert dock.bar.isVisibleTo(dock)
    click(qtbot, dock.bar.cancel)
    assert not dock.bar.isVisibleTo(dock)
    assert not dock.busy
    assert dock.notice.text() == "Cancelled."
    assert len(dock.viewer.layers) == 0
    click(qtbot, dock.sample)
    assert dock.busy
    dock.stop()
    assert not dock.bar.isVisibleTo(dock)
