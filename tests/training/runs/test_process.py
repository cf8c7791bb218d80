"""Training processes that outlive who started them, without training anything."""

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from napari_pvs.errors import InputError
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.runs import process
from napari_pvs.training.runs.events import EventLog
from napari_pvs.training.runs.folder import locked

pytestmark = pytest.mark.usefixtures("ended_runs")
SLEEPER = "import time; time.sleep(600)"


@pytest.fixture
def study(tmp_path):
    folder = tmp_path / "study"
    folder.mkdir()
    return folder


@pytest.fixture
def command(monkeypatch):
    """Function that sets what is started in place of the training."""
    real = process.subprocess.Popen

    def use(code):
        def start(command, **more):
            started.append(command)
            return real([sys.executable, "-S", "-c", code], **more)

        monkeypatch.setattr(process.subprocess, "Popen", start)

    started: list[list[str]] = []
    use.started = started
    return use


def ended(run):
    process.children[run].wait()
    return process.end_code(run)


def test_a_start_is_the_command_line_in_a_folder_of_its_own(study, command):
    command(SLEEPER)
    run = process.start(TrainingConfig(study=study, method="m2ss"))
    assert run.parent == study / "derivatives" / "runs"
    assert run.name.endswith("-m2ss")
    assert [path.name for path in run.iterdir()] == ["config.json"]
    assert json.loads((run / "config.json").read_text())["study"] == str(study)
    assert command.started == [[sys.executable, "-P", "-m", "napari_pvs", "train", str(run)]]
    assert process.alive(run)
    assert process.started_at(run) == pytest.approx(time.time(), abs=600)
    assert process.end_code(run) is None
    with pytest.raises(InputError, match="is being trained by another process; follow it"):
        process.start(TrainingConfig(study=study))
    with pytest.raises(InputError, match="is being trained by another process; follow it"):
        process.resume(run)

    # another napari knows it by its number
    child = process.children.pop(run)
    assert process.alive(run)
    process.kill(run)
    child.wait()
    assert not process.alive(run)
    assert not process._record(run).exists()
    process.discard(run)
    assert {path.name for path in run.parent.iterdir()} <= {".start.lock"}


def test_only_one_of_two_naparis_starts_a_run(study, command, monkeypatch):
    monkeypatch.setattr(process, "_STARTING_S", 120)  # however slow the machine is
    code = """
import os, sys, time
from pathlib import Path
from napari_pvs.errors import InputError
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.runs import process
begin = process._begin
def slowly(*values):
    Path(sys.argv[1], "begun").touch()
    time.sleep(0.3)
    return begin(*values)
process._begin = slowly
mine = f"0 {os.getpid()} {process._create_time(os.getpid())} {process.platform.node()}"
process._launch = lambda run, arguments: process._record(run).write_text(mine)
process.start(TrainingConfig(study=sys.argv[1]))
time.sleep(60)
"""
    other = subprocess.Popen([sys.executable, "-c", code, str(study)])
    try:
        while not (study / "begun").exists():
            assert other.poll() is None
            time.sleep(0.02)
        command(SLEEPER)
        with pytest.raises(InputError, match="is being trained by another process; follow it"):
            process.start(TrainingConfig(study=study))
        assert command.started == []
    finally:
        other.kill()
        other.wait()


def test_a_run_gives_way_to_the_viewer(study, command):
    command(SLEEPER)
    run = process.start(TrainingConfig(study=study))
    child = psutil.Process(process.children[run].pid)
    assert child.nice() > psutil.Process().nice()
    group = Path(f"/proc/{child.pid}/autogroup")
    if group.is_file():  # by which Linux weighs it, as it is a session of its own
        assert int(group.read_text().split()[-1]) == child.nice()


def test_a_run_with_a_split_is_resumed_and_another_begun(study, command):
    command("")
    run = process.start(TrainingConfig(study=study))
    assert ended(run) == 0
    process.resume(run)
    assert command.started[-1][5:] == [str(run)]
    assert ended(run) == 0
    (run / "split.json").write_text("{}")
    process.resume(run)
    assert command.started[-1][5:] == ["--resume", str(run)]
    assert ended(run) == 0
    process.resume(run, 30)
    assert command.started[-1][5:] == ["--resume", str(run), "--epochs", "30"]
    assert ended(run) == 0
    process.discard(run)  # it holds more than it was started with
    assert run.is_dir()


def test_the_log_moves_in_when_the_run_has_begun(study, command):
    command("import sys; print('a word', file=sys.stderr)")
    run = process.start(TrainingConfig(study=study))
    ended(run)
    assert process.log_of(run).parent == run.parent
    EventLog(run / "events.jsonl").write("hello")
    assert process.log_of(run) == run / "train.log"
    assert (run / "train.log").read_text().splitlines()[1] == "a word"
    assert [path.name for path in run.parent.iterdir() if path.suffix == ".log"] == []
    process.resume(run)
    ended(run)
    assert (run / "train.log").read_text().count("a word") == 2


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os; os.kill(os.getpid(), 9)", "The system killed it (signal 9), probably"),
        (
            "import sys; sys.exit('napari-pvs: no subject has a label; label two.')",
            "No subject has a label; label two.",
        ),
        ("import sys; sys.exit('odd')", "It ended unexpectedly (exit code 1: odd); see "),
        ("", "It ended before it began"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals")
def test_why_it_ended(study, command, code, said):
    command(code)
    run = process.start(TrainingConfig(study=study))
    ended(run)
    assert process.explain(run).startswith(said)


def test_what_an_earlier_life_said_is_not_this_one_s_reason(study, command):
    command("import sys; sys.exit('napari-pvs: the disk is full.')")
    run = process.start(TrainingConfig(study=study))
    ended(run)
    command("import sys; sys.exit(3)")
    process.resume(run)
    ended(run)
    assert "exit code 3" in process.explain(run)


def test_places_that_cannot_be_written(study, command, monkeypatch):
    command(SLEEPER)
    (study / "derivatives").write_text("no folder")
    with pytest.raises(InputError, match=r"the study .* cannot be written .*allow writing there"):
        process.start(TrainingConfig(study=study))
    with pytest.raises(InputError, match="absent is not a folder"):
        process.start(TrainingConfig(study=study / "absent"))
    (study / "derivatives").unlink()

    def refuse(*_, **__):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(process.subprocess, "Popen", refuse)
    with pytest.raises(InputError, match=r"cannot be trained .*Cannot allocate memory"):
        process.start(TrainingConfig(study=study))
    assert [p for p in (study / "derivatives" / "runs").iterdir() if p.is_dir()] == []


def test_a_run_that_a_command_line_has_started_is_alive_too(study):
    run = study / "derivatives" / "runs" / "one"
    run.mkdir(parents=True)
    (run / "config.json").write_text(TrainingConfig(study=study).model_dump_json())
    assert not process.alive(run)
    with locked(run):
        assert process.alive(run)
        assert process.started_at(run) is None
    assert not process.alive(run)
