"""The subjects of a study: who has a label, how far it is, and how many PVS it holds."""

from dataclasses import dataclass
from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QLineEdit, QVBoxLayout, QWidget

from napari_pvs.jobs.protocol import Count, CountPvs, ListSubjects
from napari_pvs.jobs.protocol import Subjects as Found
from napari_pvs.study.bids import StudySubject, label_of
from napari_pvs.widgets.background.debounce import Debouncer
from napari_pvs.widgets.background.process import Job, Result
from napari_pvs.widgets.parts.controls import Notice
from napari_pvs.widgets.parts.table import Column, Table


@dataclass(eq=False)
class Row:
    """A subject and what is known of its label."""

    subject: StudySubject
    volume_mm3: float | None
    count: int | None = None


COLUMNS: tuple[Column[Row], ...] = (
    Column("Subject", lambda row: row.subject.name, tip="And its session, if it has one."),
    Column(
        "State",
        lambda row: row.subject.state,
        tip="new: no label. segmented: a prediction. corrected: saved as final. "
        "reference: made by another tool.",
    ),
    Column("mm³", lambda row: row.volume_mm3, "{:.0f}", "PVS volume in its label."),
    Column("PVS", lambda row: row.count, "{:d}", "Number of PVS in its label."),
)


class Subjects(QWidget):
    """Filter and list; it looks into the study in a process of its own.

    Parameters
    ----------
    notice
        Where failures are told.

    Attributes
    ----------
    study
        The one that is listed.
    blind
        Whether numbers and volumes of PVS are left out, because they are others'.
    """

    opened = Signal(object)
    """The `StudySubject` to load."""
    listed = Signal()
    """The subjects of another study are there."""

    def __init__(self, notice: Notice) -> None:
        super().__init__()
        self._notice = notice
        self.study: Path | None = None
        self.blind = False
        self._jobs: list[Job] = []
        self.search = QLineEdit()
        self.search.setPlaceholderText("Filter: name or state")
        self.search.setToolTip("Show only subjects whose name or state contains this text.")
        self.search.setAcceptDrops(False)  # files go to the dock
        tip = "Press Enter or double-click to load a subject."
        self.table = Table(COLUMNS, tip, lambda row: row.subject.name)
        self.table.setMinimumHeight(170)
        self.search.textChanged.connect(self.table.filter)
        self.table.chosen.connect(lambda row: self.opened.emit(row.subject))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.search)
        column.addWidget(self.table)
        self._later = Debouncer(1500, self.refresh, self)

    def job(self, study: Path) -> Job:
        """Return the job that lists another study, to be started."""
        self.stop()
        job = Job(ListSubjects(study=study), self)
        job.finished.connect(lambda result: self._on_listed(study, result))
        self._jobs = [job]
        return job

    def refresh(self) -> None:
        """List the study anew."""
        if self.study is not None:
            job = self.job(self.study)
            job.failed.connect(self._notice.error)
            job.start()

    def refresh_soon(self) -> None:
        """List the study anew when it has not been written for a moment."""
        if self.study is not None:
            self._later.throttle()

    def stop(self) -> None:
        """End what is looking into the study."""
        self._later.cancel()
        for job in self._jobs:
            job.cancel()

    def _on_listed(self, study: Path, result: Result[Found]) -> None:
        known = {}
        if study == self.study:
            known = {_label(row.subject): row for row in self.table.rows}
        self.study = study
        self.search.setClearButtonEnabled(True)  # costs 3 ms, so not for an empty list
        rows = []
        for subject in result.answer.subjects:
            measured = subject.current or (None if subject.label else subject.pending)
            row = Row(subject, measured.volume_mm3 if measured and not self.blind else None)
            rows.append(row)
            if self.blind:
                continue
            before = known.get(_label(subject))
            if before is not None and before.count is not None:
                row.count, row.volume_mm3 = before.count, before.volume_mm3
        self.table.set_rows(rows)
        self.listed.emit()
        if notes := result.answer.notes:
            self._notice.warn(" ".join(notes))
        if not self.blind:
            self._count(study, [row for row in rows if row.count is None])

    def _count(self, study: Path, rows: list[Row]) -> None:
        by_name = {row.subject.name: row for row in rows}
        paths = {name: label_of(study, row.subject)[0] for name, row in by_name.items()}
        labels = {name: path for name, path in paths.items() if path is not None}
        if not labels:
            return
        job = Job(CountPvs(labels=labels), self)

        def on_row(found: Count) -> None:
            row = by_name[found.name]
            if found.error is not None:
                self._notice.error(found.error)
                return
            row.count, row.volume_mm3 = found.count, found.volume_mm3
            self.table.refresh(row)

        job.row.connect(on_row)
        job.failed.connect(self._notice.error)
        self._jobs = [job.start()]


def _label(subject: StudySubject) -> tuple[str, int | None, int | None, int | None]:
    """What changes when a subject's label does; a plain file may be drawn anew."""
    plain = subject.label if subject.current is None else None
    drawn = plain.stat().st_mtime_ns if plain is not None and plain.is_file() else None
    pending = subject.pending.number if subject.pending else None
    return subject.name, subject.revision, pending, drawn
