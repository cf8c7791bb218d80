"""Atomic writes: a reader sees the old file or the new one, never half of one."""

import contextlib
import errno
import os
import re
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_pvs.errors import InputError

_READING_UMASK = threading.Lock()  # it can only be read by setting it
TEMPORARY = ".tmp-"
"""How the name of a file begins that is still being written."""
_OURS = re.compile(re.escape(TEMPORARY) + "[a-z0-9_]{8}-.+")
_STALE_S = 24 * 3600.0  # no write takes so long, nor do clocks of two machines differ so much
_swept: set[Path] = set()


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is fsynced and renamed to ``path``.

    The temporary file keeps the full suffix of ``path`` (``.nii.gz``), because writers choose
    their format by it. On any error it is removed and ``path`` is untouched. What killed processes
    have left in the folder goes with the first write there, once it is a day old.

    Raises
    ------
    InputError
        The folder cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.parent not in _swept:
            _swept.add(path.parent)
            _sweep(path.parent)
        handle, name = tempfile.mkstemp(prefix=TEMPORARY, suffix=f"-{path.name}", dir=path.parent)
    except OSError as error:
        raise unwritable(path.parent, error, "choose another folder") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        with temporary.open("r+b") as file:  # Windows flushes only what may be written
            os.fsync(file.fileno())
        temporary.replace(path)
        _fsync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


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
    """Write ``text`` to ``path`` atomically, as UTF-8."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _sweep(folder: Path) -> None:
    """Remove what `atomic` left there when its process was killed."""
    before = time.time() - _STALE_S
    with contextlib.suppress(OSError):
        for path in [path for path in folder.iterdir() if _OURS.fullmatch(path.name)]:
            with contextlib.suppress(OSError):  # another process was quicker, or may not
                about = path.lstat()
                # a writer may set the time of its file's content, not that of its status
                if stat.S_ISREG(about.st_mode) and max(about.st_mtime, about.st_ctime) < before:
                    path.unlink()


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
