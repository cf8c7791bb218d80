import subprocess
import sys

import psutil
import pytest

from napari_pvs.processes import explain_death, living


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
