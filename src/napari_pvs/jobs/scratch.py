"""Temporary folders for data exchanged with our processes: scans, masks, maps."""

import contextlib
import os
import platform
import re
import shutil
import tempfile
import threading
import weakref
from functools import cache
from pathlib import Path

from napari_pvs.errors import InputError
from napari_pvs.processes import living


class Folder:
    """A temporary folder that is removed with the object, or at the end of the interpreter.

    It contains people's scans, so the first one also removes those left by interpreters that were
    killed.
    """

    def __init__(self) -> None:
        import psutil

        own = psutil.Process()
        prefix = f"{_prefix()}{own.pid}-{own.create_time():.0f}-"
        self._made: Path | OSError
        try:
            _sweep()
            self._made = Path(tempfile.mkdtemp(prefix=prefix))
        except OSError as error:
            self._made = error
        else:
            weakref.finalize(self, _remove, self._made)

    @property
    def path(self) -> Path:
        """Where it is.

        Raises
        ------
        InputError
            It could not be made: the system has no temporary folder that can be written.
        """
        if isinstance(self._made, OSError):
            raise InputError(
                f"no temporary folder can be written ({self._made.strerror}); make room, or "
                "set TMPDIR to a folder that can be written, and restart napari."
            ) from self._made
        return self._made


def _prefix() -> str:
    # machines or containers may share the folder and use the same process ids
    return f"napari-pvs-{re.sub(r'[^A-Za-z0-9]', '_', platform.node())}-"


@cache
def _sweep() -> None:
    """Remove the folders of this user whose interpreter is gone."""
    import psutil

    ours = re.compile(re.escape(_prefix()) + r"(\d+)-(\d+)-.+")
    for path in Path(tempfile.gettempdir()).glob(f"{_prefix()}*"):
        named = ours.fullmatch(path.name)
        with contextlib.suppress(OSError, psutil.Error):
            mine = not hasattr(os, "getuid") or path.stat().st_uid == os.getuid()
            if named and mine and living(int(named[1]), float(named[2])) is None:
                _remove(path)


def _remove(folder: Path) -> None:
    """Remove a folder, in a thread because large volumes take a while."""
    if not threading.main_thread().is_alive():  # Python is exiting and waits for no thread
        shutil.rmtree(folder, ignore_errors=True)
        return
    gone = folder.with_name(f"{folder.name}-gone")
    with contextlib.suppress(OSError):
        folder = folder.rename(gone)
    threading.Thread(target=shutil.rmtree, args=(folder, True)).start()
