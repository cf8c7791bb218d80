"""Atomic writes: a reader sees the old files or the new ones, never half a file or a mixture."""

import contextlib
import errno
import os
import re
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from napari_pvs.errors import InputError

_READING_UMASK = threading.Lock()  # the umask can only be read by setting it
TEMPORARY = ".tmp-"
"""How the name of a file begins while it is being written."""
_OURS = re.compile(re.escape(TEMPORARY) + "[a-z0-9_]{8}-.+")
_SET = "-set"
_OLD = ".old"
_FILE_LOCK = ".held"
_STALE_S = 24 * 3600.0  # no write takes this long, and no two clocks differ this much
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
_ELSEWHERE = "choose another folder"
_swept: set[Path] = set()


def require_replaceable(path: Path) -> None:
    """Refuse to replace anything but a regular file.

    Raises
    ------
    InputError
        The path is a folder, a link or a device.
    """
    path = Path(path)
    try:
        mode = path.lstat().st_mode
    except OSError:  # nothing there; if the folder is unusable, writing will say so
        return
    if stat.S_ISDIR(mode):
        raise InputError(f"{path} is a folder; name a file.")
    if stat.S_ISLNK(mode):
        raise InputError(
            f"{path} is a link to {path.readlink()} and is not replaced; name the file itself, or "
            "remove the link."
        )
    if not stat.S_ISREG(mode):
        raise InputError(f"{path} is a device or pipe, not a regular file; name a file.")


def require_fetched(path: Path) -> None:
    """Refuse a broken link, as DataLad and git-annex leave for content that is not fetched.

    Raises
    ------
    InputError
        It is one.
    """
    if path.is_symlink() and not path.exists():
        raise InputError(
            f"{path} is a link to a file that does not exist; fetch it (datalad get, git annex "
            "get) or remove the link."
        )


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is fsynced and renamed to ``path``.

    The temporary file has the full suffix of ``path`` (``.nii.gz``), because writers choose their
    format by it. On any error it is removed and ``path`` is untouched. The first write to a folder
    also removes temporary files that killed processes left there, once they are a day old.

    Raises
    ------
    InputError
        The folder cannot be written, or ``path`` is not a regular file.
    """
    path = Path(path)
    require_replaceable(path)
    with explained(path.parent, _ELSEWHERE):
        _prepare(path.parent)
        handle, name = tempfile.mkstemp(prefix=TEMPORARY, suffix=f"-{path.name}", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _finish(temporary)
        temporary.replace(path)
        _fsync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_set(folder: Path, names: Sequence[str], without: Sequence[str] = ()) -> Iterator[Path]:
    """Yield a temporary folder to write ``names`` into; on success they appear in ``folder``.

    Files ``without`` belong to the set too, but not this time: those of an old set go with it.
    Whenever the process dies, the files with these names are from one set: all of the old, or part
    of the old or of the new, but never from both. On any error ``folder`` is untouched.

    Raises
    ------
    InputError
        The folder cannot be written, or something there is not a regular file.
    """
    folder = Path(folder)
    for name in (*names, *without):
        require_replaceable(folder / name)
    with explained(folder, _ELSEWHERE):
        _prepare(folder)
        temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY, suffix=_SET, dir=folder))
    try:
        yield temporary
        for name in names:
            _finish(temporary / name)
        with _set_aside(folder, temporary, names, without):
            # make sure that all old files are gone before the first new one appears
            _fsync_folder(folder)
            for name in names:
                (temporary / name).replace(folder / name)
            _fsync_folder(folder)
    except BaseException:
        _clear(temporary)
        raise
    shutil.rmtree(temporary, ignore_errors=True)


def _clear(temporary: Path) -> None:
    """Remove a temporary folder, unless old files that could not be put back are still in it."""
    kept = temporary / _OLD
    if not kept.is_dir() or not any(kept.iterdir()):
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _set_aside(
    folder: Path, temporary: Path, names: Sequence[str], without: Sequence[str]
) -> Iterator[None]:
    """Move an old set out of the way; on any error it comes back and the new one goes."""
    old = temporary / _OLD
    old.mkdir()
    try:
        for name in (*names, *without):
            if (folder / name).exists():
                (folder / name).replace(old / name)
        yield
    except BaseException:
        placed = [name for name in names if not (temporary / name).exists()]
        for name in placed:
            _unlink(folder / name)
        if not any((folder / name).exists() for name in placed):  # never both
            for path in old.iterdir():
                with contextlib.suppress(OSError):
                    path.replace(folder / path.name)
        raise


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill; on success it becomes ``folder``.

    If another process was faster, its folder is kept.

    Raises
    ------
    OSError
        It cannot be written.
    """
    folder = Path(folder)
    _prepare(folder.parent)
    temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY, suffix=_SET, dir=folder.parent))
    try:
        yield temporary
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def unwritable(what: Path | str, error: Exception, remedy: str) -> InputError:
    """Return the sentence for something that cannot be written.

    Parameters
    ----------
    what
        Its path, or the subject of the sentence.
    error
        The system's error, or an `InputError` caused by one.
    remedy
        What the user can do.

    Examples
    --------
    >>> str(unwritable(Path("out"), OSError(28, "No space left"), "make room"))
    'out cannot be written (No space left); make room.'
    """
    reason = getattr(error, "strerror", None) or error.__cause__ or error
    reason = getattr(reason, "strerror", None) or reason
    return InputError(f"{what} cannot be written ({reason}); {remedy}.")


def sentence(error: InputError | OSError) -> str:
    """Say why a file or folder cannot be used; an `OSError` may be a lost share or a bad disk.

    Examples
    --------
    >>> sentence(OSError(5, "Input/output error", "t1.nii"))
    't1.nii cannot be read (Input/output error); check that it is there and its permissions.'
    """
    if isinstance(error, InputError):
        return str(error)
    return (
        f"{error.filename or 'a file'} cannot be read ({error.strerror or error}); check that it "
        "is there and its permissions."
    )


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically, as UTF-8.

    Bytes of file names that are not UTF-8 are written as ``\\udc..``.
    """
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


@contextmanager
def held(path: Path, timeout: float = 0.0) -> Iterator[None]:
    """Hold a lock between processes; the system frees the lock of a dead process.

    On file systems without locks (some network shares), a file beside ``path`` serves as one. It
    names machine and process, and is taken over if that process is dead.

    Parameters
    ----------
    path
        The lock file, which is not removed.
    timeout
        Seconds to wait.

    Raises
    ------
    TimeoutError
        A living process has the lock; ``filename`` is the lock file.
    OSError
        The lock file cannot be written.
    """
    from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

    # filelock's own fallback would take the file left by an earlier real lock for a held one
    lock: BaseFileLock = FileLock(path, timeout=timeout, fallback_to_soft=False)
    try:
        try:
            lock.acquire()
        except OSError as error:
            if isinstance(error, Timeout) or error.errno not in _NO_LOCKS:
                raise
            lock = SoftFileLock(f"{path}{_FILE_LOCK}", timeout=timeout)
            lock.acquire()
    except Timeout as error:
        raise TimeoutError(errno.ETIMEDOUT, "held by another process", lock.lock_file) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def changing(path: Path, timeout: float = 5.0) -> Iterator[None]:
    """Read, change and write a file while no other process does; where no lock can be had, try.

    Parameters
    ----------
    path
        The file; its lock lies beside it meanwhile.
    timeout
        Seconds to wait.
    """
    lock = path.with_name(f".{path.name}.lock")
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            lock.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(held(lock, timeout))
            with contextlib.suppress(OSError):
                lock.chmod(0o666)  # else another user's process could not wait for it
            stack.callback(_unlink, lock)  # filelock makes a waiting process notice
        yield


def _unlink(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def abandoned(error: TimeoutError) -> str:
    """Say how to free a lock file whose owner died on another machine.

    Returns
    -------
    The end of a sentence, without the period; empty for a system lock, which frees itself.
    """
    lock = str(error.filename)
    return f"; if it died on another machine, delete {lock}" if lock.endswith(_FILE_LOCK) else ""


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Keep other processes from writing results into ``out`` at the same time.

    Raises
    ------
    InputError
        Another process is writing there.
    """
    out = Path(out).absolute()
    # beside the folder, because some writers need it empty; it is removed at the end
    lock = out.parent / f".{out.name}.lock"
    missing = [folder for folder in lock.parents if not folder.exists()]
    with contextlib.ExitStack() as stack:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(held(lock))
        except TimeoutError as error:
            raise InputError(
                f"{out} is being written by another napari-pvs command; wait for it to end, or "
                f"name another folder{abandoned(error)}."
            ) from error
        except OSError:  # no lock possible beside the folder: go ahead without
            yield
            return
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                lock.unlink()  # filelock makes a waiting process notice
                for folder in missing:  # fails for those that now contain results
                    folder.rmdir()


@contextmanager
def explained(what: Path | str, remedy: str) -> Iterator[None]:
    """Turn a full disk and the like into an `InputError`; see `unwritable`."""
    try:
        yield
    except OSError as error:
        raise unwritable(what, error, remedy) from error


def _prepare(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if folder not in _swept:
        _swept.add(folder)
        _sweep(folder)


def _finish(temporary: Path) -> None:
    """Set the permissions of a complete file, and flush it to disk."""
    with contextlib.suppress(PermissionError):  # a share may show the files of another owner
        temporary.chmod(0o666 & ~_umask())
    with temporary.open("r+b") as file:  # Windows flushes only writable files
        os.fsync(file.fileno())


def _sweep(folder: Path) -> None:
    """Remove temporary files of processes that were killed."""
    before = time.time() - _STALE_S
    with contextlib.suppress(OSError):
        for path in [path for path in folder.iterdir() if _OURS.fullmatch(path.name)]:
            with contextlib.suppress(OSError):  # gone by now, or not permitted
                about = path.lstat()
                # a writer may set mtime, but not ctime
                old = max(about.st_mtime, about.st_ctime) < before
                if old and stat.S_ISREG(about.st_mode):
                    path.unlink()
                elif old and stat.S_ISDIR(about.st_mode) and path.name.endswith(_SET):
                    shutil.rmtree(path)


def _umask() -> int:
    with _READING_UMASK:
        mask = os.umask(0)
        os.umask(mask)
    return mask


def _fsync_folder(folder: Path) -> None:
    # Windows cannot open folders, but its rename is durable enough without
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network shares cannot
                raise
        finally:
            os.close(handle)


def require_there(*paths: Path) -> None:
    """Refuse what is neither a file nor a folder.

    Raises
    ------
    InputError
        One of the paths is not there.
    """
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} does not exist; check the path.")
