"""Counts the rater's time, decisions and edits, shows them, and keeps them in the study."""

from datetime import UTC, datetime
from pathlib import Path

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from napari_pvs.study import sittings
from napari_pvs.study.sittings import Action, Sitting, Tally, Work
from napari_pvs.widgets.background.thread import Background
from napari_pvs.widgets.correct.review_queue import QueuePanel
from napari_pvs.widgets.parts.controls import Button, Notice, ask_where, write
from napari_pvs.widgets.preferences import follow
from napari_pvs.widgets.state.autosave import Autosave
from napari_pvs.widgets.state.session import Session

SAVE_MS = 20_000
"""How long after the first unsaved action the sitting is saved."""


class SittingPanel(QWidget):
    """A line with the work on this subject, and its export.

    Parameters
    ----------
    session
        Of the viewer.
    queue
        Tells what the rater does.
    autosave
        Knows the rater.
    """

    def __init__(self, session: Session, queue: QueuePanel, autosave: Autosave) -> None:
        super().__init__()
        self._session, self._queue, self._autosave = session, queue, autosave
        self._tally: Tally | None = None
        self._place: tuple[Path, str] | None = None
        self._past: tuple[Sitting, ...] = ()
        self._stopped = False
        self._thread = Background(self)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.save)
        self.line = QLabel()
        self.line.setWordWrap(True)
        self.line.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.line.setToolTip(
            "Your time, decisions and edits with this subject, in all sittings. Pauses count for "
            "a minute at most."
        )
        self.export = Button(
            "Export TSV…",
            "Time, decisions and edits of all raters in the study, by subject.",
            self._export,
        )
        self.export.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.notice = Notice()
        row = QHBoxLayout()
        row.addWidget(self.line, 1)
        row.addWidget(self.export)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(row)
        column.addWidget(self.notice)
        queue.worked.connect(self._on_work)
        session.viewer.dims.events.current_step.connect(self._on_step)
        for changed in (session.scan_changed, session.study_changed):
            changed.connect(self._on_context)
        if session.scan is not None:
            self._on_context()
        follow("correct", self._show)

    def save(self) -> None:
        """Save the sitting, if there is something new in it."""
        self._timer.stop()
        if self._tally is None or self._place is None:
            return
        place, sitting = self._place, self._tally.sitting
        if sitting.decisions or sitting.edits:
            self._thread.submit(
                lambda: sittings.keep(*place, sitting), lambda _: None, self.notice.warn
            )

    def stop(self) -> None:
        """Save what is new, because the dock is going away."""
        self.save()
        self._tally, self._stopped = None, True

    def _on_step(self, _: object = None) -> None:
        """Looking through slices is work, once something was decided or edited."""
        if self._tally is not None:
            self._on_work("look")

    def _on_work(self, action: Action) -> None:
        if self._session.scan is None or self._stopped:
            return
        now, tally = datetime.now(UTC), self._tally
        as_now = {
            "rater": self._autosave.rater,
            "blind": self._session.blind,
            "adjudication": self._queue.disputed is not None,
        }
        if tally is None or any(getattr(tally.sitting, k) != v for k, v in as_now.items()):
            self._end()
            tally = self._tally = Tally(Sitting(begun=now, **as_now))
        tally.count(action, now)
        if self._place is not None and not self._timer.isActive() and action != "look":
            self._timer.start(SAVE_MS)
        self._show()

    def _end(self) -> None:
        """End the sitting."""
        self.save()
        if self._tally is not None:
            self._past = (*self._past, self._tally.sitting)
        self._tally = None

    def _on_context(self) -> None:
        """Begin anew with another subject."""
        subject, study = self._session.shown_subject, self._session.study
        place = None if subject is None or study is None else (study, subject.name)
        if place is None or place != self._place:
            self._end()
            self._past, self._place = (), place
            self.notice.clear()
            if place is not None:
                self._thread.submit(
                    lambda: sittings.read(*place),
                    lambda found: self._on_read(place, found),
                    self.notice.warn,
                )
        self._show()

    def _on_read(self, place: tuple[Path, str], found: tuple[Sitting, ...]) -> None:
        if place == self._place:
            self._past = (*found, *self._past)
            self._show()

    def _show(self) -> None:
        rater = self._autosave.rater
        mine = [one for one in self._past if one.rater == rater]
        mine += [] if self._tally is None else [self._tally.sitting]
        work = Work.of(mine)
        minutes = f"{work.minutes:.0f}" if work.minutes >= 10 else f"{work.minutes:.1f}"
        text = f"{rater}: {minutes} min, {_some(work.decisions, 'decision')}"
        text += f", {_some(work.edits, 'edit')}"
        if self._place is None:
            text += " (not kept: no study)"
        self.line.setText(text)
        self.export.allow_if(None if self._place is not None else "open a subject of a study.")

    def _export(self) -> None:
        if self._place is None:
            return
        study, _ = self._place
        self.save()
        path = ask_where(self, "sittings.tsv", "Table (*.tsv)")
        if path is not None:
            self._thread.submit(
                lambda: sittings.to_tsv(study),
                lambda text: write(path, text, self.notice),
                self.notice.error,
            )


def _some(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
