"""Carries out clicks on the labels; each is one undo step."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_pvs.correction.click import (
    Change,
    NothingFound,
    grow,
    regrow,
    remove,
    require_background,
    split,
)
from napari_pvs.correction.evidence import Evidence, Source, from_intensities, from_map
from napari_pvs.correction.fluid import Level, fluid_space, question
from napari_pvs.correction.neighbourhood import SNAP_MM, Point, VoxelSize, snap
from napari_pvs.errors import InputError
from napari_pvs.jobs import protocol
from napari_pvs.jobs.protocol import (
    Failed,
    Message,
    Question,
    Ready,
    ServeClicks,
    encode_question,
)
from napari_pvs.scans.display import grid_index, to_display
from napari_pvs.scans.scan import Scan
from napari_pvs.widgets.background.process import Process, scan_folder
from napari_pvs.widgets.parts.controls import sentence
from napari_pvs.widgets.preferences import preferences
from napari_pvs.widgets.state.session import Session
from napari_pvs.widgets.viewer.edits import put
from napari_pvs.widgets.viewer.layers import record_origin

_Waiting = tuple[Point, Callable[[Evidence], None]]
"""A click, and what is done with the evidence when it comes."""
Mode = Literal["add", "remove", "split", "more", "less"]

SURE = 0.5
"""Mean probability from which on the network's word is taken beside a ventricle."""
_FOLLOWED: dict[Source, str] = {
    "probability": "the probability map",
    "network": "a local network pass",
    "intensity": "intensities alone",
}


class Clicker(QObject):
    """What a click on a voxel of the labels layer does.

    Evidence comes from the newest prediction's probability map; where there is no prediction, from
    a network pass around the click, in a process that is started by `warm`; and where neither
    shows a PVS or the network cannot be run, from the intensities. The pass has the weights that
    made the session's last prediction or, where these cannot be used any more, the starter's.

    Parameters
    ----------
    session
        Of the viewer.
    parent
        Ends the network's process.
    """

    said = Signal(str)
    """What was done."""
    failed = Signal(str)
    """Why nothing was done: one sentence with the remedy."""
    asked = Signal(str, object)
    """A second click is needed: why, and the voxels that it would add."""
    done = Signal(str, object)
    """A click was carried out: its mode and a voxel that it has changed."""

    def __init__(self, session: Session, parent: QObject) -> None:
        super().__init__(parent)
        self._session = session
        self._scan = session.scan
        self._pass: LocalPass | None = None
        self._failed = False  # of this scan; it is not tried again
        self._refused: Path | None = None  # weights that could not be used
        self._waiting: dict[int, _Waiting] = {}
        self._asked: Change | None = None  # what the next click there confirms
        self._levels: tuple[Level | None, Level | None] | None = None  # of the scan
        session.prediction_changed.connect(self._rest)
        session.scan_changed.connect(self._rest)
        session.labels_changed.connect(self._drop)

    @property
    def reason(self) -> str | None:
        """Why clicks have no effect now; None if they do."""
        if self._session.scan is None:
            return "load a scan first."
        if self._session.labels is None:
            return "make labels first (the Correct dock)."
        return None

    def warm(self) -> None:
        """Start the network if clicks will need it."""
        scan = self._session.scan
        if scan is None or self._session.prediction is not None or self._pass is not None:
            return
        if self._failed:
            return
        weights = self._session.weights
        self._pass = LocalPass(scan, self, None if weights == self._refused else weights)
        self._pass.answered.connect(self._on_answer)
        self._pass.failed.connect(self._on_failure)

    def stop(self) -> None:
        """End the network's process."""
        self._waiting.clear()
        if self._pass is not None:
            self._pass.stop()
            self._pass.deleteLater()
            self._pass = None

    def click(self, mode: Mode, point: Point) -> None:
        """Do what a mode does at a voxel of the labels layer's data.

        The answer comes by a signal: at once, or when the network has answered.
        """
        if self.reason is not None:
            self.failed.emit(f"Nothing was changed: {self.reason}")
            return
        mask, size = self._session.require_labels().data, self._size()
        try:
            if mode == "remove":
                self._apply(mode, point, remove(point, mask, size))
            elif mode == "split":
                self._apply(mode, point, split(point, mask, size))
            elif mode == "add":
                require_background(point, mask)  # before the network is asked
                self._evidence(point, lambda evidence: self._add(point, evidence))
            else:
                at = snap(point, mask, size)
                self._evidence(at, lambda evidence: self._regrow(mode, at, evidence))
        except InputError as error:
            self.failed.emit(sentence(str(error)))

    def _add(self, point: Point, evidence: Evidence) -> None:
        mask, size = self._session.require_labels().data, self._size()
        try:
            change = grow(point, evidence, mask, size)
        except NothingFound:
            if evidence.source == "intensity":
                raise
            evidence = self._intensities(point)
            change = grow(point, evidence, mask, size)
        asked, self._asked = self._asked, None
        if asked is None or not _reaches(asked, point, size):
            doubt = self._doubt(change, evidence)
            if doubt is not None:
                self._asked = change
                said = f"{sentence(doubt)}. Click it again to add it anyway."
                self.asked.emit(said, change.indices)
                return
        self._apply("add", point, change)

    def _doubt(self, change: Change, evidence: Evidence) -> str | None:
        """Why a growth may be fluid that is no PVS, if it may."""
        scan, size = self._session.require_scan(), self._size()
        t1, t2 = (None if a is None else to_display(a) for a in (scan.t1, scan.t2))
        brain = to_display(scan.brain)
        if self._levels is None:
            one, two = (None if a is None else Level.of(a, brain) for a in (t1, t2))
            self._levels = one, two
        space = fluid_space((t1, t2), self._levels, brain, evidence.box, size)
        if evidence.source != "intensity":  # what a network is sure of may open into a ventricle
            inner = (axis - s.start for axis, s in zip(change.indices, evidence.box, strict=True))
            if evidence.values[tuple(inner)].mean() >= SURE:
                space = np.zeros_like(space)
        return question(change, space, evidence.box, size)

    def _regrow(self, mode: Literal["more", "less"], point: Point, evidence: Evidence) -> None:
        mask, size = self._session.require_labels().data, self._size()
        self._apply(mode, point, regrow(point, evidence, mask, size, mode))

    def _apply(self, mode: Mode, point: Point, change: Change) -> None:
        layer = self._session.require_labels()
        value = (layer.selected_label or 1) if change.value else 0
        prediction = self._session.prediction
        if change.source == "probability" and prediction is not None:
            record_origin(layer, prediction.weights_id)  # only now has it gone into the labels
        put(layer, change.indices, value)
        count = len(change.indices[0])
        if not count:
            return
        volume = f"{count} voxels ({count * float(np.prod(self._size())):.1f} mm³)"
        followed = None if change.source is None else _FOLLOWED[change.source]
        if change.source == "network" and self._pass is not None and self._pass.weights:
            followed = f"a local pass of {self._pass.weights.name}"
        if mode == "split":
            self.said.emit(f"Split in two; removed {volume} in between.")
        elif change.value:
            self.said.emit(f"Added {volume} using {followed}.")
        else:
            self.said.emit(f"Removed {volume}.")
        z, y, x = (int(axis[0]) for axis in change.indices)
        self.done.emit(mode, point if change.value and layer.data[point] else (z, y, x))

    def _evidence(self, point: Point, then: Callable[[Evidence], None]) -> None:
        scan, prediction = self._session.require_scan(), self._session.prediction
        if prediction is not None:
            then(from_map(to_display(prediction.probability), point, self._size()))
            return
        self.warm()
        if self._pass is None:
            then(self._intensities(point))
            return
        at = grid_index(point, scan)
        known = self._pass.known(at)
        if known is not None:
            then(_displayed(known, scan.grid.shape))
            return
        if not self._pass.ready:
            self.said.emit("Loading the network; the click follows when it is ready.")
        self._waiting[self._pass.ask(at)] = point, then

    def _intensities(self, point: Point) -> Evidence:
        scan = self._session.require_scan()
        t1, t2 = (None if a is None else to_display(a) for a in (scan.t1, scan.t2))
        return from_intensities(t1, t2, to_display(scan.brain), point, self._size())

    def _size(self) -> tuple[float, float, float]:
        x, y, z = self._session.require_scan().grid.voxel_size
        return z, y, x

    def _on_answer(self, number: int, evidence: Evidence) -> None:
        if number not in self._waiting:
            return
        _, then = self._waiting.pop(number)
        self._safely(lambda: then(_displayed(evidence, self._session.require_scan().grid.shape)))

    def _on_failure(self, text: str) -> None:
        waiting = list(self._waiting.values())
        weights = None if self._pass is None else self._pass.weights
        self.stop()
        if weights is not None:
            self._refused = weights
            self.failed.emit(f"{text} Clicks use the starter weights instead.")
            self._again(waiting)
            self.warm()
            return
        self._failed = True
        self.failed.emit(f"{text} Clicks use the intensities instead.")
        self._again(waiting)

    def _again(self, waiting: list[_Waiting]) -> None:
        """Carry out clicks that were waiting for a process that is gone."""
        for point, then in waiting:
            self._safely(partial(self._evidence, point, then))

    def _safely(self, call: Callable[[], None]) -> None:
        """Carry out a click that was waiting, if it still can be."""
        if self.reason is not None:
            return
        try:
            call()
        except InputError as error:
            self.failed.emit(sentence(str(error)))

    def _drop(self) -> None:
        """Drop waiting clicks: they were meant for other labels."""
        if self._waiting:
            self._waiting.clear()
            self.failed.emit("A pending click was dropped, because its labels are gone.")

    def _rest(self) -> None:
        """End a process that is no longer needed: there is a map now, or another scan."""
        scan = self._session.scan
        if scan is not self._scan:
            self._scan, self._failed, self._refused = scan, False, None
            self._asked, self._levels = None, None
            self.stop()
        elif self._session.prediction is not None:
            waiting = list(self._waiting.values())
            self.stop()
            self._again(waiting)


def _displayed(evidence: Evidence, shape: tuple[int, int, int]) -> Evidence:
    """Turn evidence on the scan's grid into the order of its layers."""
    x, y, z = evidence.box
    flipped = slice(shape[1] - y.stop, shape[1] - y.start)
    return Evidence(to_display(evidence.values), (z, flipped, x), evidence.source)


def _reaches(change: Change, point: Point, size: VoxelSize) -> bool:
    """Whether a click means the voxels that were asked about."""
    away = [(axis - i) * edge for axis, i, edge in zip(change.indices, point, size, strict=True)]
    return bool(np.sqrt(sum(np.square(axis) for axis in away)).min() <= SNAP_MM)


_KEPT = 8  # answers; a PVS is often clicked again to regrow it
_NEAR = 6  # voxels from the middle of a window, in which the network saw enough around them


class LocalPass(Process):
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

    module = "napari_pvs.jobs.clicks"
    answered = Signal(int, object)
    """Number of the question, and its `Evidence` on the scan's grid."""

    def __init__(self, scan: Scan, parent: QObject, weights: Path | None = None) -> None:
        device = preferences().segment.device

        def request(folder: Path) -> ServeClicks:
            return ServeClicks(scan=scan_folder(scan, folder), weights=weights, device=device)

        super().__init__(request, parent)
        self.scan, self.weights = scan, weights
        self.ready = False
        self._asked = 0
        self._waiting: list[Question] = []
        self._known: list[Evidence] = []
        self.launch()

    def ask(self, point: Point) -> int:
        """Ask about a voxel of the scan's grid; `answered` carries the number returned.

        Questions asked before the network is ready wait for it.
        """
        self._asked += 1
        x, y, z = (int(i) for i in point)
        question = Question(self._asked, (x, y, z))
        if self.ready:
            self.write(encode_question(question))
        else:
            self._waiting.append(question)
        return self._asked

    def known(self, point: Point) -> Evidence | None:
        """Return an earlier answer in whose middle a voxel lies."""
        for evidence in reversed(self._known):
            centre = [(side.start + side.stop) / 2 for side in evidence.box]
            if all(abs(i - c) <= _NEAR for i, c in zip(point, centre, strict=True)):
                return evidence
        return None

    def _on_message(self, message: Message, raw: bytes) -> None:
        if isinstance(message, protocol.Evidence):
            x, y, z = (slice(*side) for side in message.box)
            shape = [side.stop - side.start for side in (x, y, z)]
            found = np.frombuffer(raw, "<f4", math.prod(shape)).reshape(shape)
            evidence = Evidence(found, (x, y, z), "network")
            self._known = [*self._known[1 - _KEPT :], evidence]
            self.answered.emit(message.id, evidence)
        elif isinstance(message, Ready):
            self.ready = True
            for question in self._waiting:
                self.write(encode_question(question))
            self._waiting.clear()
        elif isinstance(message, Failed):
            self._fail(message.text)

    def _end(self) -> None:
        self.ready = False
        super()._end()
