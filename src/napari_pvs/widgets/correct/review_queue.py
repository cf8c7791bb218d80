"""The review queue: single PVS in the order in which looking at them pays most."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_pvs.correction.candidates import Scale, beside, candidates
from napari_pvs.correction.click import grow
from napari_pvs.correction.evidence import from_map
from napari_pvs.correction.items import DOUBTFUL, Decision, Focus, Item, Kind, Review, Verdict
from napari_pvs.correction.neighbourhood import Point
from napari_pvs.correction.review import Queue
from napari_pvs.errors import InputError
from napari_pvs.scans.display import to_display
from napari_pvs.scans.masks import Voxels
from napari_pvs.scans.scan import Scan
from napari_pvs.widgets.background.debounce import Debouncer
from napari_pvs.widgets.background.thread import Background
from napari_pvs.widgets.correct.clicks import Clicker, Mode
from napari_pvs.widgets.correct.components import Components
from napari_pvs.widgets.correct.decisions import Decisions
from napari_pvs.widgets.correct.history import History
from napari_pvs.widgets.parts.controls import Button, Notice
from napari_pvs.widgets.state.autosave import Autosave
from napari_pvs.widgets.state.session import Session
from napari_pvs.widgets.viewer.canvas import show_voxel
from napari_pvs.widgets.viewer.edits import put
from napari_pvs.widgets.viewer.layers import record_origin

ZOOM = 12.0
"""Pixels of the canvas per mm when the viewer jumps to a PVS."""
PAUSE_MS = 600
"""How long after a change of prediction or labels the queue is made anew."""
_THRESHOLD, _MIN_VOLUME_MM3 = 0.5, 1.0  # where no prediction says otherwise
_MANY_NEW = 50  # PVS that change at once, from which on all are measured in the thread
_MANY_BACK = 1000  # items that *Previous* goes back through
Group = Literal["uncertain", "missed", "large"]
ADJUDICATED = "All disputed PVS are decided. Save as final."
_DONE = {"accept": "Accepted", "reject": "Rejected", "skip": "Skipped", None: "Undecided"}


class NoteLine(QLineEdit):
    """A line that gives its text up at Escape."""

    dropped = Signal()
    """Escape was pressed."""

    def keyPressEvent(self, event: Any) -> None:
        """Drop what was typed at Escape."""
        if event.key() == Qt.Key.Key_Escape:
            self.clearFocus()
            self.dropped.emit()
        else:
            super().keyPressEvent(event)


class QueuePanel(QWidget):
    """Shows one item at a time, says why, and takes the decision.

    Parameters
    ----------
    session
        Of the viewer.
    components
        The PVS of its labels.
    clicker
        Its clicks are decisions too.
    autosave
        Keeps the decisions.

    Attributes
    ----------
    queue
        Made anew with prediction and labels; None before the first.
    item
        What is shown.
    disputed
        While two raters' labels are adjudicated: by rater, the PVS that only this one has, in the
        axes of the layers; see `adjudicate`.
    """

    moved = Signal(object)
    """The `Item` that is shown, or None."""
    changed = Signal()
    """Items came or went, or something was decided about them."""
    said = Signal(str)
    """What a key has done, where nothing shows it."""
    worked = Signal(str)
    """The rater has done something: a ``decision``, an ``edit``, or a ``look`` at a PVS."""

    def __init__(
        self, session: Session, components: Components, clicker: Clicker, autosave: Autosave
    ) -> None:
        super().__init__()
        self._session, self._components = session, components
        self._clicker, self._autosave = clicker, autosave
        self.queue: Queue | None = None
        self.item: Item | None = None
        self.disputed: dict[str, NDArray[np.bool_]] | None = None
        self._disputes = 0
        self._decisions = Decisions(session, autosave)
        self._scan: Scan | None = None
        self._lesions: NDArray[np.bool_] | None = None  # of that scan, in the axes of the layers
        self._turn = 0
        self._history: History | None = None
        self._back: list[Item] = []
        self._deciding = self._stepping = False
        self._stopped = False
        self._thread = Background(self)
        self._build()
        self._make_soon = Debouncer(PAUSE_MS, self.make, self)
        for changed in (session.prediction_changed, session.scan_changed):
            changed.connect(self._on_change)
        components.replaced.connect(self._on_change)
        components.changed.connect(self._on_edit)
        clicker.done.connect(self._on_click)
        autosave.reviewed.connect(self._on_review)
        session.blind_changed.connect(self._choose_decisions)
        self._on_change()

    def _build(self) -> None:
        self.left = QLabel()
        self.done = QProgressBar()
        self.done.setToolTip("Share of the PVS that have been reviewed.")
        self.done.setTextVisible(False)
        self.done.setMaximumHeight(6)
        self.why = Notice(lines=2)
        self.why.setToolTip(
            "Why this PVS comes now. The most doubtful come first, weighted by their share of the "
            "total count and volume."
        )
        self.accept = Button("Accept", "This is a PVS; a missed one is added. Key Y.", self.yes)
        self.reject = Button("Reject", "Not a PVS: delete it. Key N.", self.no)
        self.skip = Button("Skip", "Decide later; it comes back last. Key K.", self.later)
        self.next = Button("Next", "Go on without deciding. Key J.", self.move_on)
        self.previous = Button("Previous", "Go back to the PVS before. Key B.", self.move_back)
        self.take_back = Button(
            "Undo", "Undo the last decision or edit and go back to it. Ctrl+Z.", self.undo
        )
        self.groups: dict[Group, Button] = {
            "uncertain": Button(
                "Uncertain",
                "Go to the next PVS that is uncertain or threshold-sensitive, touches a lesion, or "
                "looks like one. Key U.",
                lambda: self.move_to("uncertain"),
            ),
            "missed": Button(
                "Missed",
                "Go to the next PVS that was possibly missed or excluded by shape. Key M.",
                lambda: self.move_to("missed"),
            ),
            "large": Button(
                "Large", "Go to the next PVS, the largest first. Key L.",
                lambda: self.move_to("large"),
            ),
        }  # fmt: skip
        self.note = NoteLine()
        self.note.setPlaceholderText("Note (C)")
        self.note.setToolTip("A note on this PVS; Enter keeps it, Escape drops it. Key C.")
        self.note.returnPressed.connect(self.keep_note)
        self.note.dropped.connect(self._tell)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for widget in (self.left, self.done, self.why):
            column.addWidget(widget)
        for buttons in (
            (self.accept, self.reject, self.skip),
            (self.previous, self.next, self.take_back),
            tuple(self.groups.values()),
        ):
            row = QHBoxLayout()
            row.setSpacing(3)
            for button in buttons:
                button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
                button.setFocusPolicy(Qt.FocusPolicy.TabFocus)  # the canvas keeps its keys
                row.addWidget(button)
            column.addLayout(row)
        column.addWidget(self.note)

    def make(self) -> None:
        """List the PVS, in a thread."""
        self._make_soon.cancel()
        layer, scan, mask = self._session.labels, self._session.scan, self._components.mask
        if layer is None or scan is None or mask is None:
            return
        prediction = self._session.prediction
        score = None if prediction is None else to_display(prediction.probability)
        x, y, z = scan.grid.voxel_size
        scale = Scale(
            score,
            prediction.threshold if prediction else _THRESHOLD,
            scan.grid.voxel_volume,
            (z, y, x),
            self._lesions,
        )
        smallest = prediction.min_volume if prediction else _MIN_VOLUME_MM3
        left_out = None if prediction is None else prediction.excluded
        excluded = None if left_out is None else to_display(left_out)
        disputed = self.disputed
        turn = self._turn = self._turn + 1

        def take(items: list[Item]) -> None:
            if turn == self._turn and self._session.labels is layer:
                self._on_made(items, scale)

        self._thread.submit(lambda: candidates(mask, scale, smallest, excluded, disputed), take)

    def adjudicate(self, disputed: dict[str, NDArray[np.bool_]] | None) -> None:
        """Ask about the PVS that only one of two raters has, and no others.

        Parameters
        ----------
        disputed
            By rater, in the axes of the layers; None ends it.
        """
        self.disputed, self._disputes, self.queue, self._back = disputed, 0, None, []
        self._show(None)
        self._choose_decisions()
        self.make()

    @property
    def pending(self) -> list[Item]:
        """What is left to be decided, in order; in an adjudication, what is disputed alone."""
        pending = [] if self.queue is None else self.queue.pending
        if self.disputed is None:
            return pending
        return [item for item in pending if item.kind == "disputed"]

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
        self._components.follow()
        self._go_through(self.pending)

    def move_to(self, group: Group) -> None:
        """Show the next item of a kind."""
        self._components.follow()
        pending = self.pending
        if group == "large":
            there = [item for item in pending if item.present or item.kind == "disputed"]
            chosen = sorted(there, key=lambda item: -item.voxels)
        elif group == "missed":
            chosen = [item for item in pending if item.kind != "found"]
        else:
            chosen = [item for item in pending if item.cue in DOUBTFUL]
        if chosen:
            self._go_through(chosen)
        else:
            kind = {"uncertain": "uncertain", "missed": "possibly missed", "large": "unreviewed"}
            self.said.emit(f"No {kind[group]} PVS left.")

    def move_back(self) -> None:
        """Show the item before, whether it is decided or not."""
        there = [] if self.queue is None else self.queue.items
        while self._back:
            item = self._back.pop()
            # one that was accepted into the labels is another item since
            now = item if item in there else self.item_at(item.point)
            if now is not None and now is not self.item:
                self._show(now, again=True)
                return
        self.said.emit("No previous PVS.")

    def show_item(self, item: Item, move: bool = True) -> None:
        """Show an item that was chosen elsewhere, such as in the table; the view may stay."""
        self._components.follow()
        if self.queue is not None and item in self.queue.items:
            self._show(item, move=move)

    def undo(self) -> None:
        """Undo the last decision or edit, and show where it was."""
        self._step(lambda history: history.undo(), "Undone")

    def redo(self) -> None:
        """Redo what was undone last, and show where it is."""
        self._step(lambda history: history.redo(), "Redone")

    def write_note(self) -> None:
        """Let the user type a note."""
        if self.item is not None:
            self.note.setFocus()

    def keep_note(self) -> None:
        """Keep what was typed."""
        if self.queue is not None and self.item is not None:
            text = self.note.text().strip()
            if text != self.item.note:
                self.queue.write_note(self.item, text, self._autosave.rater, datetime.now(UTC))
                self._keep()
        self.note.clearFocus()
        self._tell()

    def item_at(self, point: Point) -> Item | None:
        """The item at a voxel of the labels' data."""
        number = self._components.at(point)
        if self.queue is None:
            return None
        if number is not None:
            return self.queue.item_of(number)
        return next((item for item in self.queue.items if _holds(item.index, point)), None)

    def stop(self) -> None:
        """Outline nothing any more."""
        self._stopped = True
        self._mark()

    def _go_through(self, items: Sequence[Item]) -> None:
        """Show the item after the one that is shown, the first after the last."""
        at = next((n for n, item in enumerate(items) if item is self.item), -1)
        self._show(items[(at + 1) % len(items)] if items else None)

    def _decide(self, verdict: Verdict) -> None:
        item, queue, layer = self.item, self.queue, self._session.labels
        if item is None or queue is None or layer is None:
            self.move_on()
            return
        asked = self._session.focus
        self._components.follow()
        self._mark()
        if self._session.focus is not asked or self.item is not item:
            self.said.emit("This PVS has just changed; check it, then decide.")
            return
        pending = self.pending
        order = {id(one): n for n, one in enumerate(queue.items)}
        at = next((n for n, one in enumerate(pending) if one is item), None)
        if at is None:  # decided before: go on from its place among all items
            place = order.get(id(item), 0)
            at = next((n for n, one in enumerate(pending) if order[id(one)] > place), 0) - 1
        following = [*pending[at + 1 :], *pending[: max(at, 0)]]
        before, edited = queue.known(item), False
        wanted = {"accept": True, "reject": False}.get(verdict)
        if wanted is not None and wanted != item.present:
            prediction = self._session.prediction
            if wanted and prediction is not None and item.kind in ("missed", "excluded"):
                record_origin(layer, prediction.weights_id)
            self._deciding = True  # what comes next is shown, not what was
            try:
                put(layer, item.index, (layer.selected_label or 1) if wanted else 0)
                self._components.follow()
            finally:
                self._deciding = False
            edited = True
        decided = self.item_at(item.point) or item
        about = self._kind_of(item)
        queue.decide(decided, verdict, self._autosave.rater, datetime.now(UTC), about)
        self._record(decided, before, edited)
        self._keep()
        self.worked.emit("decision")
        there = set(map(id, self.pending))
        after = next((one for one in following if id(one) in there), None)
        if after is None and decided.verdict == "skip":
            after = decided  # it is the last
        self._show(after)

    def _kind_of(self, item: Item) -> Kind:
        """What a decision is about: what was disputed stays so, once it is in the labels too."""
        known = item.decision
        if self.disputed is not None and known is not None and known.kind == "disputed":
            return "disputed"
        return item.kind

    def _record(self, item: Item, before: tuple[Decision, ...], edited: bool) -> None:
        if self._history is not None and self.queue is not None:
            self._history.record(item.point, before, self.queue.known(item), edited)

    def _step(self, take: Callable[[History], Any], word: str) -> None:
        history, queue, layer = self._history, self.queue, self._session.labels
        if history is None or layer is None:
            return
        self._components.follow()
        self._stepping = True  # no new edit
        try:
            step = take(history)
            voxels = self._components.follow()
        finally:
            self._stepping = False
        if step is not None and queue is not None:
            out, back = step.after, step.before
            if word == "Redone":
                out, back = back, out
            queue.replace(out, back)
            self._keep()
            item = self.item_at(step.point)
            if item is not None:
                self._show(item)
                self.said.emit(f"{word}. This PVS is {_DONE[item.verdict].lower()} now.")
                return
        if len(voxels[0]):
            layer.visible = True
            self._look_at(voxels)
            self.said.emit(f"{word}: {len(voxels[0])} voxels.")
        elif step is None:
            self.said.emit(f"Nothing to {word[:4].lower()}.")

    def _look_at(self, voxels: Voxels) -> None:
        """Show voxels that have just changed, if none is in the slice that is shown."""
        layer, dims = self._session.require_labels(), self._session.viewer.dims
        first = dims.ndim - layer.data.ndim
        hidden = [axis - first for axis in dims.not_displayed if axis >= first]
        seen = np.ones(len(voxels[0]), bool)
        for axis in hidden:
            at = layer.world_to_data(dims.point[first:])[axis]
            seen &= np.abs(voxels[axis] - at) <= 0.5
        if not seen.any():
            middle = len(voxels[0]) // 2
            x, y, z = (int(axis[middle]) for axis in voxels)
            show_voxel(self._session.viewer, layer, (x, y, z))

    def _show(self, item: Item | None, again: bool = False, move: bool = True) -> None:
        if self.item is not None and self.item is not item and not again:
            self._back = [*self._back[1 - _MANY_BACK :], self.item]
        self.item = item
        layer = self._session.labels
        if item is not None and layer is not None:
            self.worked.emit("look")
            self._grow(item)
            if move:
                show_voxel(self._session.viewer, layer, item.point, ZOOM)
            self._session.viewer.layers.selection.active = layer  # its keys work there only
        self._mark()
        self._tell()
        self.moved.emit(item)

    def _grow(self, item: Item) -> None:
        """Outline a missed PVS as a click would grow it, which agrees best with the truth."""
        prediction = self._session.prediction
        if item.kind != "missed" or item.present or item.grown or prediction is None:
            return
        item.grown = True
        x, y, z = self._session.require_scan().grid.voxel_size
        mask = self._session.require_labels().data
        evidence = from_map(to_display(prediction.probability), item.point, (z, y, x))
        try:
            index = grow(item.point, evidence, mask, (z, y, x)).indices
        except InputError:
            return  # too wide for a PVS: its likeliest voxels are asked about
        if _holds(index, item.point):
            item.index = index

    def _mark(self) -> None:
        layer = self._session.labels
        if self.item is None or layer is None or self._stopped:
            self._session.set_focus(None)
            return
        kind: Literal["item", "missed"] = "item" if self.item.present else "missed"
        self._outline(kind, self.item.index)

    def outline(self, voxels: Voxels | None) -> None:
        """Outline voxels that a click would add, or again what is under review."""
        if voxels is None:
            self._mark()
        else:
            self._outline("missed", voxels)

    def _outline(self, kind: Literal["item", "missed"], index: Voxels) -> None:
        scan = self._session.require_scan()
        z, flipped, x = index
        focus = Focus.of(kind, (x, scan.grid.shape[1] - 1 - flipped, z))
        known = self._session.focus
        if known is None or not focus.same_as(known):
            self._session.set_focus(focus)

    def _tell(self) -> None:
        items = self.queue.items if self.queue else []
        pending = self.pending
        reason = None
        if self._session.labels is None:
            reason = "make labels first (above)."
        elif not items:
            reason = "there is nothing to review."
        start = None if self.item is not None else "start the review first."
        for button in (self.accept, self.reject, self.skip):
            button.allow_if(reason or start)
        over = None if pending else "all PVS have been reviewed."
        for button in (self.next, *self.groups.values()):
            button.allow_if(reason or over)
        self.previous.allow_if(reason or (None if self._back else "this is the first PVS."))
        self.take_back.allow_if("make labels first (above)." if self._history is None else None)
        self.next.setText("Next" if self.item is not None else "Start")
        reviewed, of, said = self.queue.reviewed if self.queue else 0, len(items), "reviewed"
        if self.disputed is not None:
            reviewed, of = self._disputes - len(pending), self._disputes
            said = "disputed PVS decided"
        self.done.setRange(0, max(of, 1))
        self.done.setValue(reviewed)
        self.left.setText(f"{reviewed} of {of} {said}" if items else "Nothing to review.")
        self.note.setEnabled(self.item is not None)
        if not self.note.hasFocus():
            self.note.setText("" if self.item is None else self.item.note)
        if self.item is None:
            self.why.clear()
            if items and not pending:
                said = "All PVS have been reviewed."
                self.why.say(said if self.disputed is None else ADJUDICATED)
        else:
            verdict = self.item.verdict
            decided = "" if verdict is None else f"{_DONE[verdict]}. "
            self.why.say(f"{decided}{self.item.reason}")
        self.changed.emit()

    def _on_edit(self, gone: set[int], new: set[int]) -> None:
        """Follow an edit, its undoing, or what a decision has changed."""
        queue, layer = self.queue, self._session.labels
        if not (self._deciding or self._stepping or self._components.filling):
            self.worked.emit("edit")
        if queue is None or layer is None or self._components.mask is None:
            self._mark()
            return
        if len(new) > _MANY_NEW:
            self._make_soon.throttle()  # measuring each would take longer
        queue.follow(self._components.mask, self._components.entries, gone, new)
        if self._deciding:
            return
        if self.item is not None and self.item not in queue.items:  # it is part of another now
            self.item = self.item_at(self.item.point)
            self.moved.emit(self.item)
        self._mark()
        self._tell()
        if queue.outgrown:
            self._make_soon.throttle()

    def _on_change(self) -> None:
        session = self._session
        if session.scan is not self._scan:
            self._scan = session.scan
            self._decisions.clear()
            known = None if session.scan is None else session.scan.lesions
            self._lesions = None if known is None else beside(to_display(known))
        layer = session.labels
        if self._history is None or self._history.layer is not layer:
            self._history = None if layer is None else History(layer)
            self.queue, self._back = None, []
            if self.disputed is not None:
                self.disputed = None
                self._choose_decisions()
            self._show(None)
        if layer is None or session.scan is None:
            self._turn += 1
            self._make_soon.cancel()
        else:
            self._make_soon.throttle()

    def _on_made(self, items: list[Item], scale: Scale) -> None:
        self._components.follow()
        mask = self._components.mask
        if mask is None:
            return
        shown, before = self.item, self.queue
        self._disputes = sum(item.kind == "disputed" for item in items)
        self.queue = Queue(
            items, self._decisions.review, mask, self._components.entries, scale, before
        )
        self._back = [found for one in self._back if (found := self.item_at(one.point)) is not None]
        self.item = None if shown is None else self.item_at(shown.point)
        if self.item is not None:
            self._grow(self.item)
        self._mark()
        self._tell()
        if self.item is not shown:
            self.moved.emit(self.item)

    def _on_click(self, mode: Mode, point: Point) -> None:
        """Take what a click adds for accepted, and what it removes for rejected."""
        if self.queue is None or mode not in ("add", "remove"):
            return
        item = self.item_at(point)
        if item is None:
            return
        before = self.queue.known(item)
        verdict: Verdict = "accept" if mode == "add" else "reject"
        self.queue.decide(item, verdict, self._autosave.rater, datetime.now(UTC))
        self._record(item, before, edited=True)
        self._keep()
        self._tell()

    def _on_review(self, review: Review) -> None:
        self._renew(self._decisions.take(review, self.disputed is not None))

    def _choose_decisions(self) -> None:
        self._renew(self._decisions.choose(self.disputed is not None))

    def _renew(self, changed: bool) -> None:
        """List the PVS anew where other decisions hold now."""
        if changed and self._session.labels is not None:
            self._make_soon.throttle()

    def _keep(self) -> None:
        if self.queue is not None:
            self._decisions.keep(self.queue.review)


def _holds(index: Voxels, point: Point) -> bool:
    x, y, z = (axis == i for axis, i in zip(index, point, strict=True))
    return bool((x & y & z).any())
