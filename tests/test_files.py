import errno
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

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


@pytest.mark.parametrize(("hours", "gone"), [(23, False), (25, True)])
def test_what_was_left_is_old_after_a_day(tmp_path, monkeypatch, hours, gone):
    left = [tmp_path / ".tmp-abcd1234-a.txt", tmp_path / ".tmp-abcd1234-set"]
    left[0].touch()
    left[1].mkdir()
    now = files.time.time
    monkeypatch.setattr(files.time, "time", lambda: now() + hours * 3600)
    write_text(tmp_path / "b.txt", "x")
    assert [path.exists() for path in left] == [not gone] * 2


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


@posix
@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_a_file_that_is_written_is_as_open_as_one_that_is_opened(tmp_path, umask):
    before = os.umask(umask)
    try:
        (tmp_path / "plain.txt").touch()
        write_text(tmp_path / "a.txt", "x")
        write_set(tmp_path, "b.txt")
    finally:
        os.umask(before)
    modes = {name: (tmp_path / name).stat().st_mode for name in names(tmp_path)}
    assert modes["a.txt"] == modes["b.txt"] == modes["plain.txt"]


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


def test_a_write_is_whole_on_the_disk_before_it_takes_the_name(tmp_path, monkeypatch):
    """File, rename, folder: in another order a power cut leaves an empty file, or the old name."""
    path, told = tmp_path / "a.txt", []
    path.write_text("old")
    sync, rename = os.fsync, files.Path.replace

    def fsync(handle):
        kind = "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file"
        told.append((kind, path.read_text()))
        sync(handle)

    def replace(self, target):
        told.append(("rename", self.read_text()))
        assert self != path  # what is written is never the file itself
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(files.Path, "replace", replace)
    write_text(path, "new")
    expected = [("file", "old"), ("rename", "new")]
    assert told == ([*expected, ("folder", "new")] if os.name == "posix" else expected)


def test_a_set_is_on_the_disk_before_the_first_of_it_appears(tmp_path, monkeypatch):
    """Files, removal of the old, folder, renames, folder: whenever the power fails, one set."""
    both, told = ("a.tsv", "b.tsv"), []
    write_set(tmp_path, *both, text="old")
    sync, rename = os.fsync, files.Path.replace

    def there():
        return [(tmp_path / name).read_text() for name in both if (tmp_path / name).exists()]

    def fsync(handle):
        kind = "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file"
        told.append((kind, there()))
        sync(handle)

    def replace(self, target):
        told.append(("rename", there()))
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(files.Path, "replace", replace)
    write_set(tmp_path, *both)
    expected = [
        ("file", ["old", "old"]),
        ("file", ["old", "old"]),
        ("rename", ["old", "old"]),
        ("rename", ["old"]),
        ("folder", []),
        ("rename", []),
        ("rename", ["new"]),
        ("folder", ["new", "new"]),
    ]
    assert told == [one for one in expected if os.name == "posix" or one[0] != "folder"]


@posix
def test_a_disk_that_fails_at_the_end_is_told(tmp_path, monkeypatch):
    """Unlike a share that cannot sync folders, which is no failure."""

    def fsync(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="Input/output error"):
        write_text(tmp_path / "a.txt", "new")


@posix
@pytest.mark.parametrize("kind", ["folder", "link", "dangling", "pipe"])
def test_what_is_no_regular_file_is_not_replaced(tmp_path, kind):
    path, target = tmp_path / "out.json", tmp_path / "target"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        if kind == "link":
            target.write_text("theirs")
        path.symlink_to(target)
    before = path.lstat()
    for write in (lambda: write_text(path, "x"), lambda: write_set(tmp_path, "out.json")):
        with pytest.raises(
            InputError, match=r"out.json is (a folder|a link|a device or pipe).*\.$"
        ):
            write()
    assert path.lstat() == before
    assert not target.exists() or target.read_text() == "theirs"


def write_set(folder, *names, text="new"):
    with files.atomic_set(folder, names) as inner:
        for name in names:
            (inner / name).write_text(text)


def test_a_set_is_of_one_write_whenever_the_process_dies(tmp_path, monkeypatch):
    both = ("a.tsv", "b.tsv", "c.tsv")
    write_set(tmp_path, *both, text="old")
    assert names(tmp_path) == sorted(both)
    real = {name: getattr(files.Path, name) for name in ("unlink", "replace")}
    for last in range(20):
        steps = iter(range(last))

        def limited(self, *arguments, steps=steps, what="", **more):
            if next(steps, None) is None:
                raise KeyboardInterrupt
            return real[what](self, *arguments, **more)

        for what in real:
            monkeypatch.setattr(
                files.Path, what, lambda self, *a, w=what, **k: limited(self, *a, what=w, **k)
            )
        monkeypatch.setattr(files.shutil, "rmtree", lambda *_, **__: None)  # it is dead
        try:
            write_set(tmp_path, *both, text=f"new {last}")
            ended = True
        except KeyboardInterrupt:
            ended = False
        monkeypatch.undo()
        there = {(tmp_path / name).read_text() for name in both if (tmp_path / name).exists()}
        assert len(there) <= 1, f"{there} after {last} steps"
        if ended:
            break
        write_set(tmp_path, *both, text="old")
    assert ended
    assert last == 6


def test_a_set_that_fails_leaves_the_old_one(tmp_path):
    write_set(tmp_path, "a", "b", text="old")

    def fail():
        with files.atomic_set(tmp_path, ("a", "b")) as inner:
            (inner / "a").write_text("new")
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        fail()
    assert [(tmp_path / name).read_text() for name in names(tmp_path)] == ["old", "old"]


@pytest.mark.parametrize("at", range(1, 6))
@pytest.mark.parametrize("error", [PermissionError(13, "locked"), KeyboardInterrupt()])
def test_a_set_that_cannot_be_placed_gives_the_old_one_back(tmp_path, monkeypatch, at, error):
    write_set(tmp_path, "a", "b", text="old")
    (tmp_path / "c").write_text("old")
    rename, calls = files.Path.replace, iter(range(1, 100))

    def fail(self, target):
        if next(calls) == at:
            raise error
        return rename(self, target)

    monkeypatch.setattr(files.Path, "replace", fail)

    def write():
        with files.atomic_set(tmp_path, ("a", "b"), without=("c",)) as inner:
            for name in ("a", "b"):
                (inner / name).write_text("new")

    with pytest.raises(type(error)):
        write()
    there = {name: (tmp_path / name).read_text() for name in names(tmp_path)}
    assert there == dict.fromkeys("abc", "old")


def test_a_share_that_shows_another_owner_can_be_written(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(files.Path, "chmod", refuse)
    files.write_text(tmp_path / "a.txt", "text")
    assert (tmp_path / "a.txt").read_text() == "text"


@posix
def test_what_a_killed_set_left_goes_when_it_is_old(tmp_path, monkeypatch):
    code = KILLED.replace("atomic", "atomic_set").replace(
        "Path(sys.argv[1]))", "Path(sys.argv[1]), ['a'])"
    )
    code = code.replace("temporary.write_text", "(temporary / 'a').write_text")
    subprocess.run([sys.executable, "-c", code, tmp_path], check=False)
    assert len(names(tmp_path)) == 1
    monkeypatch.setattr(files, "_STALE_S", -60.0)
    files._swept.clear()
    write_set(tmp_path, "a")
    assert names(tmp_path) == ["a"]


def test_a_folder_appears_as_a_whole_and_the_quicker_one_stays(tmp_path, monkeypatch):
    with files.atomic_folder(tmp_path / "in" / "a") as temporary:
        (temporary / "x").write_text("first")
        assert not (tmp_path / "in" / "a").exists()
    with files.atomic_folder(tmp_path / "in" / "a") as temporary:
        (temporary / "x").write_text("second")
    assert (tmp_path / "in" / "a" / "x").read_text() == "first"
    left = Path(tempfile.mkdtemp(prefix=".tmp-", suffix="-set", dir=tmp_path / "in"))
    (left / "x").touch()
    monkeypatch.setattr(files, "_STALE_S", -60.0)
    files._swept.clear()
    with pytest.raises(KeyError), files.atomic_folder(tmp_path / "in" / "b") as temporary:
        raise KeyError
    assert names(tmp_path / "in") == ["a"]


def test_one_process_holds_a_lock(tmp_path):
    lock = tmp_path / "a.lock"
    with files.held(lock), pytest.raises(TimeoutError) as told, files.held(lock):
        pass
    assert told.value.filename == str(lock)
    assert files.abandoned(told.value) == ""
    with files.held(lock):  # free again
        pass


@posix
def test_a_lock_without_flock_is_a_file_that_a_dead_process_does_not_hold(tmp_path, monkeypatch):
    import fcntl

    lock = tmp_path / "a.lock"
    with files.held(lock):
        pass
    assert lock.exists()  # it was left there, and nobody holds it

    def missing(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", missing)
    with files.held(lock), pytest.raises(TimeoutError) as told, files.held(lock):
        pass
    assert told.value.filename == f"{lock}.held"
    remedy = f"; if it died on another machine, delete {lock}.held"
    assert files.abandoned(told.value) == remedy
    assert names(tmp_path) == ["a.lock"]


@posix
def test_a_disk_that_fails_is_no_file_system_without_locks(tmp_path, monkeypatch):
    import fcntl

    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", broken)
    with (
        pytest.raises(OSError, match="Input/output error"),
        files.held(tmp_path / "a.lock"),
    ):
        pass
    assert not (tmp_path / "a.lock.held").exists()


def test_two_commands_do_not_write_into_one_folder(tmp_path):
    out = tmp_path / "a" / "results"
    with (
        files.claimed(out),
        pytest.raises(InputError, match=r"results is being written by another .*another folder"),
        files.claimed(out),
    ):
        pass
    assert names(tmp_path) == []  # nothing came of it
    with files.claimed(out):
        out.mkdir()
    assert names(tmp_path / "a") == ["results"]


def test_the_folders_of_a_claim_are_made_and_go_when_nothing_came(tmp_path):
    out = tmp_path / "a" / "b" / "results"
    with files.claimed(out):
        assert names(tmp_path / "a" / "b") == [".results.lock"]
    assert names(tmp_path) == []
    (tmp_path / "a").mkdir()
    with files.claimed(out):
        pass
    assert names(tmp_path) == ["a"]  # it was there before
    assert names(tmp_path / "a") == []


def test_who_can_hold_no_lock_beside_the_folder_writes_all_the_same(tmp_path):
    (tmp_path / "file").touch()
    with files.claimed(tmp_path / "file" / "results"):
        ran = True
    assert ran
    assert names(tmp_path) == ["file"]


def test_a_lock_is_waited_for(tmp_path):
    import threading

    lock, order, held = tmp_path / "a.lock", [], threading.Event()

    def hold():
        with files.held(lock):
            held.set()
            files.time.sleep(0.2)
            order.append("first")

    other = threading.Thread(target=hold)
    other.start()
    held.wait()
    with files.held(lock, timeout=60):
        order.append("second")
    other.join()
    assert order == ["first", "second"]


def test_what_went_wrong_is_told_by_what_the_system_said():
    said = OSError(28, "No space left on device")
    assert str(files.unwritable("The copy", said, "make room")) == (
        "The copy cannot be written (No space left on device); make room."
    )
    wrapped = InputError("a sentence of its own")
    wrapped.__cause__ = said
    assert "(No space left on device)" in str(files.unwritable("a", wrapped, "x"))
    assert "(bad value)" in str(files.unwritable("a", ValueError("bad value"), "x"))


def test_names_that_are_no_utf8_are_written(tmp_path):
    write_text(tmp_path / "a.tsv", os.fsdecode(b"m\xff.nii") + "\n")
    assert (tmp_path / "a.tsv").read_text(encoding="utf-8") == "m\\udcff.nii\n"


def test_a_file_is_changed_by_one_process_at_a_time(tmp_path):
    path = tmp_path / "a.json"
    with files.changing(path), pytest.raises(TimeoutError), files.held(tmp_path / ".a.json.lock"):
        pass
    assert names(tmp_path) == []
    with files.held(tmp_path / ".a.json.lock"), files.changing(path, timeout=0.1):
        path.write_text("{}")  # rather than not at all
    assert path.read_text() == "{}"
