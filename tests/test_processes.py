import subprocess
import sys

import psutil
import pytest

from napari_pvs.processes import explain_death, living, refusal


def test_a_process_is_known_by_number_and_beginning():
    command = [sys.executable, "-c", "input()"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE)
    begun = psutil.Process(child.pid).create_time()
    assert living(child.pid, begun).pid == child.pid
    assert living(child.pid, begun - 60) is None  # another had the number before
    child.kill()
    psutil.Process(child.pid).wait()
    assert living(child.pid, begun) is None
    child.communicate()


@pytest.mark.parametrize(
    ("code", "crashed", "errors", "text"),
    [
        (9, True, "", "probably because memory ran out"),
        (11, True, "Fatal Python error\n", "signal 11: Fatal Python error"),
        (1, False, "Traceback\nKeyError: 'x'\n\n", "exit code 1: KeyError: 'x'"),
        (3, False, "", "exit code 3: no message"),
    ],
)
def test_a_death_is_explained_in_words(code, crashed, errors, text):
    assert text in explain_death(code, crashed, errors)


@pytest.mark.parametrize(
    ("code", "crashed", "log", "text"),
    [
        (9, True, "napari-pvs: no label; draw one.", "The system killed it (signal 9), probably"),
        (2, False, "step 3\nnapari-pvs: no label; draw one.\n", "no label; draw one."),
        (2, False, "napari-pvs: warning: odd\n", "it ended unexpectedly (exit code 2: napari-pvs"),
        (None, False, "napari-pvs: no label; draw one.", "no label; draw one."),
        (None, False, "Traceback\nKeyError: 'x'", "it crashed: KeyError: 'x'; see run.log."),
        (None, False, "Traceback\n" + "step\n" * 60, "it ended without a message"),
        (None, False, "", "was switched off; resume it."),
    ],
)
def test_the_death_of_a_run_is_explained_by_its_log(code, crashed, log, text):
    words = {"what": "it", "remedy": "see run.log", "memory": "resume it"}
    assert text in explain_death(code, crashed, log, **words)


def test_a_refusal_is_the_last_line_alone():
    assert refusal("napari-pvs: no label; draw one.\n\n") == "no label; draw one."
    assert refusal("napari-pvs: no label; draw one.\nstep 4\n") is None
    assert refusal("") is None
