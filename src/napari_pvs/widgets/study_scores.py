"""The predictions of a whole study against its labels."""

from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QVBoxLayout, QWidget

from napari_pvs.errors import InputError
from napari_pvs.files import write_text
from napari_pvs.widgets.parts import Button, Notice
from napari_pvs.widgets.recovery import explained
from napari_pvs.widgets.tables import Column, Table
from napari_pvs.widgets.worker import Job, Result

_COLUMNS = (
    Column("Subject", lambda row: row["subject"], tip="And its session, if it has one."),
    Column("DSC", lambda row: row["dsc"], "{:.2f}", "Dice: 1 is full agreement."),
    Column(
        "AVD %",
        lambda row: row["avd_percent"],
        "{:.0f}",
        "Difference of the volumes, in % of the reference's.",
    ),
    Column(
        "Recall",
        lambda row: row["recall"],
        "{:.2f}",
        "Share of the reference's voxels that are found.",
    ),
    Column("PVS", lambda row: row["lenient_recall"], "{:.2f}", "Share of the PVS that are found."),
)


class StudyScores(QWidget):
    """Button, table and export.

    Parameters
    ----------
    dock
        The Metrics dock: its session, job, bar and notice.
    """

    def __init__(self, dock: Any) -> None:
        super().__init__()
        self._dock = dock
        self._tsv = ""
        tip = "Compare the newest prediction of each subject with its label."
        self.score = Button("Score the study", tip, self.run)
        self.export = Button("Export TSV…", "All measures of all subjects.", self._save)
        tip = "The newest prediction of each subject against its label."
        self.table = Table(_COLUMNS, tip, lambda row: row["subject"])
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
        rows: list[dict[str, Any]] = []
        self.clear()
        study = self._dock.session.opened
        job = Job({"verb": "scores", "study": str(study)}, self._dock)

        def on_row(row: dict[str, Any]) -> None:
            rows.append(row)
            if study == self._dock.session.opened:
                self.table.show_rows(rows)

        def on_done(result: Result) -> None:
            if study != self._dock.session.opened:
                return
            self._tsv = result.answer["tsv"]
            if notes := result.answer.get("notes"):
                self._dock.notice.warn(" ".join(notes))
            if not rows:
                self._dock.notice.warn(
                    "No subject has a prediction and a label made otherwise; segment subjects, "
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
        reason = "it is being measured." if self._dock.busy else None
        if self._dock.session.opened is None:
            reason = "open a study first (the Load dock)."
        self.score.allow_if(reason)
        self.export.allow_if(None if self._tsv else "score the study first.")

    def _save(self) -> None:
        path = ask_where(self, "study.tsv", "Table (*.tsv)")
        if path:
            write(path, self._tsv, self._dock.notice)


def ask_where(parent: QWidget, name: str, kinds: str) -> Path | None:
    """Ask for a file to write."""
    chosen, _ = QFileDialog.getSaveFileName(parent, "Export", name, kinds)
    return Path(chosen) if chosen else None


def write(path: Path, text: str, notice: Notice) -> None:
    """Write a text, and say so or why not."""
    try:
        write_text(path, text)
        notice.say(f"Wrote {path}.")
    except (InputError, OSError) as error:
        notice.error(str(explained(error)))
