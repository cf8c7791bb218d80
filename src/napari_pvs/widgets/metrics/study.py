"""A whole study: its predictions against its labels, and its training runs side by side."""

from html import escape
from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QHBoxLayout, QVBoxLayout, QWidget

from napari_pvs.evaluation.compare import SubjectScore
from napari_pvs.jobs import protocol
from napari_pvs.jobs.protocol import Header, ReadRuns, RunRow, ScoreStudy
from napari_pvs.widgets.background.process import Job, Result
from napari_pvs.widgets.dock import JobDock
from napari_pvs.widgets.parts.controls import Button, Notice, ask_where, there, write
from napari_pvs.widgets.parts.curves import SEVERAL, Curves
from napari_pvs.widgets.parts.table import Column, Table

_SCORES = (
    Column("Subject", lambda row: row.subject, tip="And its session, if it has one."),
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
        "Share of the reference voxels that are found.",
    ),
    Column("PVS", lambda row: row.lenient_recall, "{:.2f}", "Share of the PVS that are found."),
)
_RUNS = (
    Column("Run", lambda row: row.name, tip="The run's folder: its start and method."),
    Column("DSC", lambda row: row.best and row.best.dsc, "{:.3f}", "Best on validation."),
    Column("AVD %", lambda row: row.best and row.best.avd_percent, "{:.1f}", "At the best DSC."),
    Column("Recall", lambda row: row.best and row.best.recall, "{:.3f}", "At the best DSC."),
)


class StudyScores(QWidget):
    """Button, table and export.

    Parameters
    ----------
    dock
        The Metrics dock: its session, job, bar and notice.
    """

    def __init__(self, dock: JobDock) -> None:
        super().__init__()
        self._dock = dock
        self._tsv = ""
        tip = "Compare the newest prediction of each subject with its label."
        self.score = Button("Score the study", tip, self.run)
        self.export = Button("Export TSV…", "All measures of all subjects.", self._save)
        tip = "Newest prediction of each subject, compared with its label."
        self.table = Table(_SCORES, tip, lambda row: row.subject)
        row = QHBoxLayout()
        row.addWidget(self.score)
        row.addWidget(self.export)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(row)
        column.addWidget(self.table)
        self.table.show_rows([])

    def run(self) -> None:
        """Score every subject of the study that has a prediction and a label."""
        rows: list[SubjectScore] = []
        self.clear()
        study = self._dock.session.opened
        if study is None:
            return
        job = Job(ScoreStudy(study=study), self._dock)

        def on_row(row: SubjectScore) -> None:
            rows.append(row)
            if study == self._dock.session.opened:
                self.table.show_rows(rows)

        def on_done(result: Result[protocol.Table]) -> None:
            if study != self._dock.session.opened:
                return
            self._tsv = result.answer.tsv
            if notes := result.answer.notes:
                self._dock.notice.warn(" ".join(notes))
            if not rows:
                self._dock.notice.warn(
                    "No subject has both a prediction and an independent label; segment subjects "
                    "and correct them."
                )

        job.row.connect(on_row)
        job.finished.connect(on_done)
        job.ended.connect(self.check)
        self._dock.run(self._dock.bar.follow(job, "Measuring …"))
        self.check()

    def clear(self) -> None:
        """Let the scores go: they are another study's."""
        self._tsv = ""
        self.table.show_rows([])

    def check(self) -> None:
        """Enable what can be done now."""
        reason = "scoring is running." if self._dock.busy else None
        if self._dock.session.opened is None:
            reason = "open a study first."
        self.score.allow_if(reason)
        self.export.allow_if(None if self._tsv else "score the study first.")

    def _save(self) -> None:
        path = ask_where(self, "study.tsv", "Table (*.tsv)")
        if path:
            write(path, self._tsv, self._dock.notice)


class RunTable(QWidget):
    """Button, table, curves and export.

    Parameters
    ----------
    dock
        The Metrics dock: its session, job, bar and notice.
    """

    def __init__(self, dock: JobDock) -> None:
        super().__init__()
        self._dock = dock
        self._header: tuple[str, ...] = ()
        self.compare = Button("Compare runs", "Read the training runs of the study.", self.run)
        self.tsv = Button("Export TSV…", "The table, with state, epochs and loss.", self._save_tsv)
        self.png = Button("Export PNG…", "A picture of the curves.", self._save_png)
        self.table = Table(_RUNS, "Choose one run or several (Ctrl, Shift) to see their curves.")
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        there(self.table.selectionModel()).selectionChanged.connect(lambda *_: self._draw())
        self.legend = Notice()
        self.legend.setTextFormat(Qt.TextFormat.RichText)
        self.curves: Curves | None = None  # made when there are some: a study may have no runs
        row = QHBoxLayout()
        for button in (self.tsv, self.png):
            row.addWidget(button)
        self._column = column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.compare)
        column.addLayout(row)
        column.addWidget(self.table)
        column.addWidget(self.legend)
        self.table.show_rows([])
        self.check()

    def run(self) -> None:
        """Read all runs of the study."""
        rows: list[RunRow] = []
        self._header = ()
        study = self._dock.session.opened
        if study is None:
            return
        job = Job(ReadRuns(study=study), self._dock)

        def on_done(result: Result[Header]) -> None:
            if study != self._dock.session.opened:
                return
            self._header = result.answer.header
            self.table.show_rows(rows)
            if rows:
                self.table.selectAll()
            else:
                self._dock.notice.warn("The study has no runs yet; start one in the Train dock.")
            self._draw()

        job.row.connect(rows.append)
        job.finished.connect(on_done)
        job.ended.connect(self.check)
        self._dock.run(self._dock.bar.follow(job, "Reading runs…"))
        self.check()

    def clear(self) -> None:
        """Let the runs go: they are another study's."""
        self._header = ()
        self.table.show_rows([])
        self._draw()

    def check(self) -> None:
        """Enable what can be done now."""
        reason = "something is being measured." if self._dock.busy else None
        if self._dock.session.opened is None:
            reason = "open a study first."
        self.compare.allow_if(reason)
        some = None if self._header and self.table.rows else "compare runs first."
        self.tsv.allow_if(some)
        self.png.allow_if(some)

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
            lines = [self._header, *(row.cells for row in self.table.rows)]
            write(path, "".join("\t".join(line) + "\n" for line in lines), self._dock.notice)

    def _save_png(self) -> None:
        path: Path | None = ask_where(self, "runs.png", "Picture (*.png)")
        if path and not self.grab().save(str(path)):
            self._dock.notice.error(f"{path} cannot be written; choose another folder.")
