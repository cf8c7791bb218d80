import errno
import os
import stat
import subprocess
import sys

import pytest

from napari_pvs import files
from napari_pvs.errors import InputError
from napari_pvs.files import atomic, write_text

posix = pytest.mark.skipif(os.name != "posix", reason="permission bits are POSIX")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_writes_and_leaves_nothing_else(tmp_path):
    write_text(tmp_path / "a.json", "µ ≥ 0.8\n")
    assert (tmp_path / "a.json").read_bytes() == "µ ≥ 0.8\n".encode()
    assert names(tmp_path) == ["a.json"]


def test_makes_missing_folders(tmp_path):
    write_text(tmp_path / "b" / "c" / "a.txt", "x")
    assert (tmp_path / "b" / "c" / "a.txt").read_text() == "x"


def test_readers_see_the_old_file_until_the_end(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent  # a rename is atomic within one folder only
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


def test_a_share_that_cannot_sync_folders(tmp_path, monkeypatch):
    def fsync(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", fsync)
    write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_write_changes_nothing(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail():
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_failed_first_write_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="x"), atomic(tmp_path / "a.txt"):
        raise ValueError("x")
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["a.nii.gz", "a.safetensors"])
def test_the_suffix_is_kept(tmp_path, name):
    with atomic(tmp_path / name) as temporary:
        assert temporary.name.endswith(name)
        temporary.write_bytes(b"x")


KILLED = """
import os, sys
from pathlib import Path
from napari_pvs.files import atomic
with atomic(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), 9)
"""


@posix
@pytest.mark.parametrize("stale", [False, True])
def test_what_a_killed_process_left_goes_when_it_is_old(tmp_path, monkeypatch, stale):
    path = tmp_path / "a.nii.gz"
    subprocess.run([sys.executable, "-c", KILLED, path], check=False)
    (left,) = names(tmp_path)
    others = [".tmp-probe", ".tmp-notes-a.nii.gz", "tmp-abcd1234-a.nii.gz", f"{left[:13]}"]
    for name in others:
        (tmp_path / name).touch()
    (tmp_path / ".tmp-abcd1234-folder").mkdir()
    (tmp_path / ".tmp-abcd1234-link").symlink_to(tmp_path / "tmp-abcd1234-a.nii.gz")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / left).touch()
    before = names(tmp_path)
    if stale:
        monkeypatch.setattr(files, "_STALE_S", -60.0)  # in a minute it would be a day old
    os.utime(tmp_path / left, (0, 0))  # as a copy that keeps times
    write_text(path, "new")
    gone = [left] if stale else []
    assert names(tmp_path) == sorted([path.name, *(n for n in before if n not in gone)])
    assert names(tmp_path / "deeper") == [left]
    assert path.read_text() == "new"


@posix
def test_a_write_that_goes_on_is_left_alone(tmp_path):
    with atomic(tmp_path / "a.txt") as temporary:
        files._swept.clear()
        write_text(tmp_path / "b.txt", "x")
        temporary.write_text("x")
    assert names(tmp_path) == ["a.txt", "b.txt"]


@posix
def test_permissions_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "x")
    finally:
        assert os.umask(before) == 0o027
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file cannot be written .*choose another folder"):
        write_text(tmp_path / "file" / "a.txt", "x")


@posix
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root writes anywhere")
def test_a_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(InputError, match="cannot be written"):
            write_text(tmp_path / "a.txt", "x")
    finally:
        tmp_path.chmod(0o700)
