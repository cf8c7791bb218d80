import os
import signal
import threading

import pytest

from napari_pvs.errors import InputError
from napari_pvs.training.runs.control import FILE, Control, taken_over, tell
from napari_pvs.training.runs.folder import locked


@pytest.fixture
def run(tmp_path):
    (tmp_path / "config.json").touch()
    return tmp_path


def test_each_command_is_taken_once(run):
    control = Control(run)
    assert control.take() is None
    for command in ("pause", "resume", "pause", "stop"):
        tell(run, command)
        assert control.take() == command
        assert control.take() is None


def test_the_last_command_counts(run):
    control = Control(run)
    tell(run, "pause")
    tell(run, "stop")
    assert control.take() == "stop"
    assert control.take() is None


def test_a_command_of_an_earlier_life_is_forgotten(run):
    tell(run, "stop")
    with taken_over(run):
        assert Control(run).take() is None


def test_a_command_that_comes_before_the_run_listens_is_obeyed(run):
    with taken_over(run):
        tell(run, "stop")
        control = Control(run)
        assert control.take() == "stop"
        assert control.take() is None


def test_a_living_run_is_not_robbed_of_its_command(run):
    with locked(run):
        tell(run, "pause")
        with (
            pytest.raises(InputError, match="is being trained by another process"),
            taken_over(run),
        ):
            pass
        assert Control(run).take() == "pause"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"command": "dance"}', '"stop"', "{}"])
def test_nonsense_is_no_command(run, text):
    control = Control(run)
    (run / FILE).write_text(text)
    assert control.take() is None
    tell(run, "stop")
    assert control.take() == "stop"


def test_only_runs_are_told(tmp_path):
    with pytest.raises(InputError, match=r"contains no config\.json"):
        tell(tmp_path, "stop")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop(run, number):
    control = Control(run)
    before = signal.getsignal(number)
    with control.stopped_by_signals():
        assert control.take() is None
        os.kill(os.getpid(), number)
        assert control.take() == "stop"
        assert signal.getsignal(number) == before  # the second one kills
    assert signal.getsignal(number) == before


def test_signals_are_left_alone_in_a_thread(run):
    def work():
        with Control(run).stopped_by_signals():
            done.append(signal.getsignal(signal.SIGTERM))

    done, before = [], signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [before]


def test_who_only_looks_whether_it_runs_does_not_keep_it_from_starting(run):
    inside, leave = threading.Event(), threading.Event()

    def look():
        with locked(run):
            inside.set()
            leave.wait()

    looking = threading.Thread(target=look)
    looking.start()
    inside.wait()
    threading.Timer(0.2, leave.set).start()
    with taken_over(run):
        pass
    looking.join()
