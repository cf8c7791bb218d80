"""Work that takes longer than a moment, in a process of its own: the viewer never waits for it.

A thread would share Python's lock with the viewer and stall it; see `service` for the other side.
"""

import contextlib
import json
import shutil
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qtpy.QtCore import QCoreApplication, QObject, QProcess, Signal

from napari_pvs.scans.scan import Scan
from napari_pvs.widgets import exchange
from napari_pvs.widgets.service import REQUEST

_TAIL = 4000  # characters of stderr that are kept


class Folder:
    """A temporary folder that goes with the object, or with the interpreter."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="napari-pvs-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


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


class Job(QObject):
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

    progressed = Signal(int, int)
    """Steps done, steps in all."""
    said = Signal(str)
    """What it is at."""
    row = Signal(object)
    """One of several results: a dict."""
    finished = Signal(object)
    """It went well: a `Result`."""
    failed = Signal(str)
    """It did not: one sentence for the user. Not sent after `cancel`."""
    ended = Signal()
    """The last signal, however it ended."""
    _prepared = Signal(object)

    def __init__(
        self,
        request: dict[str, Any],
        parent: QObject,
        prepare: Callable[[Path, dict[str, Any]], None] | None = None,
    ) -> None:
        super().__init__(parent)
        self._request = request
        self._prepare = prepare
        self._folder = Folder()
        self._answer: dict[str, Any] | None = None
        self._errors = ""
        self._pending = b""
        self._over = False
        self._prepared.connect(self._start_process)
        self._process = process = QProcess(self)
        process.readyReadStandardOutput.connect(self._read)
        process.readyReadStandardError.connect(self._read_errors)
        process.finished.connect(self._on_exit)
        process.errorOccurred.connect(self._on_error)
        QCoreApplication.instance().aboutToQuit.connect(self.cancel)
        parent.destroyed.connect(self._kill)

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return not self._over

    def start(self) -> "Job":
        """Start; the signals tell the rest."""
        if self._prepare is None:
            self._start_process(None)
        else:
            threading.Thread(target=self._run_prepare, daemon=True).start()
        return self

    def cancel(self) -> None:
        """End it now; it leaves nothing behind."""
        if self._over:
            return
        self._end()
        self._kill()
        self.ended.emit()

    def _kill(self) -> None:
        self._over = True
        self._process.kill()  # nothing outside the temporary folder can be half written
        self._process.waitForFinished(5000)

    def _run_prepare(self) -> None:
        error = None
        try:
            self._prepare(self._folder.path, self._request)
        except Exception as caught:
            error = caught
        with contextlib.suppress(RuntimeError):  # the dock is gone
            self._prepared.emit(error)

    def _start_process(self, error: Exception | None) -> None:
        if self._over:
            return
        if error is None:
            try:
                request = self._folder.path / REQUEST
                request.write_text(json.dumps(self._request), encoding="utf-8")
            except OSError as caught:
                error = caught
        if isinstance(error, OSError):
            self._fail(f"{tempfile.gettempdir()} cannot be written ({error.strerror}); make room.")
        elif error is not None:
            self._fail(str(error))
        else:
            module = "napari_pvs.widgets.service"
            self._process.start(sys.executable, ["-P", "-m", module, str(self._folder.path)])

    def _read(self) -> None:
        self._pending += bytes(self._process.readAllStandardOutput())
        *lines, self._pending = self._pending.split(b"\n")
        for line in lines:
            if self._over:
                return
            message = json.loads(line)
            kind = message.pop("type")
            if kind == "progress":
                self.progressed.emit(message["done"], message["total"])
            elif kind == "phase":
                self.said.emit(message["text"])
            elif kind == "row":
                self.row.emit(message)
            else:
                self._answer = {"type": kind, **message}

    def _read_errors(self) -> None:
        text = bytes(self._process.readAllStandardError()).decode(errors="replace")
        self._errors = (self._errors + text)[-_TAIL:]

    def _on_error(self, error: Any) -> None:
        if error == QProcess.ProcessError.FailedToStart and not self._over:
            self._fail(f"{sys.executable} could not be started; install napari-pvs anew.")

    def _on_exit(self, code: int, status: Any) -> None:
        self._read()
        self._read_errors()
        if self._over:
            return
        answer = self._answer or {}
        if answer.get("type") == "done":
            self._end()
            self.finished.emit(Result(answer, self._folder))
            self.ended.emit()
        elif answer.get("type") == "error":
            self._fail(answer["text"])
        else:
            crashed = status == QProcess.ExitStatus.CrashExit
            self._fail(explain_death(code, crashed, self._errors))

    def _fail(self, text: str) -> None:
        self._end()
        self.failed.emit(text)
        self.ended.emit()

    def _end(self) -> None:
        self._over = True
        self._prepare = None  # it may hold a scan
        QCoreApplication.instance().aboutToQuit.disconnect(self.cancel)
        self.deleteLater()


def explain_death(code: int, crashed: bool, errors: str) -> str:
    """Say in a sentence why a process ended without an answer.

    Parameters
    ----------
    code
        Its exit code or, where it crashed, the signal that ended it.
    crashed
        Whether it was ended by a signal.
    errors
        The end of its stderr.
    """
    if crashed and code == 9:
        return (
            "The system ended the process, probably because memory ran out; close other programs "
            "and try again."
        )
    last = next((line for line in reversed(errors.splitlines()) if line.strip()), "no message")
    how = f"signal {code}" if crashed else f"exit code {code}"
    return f"The process ended unexpectedly ({how}: {last.strip()}); try again, or report this."


def stored(scan: Scan) -> Path | None:
    """Folder that a scan was loaded from, as arrays; None for a scan that lies in memory only."""
    folder = _folders.get(scan)
    return None if folder is None else folder.path


def load_stored(result: Result) -> Scan:
    """Map the scan that a job has left; its folder stays for as long as the scan is used."""
    scan = exchange.load_scan(result.path)
    _folders[scan] = result.folder
    return scan


def store(scan: Scan) -> Callable[[Path, dict[str, Any]], None]:
    """Return what prepares a request that works on a scan: it names the scan's folder.

    A scan that lies in memory only is written to one.
    """

    def prepare(folder: Path, request: dict[str, Any]) -> None:
        if scan not in _folders:
            exchange.save_scan(folder, scan)
        request["scan"] = str(stored(scan) or folder)

    return prepare
