"""Work that takes longer than a moment, in a process of its own: the viewer never waits for it.

See `helper` for the process and `service` for its other side.
"""

import json
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import QCoreApplication, QObject, QProcess, Signal

from napari_pvs.jobs import exchange
from napari_pvs.jobs.protocol import REQUEST
from napari_pvs.jobs.scratch import Folder
from napari_pvs.processes import explain_death
from napari_pvs.scans.scan import Scan
from napari_pvs.widgets.background.idle import Steps, Turns
from napari_pvs.widgets.background.thread import post

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


_folders: "weakref.WeakKeyDictionary[Scan, Folder]" = weakref.WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Result:
    """What a job has left.

    Attributes
    ----------
    answer
        The last line of the process.
    folder
        Its arrays. They are mapped from disk: keep the folder for as long as they are in use.
    """

    answer: dict[str, Any]
    folder: Folder

    @property
    def path(self) -> Path:
        """The folder."""
        return self.folder.path


class Job(Helper):
    """One request to the helper process.

    Parameters
    ----------
    request
        ``verb`` and its arguments; see the functions of `service`.
    parent
        The dock; the process ends with it.
    prepare
        Writes what the process needs into the folder, in a thread, and may add to the request.
    """

    module = "napari_pvs.jobs"
    progressed = Signal(int, int)
    """Steps done, steps in all."""
    said = Signal(str)
    """What it is at."""
    row = Signal(object)
    """One of several results: a dict."""
    finished = Signal(object)
    """It went well: a `Result`."""
    ended = Signal()
    """The last signal, however it ended."""

    def __init__(
        self, request: dict[str, Any], parent: QObject, prepare: Prepare | None = None
    ) -> None:
        super().__init__(request, parent, prepare)
        self._answer: dict[str, Any] = {}
        self._turns: Turns | None = None

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return super().running or self._turns is not None

    def start(self) -> "Job":
        """Start; the signals tell the rest."""
        self.launch()
        return self

    def cancel(self) -> None:
        """End it now; it leaves nothing behind, but for what is shown of it already."""
        if self._turns is not None:
            self._turns.stop()
            self._finish()
        elif self.running:
            self.stop()
            self.ended.emit()

    def go_on(self, steps: Steps) -> None:
        """Show what was found, a piece in each turn of the event loop; then it has ended.

        To be called by a slot of `finished`, by one.
        """
        self._turns = Turns(steps, self)
        self._turns.ended.connect(self._finish)

    def _on_message(self, message: dict[str, Any], values: bytes) -> None:
        kind = message["type"]
        if kind == "progress":
            self.progressed.emit(message["done"], message["total"])
        elif kind == "phase":
            self.said.emit(message["text"])
        elif kind == "row":
            del message["type"]
            self.row.emit(message)
        else:
            self._answer = message

    def _on_death(self, text: str) -> None:
        kind = self._answer.get("type")
        if kind == "done":
            self._end()
            self.finished.emit(Result(self._answer, self._folder))
            if self._turns is None:
                self._finish()
        else:
            self._fail(self._answer["text"] if kind == "error" else text)

    def _fail(self, text: str) -> None:
        super()._fail(text)
        self.ended.emit()

    def _finish(self) -> None:
        self._turns = None
        self.deleteLater()
        self.ended.emit()


def stored(scan: Scan) -> Path | None:
    """Folder that a scan was loaded from, as arrays; None for a scan that lies in memory only."""
    folder = _folders.get(scan)
    return None if folder is None else folder.path


def load_stored(result: Result) -> Scan:
    """Map the scan that a job has left; its folder stays for as long as the scan is used."""
    scan = exchange.load_scan(result.path)
    _folders[scan] = result.folder
    return scan


def store(scan: Scan) -> Prepare:
    """Return what prepares a request that works on a scan: it names the scan's folder.

    A scan that lies in memory only is written to one.
    """

    def prepare(folder: Path, request: dict[str, Any]) -> None:
        if scan not in _folders:
            exchange.save_scan(folder, scan)
        request["scan"] = str(stored(scan) or folder)

    return prepare
