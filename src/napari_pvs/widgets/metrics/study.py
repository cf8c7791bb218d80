"""A whole study: its predictions compared with its labels, and its training runs side by side."""

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any, Generic

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QHBoxLayout, QVBoxLayout, QWidget

from napari_pvs.evaluation.compare import SubjectScore
from napari_pvs.evaluation.tables import tsv
from napari_pvs.jobs import protocol
from napari_pvs.jobs.protocol import Header, ReadRuns, Request, RunRow, ScoreStudy
from napari_pvs.widgets.background.process import Job, Result
from napari_pvs.widgets.dock import JobDock
from napari_pvs.widgets.parts.controls import Button, Notice, ask_where, there, write
from napari_pvs.widgets.parts.curves import SEVERAL, Curves
from napari_pvs.widgets.parts.table import Column, R, Table
from napari_pvs.widgets.state.session import BLIND

_SCORES: tuple[Column[SubjectScore], ...] = (
    Column("Subject", lambda row: row.subject, tip="Subject, with its session if it has one."),
    Column("DSC", lambda row: row.dsc, "{:.2f}", "Dice: 1 is full agreement."),
    Column(
        "AVD %",
        lambda row: row.avd_percent,
        "{:.0f}",
        "Volume difference, in % of the reference volume.",
    ),
    Column(
        "Recall",
        lambda row: row.recall,
        "{:.2f}",
        "Share of the reference voxels that were found.",
    ),
    Column("PVS", lambda row: row.lenient_recall, "{:.2f}", "Share of the PVS that were found."),
)
_RUNS: tuple[Column[RunRow], ...] = (
    Column("Run", lambda row: row.name, tip="Its folder, named by start time and method."),
    Column("DSC", lambda row: row.best and row.best.dsc, "{:.3f}", "Best on validation."),
    Column("AVD %", lambda row: row.best and row.best.avd_percent, "{:.1f}", "At the best DSC."),
    Column("Recall", lambda row: row.best and row.best.recall, "{:.3f}", "At the best DSC."),
)


class StudyPanel(QWidget, Generic[R]):
    """A table that a job makes from the open study, with the buttons that belong to it.

    Parameters
    ----------
    dock
        The Metrics dock, for its session, job, bar and notice.
    table
        Hidden while it is empty.
    """

    def __init__(self, dock: JobDock, table: Table[R]) -> None:
        super().__init__()
        self._dock, self.table = dock, table
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        table.show_rows([])

    def check(self) -> None:
        """Enable what can be done now."""

    def _add_buttons(self, *buttons: Button) -> None:
        row = QHBoxLayout()
        for button in buttons:
            row.addWidget(button)
        self._column.addLayout(row)

    def _ask(
        self,
        request: Callable[[Path], Request],
        text: str,
        on_row: Callable[[R], None],
        on_done: Callable[[Result[Any]], None],
    ) -> None:
        """Start a job on the open study; results are dropped once another study is open."""
        study = self._dock.session.opened
        if study is None:
            return
        job = Job(request(study), self._dock)

        def still(show: Callable[[Any], None]) -> Callable[[Any], None]:
            return lambda found: show(found) if study == self._dock.session.opened else None

        job.row.connect(still(on_row))
        job.finished.connect(still(on_done))
        job.ended.connect(self.check)
        self._dock.run(self._dock.bar.follow(job, text))
        self.check()

    def _why_not(self, busy: str) -> str | None:
        """Why no job can be started now, if so."""
        if self._dock.session.opened is None:
            return "open a study first."
        return busy if self._dock.busy else None


class StudyTable(StudyPanel[R]):
    """A panel whose job sends a row per subject, and ends with the whole as a table to export.

    Parameters
    ----------
    dock, table
        As for `StudyPanel`.
    empty
        What to say where the job found no subject.
    file
        Suggested for the export.
    """

    def __init__(self, dock: JobDock, table: Table[R], empty: str, file: str) -> None:
        super().__init__(dock, table)
        self._tsv, self._empty, self._file = "", empty, file
        self._rows: list[R] = []

    def clear(self) -> None:
        """Remove the rows, because they are of another study."""
        self._tsv, self._rows = "", []
        self.table.show_rows([])

    def _on_row(self, row: R) -> None:
        self._rows.append(row)
        self.table.show_rows(self._rows)

    def _on_done(self, result: Result[protocol.Table]) -> None:
        self._tsv = result.answer.tsv
        if notes := result.answer.notes:
            self._dock.notice.warn(" ".join(notes))
        if not self._rows:
            self._dock.notice.warn(self._empty)

    def _save(self) -> None:
        path = ask_where(self, self._file, "Table (*.tsv)")
        if path:
            write(path, self._tsv, self._dock.notice)


class StudyScores(StudyTable[SubjectScore]):
    """The newest prediction of each subject, scored against its label."""

    def __init__(self, dock: JobDock) -> None:
        tip = "The newest prediction of each subject compared with its label."
        empty = (
            "No subject has both a prediction and an independent label; segment subjects "
            "and correct them."
        )
        super().__init__(dock, Table(_SCORES, tip, lambda row: row.subject), empty, "study.tsv")
        tip = "Compare the newest prediction of each subject with its label."
        self.score = Button("Score the study", tip, self.run)
        self.export = Button("Export TSV…", "All measures for all subjects.", self._save)
        self._add_buttons(self.score, self.export)
        self._column.addWidget(self.table)

    def run(self) -> None:
        """Score every subject of the study that has a prediction and a label."""
        self.clear()
        self._ask(lambda study: ScoreStudy(study=study), "Scoring …", self._on_row, self._on_done)

    def check(self) -> None:
        """Enable what can be done now."""
        blind = BLIND if self._dock.session.blind else None
        self.score.allow_if(blind or self._why_not("the study is being scored."))
        self.export.allow_if(None if self._tsv else "score the study first.")


class RunTable(StudyPanel[RunRow]):
    """The training runs of the study side by side, with their curves."""

    def __init__(self, dock: JobDock) -> None:
        tip = "Select one or several runs (Ctrl, Shift) to see their curves."
        super().__init__(dock, Table(_RUNS, tip))
        self._header: tuple[str, ...] = ()
        self._rows: list[RunRow] = []
        self.compare = Button("Compare runs", "Read the training runs of the study.", self.run)
        tip = "The table, with state, epochs and loss."
        self.tsv = Button("Export TSV…", tip, self._save_tsv)
        self.png = Button("Export PNG…", "A picture of the curves.", self._save_png)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        there(self.table.selectionModel()).selectionChanged.connect(lambda *_: self._draw())
        self.legend = Notice()
        self.legend.setTextFormat(Qt.TextFormat.RichText)
        self.curves: Curves | None = None  # made when needed, since a study may have no runs
        self._column.addWidget(self.compare)
        self._add_buttons(self.tsv, self.png)
        self._column.addWidget(self.table)
        self._column.addWidget(self.legend)
        self.check()

    def run(self) -> None:
        """Read all runs of the study."""
        self._header, self._rows = (), []
        self._ask(
            lambda study: ReadRuns(study=study), "Reading the runs …", self._rows.append,
            self._on_done,
        )  # fmt: skip

    def clear(self) -> None:
        """Remove the runs, because they are of another study."""
        self._header = ()
        self.table.show_rows([])
        self._draw()

    def check(self) -> None:
        """Enable what can be done now."""
        self.compare.allow_if(self._why_not("another job is running."))
        some = None if self._header and self.table.rows else "compare runs first."
        self.tsv.allow_if(some)
        self.png.allow_if(some)

    def _on_done(self, result: Result[Header]) -> None:
        self._header = result.answer.header
        self.table.show_rows(self._rows)
        if self._rows:
            self.table.selectAll()
        else:
            self._dock.notice.warn("The study has no runs yet; start one in the Train dock.")
        self._draw()

    def _draw(self) -> None:
        chosen = self.table.marked()
        if not chosen:
            self.legend.clear()
            if self.curves is not None:
                self.curves.hide()
            return
        if self.curves is None:
            self.curves = Curves()
            self._column.addWidget(self.curves)
        self.curves.show_runs([(row.name, row.history) for row in chosen])
        self.curves.show()
        self.legend.say(
            "<br>".join(
                f"<span style='color:{SEVERAL[at % len(SEVERAL)]}'>●</span> {escape(row.name)}"
                for at, row in enumerate(chosen)
            )
        )

    def _save_tsv(self) -> None:
        path = ask_where(self, "runs.tsv", "Table (*.tsv)")
        if path:
            rows = (dict(zip(self._header, row.cells, strict=True)) for row in self.table.rows)
            write(path, tsv(self._header, rows), self._dock.notice)

    def _save_png(self) -> None:
        path: Path | None = ask_where(self, "runs.png", "Picture (*.png)")
        if path and not self.grab().save(str(path)):
            self._dock.notice.error(f"{path} cannot be written; choose another folder.")
