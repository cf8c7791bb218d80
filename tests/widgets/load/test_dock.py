"""The Load dock, by its buttons, with real files and the real helper process."""

import gc
import shutil
import weakref
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("napari")

from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
from qtpy.QtGui import QDropEvent

from napari_pvs.errors import InputError
from napari_pvs.scans.display import brain_limits, display_index, from_display
from napari_pvs.scans.nifti import read_labels
from napari_pvs.scans.scan import load_scan
from napari_pvs.study import drafts
from napari_pvs.study.bids import subjects
from napari_pvs.study.labels import LabelStore
from napari_pvs.widgets.background import process
from napari_pvs.widgets.load import dock as module
from napari_pvs.widgets.load.dock import Load
from napari_pvs.widgets.load.show import _replace
from napari_pvs.widgets.state.prediction import Prediction, make_layer
from napari_pvs.widgets.viewer.layers import scan_layers

LONG = 300_000


@pytest.fixture
def dock(make_dock):
    return make_dock(Load)


def drop(dock, *paths):
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    copy, left = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton
    event = QDropEvent(QPointF(5, 5), copy, data, left, Qt.KeyboardModifier.NoModifier)
    dock.dragEnterEvent(event)
    assert event.isAccepted()
    dock.dropEvent(event)


def test_files_that_are_dropped_on_the_canvas_become_the_scan(
    make_napari_viewer, head_files, qtbot, wait
):
    viewer = make_napari_viewer()
    dock = Load(viewer)
    qtbot.addWidget(dock, before_close_func=lambda dock: dock.stop())
    t1, t2, brain = head_files
    brain = brain.rename(brain.with_name("brain_mask.nii.gz"))
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in (t1, t2, brain)])
    copy, left = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton
    event = QDropEvent(QPointF(5, 5), copy, data, left, Qt.KeyboardModifier.NoModifier)
    # Qt sends a drop to what a real drag is over, of which there is none here
    assert dock._drops.eventFilter(viewer.window._qt_viewer, event)
    wait(dock)
    assert dock.session.scan is not None, dock.notice.text()
    assert list(viewer.layers) == [dock.session.t1, dock.session.t2]
    # what is no scan is napari's
    assert not dock.drop_on_canvas([t1.with_name("notes.txt")])
    dock.stop()


def test_an_image_that_napari_has_opened_is_offered_as_the_scan(dock, head_files, click, wait):
    from napari_pvs.widgets.viewer.files import read

    for data, meta, kind in read([str(head_files[1])]):
        assert kind == "image"
        dock.viewer.add_image(data, **meta)
    assert dock.rows["t2"].given is dock.viewer.layers[0]
    assert dock.notice.text() == "t2.nii.gz is open as a layer. Press Load to make it the scan."
    assert dock.load.isEnabled()


def test_the_study_of_another_dock_is_listed(dock, make_study, qtbot):
    root = make_study(subjects=1)
    dock.session.open_study(root)
    qtbot.waitUntil(lambda: listed(dock) == ["sub-01"], timeout=LONG)
    assert dock.study.text() == root.name


def listed(dock):
    return [row.subject.name for row in dock.subjects.table.rows]


def test_dropped_files_are_shown_with_the_brains_contrast(dock, head_files, head, click, wait):
    assert "choose or drop a T1" in dock.load.toolTip()
    assert dock.hint.text() == "Choose or drop a T1, a T2 or both."
    t1, t2, brain = head_files
    brain = brain.rename(brain.with_name("brain_mask.nii.gz"))
    drop(dock, t2, brain, t1)
    assert [row.given for row in dock.rows.values()] == [t1, t2, brain, None]
    assert dock.rows["t2"].label.text() == "t2.nii.gz"
    click(dock.load)
    assert dock.bar.isVisibleTo(dock)
    wait(dock)
    assert not dock.bar.isVisibleTo(dock)
    assert dock.notice.text() == "Loaded T1 + T2: 24×28×26 voxels of 0.8×0.8×0.8 mm."
    session = dock.session
    assert list(dock.viewer.layers) == [session.t1, session.t2]
    assert (session.t1.visible, session.t2.visible) == (False, True)
    np.testing.assert_array_equal(from_display(session.t1.data), head.t1)
    expected = brain_limits(head.t2, head.brain, "T2")
    np.testing.assert_allclose(session.t2.contrast_limits, expected, rtol=1e-5)
    assert session.t2.axis_labels == ("superior", "posterior", "right")
    assert {str(unit) for unit in session.t2.units} == {"millimeter"}
    assert session.scan.source.path == t1
    click(dock.rows["t2"].none)
    assert dock.rows["t2"].given is None
    dock.viewer.layers.remove(session.t1)
    assert dock.notice.text().startswith("Loaded")
    dock.viewer.layers.clear()
    assert dock.notice.text() == ""


def test_whether_a_t2_is_registered_is_asked_for(
    dock, head_files, make_study, click, wait, monkeypatch
):
    asked = []

    def watched(kind):
        return lambda **given: asked.append(given["register_t2"]) or kind(**given)

    for kind in (module.LoadScan, module.LoadSubject):
        monkeypatch.setattr(module, kind.__name__, watched(kind))
    drop(dock, *head_files[:2])
    dock.rows["brain"].give(head_files[2])
    (one,) = subjects(make_study(subjects=1))
    dock.subjects.study = one.t1.parents[2]
    for choice in ("auto", "off"):
        assert choice == "auto" or asked == ["auto", "auto"]
        dock.register.set(choice)
        click(dock.load)
        wait(dock)
        dock.load_subject(one)
        wait(dock)
    assert asked == ["auto", "auto", "off", "off"]
    assert dock.session.scan is not None


def test_wrong_files_stay_in_the_dock_as_a_sentence(dock, head_files, tmp_path, click, wait):
    broken = tmp_path / "T1.nii.gz"
    broken.write_bytes(b"no scan")
    drop(dock, broken)
    click(dock.load)
    wait(dock)
    assert dock.notice.kind == "error"
    assert "T1.nii.gz is truncated or damaged; copy it again" in dock.notice.text()
    # swapped: shown all the same, with a warning
    drop(dock, head_files[0].rename(tmp_path / "T2.nii.gz"), head_files[1].rename(broken),
         head_files[2].rename(tmp_path / "brain_mask.nii.gz"))  # fmt: skip
    click(dock.load)
    wait(dock)
    assert dock.notice.kind == "warning"
    assert "may be swapped" in dock.notice.text()
    assert dock.session.scan is not None


def test_layers_become_the_scan(dock, head, tmp_path, click, wait):
    viewer = dock.viewer
    size = (0.9, 0.8, 0.7)
    t2 = viewer.add_image(head.t2, scale=size, name="mine")
    brain = viewer.add_labels(head.brain.astype(np.uint8), scale=size)
    assert "select an Image layer" in dock.rows["t2"].layer.toolTip()
    click(dock.rows["brain"].layer)
    viewer.layers.selection.active = t2
    assert "select a Labels layer" in dock.rows["brain"].layer.toolTip()
    click(dock.rows["t2"].layer)
    assert dock.rows["brain"].given is brain
    click(dock.load)
    wait(dock)
    session = dock.session
    assert (session.scan.modalities, session.t1) == (("T2",), None)
    np.testing.assert_array_equal(session.t2.data, head.t2)
    np.testing.assert_allclose(session.t2.scale, size)
    assert t2 in viewer.layers  # the user's own layers stay
    flat = viewer.add_image(np.zeros((5, 6)), name="flat")
    viewer.layers.selection.active = flat
    click(dock.rows["t2"].layer)
    click(dock.load)
    assert dock.notice.text() == "the layer 'flat' has 2 axes; choose a layer of three."


@pytest.mark.parametrize(
    ("value", "words"),
    [(np.nan, "has 1 NaN or infinite values; replace them"), (0, "has the value 0 everywhere")],
)
def test_a_layer_that_is_no_scan_is_refused_in_the_words_of_a_file(dock, value, words, click, wait):
    data = np.zeros((8, 9, 10), np.float32)
    data[1, 1, 1] = value
    dock.rows["t1"].give(dock.viewer.add_image(data, contrast_limits=(0, 1)))
    click(dock.load)
    wait(dock)
    assert dock.notice.text().startswith(f"the T1 layer {words}")


def test_a_study_is_listed_and_its_subjects_are_loaded(
    dock, qtbot, make_study, click, wait, monkeypatch
):
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
    wait(dock)
    session = dock.session
    assert (session.study, session.subject.name) == (root, "sub-02")
    np.testing.assert_array_equal(session.array(session.labels), np.asarray(label.dataobj))
    assert session.reference is None
    # labels that no file holds are not lost with the next subject
    monkeypatch.setattr(drafts.LabelStore, "save", _full)
    session.labels.data_setitem((np.array([2]), np.array([2]), np.array([2])), 1)
    edited = session.labels
    dock.subjects.search.clear()
    dock.load_subject(rows.rows[0].subject)
    wait(dock)
    assert (session.labels, edited.visible) == (None, False)
    assert edited in dock.viewer.layers
    assert "'PVS labels' is not saved yet; it was hidden" in dock.notice.text()
    np.testing.assert_array_equal(session.array(session.reference), np.asarray(label.dataobj))
    assert not session.reference.editable  # nobody saves it
    assert len(dock.viewer.layers) == 4
    # the study goes away while it is open
    shutil.move(root, root.with_name("moved"))
    click(dock.refresh)
    with qtbot.waitSignal(dock.subjects._jobs[0].ended, timeout=LONG):
        pass
    assert dock.notice.kind == "error"
    assert f"{root} is not a folder" in dock.notice.text()
    assert len(listed(dock)) == 4
    dock.load_subject(rows.rows[2].subject)
    wait(dock)
    assert f"{root} is no longer there; open the study where it is" in dock.notice.text()


def _full(*_, **__):
    raise InputError("the disk is full")


def test_edits_become_a_draft_and_are_offered_by_this_dock_alone(dock, make_study, qtbot, wait):
    root = make_study(subjects=2, labelled=1)
    one, two = subjects(root)
    dock.subjects.study = root
    dock.load_subject(one)
    wait(dock)
    session = dock.session
    session.new_labels()
    session.labels.paint((9, 9, 9), 1)
    painted = session.array(session.labels).copy()
    assert session.save_state.state == "edited"
    dock.load_subject(two)  # does not wait for the pause that autosave makes
    store = LabelStore(root, one.name)
    qtbot.waitUntil(lambda: store.pending() is not None, timeout=LONG)
    wait(dock)
    assert session.labels is None
    assert len(dock.viewer.layers) == 2  # nothing was lost, so nothing is left behind
    dock.load_subject(one)
    wait(dock)
    qtbot.waitUntil(lambda: not dock.offer.isHidden(), timeout=LONG)
    assert "were not saved as final" in dock.offer.text.text()
    dock.offer.restore.click()
    np.testing.assert_array_equal(session.array(session.labels), painted)


def test_memory_of_a_scan_returns_when_another_is_loaded(dock, make_study, wait):
    root = make_study(subjects=3, labelled=3)
    dock.subjects.study = root
    scans, folders = [], []
    for subject in subjects(root):
        dock.load_subject(subject)
        wait(dock)
        scans.append(weakref.ref(dock.session.scan))
        folders.append(process.stored(dock.session.scan))
    gc.collect()
    assert [scan() is not None for scan in scans] == [False, False, True]
    assert [folder.exists() for folder in folders] == [False, False, True]
    assert len(dock.viewer.layers) == 3


def test_cancelling_leaves_what_was_there(dock, head_files, click):
    dock.take([Path(path) for path in head_files[:2]])
    click(dock.load)
    first = dock._job
    click(dock.load)  # in place of the first
    assert not first.running
    assert dock.bar.isVisibleTo(dock)
    click(dock.bar.cancel)
    assert not dock.bar.isVisibleTo(dock)
    assert not dock.busy
    assert dock.notice.text() == "Cancelled."
    assert len(dock.viewer.layers) == 0
    click(dock.sample)
    assert dock.busy
    dock.stop()
    assert not dock.bar.isVisibleTo(dock)


def test_the_next_subject_is_shown_by_the_same_layers(dock, make_study, wait):
    root = make_study(subjects=3, labelled=2)
    one, two, three = subjects(root)
    dock.subjects.study = root
    dock.load_subject(one)
    wait(dock)
    session, layers = dock.session, dock.viewer.layers
    before = list(layers)
    assert [layer.visible for layer in before] == [False, True, True]
    reference = session.reference
    reference.data_setitem((np.array([2]), np.array([2]), np.array([2])), 1)
    reference.mode = "paint"
    before[1].name = "mine"
    dock.load_subject(two)
    wait(dock)
    assert list(layers) == before == [session.t1, session.t2, session.reference]
    scan = load_scan(two.t1, two.t2, two.brain)
    assert [layer.name for layer in layers] == ["T1", "T2", "reference PVS"]
    assert [layer.visible for layer in layers] == [False, True, True]
    np.testing.assert_array_equal(session.array(session.t2), scan.t2)
    np.testing.assert_allclose(
        session.t2.contrast_limits, brain_limits(scan.t2, scan.brain, "T2"), rtol=1e-5
    )
    np.testing.assert_array_equal(session.array(reference), read_labels(two.label).data > 0)
    assert reference.mode == "pan_zoom"
    reference.undo()  # there is nothing of the scan before to go back to
    np.testing.assert_array_equal(session.array(reference), read_labels(two.label).data > 0)
    # what the user has turned, and what has no place in the next scan, is not filled
    session.t1.rotate = 10
    dock.load_subject(three)
    wait(dock)
    assert len(layers) == 2
    assert not set(layers) & set(before)


def test_lesions_of_a_subject_are_outlined_and_cannot_be_painted_on(
    dock, make_study, wait, write_image
):
    root = make_study(subjects=2, labelled=0)
    one = subjects(root)[0]
    where = root / "derivatives" / "lst" / "sub-01" / "anat"
    where.mkdir(parents=True)
    lesions = np.zeros(nib.load(one.t1).shape, np.uint8)
    lesions[8:12, 8:12, 8:12] = 1
    file = write_image(where / "sub-01_label-lesion_mask.nii.gz", lesions, nib.load(one.t1).affine)
    one, two = subjects(root)
    assert one.lesions == file
    dock.subjects.study = root
    dock.load_subject(one)
    wait(dock)
    session, layers = dock.session, dock.viewer.layers
    assert [layer.name for layer in layers] == ["T1", "T2", "lesions"]
    np.testing.assert_array_equal(session.array(layers["lesions"]), session.scan.lesions)
    assert np.count_nonzero(session.scan.lesions) == 64
    assert not layers["lesions"].editable
    assert session.labels is None  # they are no PVS
    dock.load_subject(two)
    wait(dock)
    assert [layer.name for layer in layers] == ["T1", "T2"]
    assert session.scan.lesions is None


def test_a_dropped_map_of_lesions_belongs_to_the_scan(dock, head_files, head, wait, write_image):
    t1, t2, brain = head_files
    dock.rows["brain"].give(brain)
    drop(dock, t1, t2, write_image(t1.with_name("wmh_mask.nii.gz"), head.label))
    assert dock.rows["lesions"].given == t1.with_name("wmh_mask.nii.gz")
    dock.load_rows()
    wait(dock)
    np.testing.assert_array_equal(dock.session.scan.lesions, head.label > 0)


def test_a_scan_left_off_half_way_is_taken_out(dock, add_scan, head_files, pvs_scan):
    add_scan(dock.viewer, *head_files)
    dock.session.new_labels()
    showing = _replace(dock.session, scan_layers(pvs_scan), None, None)
    for _ in range(3):
        next(showing)
    assert dock.session.scan is pvs_scan  # T1 is of one scan, T2 still of the other
    showing.close()
    assert dock.session.scan is None
    assert len(dock.viewer.layers) == 0


def test_closing_while_layers_arrive_leaves_the_rest_off(dock, make_study, qtbot):
    root = make_study(subjects=1, labelled=1)
    dock.subjects.study = root
    dock.load_subject(subjects(root)[0])
    job = dock._job
    with qtbot.waitSignal(job.finished, timeout=LONG):
        pass
    assert dock.busy  # nothing is shown yet
    with qtbot.waitSignal(job.ended):
        dock.stop()
    assert not dock.busy
    qtbot.wait(50)
    assert len(dock.viewer.layers) == 0


def test_a_subject_is_loaded_as_it_was_just_saved(dock, make_study, qtbot, wait):
    root = make_study(subjects=1, labelled=1)
    dock.subjects.study = root
    (one,) = subjects(root)
    dock.load_subject(one)
    wait(dock)
    session = dock.session
    session.new_labels()
    session.labels.paint((9, 9, 9), 1)
    painted = session.array(session.labels).copy()
    dock.autosave.save_final()
    dock.load_subject(one)  # which is as it was listed, before the label
    wait(dock)
    assert (session.subject.state, session.subject.revision) == ("corrected", 2)
    np.testing.assert_array_equal(session.array(session.labels), painted)
    assert session.labels is not None


def test_a_prediction_that_is_loaded_as_labels_is_nobodys_decision(dock, make_study, wait):
    root = make_study(subjects=1, labelled=0)
    (one,) = subjects(root)
    scan = load_scan(one.t1, one.t2, one.brain)
    predicted = np.zeros(scan.grid.shape, bool)
    predicted[9:12, 9, 9] = True
    LabelStore(root, one.name).save(
        scan.to_source(predicted), scan.source, author="tiny", origin="predicted", state="draft",
        weights_id="aaaabbbbcccc",
    )  # fmt: skip
    dock.subjects.study = root
    dock.load_subject(one)
    wait(dock)
    session = dock.session
    assert session.array(session.labels).sum() == 3
    # the user takes a voxel away; by the next network another goes, and one comes
    at = display_index((9, 9, 9), session.scan)
    session.labels.data_setitem(tuple(np.array([i]) for i in at), 0)
    found = np.zeros(scan.grid.shape, np.float32)
    found[9:11, 9, 9] = found[9, 12, 9] = 1
    layer = session.viewer.add_layer(make_layer(session.scan, "next"))
    session.add_prediction(
        Prediction("b" * 12, "next", found, session.scan.grid, layer, 0.5, 0, 99)
    )
    session.copy_prediction()
    now = np.argwhere(session.array(session.labels)).tolist()
    assert now == [[9, 12, 9], [10, 9, 9]]
    # that is known still when the layer is chosen again, and what was drawn on it meanwhile
    labels = session.labels
    session.set_labels(None)
    at = display_index((10, 9, 9), session.scan)
    labels.data_setitem(tuple(np.array([i]) for i in at), 0)
    session.set_labels(labels)
    session.copy_prediction()
    assert np.argwhere(session.array(labels)).tolist() == [[9, 12, 9]]


def test_labels_of_a_loaded_prediction_are_corrected_from_it(dock, make_study, wait, qtbot):
    root = make_study(subjects=1, labelled=0)
    (one,) = subjects(root)
    scan = load_scan(one.t1, one.t2, one.brain)
    store = LabelStore(root, one.name)
    store.save(
        scan.to_source(scan.brain), scan.source, author="tiny", origin="predicted", state="draft",
        weights_id="aaaabbbbcccc",
    )  # fmt: skip
    dock.subjects.study = root
    dock.load_subject(one)
    wait(dock)
    dock.session.labels.paint((1, 1, 1), 1)
    dock.autosave.flush()
    qtbot.waitUntil(lambda: len(store.revisions()) == 2, timeout=LONG)
    draft = store.revisions()[1]
    assert (draft.origin, draft.weights_id) == ("corrected", "aaaabbbbcccc")


def test_a_file_whose_name_tells_nothing_goes_where_there_is_room(dock, tmp_path):
    drop(dock, tmp_path / "flair.nii.gz", tmp_path / "sub-01_T1w.nii.gz")
    assert dock.rows["t1"].given.name == "sub-01_T1w.nii.gz"
    assert dock.rows["t2"].given.name == "flair.nii.gz"
    assert dock.notice.kind == "warning"
    assert dock.notice.text() == "Using flair.nii.gz as the T2; its name does not say."
    drop(dock, tmp_path / "other.nii")
    assert "other.nii was ignored: T1 and T2 are already chosen." in dock.notice.text()
    assert dock.rows["t1"].given.name == "sub-01_T1w.nii.gz"


def test_looking_into_a_study_leaves_the_running_load_its_button(
    dock, head_files, make_study, click
):
    root = make_study(subjects=1, labelled=1)
    dock.take([Path(path) for path in head_files[:2]])
    click(dock.load)
    dock.open_study(root)
    click(dock.bar.cancel)  # the list, which began last
    assert dock.busy
    assert dock.bar.isVisibleTo(dock)
    click(dock.bar.cancel)
    assert not dock.busy
    assert not dock.bar.isVisibleTo(dock)


def test_files_and_a_study_are_chosen_by_dialogs(
    dock, head_files, make_study, click, qtbot, monkeypatch
):
    root = make_study(subjects=2, labelled=1)
    asked, answers = [], [("", ""), (str(head_files[0]), "")]

    def choose(parent, title, folder, kinds):
        asked.append((title, folder))
        return answers.pop(0)

    monkeypatch.setattr(module.QFileDialog, "getOpenFileName", choose)
    for _ in range(2):
        click(dock.rows["t1"].file)
    assert dock.rows["t1"].given == Path(head_files[0])
    answers.append((str(head_files[1]), ""))
    click(dock.rows["t2"].file)
    assert asked == [
        ("Choose the T1", ""), ("Choose the T1", ""),
        ("Choose the T2", str(Path(head_files[0]).parent)),
    ]  # fmt: skip
    folders = iter(["", str(root)])
    monkeypatch.setattr(module.QFileDialog, "getExistingDirectory", lambda *_: next(folders))
    click(dock.open)
    assert dock.subjects.study is None
    with qtbot.waitSignal(dock.subjects.listed, timeout=LONG):
        click(dock.open)
    assert listed(dock) == ["sub-01", "sub-02"]


@pytest.fixture
def results(head_files, tiny_weights, tmp_path):
    """What the command line has written for a scan."""
    from napari_pvs.inference.config import SegmentConfig
    from napari_pvs.inference.outputs import write
    from napari_pvs.inference.segment import segment

    t1, t2, brain = head_files
    config = SegmentConfig(t1=t1, t2=t2, brain_mask=brain, weights=tiny_weights, device="cpu")
    made = segment(config)
    write(made, tmp_path / "results", config)
    return tmp_path / "results", made


@pytest.mark.parametrize(
    "name", ["", "pvs_mask.nii.gz", "pvs_probability.nii.gz", "pvs_labels.nii.gz"]
)
def test_results_that_are_dropped_become_the_prediction(dock, results, head_files, wait, name):
    folder, made = results
    dock.take([Path(path) for path in head_files[:2]])
    dock.rows["brain"].give(head_files[2])
    dock.load_rows()
    wait(dock)
    assert dock.drop_on_canvas([folder / name])
    wait(dock)
    prediction = dock.session.prediction
    assert (prediction.weights, prediction.weights_id) == ("tiny", made.origin["weights_id"])
    assert prediction.threshold == pytest.approx(made.threshold)
    assert prediction.count == made.labels.max()
    np.testing.assert_array_equal(dock.session.array(prediction.layer) > 0, made.labels > 0)


def test_results_bring_their_scan_where_there_is_none(dock, results, qtbot):
    folder, made = results
    drop(dock, folder)
    qtbot.waitUntil(lambda: dock.session.prediction is not None, timeout=LONG)
    assert dock.session.scan.modalities == ("T1", "T2")
    assert dock.session.prediction.count == made.labels.max()


@pytest.mark.parametrize("first", [True, False])
def test_results_that_napari_opens_become_the_prediction(
    make_napari_viewer, results, qtbot, wait, first
):
    folder, made = results
    viewer = make_napari_viewer()
    if first:  # and the dock comes later
        viewer.open(str(folder), plugin="napari-pvs")
        assert [layer.name for layer in viewer.layers] == ["t1", "t2", "PVS probability", "PVS"]
        assert [layer.visible for layer in viewer.layers] == [False, True, False, True]
    dock = Load(viewer)
    qtbot.addWidget(dock, before_close_func=lambda dock: dock.stop())
    if not first:
        viewer.open(str(folder), plugin="napari-pvs")
    qtbot.waitUntil(lambda: dock.session.prediction is not None, timeout=LONG)
    wait(dock)
    session = dock.session
    assert list(viewer.layers) == [session.t1, session.t2, session.prediction.layer]
    assert session.prediction.count == made.labels.max()
    dock.stop()


def test_results_of_another_scan_stay_layers(dock, results, make_study, wait, qtbot):
    folder, _ = results
    (subject,) = subjects(make_study(subjects=1))
    dock.rows["t1"].give(moved(subject.t1, folder.parent / "other_T1w.nii.gz"))
    dock.rows["brain"].give(moved(subject.brain, folder.parent / "brain_mask.nii.gz"))
    dock.load_rows()
    wait(dock)
    assert dock.session.scan is not None, dock.notice.text()
    dock.viewer.open(str(folder), plugin="napari-pvs")
    said = "These results are of another scan; they stay as layers."
    qtbot.waitUntil(lambda: dock.notice.text() == said, timeout=LONG)
    assert "PVS" in [layer.name for layer in dock.viewer.layers]


def test_results_that_napari_opens_are_hidden_from_a_blind_rater(dock, results, qtbot):
    dock.session.blind = True
    layers = dock.viewer.open(str(results[0]), plugin="napari-pvs")
    qtbot.waitUntil(lambda: not dock._results_soon.pending, timeout=LONG)
    assert [layer.visible for layer in layers] == [False, True, False, False]
    layers[-1].visible = True
    assert not layers[-1].visible
    assert dock.session.prediction is None


def moved(file, to):
    """Write an image 40 mm away."""
    image = nib.load(file)
    affine = image.affine + 40 * np.pad(np.ones((3, 1)), ((0, 1), (3, 0)))
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), to)
    return to


def test_results_of_a_scan_that_is_gone_ask_for_it(dock, results, head_files):
    folder, _ = results
    for path in head_files:
        path.unlink()
    assert dock.drop_on_canvas([folder])
    assert dock.notice.text() == "Load the scan first, then open its results."
    (folder / "summary.json").write_text("{")
    assert dock.drop_on_canvas([folder])
    assert "summary.json is damaged" in dock.notice.text()


def test_a_blind_rater_opens_no_results(dock, results):
    dock.session.blind = True
    assert dock.drop_on_canvas([results[0]])
    assert dock.notice.text() == "Blind mode is on (the Correct dock)."


def test_a_blind_rater_gets_own_labels_and_no_numbers_of_others(
    dock, make_study, qtbot, wait, write_image
):
    root = make_study(subjects=1, labelled=0)
    (subject,) = subjects(root)
    scan = load_scan(subject.t1, subject.t2, subject.brain)
    store = LabelStore(root, "sub-01")
    mine, theirs = np.zeros(scan.grid.shape, bool), np.zeros(scan.grid.shape, bool)
    mine[6, 6, 5:9] = theirs[10, 10, 5:9] = True
    for author, mask in (("me", mine), ("ann", theirs)):
        store.save(scan.to_source(mask), scan.source, author=author, origin="drawn")
    dock.autosave.rater = "me"
    dock.session.blind = True
    dock.open_study(root)
    qtbot.waitUntil(lambda: len(dock.subjects.table.rows) == 1, timeout=LONG)
    (row,) = dock.subjects.table.rows
    assert (row.volume_mm3, row.count) == (None, None)
    dock.load_subject(row.subject)
    wait(dock)
    np.testing.assert_array_equal(dock.session.array(dock.session.labels) > 0, mine)
    dock.autosave.rater = "bob"  # who has none yet
    dock.load_subject(row.subject)
    wait(dock)
    assert dock.session.labels is None
    assert [one.name for one in dock.viewer.layers if one.visible] == ["T2"]
    dock.session.blind = False
    qtbot.waitUntil(lambda: dock.subjects.table.rows[0].count == 1, timeout=LONG)
    dock.load_subject(dock.subjects.table.rows[0].subject)
    wait(dock)
    np.testing.assert_array_equal(dock.session.array(dock.session.labels) > 0, theirs)
