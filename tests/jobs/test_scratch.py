"""Temporary folders go with their object, with Python and, after a kill, with the next session."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from napari_pvs.errors import InputError
from napari_pvs.jobs import scratch

MAKE = """
import os, signal, sys
from napari_pvs.jobs.scratch import Folder
folder = Folder()
(folder.path / "t1.npy").write_bytes(b"a scan")
print(folder.path, flush=True)
if sys.argv[1] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    scratch._sweep.cache_clear()
    yield
    scratch._sweep.cache_clear()


def made(how):
    done = subprocess.run([sys.executable, "-c", MAKE, how], capture_output=True, text=True)
    return Path(done.stdout.strip())


def gone(path):
    until = time.monotonic() + 60
    while (path.exists() or list(path.parent.glob("*-gone"))) and time.monotonic() < until:
        time.sleep(0.01)
    return not path.exists()


def test_a_folder_goes_with_its_object(tmp_path):
    folder = scratch.Folder()
    path = folder.path
    assert path.parent == tmp_path
    assert path.is_dir()
    del folder
    assert gone(path)


def test_a_folder_goes_with_python():
    assert not made("ended").exists()


def test_what_a_killed_session_left_goes_with_the_next(tmp_path):
    left = made("killed")
    assert (left / "t1.npy").is_file()
    others = tmp_path / "napari-pvs-elsewhere-1-1-x", tmp_path / "napari-pvs-old"
    for one in others:  # of another machine, or of nobody known
        one.mkdir()
    own = scratch.Folder()
    assert gone(left)
    assert own.path.is_dir()
    scratch._sweep.cache_clear()
    again = scratch.Folder()
    assert own.path.is_dir()  # its session lives
    assert again.path != own.path
    assert all(one.is_dir() for one in others)


def test_no_temporary_folder_is_told_in_a_sentence(monkeypatch):
    def none():
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    folder = scratch.Folder()
    with pytest.raises(
        InputError, match=r"^no temporary folder can be written \(No usable .*TMPDIR"
    ):
        _ = folder.path
