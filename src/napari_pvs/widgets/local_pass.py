"""Asks the network about the surroundings of a click; see `local_service` for the other side."""

import contextlib
import json
import math
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtCore import QCoreApplication, QObject, QProcess, Signal

from napari_pvs.inference.evidence import Evidence
from napari_pvs.scans.scan import Scan
from napari_pvs.widgets.service import REQUEST
from napari_pvs.widgets.worker import explain_death, store

_KEPT = 8  # answers; a PVS is often clicked again to regrow it
_NEAR = 6  # voxels from the middle of a window, in which the network saw enough around them
_TAIL = 4000


class LocalPass(QObject):
    """A network that is kept ready for one scan, in a process of its own.

    Parameters
    ----------
    scan
        What is clicked on.
    parent
        The process ends with it.
    weights
        The starter weights where None.
    """

    answered = Signal(int, object)
    """Number of the question, and its `Evidence` on the scan's grid."""
    failed = Signal(str)
    """It ended; one sentence."""
    _prepared = Signal(object)

    def __init__(self, scan: Scan, parent: QObject, weights: Path | None = None) -> None:
        super().__init__(parent)
        self.scan = scan
        self.ready = False
        self._over = False
        self._request: dict[str, Any] = {
            "weights": None if weights is None else str(weights),
            "device": "auto",
        }
        self._folder = tempfile.TemporaryDirectory(prefix="napari-pvs-", ignore_cleanup_errors=True)
        self._asked = 0
        self._waiting: list[bytes] = []
        self._pending = bytearray()
        self._message: dict[str, Any] | None = None
        self._errors = ""
        self._known: list[Evidence] = []
        self._prepared.connect(self._start_process)
        self._process = QProcess(self)
        self._process.readyReadStandardOutput.connect(self._read)
        self._process.readyReadStandardError.connect(self._read_errors)
        self._process.finished.connect(self._on_exit)
        self._process.errorOccurred.connect(self._on_error)
        QCoreApplication.instance().aboutToQuit.connect(self.stop)
        threading.Thread(target=self._prepare, daemon=True).start()

    def ask(self, point: tuple[int, int, int]) -> int:
        """Ask about a voxel of the scan's grid; `answered` carries the number returned.

        Questions asked before the network is ready wait for it.
        """
        self._asked += 1
        question = {"id": self._asked, "point": [int(i) for i in point]}
        line = json.dumps(question).encode() + b"\n"
        if self.ready:
            self._process.write(line)
        else:
            self._waiting.append(line)
        return self._asked

    def known(self, point: tuple[int, int, int]) -> Evidence | None:
        """Return an earlier answer in whose middle a voxel lies."""
        for evidence in reversed(self._known):
            centre = [(side.start + side.stop) / 2 for side in evidence.box]
            if all(abs(i - c) <= _NEAR for i, c in zip(point, centre, strict=True)):
                return evidence
        return None

    def stop(self) -> None:
        """End the process."""
        if not self._over:
            self._end()
            self._process.kill()
            self._process.waitForFinished(5000)
            self._folder.cleanup()

    def _prepare(self) -> None:
        error = None
        try:
            folder = Path(self._folder.name)
            store(self.scan)(folder, self._request)
            (folder / REQUEST).write_text(json.dumps(self._request), encoding="utf-8")
        except OSError as caught:
            error = f"{tempfile.gettempdir()} cannot be written ({caught.strerror}); make room."
        with contextlib.suppress(RuntimeError):  # the dock is gone
            self._prepared.emit(error)

    def _start_process(self, error: str | None) -> None:
        if self._over:
            return
        if error is not None:
            self._fail(error)
            return
        module = "napari_pvs.widgets.local_service"
        self._process.start(sys.executable, ["-P", "-m", module, self._folder.name])

    def _read(self) -> None:
        self._pending += bytes(self._process.readAllStandardOutput())
        while not self._over:
            if self._message is None:
                line, found, rest = self._pending.partition(b"\n")
                if not found:
                    return
                self._message, self._pending = json.loads(line), rest
            message = self._message
            if message["type"] == "evidence":
                shape = [stop - start for start, stop in message["box"]]
                size = 4 * math.prod(shape)
                if len(self._pending) < size:
                    return
                values = np.frombuffer(bytes(self._pending[:size]), "<f4").reshape(shape)
                del self._pending[:size]
                x, y, z = (slice(start, stop) for start, stop in message["box"])
                evidence = Evidence(values, (x, y, z), "network")
                self._known = [*self._known[1 - _KEPT :], evidence]
                self.answered.emit(message["id"], evidence)
            elif message["type"] == "ready":
                self.ready = True
                for line in self._waiting:
                    self._process.write(line)
                self._waiting.clear()
            else:
                self._fail(message["text"])
            self._message = None

    def _read_errors(self) -> None:
        text = bytes(self._process.readAllStandardError()).decode(errors="replace")
        self._errors = (self._errors + text)[-_TAIL:]

    def _on_exit(self, code: int, status: Any) -> None:
        self._read()
        self._read_errors()
        if not self._over:
            crashed = status == QProcess.ExitStatus.CrashExit
            self._fail(explain_death(code, crashed, self._errors))

    def _on_error(self, error: Any) -> None:
        if error == QProcess.ProcessError.FailedToStart and not self._over:
            self._fail(f"{sys.executable} could not be started; install napari-pvs anew.")

    def _fail(self, text: str) -> None:
        self._end()
        self._folder.cleanup()
        self.failed.emit(text)

    def _end(self) -> None:
        self._over = True
        self.ready = False
        QCoreApplication.instance().aboutToQuit.disconnect(self.stop)
