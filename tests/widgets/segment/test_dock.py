"""The Segment dock, by its buttons and sliders, with a small network in a real process."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("napari")


from napari_pvs.inference.config import SegmentConfig
from napari_pvs.inference.segment import segment
from napari_pvs.scans.display import from_display
from napari_pvs.study.bids import subjects
from napari_pvs.widgets.segment import dock as module
from napari_pvs.widgets.segment.dock import Segment

LONG = 300_000


@pytest.fixture
def dock(make_dock):
    return make_dock(Segment)


def test_from_the_first_mask_to_a_second_opinion(
    dock, qtbot, head_files, tiny_weights, tmp_path, click, wait, add_scan, monkeypatch
):
    assert "load a scan first" in dock.start.toolTip()
    assert dock.hint.text() == "Load a scan first."
    assert "segment the scan first" in dock.copy.toolTip()
    assert not dock.threshold.isEnabled()
    assert "Not now: segment the scan first." in dock.threshold.toolTip()
    scan = add_scan(dock.viewer, *head_files)
    assert dock.hint.isHidden()
    answers = iter([("", ""), (str(tiny_weights), "")])
    monkeypatch.setattr(module.QFileDialog, "getOpenFileName", lambda *_: next(answers))
    for known in (1, 2):  # the first time, nothing is chosen
        click(dock.file)
        assert dock.weights.count() == known
    dock.device.set("cpu")
    click(dock.start)
    assert "a segmentation is running" in dock.start.toolTip()
    wait(dock)
    assert dock.notice.isHidden(), dock.notice.text()

    # the mask is the command line's
    t1, t2, brain = head_files
    config = SegmentConfig(t1=t1, t2=t2, brain_mask=brain, weights=tiny_weights, device="cpu")
    expected = segment(config)
    session = dock.session
    prediction = session.prediction
    assert prediction.layer is dock.viewer.layers[-1]
    np.testing.assert_array_equal(from_display(prediction.layer.data), expected.labels > 0)
    np.testing.assert_array_equal(prediction.probability, expected.probability)
    count = expected.labels.max()
    assert count > 0
    assert dock.found.text().startswith(f"<b>{count}</b> PVS, ")
    assert dock.threshold.value() == pytest.approx(expected.threshold, abs=0.01)
    assert prediction.weights_id == expected.origin["weights_id"]

    # sliders: the mask follows, by keys too
    dock.min_volume.setFocus()
    dock.min_volume.setValue(10.0)
    qtbot.waitUntil(lambda: prediction.min_volume == 10.0)
    assert 0 < prediction.count < count
    assert dock.found.text().startswith(f"<b>{prediction.count}</b> PVS")
    dock.threshold.setValue(0.99)
    qtbot.waitUntil(lambda: prediction.count == 0)
    dock.threshold.setValue(expected.threshold)
    dock.min_volume.setValue(1.0)
    qtbot.waitUntil(lambda: prediction.count > 0)

    # labels are touched only when asked for, and then it is one step to undo
    labels = session.new_labels()
    labels.data_setitem((np.array([3]), np.array([3]), np.array([3])), 1)
    assert session.array(labels).sum() == 1
    click(dock.copy)
    np.testing.assert_array_equal(labels.data > 0, (prediction.layer.data > 0) | _one_at(labels))
    assert "Ctrl+Z" in dock.notice.text()
    labels.undo()
    assert labels.data.sum() == 1

    # other weights: a layer of their own; blink
    assert "other weights" in dock.blink.toolTip()
    other = tmp_path / "other.safetensors"
    _change(tiny_weights, other)
    dock.add_weights(other)
    click(dock.start)
    wait(dock)
    assert len(session.predictions) == 2
    assert dock.viewer.layers.selection.active is labels  # who corrects goes on
    first, second = (one.layer for one in session.predictions.values())
    assert (first.visible, second.visible) == (False, True)
    click(dock.blink)
    assert (first.visible, second.visible) == (True, False)
    assert labels.data.sum() == 1
    # what is shown, named, measured and copied is one
    shown = session.prediction
    assert shown.layer is first
    assert shown.weights_id in dock.name.toolTip()
    assert dock.found.text().startswith(f"<b>{shown.count}</b> PVS")
    dock.threshold.setValue(0.6)
    qtbot.waitUntil(lambda: shown.threshold == pytest.approx(0.6))
    assert (first.visible, second.visible) == (True, False)
    click(dock.copy)
    np.testing.assert_array_equal(labels.data > 0, (first.data > 0) | _one_at(labels))
    labels.undo()
    # and so by napari's own buttons
    first.visible = False
    second.visible = True
    assert session.prediction.layer is second
    assert session.prediction.weights_id in dock.name.toolTip()

    # weights that are gone
    other.unlink()
    click(dock.start)
    wait(dock)
    assert dock.notice.kind == "error"
    assert f"weights {other} do not exist" in dock.notice.text()
    assert len(session.predictions) == 2
    assert scan is session.scan


def _one_at(labels):
    one = np.zeros(labels.data.shape, bool)
    one[3, 3, 3] = True
    return one


def _change(weights, out):
    from napari_pvs.network.weights import load, save

    model, card = load(weights)
    save(out, model, card.model_copy(update={"name": "other"}))


def test_what_shape_excludes_is_counted_and_comes_back(
    dock, qtbot, head_files, tiny_weights, click, wait, add_scan
):
    add_scan(dock.viewer, *head_files)
    dock.add_weights(tiny_weights)
    click(dock.start)
    wait(dock)
    one = dock.session.prediction
    count = one.count
    dock.max_width.setValue(0.5)
    qtbot.waitUntil(lambda: one.max_width == 0.5)
    assert one.excluded_count > 0
    assert one.count + one.excluded_count == count
    assert dock.found.text().endswith(f"; {one.excluded_count} excluded by shape")
    dock.max_width.setValue(0)
    qtbot.waitUntil(lambda: one.max_width is None)
    assert (one.count, one.excluded) == (count, None)


def test_another_subject_does_not_end_a_segmentation_of_a_study(
    dock, make_study, tiny_weights, click, qtbot, add_scan
):
    root = make_study(subjects=2, labelled=0)
    one, two = subjects(root)
    add_scan(dock.viewer, one.t1, one.t2, one.brain)
    dock.session.set_study(root, one)
    dock.add_weights(tiny_weights)
    click(dock.start)
    job = dock._job
    dock.viewer.layers.clear()
    dock.session.set_study(root, two)
    assert dock.busy
    assert dock.notice.text() == f"Still segmenting {one.name} for the study."
    with qtbot.waitSignal(job.ended, timeout=300_000):
        pass
    assert dock.notice.text().startswith(f"{one.name}: ")
    assert dock.notice.text().endswith("kept in the study.")
    assert [found.state for found in subjects(root)] == ["segmented", "new"]
    assert dock.session.prediction is None


def test_closing_the_scan_or_cancelling_ends_the_process(
    dock, head_files, tiny_weights, click, add_scan, monkeypatch
):
    # the study is segmented on
    monkeypatch.setattr(dock.study, "stop", lambda: pytest.fail("the study was stopped"))
    add_scan(dock.viewer, *head_files)
    dock.add_weights(tiny_weights)
    click(dock.start)
    job = dock._job
    click(dock.bar.cancel)
    assert (dock.busy, dock.notice.text()) == (False, "Cancelled.")
    click(dock.start)
    assert dock._job is not job
    dock.viewer.layers.clear()
    assert not dock.busy
    assert dock.notice.text() == "The segmentation was cancelled because its scan was closed."
    assert dock.session.scan is None
    assert "load a scan first" in dock.start.toolTip()
    monkeypatch.undo()


def test_what_could_not_be_kept_is_told_with_another_scan_too(dock):
    dock._subject = "sub-01"
    answer = SimpleNamespace(notes=("The study cannot be written.",), count=3, volume_mm3=9.0)
    dock._on_done(object(), dock.config(), SimpleNamespace(answer=answer))
    assert dock.notice.text() == "sub-01: The study cannot be written."
    assert dock.notice.kind == "warning"


def test_the_width_in_the_form_counts(dock):
    assert dock.config().max_width is None
    dock.max_width.setValue(3)
    assert dock.config().max_width == 3


def test_in_a_study_the_mask_is_kept(dock, make_study, tiny_weights, click, wait, add_scan):
    root = make_study(subjects=1, labelled=0)
    (subject,) = subjects(root)
    add_scan(dock.viewer, subject.t1, subject.t2, subject.brain)
    dock.session.set_study(root, subject)
    dock.add_weights(tiny_weights)
    written = []
    dock.session.study_written.connect(lambda: written.append(1))
    click(dock.start)
    wait(dock)
    assert written == [1]
    assert subjects(root)[0].state == "segmented"
    # a study that cannot be written any more: the mask is shown, and the sentence stays
    name = dock.session.prediction.layer
    shutil.rmtree(root / "derivatives" / "labels")
    (root / "derivatives" / "labels").touch()
    click(dock.start)
    wait(dock)
    assert dock.notice.kind == "warning"
    assert "cannot be" in dock.notice.text()
    assert dock.session.prediction.layer is name


def test_results_of_the_command_line_open_by_a_drop(
    dock, qtbot, head_files, tiny_weights, tmp_path, wait, add_scan
):
    from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
    from qtpy.QtGui import QDropEvent

    from napari_pvs.inference.outputs import write

    def drop(*paths):
        data = QMimeData()
        data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
        none = Qt.KeyboardModifier.NoModifier
        event = QDropEvent(
            QPointF(5, 5), Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton, none
        )
        dock.dropEvent(event)

    t1, t2, brain = head_files
    config = SegmentConfig(t1=t1, t2=t2, brain_mask=brain, weights=tiny_weights, device="cpu")
    made = segment(config)
    write(made, tmp_path / "results", config)
    drop(tmp_path / "results")
    assert dock.notice.text() == "Load the scan first, then open its results."
    add_scan(dock.viewer, *head_files)
    drop(tmp_path / "results", tmp_path)
    assert "Drop one folder" in dock.notice.text()
    drop(tmp_path / "results")
    wait(dock)
    prediction = dock.session.prediction
    np.testing.assert_array_equal(from_display(prediction.layer.data) > 0, made.labels > 0)
    assert prediction.weights_id == made.origin["weights_id"]
    assert dock.threshold.isEnabled()
    dock.threshold.setValue(0.99)
    dock.cut()
    assert prediction.count <= made.labels.max()


def test_a_study_is_segmented_while_the_viewer_stays_free(
    dock, qtbot, make_study, tiny_weights, click
):
    assert "open a study in the Load dock first" in dock.study.start.toolTip()
    study = make_study(subjects=2, labelled=0)
    dock.session.open_study(study)
    dock.add_weights(tiny_weights)
    dock.device.set("cpu")
    click(dock.study.start)
    assert "the study is being segmented" in dock.study.start.toolTip()
    with qtbot.waitSignal(dock.study._job.ended, timeout=LONG):
        pass
    assert dock.study.text.text() == "2 segmented."
    assert [one.state for one in subjects(study)] == ["segmented", "segmented"]
    click(dock.study.start)
    with qtbot.waitSignal(dock.study._job.ended, timeout=LONG):
        pass
    assert dock.study.text.text() == "0 segmented, 2 were before."
