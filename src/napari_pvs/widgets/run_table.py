"""The training runs of a study side by side: a table, and the curves of those that are chosen."""

from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QAbstractItemView, QHBoxLayout, QVBoxLayout, QWidget

from napari_pvs.widgets.curves import SEVERAL, Course, Curves
from napari_pvs.widgets.parts import Button, Notice
from napari_pvs.widgets.study_scores import ask_where, write
from napari_pvs.widgets.tables import Column, Table
from napari_pvs.widgets.train_job import TrainJob
from napari_pvs.widgets.worker import Result

_COLUMNS = (
    Column("Run", lambda row: row["name"], tip="Its folder: when it began, and its method."),
    Column("DSC", lambda row: _number(row["cells"][6]), "{:.3f}", "Best on validation."),
    Column("AVD %", lambda row: _number(row["cells"][7]), "{:.1f}", "At the best DSC."),
    Column("Recall", lambda row: _number(row["cells"][8]), "{:.3f}", "At the best DSC."),
)


class RunTable(QWidget):
    """Button, table, curves and export.

    Parameters
    ----------
    dock
        The Metrics dock: its session, job, bar and notice.
    """

    def __init__(self, dock: Any) -> None:
        super().__init__()
        self._dock = dock
        self._header: list[str] = []
        self.compare = Button("Compare runs", "Read the training runs of the study.", self.run)
        self.tsv = Button("Export TSV…", "The table, with state, epochs and loss.", self._save_tsv)
        self.png = Button("Export PNG…", "A picture of the curves.", self._save_png)
        self.table = Table(_COLUMNS, "Choose one run or several (Ctrl, Shift) to see their curves.")
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.table.selectionModel().selectionChanged.connect(lambda *_: self._draw())
        self.legend = Notice()
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
        rows: list[dict[str, Any]] = []
        self._header = []
        study = self._dock.session.opened
        job = TrainJob({"verb": "histories", "study": str(study)}, self._dock)

        def on_done(result: Result) -> None:
            if study != self._dock.session.opened:
                return
            self._header = result.answer["header"]
            self.table.show_rows(rows)
            if rows:
                self.table.selectAll()
            else:
                self._dock.notice.warn("The study has no runs yet; start one in the Train dock.")
            self._draw()

        job.row.connect(rows.append)
        job.finished.connect(on_done)
        job.ended.connect(self.check)
        self._dock.run(self._dock.bar.follow(job, "Reading the runs …"))
        self.check()

    def clear(self) -> None:
        """Let the runs go: they are another study's."""
        self._header = []
        self.table.show_rows([])
        self._draw()

    def check(self) -> None:
        """Enable what can be done now."""
        reason = "something is being measured." if self._dock.busy else None
        if self._dock.session.opened is None:
            reason = "open a study first (the Load dock)."
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
        self.curves.show_runs([(row["name"], _course(row)) for row in chosen])
        self.curves.show()
        self.legend.say(
            "<br>".join(
                f"<span style='color:{SEVERAL[at % len(SEVERAL)]}'>●</span> {row['name']}"
                for at, row in enumerate(chosen)
            )
        )

    def _save_tsv(self) -> None:
        path = ask_where(self, "runs.tsv", "Table (*.tsv)")
        if path:
            lines = [self._header, *(row["cells"] for row in self.table.rows)]
            write(path, "".join("\t".join(line) + "\n" for line in lines), self._dock.notice)

    def _save_png(self) -> None:
        path: Path | None = ask_where(self, "runs.png", "Picture (*.png)")
        if path and not self.grab().save(str(path)):
            self._dock.notice.error(f"{path} cannot be written; choose another folder.")


def _course(row: dict[str, Any]) -> Course:
    return Course(
        loss={int(epoch): loss for epoch, loss in row["loss"]},
        validation={int(epoch): tuple(measures) for epoch, *measures in row["validation"]},
    )


def _number(cell: str) -> float | None:
    return None if cell == "-" else float(cell)
