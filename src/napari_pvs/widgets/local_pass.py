"""Asks the network about the surroundings of a click; see `local_service` for the other side."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_pvs.inference.evidence import Evidence
from napari_pvs.scans.scan import Scan
from napari_pvs.widgets.helper import Helper
from napari_pvs.widgets.preferences import preferences
from napari_pvs.widgets.worker import store

_KEPT = 8  # answers; a PVS is often clicked again to regrow it
_NEAR = 6  # voxels from the middle of a window, in which the network saw enough around them


class LocalPass(Helper):
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

    module = "napari_pvs.widgets.local_service"
    answered = Signal(int, object)
    """Number of the question, and its `Evidence` on the scan's grid."""

    def __init__(self, scan: Scan, parent: QObject, weights: Path | None = None) -> None:
        request = {
            "weights": None if weights is None else str(weights),
            "device": preferences().segment.device,
        }
        super().__init__(request, parent, store(scan))
        self.scan, self.weights = scan, weights
        self.ready = False
        self._asked = 0
        self._waiting: list[dict[str, Any]] = []
        self._known: list[Evidence] = []
        self.launch()

    def ask(self, point: tuple[int, int, int]) -> int:
        """Ask about a voxel of the scan's grid; `answered` carries the number returned.

        Questions asked before the network is ready wait for it.
        """
        self._asked += 1
        question = {"id": self._asked, "point": [int(i) for i in point]}
        if self.ready:
            self.tell(question)
        else:
            self._waiting.append(question)
        return self._asked

    def known(self, point: tuple[int, int, int]) -> Evidence | None:
        """Return an earlier answer in whose middle a voxel lies."""
        for evidence in reversed(self._known):
            centre = [(side.start + side.stop) / 2 for side in evidence.box]
            if all(abs(i - c) <= _NEAR for i, c in zip(point, centre, strict=True)):
                return evidence
        return None

    def _on_message(self, message: dict[str, Any], values: bytes) -> None:
        if message["type"] == "evidence":
            x, y, z = (slice(start, stop) for start, stop in message["box"])
            shape = [side.stop - side.start for side in (x, y, z)]
            found = np.frombuffer(values, "<f4", math.prod(shape)).reshape(shape)
            evidence = Evidence(found, (x, y, z), "network")
            self._known = [*self._known[1 - _KEPT :], evidence]
            self.answered.emit(message["id"], evidence)
        elif message["type"] == "ready":
            self.ready = True
            for question in self._waiting:
                self.tell(question)
            self._waiting.clear()
        else:
            self._fail(message["text"])

    def _end(self) -> None:
        self.ready = False
        super()._end()
