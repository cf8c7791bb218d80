"""Two raters of one subject: blind mode, their agreement, and the decision between them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray
from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QHBoxLayout, QWidget

from napari_pvs.errors import InputError
from napari_pvs.evaluation.rater_tables import describe
from napari_pvs.evaluation.raters import RaterScore, score_raters
from napari_pvs.scans.display import to_display
from napari_pvs.scans.grid import Grid
from napari_pvs.study.labels import LabelStore, Revision
from napari_pvs.study.raters import (
    Disagreement,
    finals,
    load_on,
    require_independent,
    take_apart,
)
from napari_pvs.widgets.background.thread import Background
from napari_pvs.widgets.correct.review_queue import QueuePanel
from napari_pvs.widgets.parts.controls import Button, Notice
from napari_pvs.widgets.preferences import follow
from napari_pvs.widgets.state.session import BLIND, Session
from napari_pvs.widgets.viewer.canvas import add
from napari_pvs.widgets.viewer.layers import (
    KEY,
    adjudication_of,
    author_of,
    mask_layer,
    record_adjudication,
    record_origin,
    role_of,
)
from napari_pvs.widgets.viewer.typed import LabelsLayer

COLOURS = ("#b79cff", "#ff9d5c")
"""Of the first rater's outlines and the second's."""


@dataclass(frozen=True, eq=False)
class _Pair:
    """The labels of two raters on the scan's grid, and what is known of them."""

    revisions: tuple[Revision, Revision]
    labels: tuple[NDArray[Any], NDArray[Any]]
    score: RaterScore | None
    doubt: str
    apart: Disagreement


class RatersPanel(QWidget):
    """Blind mode, and two raters of the subject that is shown.

    Parameters
    ----------
    session
        Of the viewer.
    queue
        Asks about what they disagree on.
    """

    said = Signal(str)
    """What was done."""

    def __init__(self, session: Session, queue: QueuePanel) -> None:
        super().__init__()
        self._session, self._queue = session, queue
        self._place: tuple[Path, str] | None = None
        self._finals: dict[str, Revision] = {}
        self._busy = False
        self._thread = Background(self)
        self.blind = QCheckBox("Blind")
        self.blind.setToolTip(
            "Hide predictions, references and other raters' labels; a subject that you load "
            "comes with your own labels only."
        )
        self.blind.setChecked(session.blind)
        self.blind.toggled.connect(self._on_blind)
        self.first, self.second = QComboBox(), QComboBox()
        for box, tip in (
            (self.first, "The first rater: where both have a PVS, this outline is taken."),
            (self.second, "The second rater."),
        ):
            box.setToolTip(tip)
            box.setMinimumContentsLength(5)
            box.setSizeAdjustPolicy(
                QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
            box.currentIndexChanged.connect(lambda _: self.check())
        self.show_them = Button(
            "Show both", "Outline both final labels and show how well they agree.", self.load
        )
        self.decide = Button(
            "Adjudicate",
            "Start from the PVS that both marked; the review asks about all that only one did.",
            self.adjudicate,
        )
        self.agreement = Notice()
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow(self.blind)
        form.addRow(_row(self.first, self.second))
        form.addRow(_row(self.show_them, self.decide))
        form.addRow(self.agreement)
        for changed in (session.scan_changed, session.study_changed):
            changed.connect(self._on_context)
        session.study_labelled.connect(self.look)
        session.labels_changed.connect(self.check)
        session.blind_changed.connect(self._show_blind)
        follow("correct", self.check)
        self._on_context()

    @property
    def pair(self) -> tuple[str, str]:
        """The two raters that are chosen; empty where none is."""
        return self.first.currentText(), self.second.currentText()

    def look(self) -> None:
        """Look who has final labels of the subject."""
        place = self._place
        if place is None:
            self._list({})
            return
        self._thread.submit(
            lambda: finals(LabelStore(*place)),
            lambda found: self._list(found) if place == self._place else None,
            self.agreement.error,
        )

    def load(self) -> None:
        """Show the labels of both raters, and tell how they agree."""
        self._read(self._show_pair)

    def adjudicate(self) -> None:
        """Begin to decide between the two raters, or go on with what was begun."""
        self._read(self._begin)

    def check(self) -> None:
        """Enable what can be done now."""
        reason = None
        if self._session.scan is None:
            reason = "load a scan first."
        elif self._place is None:
            reason = "open a subject of a study."
        elif self._session.blind:
            reason = BLIND
        elif len(self._finals) < 2:
            reason = "two raters must save final labels of this subject."
        elif self.pair[0] == self.pair[1]:
            reason = "choose two raters."
        elif self._busy:
            reason = "their labels are being read."
        for button in (self.show_them, self.decide):
            button.allow_if(reason)
        for box in (self.first, self.second):
            box.setEnabled(len(self._finals) > 1 and not self._session.blind)

    def _on_blind(self, on: bool) -> None:
        self._session.blind = on

    def _show_blind(self) -> None:
        if self.blind.isChecked() != self._session.blind:
            self.blind.setChecked(self._session.blind)
        self.agreement.clear()
        self.check()

    def _on_context(self) -> None:
        subject, study = self._session.shown_subject, self._session.study
        place = None if subject is None or study is None else (study, subject.name)
        if place != self._place:
            self._place = place
            self.agreement.clear()
            self.look()
        self.check()

    def _list(self, found: dict[str, Revision]) -> None:
        before = self.pair
        self._finals = found
        names = sorted(found)
        for box, known, at in ((self.first, before[0], 0), (self.second, before[1], 1)):
            with QSignalBlocker(box):
                box.clear()
                box.addItems(names)
                box.setCurrentIndex(names.index(known) if known in names else at)
        if len(set(self.pair)) == 1 and len(names) > 1:  # one that was chosen is gone
            with QSignalBlocker(self.second):
                self.second.setCurrentIndex(int(self.first.currentIndex() == 0))
        self.check()

    def _read(self, use: Callable[[_Pair], None]) -> None:
        place, scan = self._place, self._session.scan
        if place is None or scan is None:
            return
        one, two = (self._finals[name] for name in self.pair)
        grid = scan.grid
        self._busy = True
        self.check()

        def ready(pair: _Pair) -> None:
            self._busy = False
            self.check()
            if scan is self._session.scan and not self._session.blind:
                use(pair)

        def failed(text: str) -> None:
            self._busy = False
            self.check()
            self.agreement.error(text)

        self._thread.submit(lambda: _pair(LabelStore(*place), (one, two), grid), ready, failed)

    def _tell(self, pair: _Pair) -> None:
        one, two = (revision.author for revision in pair.revisions)
        if pair.score is not None:
            self.agreement.say(describe(pair.score.pvs, pair.score.dsc, (one, two)))
        else:
            self.agreement.warn(pair.doubt[0].upper() + pair.doubt[1:])

    def _show_pair(self, pair: _Pair) -> None:
        self._tell(pair)
        there = {author_of(one): one for one in self._layers()}
        for at, (revision, labels) in enumerate(zip(pair.revisions, pair.labels, strict=True)):
            layer = there.get(revision.author)
            if layer is not None:
                layer.data = np.ascontiguousarray(to_display((labels > 0).astype(np.uint8)))
                layer.visible = True
                continue
            scan, active = self._session.require_scan(), self._session.labels
            name = f"PVS by {revision.author}"
            data, meta, _ = mask_layer(labels > 0, scan, name, "rater", COLOURS[at])
            meta["metadata"][KEY] |= {"author": revision.author}
            made: LabelsLayer = Labels(data, **meta)
            made.editable = False
            add(self._session.viewer, made, self)
            if active is not None:
                self._session.viewer.layers.selection.active = active  # keys stay where they were
        for author, one in there.items():
            if author not in self.pair:
                one.visible = False

    def _layers(self) -> list[LabelsLayer]:
        """The layers of raters that are shown."""
        return [one for one in self._session.viewer.layers if role_of(one) == "rater"]

    def _begin(self, pair: _Pair) -> None:
        session = self._session
        self._show_pair(pair)
        one, two = pair.revisions
        numbers = (one.number, two.number)
        labels = session.labels
        if labels is None or adjudication_of(labels)[0] != numbers:
            if labels is not None:
                labels.visible = False
            names = f"{one.author} and {two.author}"
            labels = session.new_labels(pair.apart.agreed, f"PVS labels, {names}")
            record_origin(labels, None)
            record_adjudication(
                labels,
                numbers,
                f"Adjudication of {one.author} (revision {one.number}) and {two.author} "
                f"(revision {two.number}).",
            )
        disputed = {
            name: np.ascontiguousarray(to_display(mask))
            for name, mask in pair.apart.disputed.items()
        }
        self._queue.adjudicate(disputed)
        self.said.emit("Press J to step through the disputed PVS; Y adds one, N leaves it out.")


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    row.setSpacing(3)
    for widget in widgets:
        row.addWidget(widget, 1)
    return row


def _pair(store: LabelStore, revisions: tuple[Revision, Revision], grid: Grid) -> _Pair:
    """Read two raters' labels and compare them; not for the GUI thread."""
    one, two = (load_on(store, each, grid) for each in revisions)
    score, doubt = None, ""
    try:
        require_independent(store, *revisions)
        predicted = store.predicted()
        prediction = None if predicted is None else load_on(store, predicted, grid)
        score = score_raters(
            one, two, grid.voxel_volume, subject=store.subject, prediction=prediction
        )
    except InputError as error:
        doubt = str(error)
    return _Pair(revisions, (one, two), score, doubt, take_apart(revisions, one, two))
