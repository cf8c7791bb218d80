"""Atomic writes: a reader sees the old file or the new one, never half of one."""

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_pvs.errors import InputError

_READING_UMASK = threading.Lock()  # it can only be read by setting it


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is fsynced and renamed to ``path``.

    The temporary file keeps the full suffix of ``path`` (``.nii.gz``), because writers choose
    their format by it. On any error it is removed and ``path`` is untouched.

    Raises
    ------
    InputError
        The folder cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".tmp-", suffix=f"-{path.name}", dir=path.parent)
    except OSError as error:
        raise InputError(
            f"{path.parent} cannot be written ({error.strerror}); choose another folder."
        ) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _fsync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically, as UTF-8."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


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
        finally:
            os.close(handle)
