"""The Train dock in a real viewer, with real training processes on a tiny study."""

import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("napari")
if sys.platform == "linux" and not os.environ.get("DISPLAY"):
    pytest.skip("no display; run under xvfb-run", allow_module_level=True)

from qtpy.QtCore import Qt

from napari_pvs.scans.scan import load_scan
from napari_pvs.study.bids import subjects
from napari_pvs.study.labels import digest
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.runs import process as launch
from napari_pvs.training.runs.events import EventLog
from napari_pvs.training.runs.folder import BEST, CHECKPOINT, is_running
from napari_pvs.widgets.train import dock as module
from napari_pvs.widgets.viewer.layers import scan_layers

pytestmark = pytest.mark.usefixtures("ended_runs")
LONG = 600_000
SMALL = {"epochs": 2000, "steps": 2, "batch": 2, "patch": (8,), "warmup": 1, "refresh": 50}


@pytest.fixture(autouse=True)
def settings_apart(own_folders):
    """The study that was trained on last is remembered in the user's settings."""


@pytest.fixture
def add_dock(make_napari_viewer):
    """Function that opens a viewer with the dock, and returns both."""

    def add():
        viewer = make_napari_viewer()
        return viewer, viewer.window.add_plugin_dock_widget("napari-pvs", "Train")[1]

    return add


def click(qtbot, button):
    assert button.isEnabled(), button.toolTip()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def wait(qtbot, condition):
    qtbot.waitUntil(lambda: bool(condition()), timeout=LONG)


def fill(dock, **values):
    dock.form.unfold()
    fields = dock.form.fields
    for name, value in (SMALL | {"device": "cpu", "validate_every": 2000} | values).items():
        fields[name].set(value)


def state(dock):
    status, watch = dock.view.watch.status, dock.view.watch
    return None if status is None else "starting" if watch.starting else status.state


def wait_for_its_end(qtbot, dock):
    wait(qtbot, lambda: not dock.view.live)
    assert state(dock) == "done", dock.view.why.text()


def kill(run):
    os.kill(launch.children[run].pid, signal.SIGKILL)


def test_a_run_from_its_plan_to_its_end(add_dock, make_study, qtbot, monkeypatch):
    study = make_study(4, labelled=3)
    viewer, dock = add_dock()
    assert "open a study first" in dock.start.toolTip()
    assert dock.use.text().startswith("Open a study first")
    folders = iter(["", str(study)])
    monkeypatch.setattr(module.QFileDialog, "getExistingDirectory", lambda *_: next(folders))
    for opened in (None, study):
        click(qtbot, dock.open)
        assert dock.study == opened
    assert dock.use.text() == ""  # what was said of no study, or of another, is not true of it
    fill(dock)
    wait(qtbot, lambda: dock.use.text().startswith("Trains"))
    assert dock.use.text() == (
        "Trains on 2 labelled scans, validates on 1, does not use 1 unlabelled scan."
    )
    assert " GB free on cpu; about " in dock.cost.text()
    assert dock.new.isExpanded()

    click(qtbot, dock.start)
    run = dock.view.watch.run
    assert run.parent == study / "derivatives" / "runs"
    assert state(dock) == "starting"
    assert "Starting" in dock.view.state.text()
    assert not dock.new.isExpanded()
    assert "a run of this study is in progress" in dock.start.toolTip()
    assert "it is starting" in dock.view.pause.toolTip()
    wait(qtbot, lambda: state(dock) == "running" and dock.view.watch.course.loss)
    assert is_running(run)
    assert dock.view.curves.shown[0][1] is dock.view.watch.course
    wait(qtbot, lambda: "epoch 1 of 2000: loss" in dock.view.log.toPlainText())
    assert (run / "train.log").is_file()
    wait(qtbot, lambda: " left." in dock.view.state.text())
    assert dock.view.state.text().startswith("Running")

    click(qtbot, dock.view.pause)
    assert "waiting for the run to pause" in dock.view.pause.toolTip()
    wait(qtbot, lambda: state(dock) == "paused")
    assert dock.view.state.text().startswith("Paused: ")
    click(qtbot, dock.view.resume)
    wait(qtbot, lambda: state(dock) == "running")

    # a label that is saved meanwhile
    (last,) = [s for s in subjects(study) if s.label is None]
    labelled = study / "derivatives/labels/sub-01/anat/sub-01_desc-pvs_mask.nii.gz"
    path = study / "derivatives/labels/sub-04/anat/sub-04_desc-pvs_mask.nii.gz"
    path.parent.mkdir(parents=True)
    shutil.copy(labelled, path.with_name("partly.nii.gz"))
    path.with_name("partly.nii.gz").rename(path)
    wait(qtbot, lambda: dock.view.news.text() == f"Now training on {last.name} too.")

    click(qtbot, dock.view.stop_run)
    wait(qtbot, lambda: state(dock) == "stopped" and not dock.view.live)
    assert (run / CHECKPOINT).is_file()
    assert dock.view.why.isHidden()
    assert "the run is stopped" in dock.view.stop_run.toolTip()
    # everything is known to the last run by now
    wait(qtbot, lambda: dock.use.text().startswith("Trains on 3 labelled scans (none new or"))
    assert dock.start.isEnabled()
    viewer.close()


def test_a_correction_is_folded_into_the_run_that_goes_on(add_dock, make_study, qtbot):
    study = make_study(3, labelled=2)
    viewer, dock = add_dock()
    load, correct = (
        viewer.window.add_plugin_dock_widget("napari-pvs", name)[1] for name in ("Load", "Correct")
    )
    with qtbot.waitSignal(load.subjects.listed, timeout=LONG):
        load.open_study(study)
    wait(qtbot, lambda: dock.study == study)
    fill(dock)
    wait(qtbot, dock.start.isEnabled)
    click(qtbot, dock.start)
    last = subjects(study)[-1]
    load.load_subject(last)
    wait(qtbot, lambda: load.session.subject is not None and not load.busy)
    click(qtbot, correct.new)
    voxels = tuple(np.array([10, 10, 10, at]) for at in (8, 12, 9))
    load.session.labels.data_setitem(tuple(np.stack(voxels)), 1)
    wait(qtbot, lambda: dock.view.watch.course.loss)  # it goes on
    click(qtbot, correct.saving.save)
    wait(qtbot, lambda: dock.view.news.text() == f"Now training on {last.name} too.")
    click(qtbot, dock.view.stop_run)
    wait(qtbot, lambda: not dock.view.live)
    viewer.close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals")
def test_killed_resumed_and_found_again(add_dock, make_study, qtbot):
    study = make_study(2)
    viewer, dock = add_dock()
    dock.open_study(study)
    fill(dock)
    click(qtbot, dock.start)
    run = dock.view.watch.run
    wait(qtbot, lambda: state(dock) == "running" and (run / CHECKPOINT).is_file())
    kill(run)
    wait(qtbot, lambda: state(dock) == "died")
    assert dock.view.why.kind == "error"
    assert "signal 9" in dock.view.why.text()
    assert "memory ran out" in dock.view.why.text()
    assert dock.view.state.text().startswith("Dead: epoch ")
    reached = dock.view.watch.status.step

    click(qtbot, dock.view.resume)
    assert dock.view.why.isHidden()
    assert state(dock) == "starting"
    wait(qtbot, lambda: state(dock) == "running" and dock.view.watch.status.step > reached)

    # a second start is refused, from another viewer too
    _, other = add_dock()
    assert other.study == study  # it was remembered
    assert other.view.watch.run == run
    assert other.view.live
    assert "a run of this study is in progress" in other.start.toolTip()
    other.start_run()
    assert other.notice.kind == "error"
    assert f"{run} is being trained by another process; follow it" in other.notice.text()

    # the viewer goes, the run does not
    viewer.close()
    assert launch.alive(run)
    click(qtbot, other.view.stop_run)
    wait(qtbot, lambda: state(other) == "stopped" and not other.view.live)


REOPENED = """
import sys
from pathlib import Path
import napari
from qtpy.QtTest import QTest
from napari_pvs.widgets.train.dock import Train
viewer = napari.Viewer(show=False)
_, dock = viewer.window.add_plugin_dock_widget("napari-pvs", "Train")
dock.open_study(Path(sys.argv[1]))
dock.form.unfold()
for name, value in eval(sys.argv[2]).items():
    dock.form.fields[name].set(value)
dock.start_run()
assert dock.notice.kind == "", dock.notice.text()
while not dock.view.watch.course.loss:
    assert dock.view.live, dock.view.why.text()
    QTest.qWait(50)
print(dock.view.watch.run)
assert "torch" not in sys.modules, "the viewer's process has loaded torch"
viewer.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals")
def test_napari_is_closed_and_opened_again(add_dock, make_study, qtbot, tmp_path):
    study = make_study(2)
    values = SMALL | {"device": "cpu", "validate_every": 2000}
    done = subprocess.run(
        [sys.executable, "-c", REOPENED, str(study), repr(values)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    _, dock = add_dock()  # its settings are those of the first napari
    run = dock.view.watch.run
    assert str(run) == done.stdout.split()[-1]
    assert dock.view.live
    wait(qtbot, lambda: state(dock) == "running" and dock.view.watch.course.loss)
    # its parent is gone, so nobody learns the signal: the words are those of the command line
    process = launch._recorded(run)
    process.kill()
    wait(qtbot, lambda: state(dock) == "died")
    assert "killed it, probably because memory ran out" in dock.view.why.text()
    assert dock.view.resume.isEnabled()


def test_a_study_of_which_no_scan_is_labelled(add_dock, make_study, qtbot):
    study = make_study(3, labelled=0)
    _, dock = add_dock()
    dock.open_study(study)
    wait(qtbot, lambda: "No subject has a label" in dock.cost.text())
    assert "recipe adapt, method m2ss" in dock.start.toolTip()
    dock.form.fields["recipe"].set("adapt")
    dock.form.fields["method"].set("m2ss")
    fill(dock, epochs=1, steps=1, learning_rate=1e-6, synthetic=1)
    wait(qtbot, lambda: dock.use.text().startswith("No scan is labelled: adapts the start"))
    click(qtbot, dock.start)
    wait_for_its_end(qtbot, dock)
    said = dock.view.state.text()
    assert "weights kept at epoch 1" in said
    assert "% of their sure PVS found" in said or "were sure of" in said
    assert "In 2 unlabelled scans" in said
    assert (dock.view.watch.run / BEST).is_file()


def test_better_weights_are_offered_and_compared(add_dock, make_study, qtbot, monkeypatch):
    study = make_study(2)
    viewer, dock = add_dock()
    (subject, *_) = subjects(study)
    for data, meta, _ in scan_layers(load_scan(subject.t1, subject.t2, subject.brain)):
        viewer.add_image(data, **meta)
    dock.open_study(study)
    fill(dock, validate_every=1, epochs=3)
    assert dock.offer.isHidden()
    click(qtbot, dock.start)
    run = dock.view.watch.run
    wait_for_its_end(qtbot, dock)
    assert dock.notice.text() == "The run has finished."
    wait(qtbot, lambda: not dock.offer.isHidden())
    dsc, _ = dock.view.watch.best
    assert dock.offer.text.text() == f"Weights available (validation DSC {dsc:.2f})."
    click(qtbot, dock.offer.again)
    wait(qtbot, lambda: not dock.busy)
    session = dock.session
    assert len(session.predictions) == 1, dock.notice.text()
    assert dock.offer.isHidden()
    assert "PVS, " in dock.notice.text()

    # shown is the prediction of weights of which no DSC is known: no claim to be better
    first = session.prediction
    session.predictions.clear()
    first.weights_id, first.weights = "0123456789ab", "starter"
    session.add_prediction(first)
    told = f"New weights available (validation DSC {dsc:.2f})."
    assert dock.offer.text.text() == told
    session.predictions.clear()
    first.weights_id, first.weights = digest(run / BEST)[:12], run.name
    session.add_prediction(first)
    assert dock.offer.isHidden()

    # better ones come: here, the last ones with another card
    better(run)
    watch = type(dock.view.watch)
    monkeypatch.setattr(watch, "best", property(lambda _: (dsc + 0.2, 4)))
    dock.view.watch.published.emit()
    wait(qtbot, lambda: not dock.offer.isHidden())
    told = f"Better weights (validation DSC {dsc + 0.2:.2f}, was {dsc:.2f})."
    assert dock.offer.text.text() == told
    click(qtbot, dock.offer.again)
    assert "a segmentation is running" in dock.offer.again.toolTip()
    wait(qtbot, lambda: not dock.busy)
    assert len(session.predictions) == 2, dock.notice.text()
    assert (first.layer.visible, session.prediction.layer.visible) == (False, True)
    assert dock.notice.text().startswith("0 PVS added, 0 removed; ")
    assert "Shift+T toggles the previous one" in dock.notice.text()
    assert dock.offer.isHidden()

    # weights that are deleted in the middle of it all
    better(run, "third")
    monkeypatch.setattr(watch, "best", property(lambda _: (dsc + 0.3, 5)))
    dock.view.watch.published.emit()
    wait(qtbot, lambda: not dock.offer.isHidden())
    (run / BEST).unlink()
    click(qtbot, dock.offer.again)
    wait(qtbot, lambda: not dock.busy)
    assert dock.notice.kind == "error"
    assert f"weights {run / BEST} do not exist" in dock.notice.text()
    assert len(session.predictions) == 2, dock.notice.text()


def better(run, name="better"):
    from napari_pvs.network.weights import load, save

    model, card = load(run / BEST)
    save(run / BEST, model, card.model_copy(update={"name": name}))


def test_a_run_that_is_done_is_extended(add_dock, make_study, qtbot):
    _, dock = add_dock()
    dock.open_study(make_study(2))
    fill(dock, epochs=2)
    click(qtbot, dock.start)
    view, run = dock.view, dock.view.watch.run
    assert view.extend.isHidden()
    wait_for_its_end(qtbot, dock)
    assert "the run is done" in view.resume.toolTip()
    assert not view.extend.isHidden()
    assert (view.extend.epochs.minimum(), view.extend.epochs.value()) == (3, 3)
    view.extend.epochs.setValue(5)
    view.show_run()
    assert view.extend.epochs.value() == 5  # it stays as it was entered
    click(qtbot, view.extend.start)
    assert state(dock) == "starting"
    assert view.extend.isHidden()
    assert not dock.new.isExpanded()
    wait_for_its_end(qtbot, dock)
    assert view.watch.run == run
    assert (view.watch.status.epoch, view.watch.status.epochs) == (5, 5)
    assert view.bar.maximum() == 5 * SMALL["steps"]
    assert sorted(view.watch.course.loss) == [1, 2, 3, 4, 5]
    assert "epoch 5 of 5: loss" in view.log.toPlainText()
    assert view.extend.epochs.minimum() == 6


def test_the_new_weights_run_where_the_preferences_say(
    add_dock, make_study, qtbot, monkeypatch, tmp_path
):
    from napari_pvs.widgets.preferences import preferences

    study = make_study(2)
    make_run(study, "1").write("weights", dsc=0.5, epoch=1)
    (study / "derivatives" / "runs" / "1" / BEST).write_bytes(b"weights")
    viewer, dock = add_dock()
    (subject, *_) = subjects(study)
    for data, meta, _ in scan_layers(load_scan(subject.t1, subject.t2, subject.brain)):
        viewer.add_image(data, **meta)
    chosen = preferences().segment
    chosen.device, chosen.windows, chosen.threshold, chosen.min_volume = "cpu", "paper", 0.3, 2.5
    started = []
    monkeypatch.setattr(dock, "run", lambda job: started.append(job._given))
    dock.open_study(study)
    wait(qtbot, lambda: not dock.offer.isHidden())
    click(qtbot, dock.offer.again)
    (request,) = started
    config = request(tmp_path).segment.config
    wanted = {"device": "cpu", "windows": "paper", "threshold": 0.3, "min_volume": 2.5}
    assert {name: getattr(config, name) for name in wanted} == wanted


def test_a_start_that_is_refused_leaves_nothing_behind(add_dock, make_study, qtbot):
    study = make_study(2)
    _, dock = add_dock()
    dock.open_study(study)
    fill(dock, validation=("sub-09",))
    # before: the plan says it
    wait(qtbot, lambda: dock.cost.kind == "error")
    said = "Sub-09 is not a labelled subject of this study; check its name."
    assert dock.cost.text() == said
    assert "not a labelled subject" in dock.start.toolTip()
    # after: the process says it
    dock.start_run()
    wait(qtbot, lambda: dock.notice.kind == "error")
    assert dock.notice.text() == said
    left = {path.name for path in (study / "derivatives" / "runs").iterdir()}
    assert left <= {".start.lock"}  # for whoever starts at the same moment
    assert dock.view.watch.run is None
    assert dock.run_box.isHidden()


def test_wrong_values_and_places_are_told_at_once(add_dock, make_study, qtbot, tmp_path):
    study = make_study(2)
    _, dock = add_dock()
    dock.open_study(study)
    fill(dock, learning_rate=0)
    assert dock.cost.text() == ("--learning-rate must be above 0; see its tooltip.")
    assert "--learning-rate" in dock.start.toolTip()
    dock.form.fields["learning_rate"].set(0.01)
    assert dock.start.isEnabled()
    # made read-only, or so
    (study / "derivatives" / "runs").write_text("no folder")
    click(qtbot, dock.start)
    assert dock.notice.kind == "error"
    assert f"the study {study} cannot be written" in dock.notice.text()
    # moved
    study.rename(tmp_path / "elsewhere")
    dock.start_run()
    assert dock.notice.text() == f"{study} is not a folder; give a BIDS dataset."
    dock.open_study(study)
    assert dock.notice.text() == f"{study} is not a folder; give a BIDS dataset."


def test_a_study_that_is_moved_while_it_is_trained_on(add_dock, make_study, qtbot, tmp_path):
    study = make_study(2)
    _, dock = add_dock()
    dock.open_study(study)
    fill(dock)
    click(qtbot, dock.start)
    run = dock.view.watch.run
    wait(qtbot, lambda: dock.view.watch.course.loss)
    study.rename(tmp_path / "moved")
    wait(qtbot, lambda: dock.notice.kind == "error")
    assert f"{run} is gone; if the study was moved, open it" in dock.notice.text()
    assert launch.children[run].wait(LONG / 1000) != 0


def test_it_shows_the_study_that_is_opened_in_any_dock(add_dock, make_study, qtbot):
    study = make_study(4, labelled=3)
    viewer, dock = add_dock()
    load = viewer.window.add_plugin_dock_widget("napari-pvs", "Load")[1]
    load.open_study(study)  # no subject of it is shown yet
    wait(qtbot, lambda: dock.study == study)
    assert dock.session.study is None
    wait(qtbot, lambda: dock.use.text().startswith("Trains"))
    dock.stop()
    dock.session.study_labelled.emit()
    dock.plan()
    assert not dock._plan_soon.pending
    assert dock._planning is None


def test_another_run_is_shown_as_it_is(add_dock, make_study, qtbot):
    study = make_study(2)
    for name, last in (("1", "stopped"), ("2", "done"), ("3", "hello")):
        make_run(study, name).write(last, step=3)
    _, dock = add_dock()
    dock.open_study(study)
    view = dock.view
    assert [view.choice.itemText(i) for i in range(3)] == ["3", "2", "1"]
    assert "ended without a message" in view.why.text()
    assert view.resume.isEnabled()
    for at, said, why in ((1, "Done: ", "the run is done"), (2, "Stopped: ", None)):
        view.choice.setCurrentIndex(at)
        assert view.why.isHidden()
        assert view.state.text().startswith(said)
        assert view.resume.isEnabled() == (why is None)
        assert why is None or why in view.resume.toolTip()
    view.choice.setCurrentIndex(0)
    assert not view.why.isHidden()


def make_run(study, name):
    """Write the folder of a run, and return its events."""
    run = study / "derivatives" / "runs" / name
    run.mkdir(parents=True)
    (run / "config.json").write_text(TrainingConfig(study=study).model_dump_json())
    log = EventLog(run / "events.jsonl")
    log.write("hello", step=0, of=5000)
    return log
