"""Work that takes longer than a moment, in a process of its own: the viewer never waits for it.

See `helper` for the process and `service` for its other side.
"""

import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_pvs.scans.scan import Scan
from napari_pvs.widgets import exchange
from napari_pvs.widgets.helper import Folder, Helper, Prepare
from napari_pvs.widgets.turns import Steps, Turns

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

    module = "napari_pvs.widgets.service"
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
