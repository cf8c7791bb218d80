"""A run is followed at the price of what is new."""

import pytest

pytest.importorskip("napari")

from qtpy.QtCore import QObject

from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.runs import process as launch
from napari_pvs.training.runs.events import EventLog
from napari_pvs.training.runs.folder import locked
from napari_pvs.widgets.train import run_watch
from napari_pvs.widgets.train.run_watch import RunWatch

LONG = 300_000


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "study" / "derivatives" / "runs" / "one"
    folder.mkdir(parents=True)
    config = TrainingConfig(study=tmp_path / "study", epochs=4, steps=10)
    (folder / "config.json").write_text(config.model_dump_json())
    return folder


@pytest.fixture
def watch(qapp):
    parent = QObject()
    watch = RunWatch(parent)
    yield watch
    watch.stop()
    parent.deleteLater()


def measured(epoch, dsc):
    return {"epoch": epoch, "dsc": dsc, "avd_percent": None, "recall": 0.5, "threshold": 0.5,
            "subjects": {}}  # fmt: skip


def test_it_grows_with_the_run_and_tells_its_end(run, watch, qtbot):
    told = []
    for name in ("published", "ended"):
        getattr(watch, name).connect(lambda name=name: told.append(name))
    watch.follow(run)
    assert (watch.status.state, watch.live, watch.starting) == ("new", False, False)
    with locked(run):
        watch.look()
        assert watch.starting
        log = EventLog(run / "events.jsonl")
        log.write("hello", step=0, of=40)
        for step in range(10):
            log.write("step", step=step, of=40, loss=1 - step / 10)
        log.write("epoch", epoch=1, of=4, loss=0.55)
        with qtbot.waitSignal(watch.changed, timeout=LONG):
            pass
        assert watch.live
        assert not watch.starting
        assert watch.status.state == "running"
        assert watch.course.loss == {1: 0.55}
        assert len(watch.course.steps) == 10
        log.write("phase", name="validation", epoch=1)
        watch.look()
        assert watch.phase == "validation"
        log.write("validation", **measured(1, 0.4))
        log.write("weights", weights="best.safetensors", epoch=1, dsc=0.4)
        log.write("phase", name="train", epoch=1)
        log.write("data_added", added=["sub-09"], changed=[], removed=[])
        watch.look()
        assert watch.phase == ""
        assert watch.course.validation == {1: (0.4, None, 0.5)}
        assert watch.best == (0.4, 1)
        assert watch.weights == run / "best.safetensors"
        assert watch.news["added"] == ["sub-09"]
        assert told == ["published"]
        # a step that is done again after a crash
        log.write("step", step=9, of=40, loss=0.2)
        watch.look()
        assert len(watch.course.steps) == 10
        assert watch.course.steps[-1] == (0.9, 0.2)
        log.write("stopped", step=10)
    watch.look()
    assert told == ["published", "ended"]
    assert watch.status.state == "stopped"


def test_a_long_past_is_read_in_parts(run, watch, qtbot, monkeypatch):
    monkeypatch.setattr(run_watch, "_AT_A_TIME", 500)
    log = EventLog(run / "events.jsonl")
    log.write("hello", step=0, of=40)
    for step in range(40):
        log.write("step", step=step, of=40, loss=0.1)
    watch.follow(run)
    assert 0 < len(watch.course.steps) < 40
    qtbot.waitUntil(lambda: len(watch.course.steps) == 40, timeout=LONG)


def test_one_that_was_stopped_looks_no_more(run, watch):
    watch.follow(run)
    watch.stop()
    watch.look()
    watch.hurry()
    assert not watch._timer.isActive()


def test_a_run_that_vanishes_or_is_damaged_is_told(run, watch, monkeypatch):
    def vanish(_):
        raise FileNotFoundError

    said = []
    watch.failed.connect(said.append)
    EventLog(run / "events.jsonl").write("hello", step=0, of=40)
    watch.follow(run)
    run.rename(run.with_name("two"))
    watch.look()
    assert said == [f"{run} is gone; if the study was moved, open it where it is now."]
    assert watch.status is None
    two = run.with_name("two")
    monkeypatch.setattr(launch, "alive", vanish)  # while it is looked at
    watch.follow(two)
    assert said[1] == said[0].replace(str(run), str(two))
    monkeypatch.undo()
    (two / "events.jsonl").write_text("nonsense\n")
    watch.follow(two)
    assert "events.jsonl is damaged" in said[-1]
    (two / "config.json").write_text("{")
    watch.follow(two)
    assert "is not readable JSON" in said[-1]
    watch.follow(None)
    assert watch.run is None


def test_a_share_that_was_away_for_a_moment_is_followed_again(run, watch, qtbot):
    said = []
    watch.failed.connect(said.append)
    EventLog(run / "events.jsonl").write("hello", step=0, of=40)
    away = run.with_name("away")
    watch.follow(run)
    run.rename(away)
    watch.look()
    watch.look()
    assert len(said) == 1
    assert watch._timer.isActive()
    away.rename(run)
    watch.look()
    assert watch.status is not None
