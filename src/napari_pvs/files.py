"""Atomic writes: a reader sees the old files or the new ones, never half of one or some of each."""

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

_READING_UMASK = threading.Lock()  # it can only be read by setting it
TEMPORARY = ".tmp-"
"""How the name of a file begins that is still being written."""
_OURS = re.compile(re.escape(TEMPORARY) + "[a-z0-9_]{8}-.+")
_SET = "-set"
_STALE_S = 24 * 3600.0  # no write takes so long, nor do clocks of two machines differ so much
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
_swept: set[Path] = set()


def require_replaceable(path: Path) -> None:
    """Refuse to write a file in the place of what is no regular file.

    Raises
    ------
    InputError
        It is a folder, a link or a device, or is reached through one.
    """
    path = Path(path)
    try:
        mode = path.lstat().st_mode
    except OSError:  # not there; or its folder is none, which is told when that is written
        return
    if stat.S_ISDIR(mode):
        raise InputError(f"{path} is a folder; name a file.")
    if stat.S_ISLNK(mode):
        raise InputError(
            f"{path} is a link to {path.readlink()}, which is not replaced; name the file itself, "
            "or remove the link."
        )
    if not stat.S_ISREG(mode):
        raise InputError(f"{path} is a device or pipe, not a regular file; name a file.")


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is fsynced and renamed to ``path``.

    The temporary file keeps the full suffix of ``path`` (``.nii.gz``), because writers choose
    their format by it. On any error it is removed and ``path`` is untouched. What killed processes
    have left in the folder goes with the first write there, once it is a day old.

    Raises
    ------
    InputError
        The folder cannot be written, or ``path`` is no regular file.
    """
    path = Path(path)
    require_replaceable(path)
    with _explained(path.parent):
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
def atomic_set(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """Yield a temporary folder to write ``names`` into; on success they appear in ``folder``.

    Whenever the process dies, what stands in ``folder`` under these names is of one set: all of
    the old one, or parts of one, never files of both. On any error ``folder`` is untouched.

    Raises
    ------
    InputError
        The folder cannot be written, or something there is no regular file.
    """
    folder = Path(folder)
    for name in names:
        require_replaceable(folder / name)
    with _explained(folder):
        _prepare(folder)
        temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY, suffix=_SET, dir=folder))
    try:
        yield temporary
        for name in names:
            _finish(temporary / name)
        for name in names:
            (folder / name).unlink(missing_ok=True)
        # the last of the old is gone for good before the first of the new comes
        _fsync_folder(folder)
        for name in names:
            (temporary / name).replace(folder / name)
        _fsync_folder(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def unwritable(what: Path | str, error: Exception, remedy: str) -> InputError:
    """Return the sentence for something that cannot be written.

    Parameters
    ----------
    what
        Its path, or how a sentence about it begins.
    error
        What the system said, or an `InputError` that it caused.
    remedy
        What to do.

    Examples
    --------
    >>> str(unwritable(Path("out"), OSError(28, "No space left"), "make room"))
    'out cannot be written (No space left); make room.'
    """
    reason = getattr(error, "strerror", None) or error.__cause__ or error
    reason = getattr(reason, "strerror", None) or reason
    return InputError(f"{what} cannot be written ({reason}); {remedy}.")


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically, as UTF-8.

    Bytes of file names that are no UTF-8 are written as ``\\udc..``.
    """
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


@contextmanager
def held(path: Path, timeout: float = 0.0) -> Iterator[None]:
    """Hold a lock between processes; the system frees the lock of a dead one.

    Where the file system has no locks (some network shares), a file beside ``path`` stands for
    one; it tells machine and process, and one whose process is dead is taken over.

    Parameters
    ----------
    path
        The lock's file, which stays.
    timeout
        Seconds to wait.

    Raises
    ------
    TimeoutError
        A living process holds it; the file name is that of the lock.
    OSError
        It cannot be written.
    """
    from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

    # its own fallback would take the file that an earlier, whole lock has left for one that is held
    lock: BaseFileLock = FileLock(path, timeout=timeout, fallback_to_soft=False)
    try:
        try:
            lock.acquire()
        except OSError as error:
            if isinstance(error, Timeout) or error.errno not in _NO_LOCKS:
                raise
            lock = SoftFileLock(f"{path}.held", timeout=timeout)
            lock.acquire()
    except Timeout as error:
        raise TimeoutError(errno.ETIMEDOUT, "held by another process", lock.lock_file) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Keep other processes from writing results into ``out`` at the same time.

    Raises
    ------
    InputError
        Another one does.
    """
    out = Path(out).absolute()
    # beside the folder, which some writers want empty; and not left there
    lock = out.parent / f".{out.name}.lock"
    missing = [folder for folder in lock.parents if not folder.exists()]
    with contextlib.ExitStack() as stack:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(held(lock))
        except TimeoutError as error:
            raise InputError(
                f"{out} is being written by another napari-pvs command; wait for its end, or name "
                "another folder."
            ) from error
        except OSError:  # who may write the folder and not beside it writes there alone
            yield
            return
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                lock.unlink()  # a waiting process notices, see filelock
                for folder in missing:  # where no result came
                    folder.rmdir()


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise unwritable(folder, error, "choose another folder") from error


def _prepare(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if folder not in _swept:
        _swept.add(folder)
        _sweep(folder)


def _finish(temporary: Path) -> None:
    """Give a whole file its permissions, and bring it to the disk."""
    temporary.chmod(0o666 & ~_umask())
    with temporary.open("r+b") as file:  # Windows flushes only what may be written
        os.fsync(file.fileno())


def _sweep(folder: Path) -> None:
    """Remove what `atomic` left there when its process was killed."""
    before = time.time() - _STALE_S
    with contextlib.suppress(OSError):
        for path in [path for path in folder.iterdir() if _OURS.fullmatch(path.name)]:
            with contextlib.suppress(OSError):  # another process was quicker, or may not
                about = path.lstat()
                # a writer may set the time of its file's content, not that of its status
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
    # Windows cannot open folders; its rename is durable enough without.
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
