import subprocess
import sys

import psutil

from napari_pvs.processes import living


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
