"""The Metrics dock follows strokes, lists what disagrees and jumps there."""

import csv

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("napari")

from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage
from qtpy.QtWidgets import QFileDialog

from napari_pvs.evaluation.compare import score
from napari_pvs.scans.scan import load_scan
from napari_pvs.study.bids import subjects
from napari_pvs.study.labels import LabelStore
from napari_pvs.widgets.metrics.dock import Metrics
from napari_pvs.widgets.parts import controls
from napari_pvs.widgets.parts.controls import Notice
from napari_pvs.widgets.state.prediction import Prediction, make_layer

LONG = 300_000


@pytest.fixture
def dock(make_dock, add_scan, head_files):
    viewer = ViewerModel()
    add_scan(viewer, *head_files)
    return make_dock(Metrics, viewer)


def settle(qtbot, dock):
    qtbot.waitUntil(lambda: not dock._soon.pending)


def expected(dock, labels, reference):
    session = dock.session
    masks = [session.array(layer) for layer in (labels, reference)]
    return score(*masks, session.scan.grid.voxel_size, subject="s", region=session.scan.brain)


def shown(dock, name):
    return dock.measures.values[name].text().removeprefix("<b>").removesuffix("</b>")


def test_a_prediction_is_not_scored_against_itself(dock, qtbot, head):
    session = dock.session
    layer = dock.viewer.add_layer(
        make_layer(session.scan, "prediction", head.label.astype(np.uint8))
    )
    found = head.label.astype(np.float32)
    session.add_prediction(Prediction("aaaa", "w", found, session.scan.grid, layer, 0.5, 0, None))
    session.copy_prediction()
    saved = session.labels
    session.set_labels(None)
    session.set_reference(saved)
    settle(qtbot, dock)
    assert dock.agreement is None
    assert dock.hint.kind == "warning"
    assert dock.hint.text().startswith("Not scored: these labels are the prediction itself")
    saved.data_setitem(tuple(axis[:3] for axis in np.nonzero(saved.data)), 0)  # now it is edited
    settle(qtbot, dock)
    assert 0.9 < float(shown(dock, "DSC")) < 1


def test_nothing_is_measured_for_a_blind_rater(dock, qtbot, head):
    session = dock.session
    labels = session.new_labels(head.label)
    reference = session.viewer.add_labels(np.roll(labels.data, 1, axis=2))
    session.set_reference(reference)
    settle(qtbot, dock)
    assert dock.agreement is not None
    session.blind = True
    settle(qtbot, dock)
    assert dock.agreement is None
    assert dock.hint.text() == "Blind mode is on (the Correct dock)."
    assert not dock.tsv.isEnabled()
    assert "blind mode is on" in dock.study.score.toolTip()
    session.blind = False
    settle(qtbot, dock)
    assert dock.agreement is not None


def test_every_stroke_is_measured(dock, qtbot, head):
    assert "Choose a reference" in dock.hint.text()
    assert "choose a layer and a reference" in dock.tsv.toolTip()
    session = dock.session
    reference = session.new_labels(head.label, "truth")
    session.set_labels(None)
    dock.reference.setCurrentIndex(1)
    assert session.reference is reference
    settle(qtbot, dock)
    assert "draw labels" in dock.hint.text()
    labels = session.new_labels()
    settle(qtbot, dock)
    assert dock.hint.isHidden()
    assert (shown(dock, "DSC"), shown(dock, "Precision")) == ("0.000", "–")
    n = expected(dock, labels, reference).count_reference
    assert dock.measures.tabs.tabText(0) == f"Missed ({n})"

    voxels = np.argwhere(reference.data > 0)
    half = voxels[: len(voxels) // 2]
    for index in (half, np.array([[2, 2, 2], [4, 5, 6], [20, 20, 20]])):
        labels.data_setitem(tuple(index.T), 1)
        settle(qtbot, dock)
        one = expected(dock, labels, reference)
        assert shown(dock, "DSC") == f"{one.dsc:.3f}"
        assert shown(dock, "AVD") == f"{one.avd_percent:.1f} %"
        assert shown(dock, "PVS recall") == f"{one.lenient_recall:.3f}"
        assert shown(dock, "PVS prec.") == f"{one.lenient_precision:.3f}"
        assert shown(dock, "PVS") == f"{one.count_predicted} / {one.count_reference}"
    before = shown(dock, "DSC")
    labels.undo()
    settle(qtbot, dock)
    assert shown(dock, "DSC") != before
    # the reference is edited too
    reference.data_setitem(tuple(half.T), 0)
    settle(qtbot, dock)
    assert shown(dock, "Recall") == "0.000"
    # inside the brain alone, or everywhere
    labels.data_setitem((np.array([0]), np.array([0]), np.array([0])), 1)
    reference.data_setitem((np.array([0]), np.array([0]), np.array([0])), 1)
    settle(qtbot, dock)
    assert shown(dock, "Recall") == "0.000"
    dock.inside.click()
    settle(qtbot, dock)
    assert shown(dock, "Recall") != "0.000"


def test_moving_to_a_row_shows_the_place(dock, qtbot, head):
    session, viewer = dock.session, dock.viewer
    session.set_reference(session.new_labels(head.label, "truth"))
    session.set_labels(None)
    session.new_labels()
    settle(qtbot, dock)
    with qtbot.waitExposed(dock):
        dock.show()
    table = dock.measures.missed
    spot = table.shown()[1]
    at = table.visualRect(table.model().index(1, 0)).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=at)
    assert viewer.dims.current_step == spot.index
    assert session.reference.data[spot.index] == 1
    sizes = [one.volume_mm3 for one in table.shown()]
    assert sizes == sorted(sizes, reverse=True)


def test_volumes_on_a_sheared_grid_are_those_of_its_voxels(
    make_dock, add_scan, qtbot, head, head_files, write_image, tmp_path
):
    files = []
    for path in head_files:
        image = nib.load(path)
        sheared = image.affine.copy()
        sheared[0, 1] += 0.3 * sheared[1, 1]  # longer edges, the same volume
        files.append(write_image(tmp_path / path.name, np.asarray(image.dataobj), sheared))
    viewer = ViewerModel()
    add_scan(viewer, *files)
    dock = make_dock(Metrics, viewer)
    session = dock.session
    session.set_reference(session.new_labels(head.label, "truth"))
    session.set_labels(None)
    session.new_labels(head.label)
    settle(qtbot, dock)
    grid = session.scan.grid
    assert np.prod(grid.voxel_size) > 1.01 * grid.voxel_volume
    voxels = np.count_nonzero(head.label * session.scan.brain)
    volume = dock.agreement.voxels.volume_reference_mm3
    assert volume == pytest.approx(voxels * grid.voxel_volume)


def test_a_prediction_is_measured_until_there_are_labels(dock, qtbot, head):
    session = dock.session
    truth = head.label.copy()
    truth[tuple(axis[0] for axis in np.nonzero(truth))] = False  # else it would be a copy
    session.set_reference(session.new_labels(truth, "truth"))
    session.set_labels(None)
    layer = dock.viewer.add_layer(make_layer(session.scan, "p"))
    found = head.label * np.float32(0.6)
    session.add_prediction(Prediction("i", "w", found, session.scan.grid, layer, 0.5, 0, 99))
    settle(qtbot, dock)
    assert 0.9 < float(shown(dock, "DSC")) < 1
    session.prediction.cut(0.7, 0)
    session.prediction_changed.emit()
    settle(qtbot, dock)
    assert shown(dock, "DSC") == "0.000"
    session.new_labels(truth)
    settle(qtbot, dock)
    assert shown(dock, "DSC") == "1.000"
    dock.what.setCurrentIndex(2)  # the prediction all the same
    settle(qtbot, dock)
    assert (dock.measured(), shown(dock, "DSC")) == (layer, "0.000")
    dock.viewer.layers.remove(layer)
    settle(qtbot, dock)
    assert shown(dock, "DSC") == "1.000"
    dock.viewer.layers.remove(session.reference)
    settle(qtbot, dock)
    assert (shown(dock, "DSC"), dock.agreement) == ("–", None)


def test_layers_of_another_shape_are_refused_in_words(dock, qtbot, head):
    session = dock.session
    session.set_reference(session.new_labels(head.label, "truth"))
    other = dock.viewer.add_labels(np.zeros((4, 5, 6), np.uint8), name="other")
    dock.what.setCurrentIndex(2)
    settle(qtbot, dock)
    assert dock.hint.text().startswith(
        "the layers 'other' and 'truth' have different shapes; choose"
    )
    dock.reference.setCurrentIndex(2)
    assert "'other' has other voxels than the scan" in dock.notice.text()
    assert dock.reference.layer() is session.reference
    assert other is dock.what.layer()


def test_a_file_becomes_the_reference_and_measures_are_exported(
    dock, qtbot, head, tmp_path, write_image, monkeypatch, click, wait
):
    session = dock.session
    session.new_labels(head.label)
    path = write_image(tmp_path / "by_hand.nii.gz", head.label)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *a, **k: (str(path), ""))
    click(dock.file)
    wait(dock)
    settle(qtbot, dock)
    assert dock.reference.currentText() == "by_hand"
    assert (session.reference.name, shown(dock, "DSC")) == ("by_hand", "1.000")
    out = tmp_path / "out"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *a, **k: (str(out), ""))
    click(dock.tsv)
    assert dock.notice.text() == f"Wrote {out}."
    (row,) = csv.DictReader(out.read_text().splitlines(), delimiter="\t")
    assert (row["dsc"], row["subject"]) == ("1.0", "PVS labels")
    out = tmp_path / "out.png"
    click(dock.png)
    assert QImage(str(out)).width() > 100
    out = tmp_path / "by_hand.nii.gz" / "out"
    click(dock.tsv)
    assert "cannot be written" in dock.notice.text()
    dock.open_reference(tmp_path / "none.nii")
    wait(dock)
    assert "does not exist" in dock.notice.text()


def test_a_study_is_scored(dock, make_study, tmp_path, monkeypatch, click, wait):
    assert "open a study" in dock.study.score.toolTip()
    root = make_study(subjects=2, labelled=1)
    dock.session.set_study(root, subjects(root)[0])
    click(dock.study.score)
    assert "the study is being scored" in dock.study.score.toolTip()
    wait(dock)
    assert "No subject has both a prediction" in dock.notice.text()
    scan = load_scan(subjects(root)[0].t1, None, subjects(root)[0].brain)
    LabelStore(root, "sub-01").save(
        scan.to_source(scan.brain), scan.source, author="a", origin="predicted", state="draft"
    )
    click(dock.study.score)
    wait(dock)
    (row,) = dock.study.table.rows
    assert (row.subject, row.recall) == ("sub-01", 1.0)
    out = tmp_path / "study.tsv"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *a, **k: (str(out), ""))
    click(dock.study.export)
    assert out.read_text().splitlines()[1].startswith("sub-01\t")
    # a prediction that was saved as it was is no reference for itself
    store, mask = LabelStore(root, "sub-02"), scan.to_source(scan.brain)
    for origin, state in (("predicted", "draft"), ("corrected", "final")):
        store.save(mask, scan.source, author="a", origin=origin, state=state)
    click(dock.study.score)
    wait(dock)
    assert [row.subject for row in dock.study.table.rows] == ["sub-01"]
    words = "sub-02: not scored; its label is the prediction, unedited."
    assert words in dock.notice.text()


def test_it_works_on_layers_alone(qtbot):
    viewer = ViewerModel()
    one, two = (viewer.add_labels(np.eye(9, dtype=np.uint8)[None] * np.ones((3, 1, 1), np.uint8))
                for _ in range(2))  # fmt: skip
    dock = Metrics(viewer)
    qtbot.addWidget(dock)
    dock.session.set_reference(one)
    dock.what.choose(two)
    dock.update_numbers()
    assert shown(dock, "DSC") == "1.000"


def test_flat_layers_are_refused_in_words(qtbot):
    viewer = ViewerModel()
    one, two = (viewer.add_labels(np.eye(9, dtype=np.uint8), name=name) for name in "ab")
    dock = Metrics(viewer)
    qtbot.addWidget(dock)
    dock.session.set_reference(one)
    dock.what.choose(two)
    dock.update_numbers()
    assert dock.hint.text().startswith("the layer 'b' is not 3D; choose")


def test_a_table_that_cannot_be_written_says_why(tmp_path, qtbot, monkeypatch):
    def refuse(path, text):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(controls, "write_text", refuse)
    notice = Notice()
    qtbot.addWidget(notice)
    controls.write(tmp_path / "a.tsv", "", notice)
    assert "a.tsv cannot be written (No space left on device); make room" in notice.text()


def test_a_dock_that_has_gone_measures_nothing(dock, qtbot, head, monkeypatch):
    from napari_pvs.widgets.metrics import dock as module

    session = dock.session
    session.new_labels(head.label)
    dock.stop()
    monkeypatch.setattr(module, "agreement", lambda *_: pytest.fail("it has gone"))
    reference = dock.viewer.add_labels(np.zeros_like(session.labels.data), name="reference")
    session.set_reference(reference)
    settle(qtbot, dock)
    dock.update_numbers()
    dock.burden.update_table()
    assert dock.agreement is None
