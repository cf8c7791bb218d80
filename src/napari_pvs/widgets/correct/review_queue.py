"""The review queue: single PVS in the order in which looking at them pays most."""

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QSizePolicy, QVBoxLayout, QWidget

from napari_pvs.correction.neighbourhood import Point, component_at
from napari_pvs.correction.review import (
    MISSED_SHARE,
    Focus,
    Item,
    Queue,
    Review,
    Verdict,
    arrived,
    candidates,
)
from napari_pvs.scans.display import display_index, from_display, grid_index, to_display
from napari_pvs.scans.scan import Scan
from napari_pvs.widgets.background.debounce import Debouncer
from napari_pvs.widgets.background.thread import Background
from napari_pvs.widgets.correct.clicks import Clicker
from napari_pvs.widgets.parts.controls import Button, Notice
from napari_pvs.widgets.state.autosave import Autosave
from napari_pvs.widgets.state.session import Session
from napari_pvs.widgets.viewer.canvas import show_voxel
from napari_pvs.widgets.viewer.layers import KEY
from napari_pvs.widgets.viewer.typed import LabelsLayer

ZOOM = 12.0
"""Pixels of the canvas per mm when the viewer jumps to a PVS."""
PAUSE_MS = 600
"""How long after a change of prediction or labels the queue is made anew."""
EDIT_PAUSE_MS = 1200
"""How long after an edit PVS that came with it are looked for."""
Mask = NDArray[np.bool_]
Score = NDArray[np.float32] | None
_THRESHOLD, _MIN_VOLUME_MM3 = 0.5, 1.0  # where no prediction says otherwise


class QueuePanel(QWidget):
    """Shows one item at a time, says why, and takes the decision.

    Parameters
    ----------
    session
        Of the viewer.
    clicker
        Adds and removes what was decided.
    autosave
        Keeps the decisions.
    """

    moved = Signal(object)
    """The `Item` that is shown, or None."""

    def __init__(self, session: Session, clicker: Clicker, autosave: Autosave) -> None:
        super().__init__()
        self._session, self._clicker, self._autosave = session, clicker, autosave
        self.queue: Queue | None = None
        self.item: Item | None = None
        self._review = Review()  # points are voxels of the layers
        self._scan: Scan | None = None
        self._turn = 0
        self._making = False  # a new order is on its way
        self._mask: Mask | None = None  # what the queue is of
        self._marker = Marker(session)
        self._stopped = False
        self._thread = Background(self)
        self._build()
        self._make_soon = Debouncer(PAUSE_MS, self.make, self)
        for changed in (session.labels_changed, session.prediction_changed, session.scan_changed):
            changed.connect(self._on_change)
        # napari tells of an edit before it is in the data
        self._look_soon = Debouncer(0, self._look, self)
        session.labels_edited.connect(self._look_soon.throttle)
        self._extend_soon = Debouncer(EDIT_PAUSE_MS, self.extend, self)
        session.labels_edited.connect(self._extend_soon.throttle)
        clicker.done.connect(self._on_click)
        autosave.reviewed.connect(self._on_review)
        self._on_change()

    def _build(self) -> None:
        self.left = QLabel()
        self.done = QProgressBar()
        self.done.setToolTip("How much of the review is decided.")
        self.done.setTextVisible(False)
        self.done.setMaximumHeight(6)
        self.why = Notice()
        self.accept = Button("Accept", "It is a PVS; a missed one is added. Key Y.", self.yes)
        self.reject = Button("Reject", "It is no PVS; it is taken away. Key N.", self.no)
        self.skip = Button("Skip", "Decide later: it comes back last. Key K.", self.later)
        self.next = Button("Next", "Look at the next one without a decision. Key J.", self.move_on)
        buttons = QHBoxLayout()
        buttons.setSpacing(3)
        for button in (self.accept, self.reject, self.skip, self.next):
            button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)  # the canvas keeps its keys
            buttons.addWidget(button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for widget in (self.left, self.done, self.why):
            column.addWidget(widget)
        column.addLayout(buttons)

    def make(self) -> None:
        """Put the PVS in order, in a thread."""
        self._make_soon.cancel()
        known, prediction = self._decided(), self._session.prediction
        smallest = prediction.min_volume if prediction else _MIN_VOLUME_MM3

        def order(mask: Mask, score: Score, threshold: float, voxel: float) -> list[Item]:
            return candidates(mask, score, threshold, voxel, smallest, known)

        self._making = self._list(order, self._on_made)

    def extend(self) -> None:
        """Add the PVS that came into the labels since, however they came; what is there stays."""
        self._extend_soon.cancel()
        if self._making or self._make_soon.pending:
            self._extend_soon.throttle()  # what is being made may be of before
            return
        if self.queue is None:
            return
        known, before = self._decided(), self._mask
        there = [item.point for item in self.queue.items]

        def look(mask: Mask, score: Score, threshold: float, voxel: float) -> list[Item]:
            changed = np.ones_like(mask) if before is None else mask != before
            return arrived(mask, changed, score, threshold, voxel, there, known)

        self._list(look, self._on_extended)

    def _decided(self) -> list[Point]:
        return [decision.point for decision in self._review.decisions]

    def _list(self, look: Callable[..., list[Item]], then: Callable[[list[Item]], None]) -> bool:
        """List PVS in a thread; return whether there are labels to look at."""
        layer, scan = self._session.labels, self._session.scan
        if layer is None or scan is None:
            return False
        prediction = self._session.prediction
        score = None if prediction is None else to_display(prediction.probability)
        threshold = prediction.threshold if prediction else _THRESHOLD
        mask = layer.data > 0
        turn = self._turn = self._turn + 1

        def take(items: list[Item]) -> None:
            if turn == self._turn and self._session.labels is layer:
                self._mask = mask
                then(items)

        self._thread.submit(lambda: look(mask, score, threshold, scan.grid.voxel_volume), take)
        return True

    def yes(self) -> None:
        """Accept what is shown."""
        self._decide("accept")

    def no(self) -> None:
        """Reject what is shown."""
        self._decide("reject")

    def later(self) -> None:
        """Put what is shown last."""
        self._decide("skip")

    def move_on(self) -> None:
        """Show the next item, the first where none is shown."""
        pending = self.queue.pending if self.queue else []
        places = [item.point for item in pending]
        if self.item is not None and self.item.point in places:
            at = places.index(self.item.point) + 1
            self._show(pending[at % len(pending)])
        else:
            self._show(pending[0] if pending else None)

    def stop(self) -> None:
        """Take the mark out of the viewer, for good."""
        self._stopped = True
        self._mark()

    def _decide(self, verdict: Verdict) -> None:
        item, queue = self.item, self.queue
        if item is None or queue is None:
            self.move_on()
            return
        before = queue.pending
        at = next((n for n, one in enumerate(before) if one is item), None)
        if at is None:  # a click has decided it: from its place among all items
            passed = {id(one) for one in takewhile(lambda one: one is not item, queue.items)}
            at = next((n for n, one in enumerate(before) if id(one) not in passed), 0) - 1
        layer = self._session.require_labels()
        wanted = {"accept": True, "reject": False}.get(verdict)
        if wanted is not None and bool(layer.data[item.point]) != wanted:
            self._clicker.click("add" if wanted else "remove", item.point)
            if bool(layer.data[item.point]) != wanted:
                return  # the dock says why
        queue.look(layer.data)
        queue.decide(item, verdict, self._autosave.rater, datetime.now(UTC))
        self._review = queue.review
        self._keep()
        left = queue.pending
        places = {one.point for one in left}
        after = (one for one in before[at + 1 :] if one.point in places)
        self._show(next(after, left[0] if left else None))

    def _show(self, item: Item | None) -> None:
        self.item = item
        layer = self._session.labels
        self._mark()
        if item is not None and layer is not None:
            show_voxel(self._session.viewer, layer, item.point, ZOOM)
            self._session.viewer.layers.selection.active = layer  # its keys work there only
        self._tell()
        self.moved.emit(item)

    def _mark(self) -> None:
        layer = self._session.labels
        if self.item is None or layer is None or self._stopped:
            self._marker.clear()
            self._session.set_focus(None)
        else:
            self._marker.show(layer, self.item.point)
            self._session.set_focus(self._focus(self.item))

    def _focus(self, item: Item) -> Focus:
        """Return the voxels of an item, on the scan's grid."""
        scan = self._session.require_scan()
        mask, prediction = from_display(self._session.require_labels().data) > 0, None
        if item.kind == "missed":
            prediction = self._session.prediction
        if prediction is not None:
            mask = prediction.probability >= MISSED_SHARE * prediction.threshold
        point = grid_index(item.point, scan)
        if not mask[point]:  # an edit took it; the queue follows in a moment
            x, y, z = (np.array([i]) for i in point)
            return Focus.of("missed", (x, y, z))
        part, box = component_at(point, mask)
        x, y, z = (axis + side.start for axis, side in zip(np.nonzero(part), box, strict=True))
        return Focus.of("item" if item.kind == "found" else "missed", (x, y, z))

    def _tell(self) -> None:
        items = self.queue.items if self.queue else []
        pending = self.queue.pending if self.queue else []
        reason = None
        if self._session.labels is None:
            reason = "make labels first (above)."
        elif not pending:
            reason = "nothing is left." if items else "there is nothing to review."
        start = None if self.item is not None else "start the review first."
        for button in (self.accept, self.reject, self.skip):
            button.allow_if(reason or start)
        self.next.allow_if(reason)
        self.next.setText("Next" if self.item is not None else "Start")
        self.done.setRange(0, max(len(items), 1))
        self.done.setValue(len(items) - len(pending))
        self.left.setText(f"{len(pending)} of {len(items)} left" if items else "Nothing to review.")
        if self.item is None:
            self.why.clear()
        else:
            self.why.say(self.item.reason)

    def _look(self) -> None:
        """See what an edit or its undoing has decided."""
        layer = self._session.labels
        if self.queue is not None and layer is not None:
            self.queue.look(layer.data)
            self._tell()

    def _on_change(self) -> None:
        if self._session.scan is not self._scan:
            self._scan, self._review = self._session.scan, Review()
        if self._session.labels is None or self._session.scan is None:
            self._turn += 1
            self._making = False
            self.queue, self.item = None, None
            self._mark()
            self._tell()
        else:
            self._make_soon.throttle()

    def _on_made(self, items: list[Item]) -> None:
        self._making = False
        self.queue = Queue(items, self._review, self._session.require_labels().data)
        shown = None if self.item is None else self.item.point
        self.item = next((item for item in items if item.point == shown), None)
        if self.item is None:
            self._mark()
        self._tell()

    def _on_extended(self, items: list[Item]) -> None:
        queue = self.queue
        if queue is None:
            return
        there = {item.point for item in queue.items}
        new = [item for item in items if item.kind == "found" and item.point not in there]
        if new:
            queue.add(new, self._session.require_labels().data)
            self._tell()
            if queue.outgrown:
                self.make()

    def _on_click(self, mode: str, point: Point) -> None:
        """Take what a click adds for accepted: it was looked at."""
        if mode == "add" and self.queue is not None:
            self.queue.accept(point, self._autosave.rater, datetime.now(UTC))
            self._review = self.queue.review
            self._keep()

    def _on_review(self, review: Review) -> None:
        # what could not be written is in memory alone
        found = (*self._turned(review, display_index).decisions, *self._review.decisions)
        last = {one.point: one for one in sorted(found, key=lambda one: one.time)}
        self._review = Review(decisions=tuple(last.values()))
        if self._session.labels is not None:
            self._make_soon.throttle()

    def _keep(self) -> None:
        self._autosave.save_review(self._turned(self._review, grid_index))

    def _turned(self, review: Review, turn: Callable[[Point, Scan], Point]) -> Review:
        scan = self._session.scan
        if scan is None:
            return review
        return Review(
            decisions=tuple(
                one.model_copy(update={"point": turn(one.point, scan)}) for one in review.decisions
            )
        )


COLOUR = "#ff5fd2"  # none of the label layers'
WIDTH_MM = 9.0
"""Of the ring: it must not hide the PVS."""
_SLICES = 3  # to each side that show it too


class Marker:
    """A ring around one voxel, in a layer of its own that comes and goes with what it marks.

    It lies in the list of layers as *under review*, cannot be edited, and is in no file that the
    plugin writes. Whoever deletes it gets it back with the next mark.

    Parameters
    ----------
    session
        Whose viewer.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._layer: Any = None  # of points
        self._marked: tuple[LabelsLayer, Point] | None = None
        events = session.viewer.dims.events
        for event in (events.order, events.ndisplay):
            event.connect(self._turn)

    def show(self, layer: LabelsLayer, point: Point) -> None:
        """Mark a voxel of a layer's data."""
        viewer = self._session.viewer
        self._marked = layer, point
        if self._layer in viewer.layers:
            self._layer.scale, self._layer.translate = layer.scale, layer.translate
            self._layer.size = WIDTH_MM / min(layer.scale)
            self._layer.data = self._places()
            return
        active = viewer.layers.selection.active
        self._layer = viewer.add_points(
            self._places(),
            name="under review",
            scale=layer.scale,  # another would change the slider's steps
            translate=layer.translate,
            size=WIDTH_MM / min(layer.scale),
            face_color="transparent",
            border_color=COLOUR,
            border_width=0.05,
            canvas_size_limits=(0, 10_000),  # else other slices get a black dot at their origin
            units=layer.units,
            axis_labels=layer.axis_labels,
            metadata={KEY: {"role": "mark"}},
        )
        self._layer.editable = False
        viewer.layers.selection.active = active  # keys work on the labels alone

    def clear(self) -> None:
        """Take the mark away."""
        layer, self._layer, self._marked = self._layer, None, None
        if layer is not None and layer in self._session.viewer.layers:
            self._session.viewer.layers.remove(layer)

    def _places(self) -> NDArray[Any]:
        """The voxel, and in 2D the same place in the slices beside it."""
        if self._marked is None:
            return np.zeros((0, 3))
        layer, point = self._marked
        dims = self._session.viewer.dims
        places: list[Any] = [point]
        if dims.ndisplay == 2:
            first = dims.ndim - len(point)
            axis = next(axis for axis in dims.not_displayed[::-1] if axis >= first) - first
            steps = range(-_SLICES, _SLICES + 1)
            places = [np.add(point, k * np.eye(3)[axis]) for k in steps]
        inside = np.array(layer.data.shape) - 1
        return np.array([place for place in places if (np.clip(place, 0, inside) == place).all()])

    def _turn(self, _: object = None) -> None:
        """Follow another view: other slices are beside the voxel."""
        if self._layer in self._session.viewer.layers:
            self._layer.data = self._places()
            self._layer.editable = False
