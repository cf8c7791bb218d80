"""Runs that are stopped, killed, resumed, extended, and fed with labels while they go on."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from napari_pvs.errors import InputError
from napari_pvs.network.config import NetworkConfig
from napari_pvs.network.weights import load
from napari_pvs.study.bids import subjects
from napari_pvs.study.roles import assign
from napari_pvs.training import loop
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.run import resume, train
from napari_pvs.training.runs.control import tell
from napari_pvs.training.runs.events import read
from napari_pvs.training.runs.folder import CHECKPOINT, is_running, locked

TINY = NetworkConfig(widths=(4, 8), scale_width=2)
SMALL = {"epochs": 4, "steps": 3, "batch": 2, "patch": (8,), "warmup": 1, "validate_every": 2}


pytestmark = pytest.mark.usefixtures("small_network")


def config(study, **values):
    return TrainingConfig(study=study, device="cpu", **(SMALL | values))


def events(run):
    path = run / "events.jsonl"
    return read(path) if path.exists() else []


def kinds(run):
    return [event["type"] for event in events(run)]


def end_state(run):
    return load_file(run / CHECKPOINT)


def end_progress(run):
    with safe_open(run / CHECKPOINT, framework="pt") as file:
        return json.loads(file.metadata()["progress"])


def same(one, two):
    a, b = end_state(one), end_state(two)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def wait_for(condition, what="it"):
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come")


def stopped_after(monkeypatch, run, step):
    """Have a run stop by itself after some step."""
    taken = loop.Run._step

    def one(self, *patches):
        taken(self, *patches)
        if self.state.progress.step == step:
            tell(run, "stop")

    monkeypatch.setattr(loop.Run, "_step", one)


SEMI = {"method": "m2ss", "refresh": 2}


@pytest.mark.parametrize("values", [{}, SEMI, SEMI | {"recipe": "paper", "warmup": 1}])
@pytest.mark.parametrize("step", [3, 7, 8])
def test_stopped_and_resumed_is_as_never_stopped(make_study, tmp_path, monkeypatch, values, step):
    given = config(make_study(4, labelled=2), **values)
    train(given, tmp_path / "whole")
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        stopped_after(patch, run, step)
        train(given, run)
    assert kinds(run)[-1] == "stopped"
    assert events(run)[-1]["step"] == step
    resume(run)
    assert kinds(run)[-1] == "done"
    assert [e["seq"] for e in events(run)] == list(range(len(events(run))))
    assert same(run, tmp_path / "whole")


@pytest.mark.parametrize("epoch", [2, 4])  # in the middle, and at the very end
def test_a_validation_obeys_at_once_and_is_due_when_the_run_goes_on(
    make_study, tmp_path, monkeypatch, epoch
):
    given = config(make_study(4, labelled=2))
    train(given, tmp_path / "whole")
    run = tmp_path / "run"
    validate = loop.validate
    seen = []

    def told(*arguments):
        seen.append(0)
        if len(seen) == 1 + epoch // 2:  # the first is that of the warm-up
            tell(run, "stop")
        return validate(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "validate", told)
        train(given, run)
    assert kinds(run)[-2:] == ["checkpoint", "stopped"]
    assert kinds(run).count("validation") == epoch // 2
    assert end_progress(run)["due"] == epoch
    resume(run)
    assert kinds(run)[-1] == "done"
    assert kinds(run).count("validation") == kinds(tmp_path / "whole").count("validation")
    assert same(run, tmp_path / "whole")
    assert end_progress(run) == end_progress(tmp_path / "whole")


def test_told_to_stop_at_the_end_of_an_epoch_it_does_not_validate_first(
    make_study, tmp_path, monkeypatch
):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        stopped_after(patch, run, 6)
        train(config(make_study(2)), run)
    assert kinds(run).count("validation") == 1  # that of the warm-up
    assert end_progress(run)["due"] == 2
    resume(run)
    assert [e["epoch"] for e in events(run) if e["type"] == "validation"] == [1, 2, 4]


def test_a_paused_run_saves_and_waits_on(make_study, tmp_path, monkeypatch):
    run = tmp_path / "run"
    orders = iter(["pause", "checkpoint", None, "reload", "resume"])
    begun = []
    looked = []
    look = loop.Run._look_for_labels
    monkeypatch.setattr(
        loop.Control, "take", lambda self: next(orders, None) if begun else begun.append(1)
    )
    monkeypatch.setattr(
        loop.Run,
        "_look_for_labels",
        lambda self: (looked.append(self.state.progress.step), look(self)),
    )
    train(config(make_study(2)), run)
    assert kinds(run)[-1] == "done"
    first = kinds(run).index("paused")
    assert kinds(run)[first : first + 4] == ["paused", "checkpoint", "paused", "phase"]
    assert next(e for e in events(run) if e["type"] == "checkpoint")["step"] == 2
    assert looked[0] == 2  # told while it waited, done when it went on


@pytest.mark.parametrize("when", ["pseudo-labels", "unlabelled scans, before"])
def test_whole_scans_are_left_at_once_too(make_study, tmp_path, monkeypatch, when):
    given = config(make_study(4, labelled=2), **SEMI)
    train(given, tmp_path / "whole")
    run = tmp_path / "run"
    write = loop.EventLog.write

    def told(self, kind, /, more=None, **values):
        write(self, kind, more, **values)
        if kind == "phase" and values["name"] == when:
            tell(run, "stop")

    with monkeypatch.context() as patch:
        patch.setattr(loop.EventLog, "write", told)
        train(given, run)
    assert kinds(run)[-1] == "stopped"
    assert events(run)[-1]["step"] == 3
    resume(run)
    assert same(run, tmp_path / "whole")


DRIVER = """
import sys
from napari_pvs.network.config import NetworkConfig
from napari_pvs.training.config import TrainingConfig
TrainingConfig.network = property(lambda self: NetworkConfig(widths=(4, 8), scale_width=2))
from napari_pvs.cli import main
main(sys.argv[1:])
"""


def start(*arguments):
    command = [sys.executable, "-c", DRIVER, *map(str, arguments)]
    return subprocess.Popen(command)


@pytest.mark.parametrize("values", [{}, SEMI])
def test_killed_and_resumed_is_as_never_killed(make_study, tmp_path, values):
    given = config(make_study(4, labelled=2), epochs=15, validate_every=1, **values)
    whole, run = tmp_path / "whole", tmp_path / "run"
    for folder in (whole, run):
        folder.mkdir()
        (folder / "config.json").write_text(given.model_dump_json())
    process = start("train", whole)
    assert process.wait() == 0
    rng = np.random.default_rng()
    process, kills = start("train", run), 0
    while True:
        seen = len(events(run))
        target = seen + int(rng.integers(5, 20))
        wait_for(lambda p=process, n=target: p.poll() is not None or len(events(run)) >= n)
        if process.poll() is not None:
            break
        time.sleep(rng.random() * 0.05)
        process.kill()
        process.wait()
        kills += 1
        process = start("train", "--resume", run)
    assert process.returncode == 0
    assert kills >= 2
    assert kinds(run)[-1] == "done"
    assert not list(run.glob(".tmp-*.safetensors.safetensors"))
    assert same(run, whole)


def test_a_queue_s_sigterm_stops_with_a_checkpoint(make_study, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    given = config(make_study(2), epochs=500)
    (run / "config.json").write_text(given.model_dump_json())
    process = start("train", run)
    wait_for(lambda: "step" in kinds(run))
    assert is_running(run)
    with pytest.raises(InputError, match="is being trained by another process"):
        resume(run)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait() == 0
    assert kinds(run)[-1] == "stopped"
    assert (run / CHECKPOINT).is_file()
    assert not is_running(run)


def in_thread(function, *arguments):
    """Run it beside the test; the thread's error is raised by `finish`."""
    errors = []

    def work():
        try:
            function(*arguments)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()

    def finish():
        thread.join()
        if errors:
            raise errors[0]

    return finish


def test_pause_checkpoint_and_stop(make_study, tmp_path):
    run = tmp_path / "run"
    finish = in_thread(train, config(make_study(2), epochs=500, validate_every=500), run)
    wait_for(lambda: "step" in kinds(run))
    tell(run, "pause")
    wait_for(lambda: kinds(run)[-1] == "paused")
    paused_at = events(run)[-1]["step"]
    time.sleep(0.3)
    assert kinds(run)[-1] in ("paused", "heartbeat")
    tell(run, "resume")
    wait_for(lambda: any(e["type"] == "step" and e["step"] > paused_at for e in events(run)))
    saved = kinds(run).count("checkpoint")
    tell(run, "checkpoint")
    wait_for(lambda: kinds(run).count("checkpoint") > saved)
    tell(run, "pause")
    wait_for(lambda: kinds(run)[-1] in ("paused", "heartbeat"))
    tell(run, "stop")
    finish()
    assert kinds(run)[-1] == "stopped"


def test_a_finished_run_can_be_extended(make_study, tmp_path):
    run = tmp_path / "run"
    train(config(make_study(2)), run)
    before = end_state(run)
    resume(run)  # nothing is left to do
    assert kinds(run)[-2:] == ["resumed", "done"]
    resume(run, epochs=6)
    assert json.loads((run / "config.json").read_text())["epochs"] == 6
    assert [e["epoch"] for e in events(run) if e["type"] == "epoch"] == [1, 2, 3, 4, 5, 6]
    assert not torch.equal(before["model.head.weight"], end_state(run)["model.head.weight"])


def test_a_label_that_comes_is_folded_in(make_study, make_head, write_image, tmp_path):
    study, run = make_study(4, labelled=3), tmp_path / "run"
    given = config(study, epochs=500, validate_every=500, method="m2ss", refresh=100)
    finish = in_thread(train, given, run)
    try:
        wait_for(lambda: "epoch" in kinds(run))
        assert subjects(study)[3].label is None
        path = study / "derivatives/labels/sub-04/anat/sub-04_desc-pvs_mask.nii.gz"
        write_image(path.with_name("tmp.nii.gz"), make_head(seed=3).label)
        path.with_name("tmp.nii.gz").rename(path)
        wait_for(lambda: "data_added" in kinds(run))
    finally:
        tell(run, "stop")
        finish()
    (news,) = [e for e in events(run) if e["type"] == "data_added"]
    assert news["added"] == ["sub-04"]
    assert news["changed"] == news["removed"] == []
    said = events(run)[-1]["step"]
    resume(run, epochs=said // 3 + 1)  # shorter than planned; the label is known
    assert kinds(run).count("data_added") == 1
    assert kinds(run)[-1] == "done"


def test_a_full_disk_leaves_the_last_checkpoint_whole(make_study, tmp_path, monkeypatch):
    study, run = make_study(2), tmp_path / "run"
    whole = tmp_path / "whole"
    train(config(study), whole)
    import safetensors.torch

    save, count = safetensors.torch.save_file, []

    def full(tensors, file, metadata=None):
        count.append(file)
        if len(count) == 3:
            file.write_bytes(b"half of it")
            raise OSError(28, "No space left on device")
        save(tensors, file, metadata)

    with monkeypatch.context() as patch:
        patch.setattr(safetensors.torch, "save_file", full)
        said = r"run cannot be written \(No space left on device\); make room.*--resume"
        with pytest.raises(InputError, match=said):
            train(config(study), run)
    assert not list(run.glob(".tmp-*"))
    resume(run)
    assert same(run, whole)


@pytest.mark.parametrize("told", ["stop", "pause"])
def test_what_is_told_while_a_run_reads_its_scans_is_obeyed(
    make_study, tmp_path, monkeypatch, told
):
    given, run = config(make_study(2)), tmp_path / "run"
    with monkeypatch.context() as patch:
        stopped_after(patch, run, 4)
        train(given, run)
    tell(run, "stop")  # too late for that life
    reads = loop.Cohort.open

    def busy(self, *known, **more):
        tell(run, told)  # by then the process is seen to live
        reads(self, *known, **more)

    def wait(self):
        said.append("paused")
        tell(run, "stop")
        return "stop"

    said = []
    monkeypatch.setattr(loop.Cohort, "open", busy)
    monkeypatch.setattr(loop.Run, "_wait", wait)
    resume(run)
    assert kinds(run)[-1] == "stopped"
    assert events(run)[-1]["step"] == 5
    assert said == (["paused"] if told == "pause" else [])


def test_resume_refuses(make_study, tmp_path):
    with pytest.raises(InputError, match=r"contains no config.json; name the folder of a run"):
        resume(tmp_path)
    run = tmp_path / "run"
    train(config(make_study(2), epochs=1), run)
    with locked(run), pytest.raises(InputError, match="is being trained by another process"):
        resume(run)
    saved = (run / CHECKPOINT).read_bytes()
    (run / CHECKPOINT).write_bytes(saved[: len(saved) // 2])
    with pytest.raises(InputError, match=r"checkpoint\.safetensors is damaged"):
        resume(run)
    (run / CHECKPOINT).write_bytes(saved)
    (run / "split.json").write_text("{")
    with pytest.raises(InputError, match=r"split.json is missing or damaged"):
        resume(run)
    old = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(old | {"wings": 2}))
    with pytest.raises(InputError, match=r"config.json: wings is not known to this version"):
        resume(run)


def test_a_config_of_before_is_understood(make_study, tmp_path):
    run = tmp_path / "run"
    train(config(make_study(2), epochs=1), run)
    old = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(old | {"patch": 8}))
    resume(run, epochs=2)
    assert kinds(run)[-1] == "done"


def test_a_run_that_lost_its_pseudo_labels_goes_on(make_study, tmp_path, monkeypatch):
    given = config(make_study(5, labelled=2), method="m2ss", refresh=5, warmup=1, epochs=6)
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        stopped_after(patch, run, 8)  # pseudo-labels are new at epochs 1 and 6
        train(given, run)
    shutil.rmtree(run / "pseudo")
    resume(run)
    assert read(run / "events.jsonl")[-1]["type"] == "done"


@pytest.mark.parametrize("step", [8, 10])  # before and after the label is folded in
def test_resumed_after_a_label_came_is_as_never_stopped(
    make_study, make_head, write_image, tmp_path, monkeypatch, step
):
    given = config(make_study(6, labelled=2), method="m2ss", refresh=4, refresh_scans=3, epochs=6)
    study = given.study
    come = loop.Run._look_for_labels

    def comes(self):
        if self.state.progress.step == 9:  # in the middle of a cycle, of epochs 1 to 4
            name = sorted(s.name for s in self.teacher.pseudo_labels.subjects)[0]
            path = study / f"derivatives/labels/{name}/anat/{name}_desc-pvs_mask.nii.gz"
            write_image(path, make_head(seed=3).label)
        come(self)

    monkeypatch.setattr(loop.Run, "_look_for_labels", comes)
    backup = tmp_path / "backup"
    shutil.copytree(study, backup)
    train(given, tmp_path / "whole")
    shutil.rmtree(study)
    shutil.copytree(backup, study)
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        stopped_after(patch, run, step)
        train(given, run)
    assert (events(run)[-1]["type"], events(run)[-1]["step"]) == ("stopped", step)
    resume(run)
    assert "data_added" in kinds(run)
    assert same(run, tmp_path / "whole")


def test_the_last_label_of_a_running_run_may_go(make_study, tmp_path, caplog):
    study, run = make_study(3), tmp_path / "run"
    path = subjects(study)[0].label
    finish = in_thread(train, config(study, epochs=500, validation=("sub-02", "sub-03")), run)
    try:
        wait_for(lambda: "epoch" in kinds(run))
        path.unlink()
        wait_for(lambda: "wait for the next epoch" in caplog.text)
        epochs = kinds(run).count("epoch")
        wait_for(lambda: kinds(run).count("epoch") > epochs + 1)
    finally:
        tell(run, "stop")
        finish()
    assert "no labelled subject of" in caplog.text
    assert kinds(run)[-1] == "stopped"
    with pytest.raises(InputError, match=r"no labelled subject of .* is left to train on"):
        resume(run)


def test_killed_before_its_first_checkpoint_it_learns_from_nobody_held_out_since(
    make_study, make_head, write_image, tmp_path, monkeypatch
):
    study, run = make_study(5, labelled=3), tmp_path / "run"
    given = config(study, validation=("sub-03",))
    with monkeypatch.context() as patch:
        patch.setattr(loop.Run, "_steps", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(given, run)
    for name in ("sub-04", "sub-05"):
        path = study / f"derivatives/labels/{name}/anat/{name}_desc-pvs_mask.nii.gz"
        write_image(path, make_head(seed=3).label)
    assign(subjects(study), ("sub-03",), ("sub-05",), root=study)
    resume(run)
    (again,) = [e for e in events(run) if e["type"] == "resumed"]
    assert again["train"] == 3
    kept = load(run / "last.safetensors")[1]
    assert kept.accuracy["validation"]["subjects"] == 1
    assert "sub-05" not in end_progress(run)["labels"]
    assert "sub-04" in end_progress(run)["labels"]


def test_a_scan_that_is_gone_is_not_called_a_full_disk(make_study, tmp_path, monkeypatch):
    run = tmp_path / "run"
    gone = tmp_path / "study" / "images.npy"
    with monkeypatch.context() as patch:
        patch.setattr(loop.Run, "_steps", lambda *_: gone.open())
        said = rf"{gone} can no longer be used \(No such file or directory\); put it back"
        with pytest.raises(InputError, match=said):
            train(config(make_study(2)), run)
    assert kinds(run)[-1] == "error"
    resume(run)
    assert kinds(run)[-1] == "done"


def test_the_log_says_how_long_the_rest_takes(make_study, tmp_path, caplog, monkeypatch):
    passed = iter(range(0, 10**9, 90))
    left = loop.Run._left

    def later(self, epoch):
        with monkeypatch.context() as patch:  # an epoch of 90 s
            patch.setattr(loop.time, "monotonic", lambda: next(passed))
            return left(self, epoch)

    monkeypatch.setattr(loop.Run, "_left", later)
    caplog.set_level("INFO", "napari_pvs")
    train(config(make_study(2), validate_every=9), tmp_path / "run")
    said = [one.getMessage() for one in caplog.records if one.getMessage().startswith("epoch")]
    lines = [line for line in said if "loss" in line]
    assert [line.partition(",")[2] for line in lines] == [
        "",
        " about 3 min left",
        " about 2 min left",
        "",
    ]
