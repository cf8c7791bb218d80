"""Processes without Qt that do the slow work, so that the viewer never waits.

A thread would share Python's lock with the viewer and stall it; a process does not. `Job` does one
thing and ends; the network for clicks, in `correct.clicks`, stays and answers. See `jobs.protocol`
for what both ends say.
"""

import sys
import tempfile
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from qtpy.QtCore import QObject, QProcess, Signal

from napari_pvs.errors import InputError
from napari_pvs.jobs import exchange
from napari_pvs.jobs.protocol import (
    Done,
    Evidence,
    Failed,
    Message,
    Phase,
    Progress,
    Request,
    Row,
    decode,
    write_request,
)
from napari_pvs.jobs.scratch import Folder
from napari_pvs.processes import explain_death
from napari_pvs.scans.scan import Scan
from napari_pvs.widgets.background.idle import IdleWork, Steps
from napari_pvs.widgets.background.thread import application, post

MakeRequest = Callable[[Path], Request]
"""Writes what a process needs into its folder, and returns the request; called in a thread."""
A = TypeVar("A")
_TAIL = 4000  # characters of stderr that are kept


class Process(QObject):
    """One process, from start to end; it never outlives its parent or napari.

    Parameters
    ----------
    request
        The request, or a function that makes it.
    parent
        Owner; the process ends with it.
    """

    module: str
    """What `python -m` runs, with the folder as its argument."""
    failed = Signal(str)
    """It failed: one sentence for the user. Not sent after `stop`."""

    def __init__(self, request: Request | MakeRequest, parent: QObject) -> None:
        super().__init__(parent)
        self._given: Request | MakeRequest | None = request
        self._request: Request | None = None
        self._folder = Folder()
        self._errors = ""
        self._pending = b""
        self._over = False
        self._process = process = QProcess(self)
        process.readyReadStandardOutput.connect(self._read)
        process.readyReadStandardError.connect(self._read_errors)
        process.finished.connect(self._on_exit)
        process.errorOccurred.connect(self._on_error)
        application().aboutToQuit.connect(self.stop)
        parent.destroyed.connect(self._kill)

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return not self._over

    def launch(self) -> None:
        """Prepare and start; signals report the rest."""
        given = self._given
        if isinstance(given, Request):
            self._start_process(given)
        elif given is not None:
            letters, start = post(), self._start_process

            def tell(made: Request | Exception) -> None:
                letters.send(partial(start, made))

            work = given, self._folder, tell
            threading.Thread(target=_prepare, args=work, daemon=True).start()

    def stop(self) -> None:
        """End it now, without a signal; it leaves nothing behind."""
        if not self._over:
            self._end()
            self._kill()
            self.deleteLater()

    def write(self, line: bytes) -> None:
        """Send a line to its stdin."""
        self._process.write(line)

    def _on_message(self, message: Message, raw: bytes) -> None:
        """Handle a message and the bytes that followed it."""
        raise NotImplementedError

    def _on_death(self, text: str) -> None:
        """Handle an end that nobody asked for; ``text`` explains it."""
        self._fail(text)

    def _fail(self, text: str) -> None:
        self._end()
        self.deleteLater()
        self.failed.emit(text)

    def _end(self) -> None:
        self._over = True
        self._given = None  # it may hold a scan
        application().aboutToQuit.disconnect(self.stop)

    def _kill(self) -> None:
        self._over = True
        self._process.kill()  # nothing outside the temporary folder can be half written
        self._process.waitForFinished(5000)

    def _start_process(self, made: Request | Exception) -> None:
        if self._over:
            return
        try:
            folder = self._folder.path
            if isinstance(made, Request):
                write_request(folder, made)
        except (InputError, OSError) as error:
            made = error
        if isinstance(made, OSError):
            self._fail(f"{tempfile.gettempdir()} cannot be written ({made.strerror}); make room.")
        elif isinstance(made, Exception):
            self._fail(str(made))
        else:
            self._request = made
            self._process.start(sys.executable, ["-P", "-m", self.module, str(folder)])

    def _read(self) -> None:
        self._pending += self._process.readAllStandardOutput().data()
        while not self._over and self._request is not None:
            line, found, rest = self._pending.partition(b"\n")
            if not found:
                return
            message = decode(line, self._request)
            size = message.bytes if isinstance(message, Evidence) else 0
            if len(rest) < size:
                return
            self._pending = rest[size:]
            self._on_message(message, rest[:size])

    def _read_errors(self) -> None:
        text = self._process.readAllStandardError().data().decode(errors="replace")
        self._errors = (self._errors + text)[-_TAIL:]

    def _on_error(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart and not self._over:
            self._fail(f"{sys.executable} could not be started; reinstall napari-pvs.")

    def _on_exit(self, code: int, status: QProcess.ExitStatus) -> None:
        self._read()
        self._read_errors()
        if not self._over:
            crashed = status == QProcess.ExitStatus.CrashExit
            self._on_death(explain_death(code, crashed, self._errors))


def _prepare(
    make: MakeRequest, folder: Folder, tell: Callable[[Request | Exception], None]
) -> None:
    """Make a request in a folder, which is kept that long, and report it or the exception."""
    try:
        made = make(folder.path)
    except Exception as error:
        tell(error)
    else:
        tell(made)


@dataclass(frozen=True, eq=False)
class Result(Generic[A]):
    """What a job produced.

    Attributes
    ----------
    answer
        Of the type that its request names.
    folder
        Holds its arrays. They are mapped from disk: keep it for as long as they are in use.
    """

    answer: A
    folder: Folder

    @property
    def path(self) -> Path:
        """The folder."""
        return self.folder.path


class Job(Process):
    """One request, done in a process of its own; see `jobs.tasks`.

    Parameters
    ----------
    request
        The request, or a function that makes it.
    parent
        The dock; the process ends with it.
    """

    module = "napari_pvs.jobs"
    progressed = Signal(int, int)
    """Steps done, steps in all."""
    said = Signal(str)
    """What it is doing."""
    row = Signal(object)
    """One of several results, of the type that the request names."""
    finished = Signal(object)
    """It succeeded: a `Result`."""
    ended = Signal()
    """Always the last signal."""

    def __init__(self, request: Request | MakeRequest, parent: QObject) -> None:
        super().__init__(request, parent)
        self._last: Done | Failed | None = None
        self._showing: IdleWork | None = None

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return super().running or self._showing is not None

    def start(self) -> "Job":
        """Start; signals report the rest."""
        self.launch()
        return self

    def cancel(self) -> None:
        """End it now; only what is already shown stays."""
        if self._showing is not None:
            self._showing.stop()
            self._finish()
        elif self.running:
            self.stop()
            self.ended.emit()

    def go_on(self, steps: Steps) -> None:
        """Show the result, one step in each turn of the event loop; the job ends after that.

        Called by one slot of `finished`.
        """
        self._showing = IdleWork(steps, self)
        self._showing.ended.connect(self._finish)

    def _on_message(self, message: Message, raw: bytes) -> None:
        if isinstance(message, Progress):
            self.progressed.emit(message.done, message.total)
        elif isinstance(message, Phase):
            self.said.emit(message.text)
        elif isinstance(message, Row):
            self.row.emit(message.value)
        elif isinstance(message, (Done, Failed)):
            self._last = message

    def _on_death(self, text: str) -> None:
        if isinstance(self._last, Done):
            self._end()
            result: Result[Any] = Result(self._last.value, self._folder)
            self.finished.emit(result)
            if self._showing is None:
                self._finish()
        else:
            self._fail(text if self._last is None else self._last.text)

    def _fail(self, text: str) -> None:
        super()._fail(text)
        self.ended.emit()

    def _finish(self) -> None:
        self._showing = None
        self.deleteLater()
        self.ended.emit()


_folders: "weakref.WeakKeyDictionary[Scan, Folder]" = weakref.WeakKeyDictionary()


def stored(scan: Scan) -> Path | None:
    """Folder with the arrays that a scan was loaded from; None for a scan in memory only."""
    folder = _folders.get(scan)
    return None if folder is None else folder.path


def load_stored(result: Result[Any]) -> Scan:
    """Map the scan that a job produced; its folder is kept for as long as the scan is used."""
    scan = exchange.load_scan(result.path)
    _folders[scan] = result.folder
    return scan


def scan_folder(scan: Scan, folder: Path) -> Path:
    """Return the folder with the arrays of a scan, for a request that works on it.

    A scan that lies in memory only is written to ``folder``.
    """
    known = stored(scan)
    if known is None:
        exchange.save_scan(folder, scan)
    return known or folder
