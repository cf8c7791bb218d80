"""PVS by region: of the scan that is shown, and of all subjects of the study."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QVBoxLayout, QWidget

from napari_pvs.burden.count import Burden, Counted, count
from napari_pvs.burden.regions import NONE, TEMPLATE
from napari_pvs.burden.tables import burden_tsv
from napari_pvs.jobs import exchange
from napari_pvs.jobs.protocol import CountStudy, FindRegions, Loaded, MakeReport, Nothing
from napari_pvs.scans.regions import ELSEWHERE, SIDES
from napari_pvs.widgets.background.debounce import Debouncer
from napari_pvs.widgets.background.process import Job, Result, scan_folder
from napari_pvs.widgets.background.thread import Background
from napari_pvs.widgets.dock import JobDock
from napari_pvs.widgets.metrics.study import StudyTable
from napari_pvs.widgets.parts.controls import Button, ask_where, write
from napari_pvs.widgets.parts.table import Column, Table
from napari_pvs.widgets.state.session import BLIND
from napari_pvs.widgets.viewer.layers import made_by, origin_of
from napari_pvs.widgets.viewer.typed import LabelsLayer

_AFTER_MS = 400  # pause after a stroke before PVS are counted anew
_TIP = "Register the ICBM152 template to the scan, which takes about half a minute."


@dataclass(frozen=True)
class RegionRow:
    """One region: both sides together, and how many PVS each has."""

    both: Burden
    left: int | None
    right: int | None


_REGIONS: tuple[Column[RegionRow], ...] = (
    Column("Region", lambda row: row.both.region, tip="Region of the brain; all: the brain mask."),
    Column("PVS", lambda row: row.both.count, "{:d}", "Number of PVS; –: not in the scan."),
    Column("L", lambda row: row.left, "{:d}", "On the patient's left."),
    Column("R", lambda row: row.right, "{:d}", "On the patient's right."),
    Column("mm³", lambda row: row.both.volume_mm3, "{:.0f}", "Volume of these PVS."),
    Column("/mL", lambda row: row.both.count_per_ml, "{:.2f}", "PVS per mL of the region."),
    Column("Length", lambda row: row.both.length_mm, "{:.1f}", "Median, as straight rods, mm."),
    Column(
        "Curved",
        lambda row: row.both.curved_length_mm,
        "{:.1f}",
        "Median length along the course of PVS, mm.",
    ),
    Column("Width", lambda row: row.both.diameter_mm, "{:.1f}", "Median diameter, mm."),
)
_SUBJECTS: tuple[Column[Burden], ...] = (
    Column("Subject", lambda row: row.subject, tip="Subject, with its session if it has one."),
    Column("Label", lambda row: row.state or "", tip="segmented, corrected or reference."),
    Column("PVS", lambda row: row.count, "{:d}", "Number."),
    Column("mm³", lambda row: row.volume_mm3, "{:.0f}", "Volume."),
    Column("% of brain", lambda row: row.volume_percent, "{:.3f}", "PVS volume / brain."),
)


class BurdenPanel(QWidget):
    """A row for each region; it follows edits of the layer that the dock measures.

    Parameters
    ----------
    dock
        The Metrics dock, for its session, job, bar and notice.
    measured
        Returns the layer whose PVS are counted, or None.
    """

    def __init__(self, dock: JobDock, measured: Callable[[], LabelsLayer | None]) -> None:
        super().__init__()
        self._dock, self._measured = dock, measured
        self.counted: Counted | None = None
        self._thread = Background(self)
        self._asked = 0
        self.regions = Button("Find regions", _TIP, self.find_regions)
        self.report = Button(
            "Report…",
            "Write a page with pictures, regions and what limits the result, and open it.",
            self._ask_report,
        )
        self.export = Button("Export TSV…", "All regions and sides, as a table.", self._save)
        self.table = Table(_REGIONS, "PVS by region.", lambda row: row.both.region)
        self.table.set_widths({0: "centrum semiovale", 1: "000", 2: "000", 3: "000", 4: "0000",
                               5: "0.00", 6: "00.0", 7: "0.0"})  # fmt: skip
        buttons = QHBoxLayout()
        for button in (self.regions, self.report, self.export):
            buttons.addWidget(button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(buttons)
        column.addWidget(self.table)
        self.table.show_rows([])
        self.soon = Debouncer(_AFTER_MS, self.update_table, self)
        session = dock.session
        for changed in (
            session.labels_edited,
            session.labels_changed,
            session.prediction_changed,
            session.regions_changed,
            session.scan_changed,
            session.blind_changed,
        ):
            changed.connect(self.soon.throttle)

    def check(self) -> None:
        """Enable what can be done now."""
        session = self._dock.session
        busy = "another job is running." if self._dock.busy else None
        none = "load a scan first." if session.scan is None else None
        known = "the regions are already known." if session.regions is not None else None
        self.regions.allow_if(none or known or busy)
        empty = None if self.counted else "segment the scan or draw labels first."
        self.report.allow_if(none or empty or busy)
        self.export.allow_if(none or empty)

    def find_regions(self) -> None:
        """Register the template to the scan, in a process."""
        scan = self._dock.session.require_scan()

        def request(folder: Path) -> FindRegions:
            return FindRegions(scan=scan_folder(scan, folder))

        def on_done(result: Result[Loaded]) -> None:
            session = self._dock.session
            if scan is session.scan:
                session.set_regions(exchange.load_regions(result.path), result.folder)
                if result.answer.notes:
                    self._dock.notice.warn("\n".join(result.answer.notes))

        job = Job(request, self._dock)
        job.finished.connect(on_done)
        job.ended.connect(self.check)
        self._dock.run(self._dock.bar.follow(job, "Finding the regions …"))
        self.check()

    def write_report(self, path: Path) -> None:
        """Write the page of the layer that is measured, and open it."""
        session, layer = self._dock.session, self._counted_layer()
        if layer is None or session.scan is None:
            return
        scan, name, folder_of = session.scan, session.name, session.regions_folder
        prediction = next((one for one in session.predictions.values() if one.layer is layer), None)
        weights = None if prediction is None else prediction.file
        origin = {"mask": f"the layer {layer.name}", "made by": _maker(layer)}
        mask = np.array(session.array(layer) > 0)

        def request(folder: Path) -> MakeReport:
            exchange.save_array(folder, "mask", mask)
            return MakeReport(
                scan=scan_folder(scan, folder), out=path, name=name, origin=origin,
                regions=None if folder_of is None else folder_of.path, weights=weights,
            )  # fmt: skip

        def on_done(_: Result[Nothing]) -> None:
            self._dock.notice.say(f"Wrote {path}.")
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(path)))

        job = Job(request, self._dock)
        job.finished.connect(on_done)
        job.ended.connect(self.check)
        self._dock.run(self._dock.bar.follow(job, "Making the report …"))
        self.check()

    def _counted_layer(self) -> LabelsLayer | None:
        """The layer that is measured; only the rater's own labels in blind mode."""
        session = self._dock.session
        return session.labels if session.blind else self._measured()

    def update_table(self) -> None:
        """Count what the layer has now, in a thread."""
        if self._dock.stopped:
            return
        session, layer = self._dock.session, self._counted_layer()
        scan = session.scan
        self._asked += 1
        if scan is None or layer is None or not session.fits(layer):
            self._show(None)
            return
        mask, regions, asked = np.array(session.array(layer) > 0), session.regions, self._asked

        def counted() -> Counted:
            return count(
                mask, scan.grid, subject=name, regions=regions, brain=np.asarray(scan.brain)
            )

        name = session.name

        def show(found: Counted) -> None:
            if asked == self._asked and scan is session.scan:
                self._show(found)

        self._thread.submit(counted, show)

    def _show(self, found: Counted | None) -> None:
        self.counted = found
        rows = () if found is None else found.burden
        of_side = {(row.region, row.side): row.count for row in rows}
        shown = [
            RegionRow(row, *(of_side.get((row.region, side)) for side in SIDES))
            for row in rows
            if row.side == "both" and (row.count or row.region != ELSEWHERE)
        ]
        self.table.show_rows(shown)
        self.check()

    def _ask_report(self) -> None:
        path = ask_where(self, f"{self._dock.session.name}_report.html", "Page (*.html)")
        if path:
            self.write_report(path)

    def _save(self) -> None:
        path = ask_where(self, f"{self._dock.session.name}_burden.tsv", "Table (*.tsv)")
        if path and self.counted is not None:
            write(path, burden_tsv([self.counted]), self._dock.notice)


def _maker(layer: LabelsLayer) -> str:
    """Say what made the labels of a layer."""
    weights = made_by(layer)
    if weights is not None:
        return f"weights {weights}"
    how, weights = origin_of(layer)
    return "hand" if how == "drawn" else f"hand, from a prediction by weights {weights}"


class StudyBurden(StudyTable[Burden]):
    """How many PVS each subject of the study has."""

    def __init__(self, dock: JobDock) -> None:
        tip = "PVS of each subject's label, or of its newest prediction."
        empty = "No subject has a label or a prediction; segment the study."
        super().__init__(dock, Table(_SUBJECTS, tip, lambda row: row.subject), empty, "burden.tsv")
        self.count = Button("Count the study", tip, self.run)
        self.export = Button("Export TSV…", "Every subject, region and side.", self._save)
        self.regions = QCheckBox("By region")
        self.regions.setToolTip(f"{_TIP[:-1]} for each subject. The regions are in the table.")
        self._column.addWidget(self.regions)
        self._add_buttons(self.count, self.export)
        self._column.addWidget(self.table)

    def run(self) -> None:
        """Count the PVS of every subject that has a label or a prediction."""
        self.clear()
        regions = TEMPLATE if self.regions.isChecked() else NONE

        def request(study: Path) -> CountStudy:
            return CountStudy(study=study, regions=regions)

        self._ask(request, "Counting …", self._on_row, self._on_done)

    def check(self) -> None:
        """Enable what can be done now."""
        blind = BLIND if self._dock.session.blind else None
        self.count.allow_if(blind or self._why_not("another job is running."))
        self.export.allow_if(None if self._tsv else "count the study first.")
