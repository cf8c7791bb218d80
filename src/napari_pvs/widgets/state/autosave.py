"""Saves a draft a moment after each edit, away from the GUI thread, and offers it after a crash."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_pvs.correction.items import Review
from napari_pvs.errors import InputError
from napari_pvs.scans.display import from_display, to_display
from napari_pvs.scans.masks import voxels_of
from napari_pvs.study.drafts import DraftStore, Made, Offer, Saved
from napari_pvs.widgets.background.debounce import Debouncer
from napari_pvs.widgets.background.thread import Background, application
from napari_pvs.widgets.preferences import preferences, rater
from napari_pvs.widgets.state.session import UNCHANGED, SaveState, Session
from napari_pvs.widgets.viewer.edits import put
from napari_pvs.widgets.viewer.files import write_labels
from napari_pvs.widgets.viewer.layers import (
    KEY,
    adjudication_of,
    origin_of,
    parents_of,
    record_adjudication,
    record_origin,
    set_parent,
)
from napari_pvs.widgets.viewer.typed import LabelsLayer

log = logging.getLogger(__name__)

LONGEST_S = 15.0
"""Longest time without a draft while edits go on without a pause."""
RETRY_MS = 20_000
"""Wait before saving is tried again after a failure."""


@dataclass(frozen=True, eq=False)
class Deleted:
    """Labels that the user has deleted from the viewer; they are kept until the scan goes."""

    layer: LabelsLayer

    @property
    def text(self) -> str:
        """What is offered."""
        return f"{self.layer.name!r} was deleted from the layer list. Restore it?"


@dataclass(eq=False)
class Work:
    """Labels that are edited, and where they belong."""

    layer: LabelsLayer
    place: DraftStore
    made: Made
    saved: NDArray[Any] | None = None  # what the last draft or revision holds
    save_state: SaveState = UNCHANGED  # of that
    elsewhere: bool = False  # that draft is not where it should be
    dirty: bool = False
    since: float = 0.0
    edits: int = 0

    def holds(self, edits: int, data: Any) -> bool:
        """Whether the layer is as it was then: not edited since, nor showing another scan."""
        return self.edits == edits and self.layer.data is data


def moment_ms() -> int:
    """Time between the last edit and the draft."""
    seconds: float = preferences().correct.autosave_seconds
    return round(1000 * seconds)


def autosave_of(session: Session) -> "Autosave":
    """Return the autosave of a session; the first call makes it."""
    return session.findChild(Autosave) or Autosave(session)


class Autosave(QObject):
    """Saves the edits made in one viewer. Get it by `autosave_of`.

    Parameters
    ----------
    session
        Its owner.
    """

    told = Signal(str, str)
    """``info``, ``warning`` or ``error``, and a sentence."""
    drafted = Signal()
    """All edits are in a draft; sent after what was told of it."""
    offered = Signal(object)
    """An `Offer` of edits of an earlier session, labels that were `Deleted`, or None: there is
    nothing to restore any more."""
    reviewed = Signal(object)
    """The `Review` of an earlier session, in voxels of the scan's grid."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        self._known: tuple[Any, ...] = ()
        self._place: DraftStore | None = None
        self._work: Work | None = None
        self._offer: Offer | Deleted | None = None
        self._misplaced = False  # and it was told
        self._thread = Background(self)
        self._moment = Debouncer(0, self.flush, self)
        self._retry = Debouncer(RETRY_MS, self.flush, self)
        self._soon = Debouncer(0, self._look, self)
        session.labels_edited.connect(self._on_edit)
        session.labels_deleted.connect(self._on_deleted)
        session.labels_moved.connect(self._on_moved)
        for changed in (session.scan_changed, session.study_changed, session.labels_changed):
            changed.connect(self._on_context)
        session.blind_changed.connect(self._on_blind)
        application().aboutToQuit.connect(self.flush)
        self._on_context()

    @property
    def rater(self) -> str:
        """Name of the rater, remembered between sessions."""
        return rater()

    @rater.setter
    def rater(self, name: str) -> None:
        preferences().correct.rater = name.strip()

    @property
    def dirty(self) -> bool:
        """Whether there are edits that no draft holds yet."""
        return self._work is not None and self._work.dirty

    @property
    def drafting(self) -> bool:
        """Whether a draft of the edits is being written, or will be; not while saving fails."""
        waits = self._work is not None and self._session.save_state.state == "edited"
        return waits and not self._retry.pending

    @property
    def in_study(self) -> bool:
        """Whether the scan that is shown belongs to a study."""
        return self._place is not None and self._place.in_study

    def flush(self) -> None:
        """Save a draft of what was edited, if no draft holds it."""
        self._session.notice()
        self._moment.cancel()
        self._retry.cancel()
        work = self._work
        if work is None or not work.dirty:
            return
        work.dirty = False
        data, edits = work.layer.data, work.edits
        labels, _ = self._labels_of(work.layer)
        first = work.saved is None

        def tell(saved: Saved | None) -> None:
            if work.holds(edits, data):
                self._session.set_save_state(work.layer, work.save_state)
            if saved is not None:
                self._tell_draft(work, saved, first)

        def fail(text: str) -> None:
            self._try_again(work)
            self.told.emit("error", f"{text} Your edits stay in the viewer; saving is tried again.")

        self._thread.submit(partial(_write_draft, work, labels), tell, fail)

    def settling(self) -> Callable[[], None]:
        """Return the pending writes; a thread that calls them waits until all edits are on disk."""
        self.flush()
        return self._thread.marker()

    def settle(self, seconds: float) -> None:
        """Save pending edits now, and wait at most so long for them."""
        self.flush()
        self._thread.catch_up(seconds)

    def save_final(self) -> None:
        """Save the labels as a final revision of the study's subject."""
        work = self._work
        if work is None or self._refused():
            return
        (labels, doubts), origin = self._labels_of(work.layer), self._made()
        doubts = [*doubts, *self._outside(labels)]

        blind = self._session.blind

        def write() -> Saved:
            saved = work.place.final(from_display(labels), origin, blind)
            work.saved, work.elsewhere = labels, False
            work.save_state = SaveState.revision(saved.number)
            return saved

        def tell(saved: Saved) -> None:
            kind = "warning" if saved.notes or doubts else "info"
            said = f"Saved as revision {saved.number}."
            self.told.emit(kind, " ".join([said, *doubts, *saved.notes]))

        def announce() -> None:
            self._session.study_written.emit()
            self._session.study_labelled.emit()

        self._finish(work, write, tell, announce)

    def export(self, path: Path) -> None:
        """Write the labels to a file in the geometry of the scan's file."""
        work = self._work
        if work is None or self._refused():
            return
        _, meta, _ = work.layer.as_layer_data_tuple()
        (labels, doubts), origin = self._labels_of(work.layer), self._made()
        doubts = [*doubts, *self._outside(labels)]
        # the labels may come from a file with other axes
        adopted = meta["metadata"].get(KEY, {}).get("adopted", False)
        meta["metadata"] = {KEY: {"source": work.place.scan.source, "adopted": adopted}}
        copy = work.place.in_study  # the revisions of the study are what counts

        def write() -> Saved | None:
            write_labels(str(path), labels, meta)
            if copy:
                return None
            saved = Saved(None)
            try:
                saved = work.place.final(from_display(labels), origin)
            except InputError as error:
                log.warning("Drafts of what was exported could not be settled: %s", error)
            work.saved, work.elsewhere = labels, False
            work.save_state = SaveState.file(path.name)
            return saved

        def tell(_: Saved | None) -> None:
            done = f"Saved {path}."
            if copy and self._session.save_state.state in ("edited", "draft"):
                done += " In the study the labels are still a draft."
            self.told.emit("warning" if doubts else "info", " ".join([done, *doubts]))

        self._finish(work, write, tell)

    def restore(self) -> None:
        """Restore what is offered; edits of an earlier session are one undo step."""
        offer = self._offer
        if isinstance(offer, Deleted):
            self._session.viewer.add_layer(offer.layer)
            try:
                self._session.set_labels(offer.layer)
            except InputError as error:  # hidden in blind mode, or moved off the scan
                self.told.emit("warning", str(error))
        elif offer is not None:
            _restore(self._session, offer)
        self.decline()

    def decline(self) -> None:
        """Withdraw the offer; its edits stay on disk, and newer ones will be offered instead."""
        self._offer = None
        self.offered.emit(None)

    def look(self) -> None:
        """Look for edits and decisions of an earlier session; signals report them."""
        self._soon.throttle()

    def save_review(self, review: Review) -> None:
        """Save what was decided; points are voxels of the scan's grid."""
        place = self._place
        if place is not None:
            self._thread.submit(
                lambda: place.save_review(review),
                lambda _: None,
                lambda text: self.told.emit("error", f"{text} Decisions are kept until you close."),
            )

    def _finish(
        self,
        work: Work,
        write: Callable[[], Saved | None],
        tell: Callable[[Any], None],
        announce: Callable[[], None] = lambda: None,
    ) -> None:
        """Save the labels for good.

        Parameters
        ----------
        work
            The labels.
        write
            Does it, in the thread; None where what was written is only a copy.
        tell
            Tells the user what `write` returned.
        announce
            Tells the session, last.
        """
        self._moment.cancel()
        data, edits = work.layer.data, work.edits

        def good(saved: Saved | None) -> None:
            if saved is not None and work.holds(edits, data):
                work.dirty = False
                self._session.set_save_state(work.layer, work.save_state)
                if work is self._work:
                    self.decline()
            tell(saved)
            if self.dirty:
                self._draft_soon()
            announce()

        def bad(text: str) -> None:
            self._draft_soon()
            self.told.emit("error", f"{text} Nothing is lost: the labels are still in the viewer.")

        self._thread.submit(write, good, bad)

    def _refused(self) -> bool:
        """Refuse labels that were moved off their scan, and say so."""
        why = self._session.misplaced()
        self._misplaced = bool(why)
        if why:
            self.told.emit("error", why[0].upper() + why[1:])
        return bool(why)

    def _on_moved(self) -> None:
        """Say no more that labels were moved, once they are back."""
        if self._misplaced and not self._session.misplaced():
            self._misplaced = False
            self.told.emit("info", self._session.save_state.text)

    def _labels_of(self, layer: LabelsLayer) -> tuple[NDArray[Any], list[str]]:
        """Return a copy of the labels as they are saved, and what was set right in it.

        napari's *new label* gives a mask a second value; it is a mask all the same.
        """
        labels = layer.data.copy()
        if not self._session.is_mask(layer) or labels.max(initial=0) <= 1:
            return labels, []
        labels[labels > 1] = 1
        return labels, ["Labels above 1 were saved as 1, because the labels are a mask."]

    def _outside(self, labels: NDArray[Any]) -> list[str]:
        """Say how many voxels lie outside the brain."""
        scan = self._session.scan
        if scan is None or labels.shape != to_display(scan.brain).shape:
            return []
        outside = int(np.count_nonzero((labels > 0) & ~to_display(scan.brain)))
        if not outside:
            return []
        voxels = "1 voxel lies" if outside == 1 else f"{outside:,} voxels lie"
        return [f"{voxels} outside the brain mask and will not be measured; erase strays."]

    def _on_deleted(self, layer: LabelsLayer) -> None:
        """Offer labels back that were deleted, perhaps by mistake."""
        if self._session.scan is not None and layer.data.any():
            self._offer = Deleted(layer)
            self.offered.emit(self._offer)

    def _made(self) -> Made:
        """Return who edits the shown labels, and what they were made from."""
        layer = self._session.labels
        if layer is None:
            return Made(self.rater, "drawn")
        return Made(self.rater, *origin_of(layer), parents_of(layer), *adjudication_of(layer))

    def _tell_draft(self, work: Work, saved: Saved, first: bool) -> None:
        """Report a draft; ``first`` marks the first one of these labels."""
        if saved.notes:
            self.told.emit("warning", " ".join(saved.notes))
            self._try_again(work)
        elif saved.revision is not None:
            when = saved.revision.time.astimezone()
            self.told.emit("info", f"Draft saved at {when:%H:%M:%S}.")
            self.drafted.emit()
            if work.place.in_study and first:  # the next ones change no subject's state
                self._session.study_written.emit()

    def _draft_soon(self) -> None:
        self._moment.setTimeout(moment_ms())
        self._moment.throttle()

    def _try_again(self, work: Work) -> None:
        if work is self._work:
            work.dirty = True
            self._retry.throttle()

    def _on_edit(self) -> None:
        work = self._work
        if work is None:
            return
        work.edits += 1
        work.made = self._made()
        if not work.dirty:
            work.dirty, work.since = True, time.monotonic()
        if time.monotonic() - work.since < LONGEST_S or not self._moment.pending:
            self._draft_soon()

    def _on_context(self) -> None:
        session = self._session
        layer, scan, subject = session.labels, session.scan, session.shown_subject
        name, study = (None, None) if subject is None else (subject.name, session.study)
        known, self._known = self._known, (layer, scan, study, name)
        if known == self._known:
            return
        self.flush()  # what was edited until now
        if known[1:] != self._known[1:]:
            self._place = None
            if scan is not None:
                days = preferences().correct.keep_drafts_days
                self._place = DraftStore(scan, study, name, keep_days=days)
            self.decline()
            self.look()
        self._work = None
        if layer is not None and self._place is not None:
            self._work = Work(layer, self._place, self._made())
            if session.save_state.state == "edited":  # its draft failed while another was corrected
                self._work.dirty, self._work.since = True, time.monotonic()
                self._draft_soon()

    def _on_blind(self) -> None:
        """Offer what this rater may see."""
        if not isinstance(self._offer, Deleted):
            self.decline()
        self.look()

    def _look(self) -> None:
        place = self._place
        if place is None:
            return

        def review(found: Review) -> None:
            if place is self._place:
                self.reviewed.emit(found)

        def offer(found: Offer | None) -> None:
            own = found is not None and self._holds(found)
            if place is self._place and not own and not isinstance(self._offer, Deleted):
                self._offer = found
                self.offered.emit(found)

        warn = partial(self.told.emit, "warning")
        self._thread.submit(place.review, review, warn)
        mine = self.rater if self._session.blind else None
        self._thread.submit(partial(place.pending, mine), offer, warn)

    def _holds(self, offer: Offer) -> bool:
        """Whether the labels are what is offered, edited or not."""
        parents = {} if self._work is None else self._work.made.parents
        return parents.get(offer.root) == offer.revision.number


def _write_draft(work: Work, labels: NDArray[Any]) -> Saved | None:
    """Save a draft of some labels; None where the last one holds the same."""
    same = work.saved is not None and np.array_equal(work.saved, labels)
    if same and not work.elsewhere:
        return None
    saved = work.place.draft(from_display(labels), work.made, kept=same)
    work.saved, work.elsewhere = labels, bool(saved.notes)
    if saved.revision is not None:
        work.save_state = SaveState.draft(saved.revision.time)
    return saved


def _restore(session: Session, offer: Offer) -> None:
    """Bring the offered edits into the labels of a session, as one undo step."""
    layer = session.labels or session.new_labels()
    labels: NDArray[Any] = np.ascontiguousarray(to_display(offer.labels))
    if labels.max(initial=0) > np.iinfo(layer.data.dtype).max:
        labels = labels > 0
    where = voxels_of(layer.data != labels)
    if offer.revision.origin == "corrected":
        record_origin(layer, offer.revision.weights_id)
    if offer.revision.adjudicates:
        record_adjudication(layer, offer.revision.adjudicates, offer.revision.comment)
    set_parent(layer, offer.root, offer.revision.number)
    if len(where[0]):
        put(layer, where, labels[where].astype(layer.data.dtype))
    session.labels_filled.emit()
