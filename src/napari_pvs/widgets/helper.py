"""A process of ours without Qt: started with a request, it speaks in JSON lines, it dies in words.

A thread would share Python's lock with the viewer and stall it; a process does not. `worker` has
those that do one thing and end, `local_pass` the one that stays and answers.
"""

import json
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import QCoreApplication, QObject, QProcess, Signal

from napari_pvs.processes import explain_death
from napari_pvs.widgets.background import post
from napari_pvs.widgets.scratch import Folder
from napari_pvs.widgets.service import REQUEST

Prepare = Callable[[Path, dict[str, Any]], None]
_TAIL = 4000  # characters of stderr that are kept


class Helper(QObject):
    """One process, from its start to its end; it never outlives its parent or napari.

    Parameters
    ----------
    request
        What is asked of it: ``request.json`` of its folder.
    parent
        The process ends with it.
    prepare
        Writes what the process needs into the folder, in a thread, and may add to the request.
    """

    module: str
    """What `python -m` runs, with the folder as its argument."""
    failed = Signal(str)
    """It did not go well: one sentence for the user. Not sent after `stop`."""

    def __init__(
        self, request: dict[str, Any], parent: QObject, prepare: Prepare | None = None
    ) -> None:
        super().__init__(parent)
        self._request, self._prepare = request, prepare
        self._folder = Folder()
        self._errors = ""
        self._pending = bytearray()
        self._over = False
        self._process = process = QProcess(self)
        process.readyReadStandardOutput.connect(self._read)
        process.readyReadStandardError.connect(self._read_errors)
        process.finished.connect(self._on_exit)
        process.errorOccurred.connect(self._on_error)
        QCoreApplication.instance().aboutToQuit.connect(self.stop)
        parent.destroyed.connect(self._kill)

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return not self._over

    def launch(self) -> None:
        """Prepare and start; the signals tell the rest."""
        if self._prepare is None:
            self._start_process(None)
        else:
            letters, start = post(), self._start_process

            def tell(error: Exception | None) -> None:
                letters.send(partial(start, error))

            work = self._prepare, self._folder, self._request, tell
            threading.Thread(target=_prepare, args=work, daemon=True).start()

    def stop(self) -> None:
        """End it now, without a word; it leaves nothing behind."""
        if not self._over:
            self._end()
            self._kill()
            self.deleteLater()

    def tell(self, line: dict[str, Any]) -> None:
        """Send it a line."""
        self._process.write(json.dumps(line).encode() + b"\n")

    def _on_message(self, message: dict[str, Any], values: bytes) -> None:
        """Take a line, and the bytes that came after it."""
        raise NotImplementedError

    def _on_death(self, text: str) -> None:
        """It has ended, by itself; ``text`` says why, had nobody expected that."""
        self._fail(text)

    def _fail(self, text: str) -> None:
        self._end()
        self.deleteLater()
        self.failed.emit(text)

    def _end(self) -> None:
        self._over = True
        self._prepare = None  # it may hold a scan
        QCoreApplication.instance().aboutToQuit.disconnect(self.stop)

    def _kill(self) -> None:
        self._over = True
        self._process.kill()  # nothing outside the temporary folder can be half written
        self._process.waitForFinished(5000)

    def _start_process(self, error: Exception | None) -> None:
        if self._over:
            return
        folder = self._folder.path
        if error is None:
            try:
                (folder / REQUEST).write_text(json.dumps(self._request), encoding="utf-8")
            except OSError as caught:
                error = caught
        if isinstance(error, OSError):
            self._fail(f"{tempfile.gettempdir()} cannot be written ({error.strerror}); make room.")
        elif error is not None:
            self._fail(str(error))
        else:
            self._process.start(sys.executable, ["-P", "-m", self.module, str(folder)])

    def _read(self) -> None:
        self._pending += bytes(self._process.readAllStandardOutput())
        while not self._over:
            line, found, rest = self._pending.partition(b"\n")
            message = json.loads(line) if found else {}
            size = message.get("bytes", 0)
            if not found or len(rest) < size:
                return
            self._pending = rest[size:]
            self._on_message(message, bytes(rest[:size]))

    def _read_errors(self) -> None:
        text = bytes(self._process.readAllStandardError()).decode(errors="replace")
        self._errors = (self._errors + text)[-_TAIL:]

    def _on_error(self, error: Any) -> None:
        if error == QProcess.ProcessError.FailedToStart and not self._over:
            self._fail(f"{sys.executable} could not be started; install napari-pvs anew.")

    def _on_exit(self, code: int, status: Any) -> None:
        self._read()
        self._read_errors()
        if not self._over:
            crashed = status == QProcess.ExitStatus.CrashExit
            self._on_death(explain_death(code, crashed, self._errors))


def _prepare(
    write: Prepare,
    folder: Folder,
    request: dict[str, Any],
    tell: Callable[[Exception | None], None],
) -> None:
    """Write into a folder, which lives as long as that takes, and tell how it went."""
    try:
        write(folder.path, request)
    except Exception as error:
        tell(error)
    else:
        tell(None)
