"""The table of single PVS, tied to the viewer and to the review both ways."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import is_
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QModelIndex, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from napari_pvs.correction.items import Item
from napari_pvs.evaluation.tables import tsv
from napari_pvs.inference.shape import curved_lengths, rod_of
from napari_pvs.scans.display import to_display
from napari_pvs.scans.masks import Voxels
from napari_pvs.scans.regions import place_of
from napari_pvs.widgets.correct.components import Components
from napari_pvs.widgets.correct.region_colours import RegionColours
from napari_pvs.widgets.correct.review_queue import QueuePanel
from napari_pvs.widgets.parts.controls import Button, Notice, ask_where, write
from napari_pvs.widgets.parts.table import Column, Table
from napari_pvs.widgets.state.session import Session
from napari_pvs.widgets.viewer.canvas import show_voxel

_MANY = 100  # rows that change at once, from which on all are shown anew
Status = Literal[
    "unreviewed", "accepted", "rejected", "skipped", "edited", "possibly missed",
    "excluded by shape", "disputed",
]  # fmt: skip
_DECIDED: dict[str, Status] = {"accept": "accepted", "reject": "rejected", "skip": "skipped"}
_FILTERS: dict[str, tuple[Status, ...] | None] = {
    "All": None,
    "Unreviewed": ("unreviewed", "edited", "skipped", "possibly missed", "excluded by shape",
                   "disputed"),
    "Accepted": ("accepted",),
    "Rejected": ("rejected",),
    "Edited": ("edited",),
    "Possibly missed": ("possibly missed",),
    "Excluded by shape": ("excluded by shape",),
    "Disputed": ("disputed",),
}  # fmt: skip
"""What the box chooses."""


@dataclass(eq=False)
class Row:
    """One PVS, or what may be one.

    Attributes
    ----------
    key
        Identifies it: its number, or its first voxel where it is not in the labels.
    number
        In the labels; None for what is not in them.
    index
        Its voxels, in the axes of the layer.
    place
        Of its middle, scanner millimetres (RAS).
    item
        Of the review; None before there is one.
    """

    key: int | tuple[int, ...]
    number: int | None
    index: Voxels
    volume_mm3: float
    length_mm: float
    diameter_mm: float
    place: tuple[float, float, float]
    probability: float | None
    region: str | None = None
    side: str | None = None
    status: Status = "unreviewed"
    note: str = ""
    item: Item | None = None
    drawn: tuple[object, ...] = ()  # what the table shows of it

    @property
    def stamp(self) -> tuple[object, ...]:
        """What changes when the row looks otherwise."""
        return self.status, self.note, self.number, id(self.index), self.region, self.side

    @property
    def where(self) -> str:
        """Its place, for people."""
        return ", ".join(f"{axis:.0f}" for axis in self.place)


COLUMNS: tuple[Column[Row], ...] = (
    Column("Status", lambda row: row.status, tip="Unreviewed, accepted, rejected, edited …"),
    Column("PVS", lambda row: row.number, "{:d}", "Its number, which it keeps while it is edited."),
    Column("mm³", lambda row: row.volume_mm3, "{:.1f}", "Volume."),
    Column("Length", lambda row: row.length_mm, "{:.1f}", "Length in mm."),
    Column("Width", lambda row: row.diameter_mm, "{:.1f}", "Mean diameter in mm."),
    Column("Prob.", lambda row: row.probability, "{:.2f}",
           "Mean probability in the newest prediction."),
    Column("Region", lambda row: row.region or "", tip="Of the brain; the Metrics dock finds it."),
    Column("Side", lambda row: row.side or "", tip="Of the patient."),
    Column("R, A, S", lambda row: row.where, tip="Centre in scanner coordinates: mm to the right, "
           "to the front and up."),
    Column("Note", lambda row: row.note, tip="Your note (key C)."),
)  # fmt: skip


class PvsTable(QWidget):
    """All PVS of the labels and those in question: a row shows its PVS, and the other way round.

    Parameters
    ----------
    session
        Of the viewer.
    components
        The PVS of its labels.
    review
        Knows what was decided; a row that is chosen comes under review.
    """

    followed = Signal()
    """The table shows what the labels are now."""

    def __init__(self, session: Session, components: Components, review: QueuePanel) -> None:
        super().__init__()
        self._session, self._components, self._review = session, components, review
        self._known: dict[int | tuple[int, ...], Row] = {}
        self._score: NDArray[np.float32] | None = None
        self._quiet = False
        self._build()
        self.which.currentTextChanged.connect(lambda _: self._fill())
        self.search.textChanged.connect(self.table.filter)
        components.replaced.connect(self._start)
        components.followed.connect(self._fill)
        session.prediction_changed.connect(self._on_prediction)
        session.regions_changed.connect(self._start)
        review.changed.connect(self._fill)
        review.moved.connect(self._on_moved)
        self._start()

    def _build(self) -> None:
        self.total = QLabel()
        self.which = QComboBox()
        self.which.addItems(list(_FILTERS))
        self.which.setToolTip("Show only PVS of this status.")
        self.which.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.which.setMinimumContentsLength(8)  # the field beside it is to be read too
        self.search = QLineEdit()
        self.search.setPlaceholderText("Filter")
        self.search.setToolTip("Show only rows that contain this text, such as part of a note.")
        self.search.setAcceptDrops(False)
        self.table = Table(COLUMNS, "Select a row to show its PVS.", lambda row: row.key)
        self.table.setMinimumHeight(190)
        self.table.selected.connect(self._show)
        self.table.chosen.connect(self._show)
        self.table.set_widths(
            {0: "possibly missed", 1: "0000", 2: "000.0", 3: "00.0", 4: "0.0", 5: "0.00"}
        )
        self.notice = Notice()
        self.colours = RegionColours(self._session, self._components)
        self.export = Button("Export TSV…", "Write the rows shown to a table.", self._export)
        row = QHBoxLayout()
        row.setSpacing(3)
        row.addWidget(self.which)
        row.addWidget(self.search, 1)
        row.addWidget(self.export)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.total)
        column.addLayout(row)
        column.addWidget(self.table)
        column.addWidget(self.colours)
        column.addWidget(self.notice)

    @property
    def rows(self) -> list[Row]:
        """What is shown."""
        return self.table.rows

    def select(self, point: tuple[int, int, int]) -> None:
        """Select the row of the PVS at a voxel of the labels' data, if there is one."""
        number = self._components.at(point)
        self._fill()
        row = None if number is None else self._known.get(number)
        self._select(row)

    def _start(self) -> None:
        self._known = {}
        self._fill()

    def _fill(self) -> None:
        """Show what there is now; only what has changed is touched."""
        wanted = self._wanted()
        self._known = {row.key: row for row in wanted}
        chosen = _FILTERS[self.which.currentText()]
        shown = [row for row in wanted if chosen is None or row.status in chosen]
        self._quiet = True  # where a row goes, its neighbour becomes the current one
        self._exchange(shown)
        self._quiet = False
        self._count(wanted)
        self.followed.emit()

    def _wanted(self) -> list[Row]:
        """All rows, those of PVS that are known as they were made."""
        review, rows = self._review.queue, []
        score = self._probability()
        for key, entry in self._components.entries.items():
            row = self._row(key, entry.index, key, score)
            row.item = None if review is None else review.item_of(key)
            row.status = "edited" if key in self._components.edited else "unreviewed"
            rows.append(row)
        for item in () if review is None else review.items:
            if not item.present:
                first = tuple(int(axis[0]) for axis in item.index)
                row = self._row(first, item.index, None, score)
                row.item, row.status = item, "possibly missed"
                if item.kind == "excluded":
                    row.status = "excluded by shape"
                elif item.kind == "disputed":
                    row.status = "disputed"
                rows.append(row)
        for row in rows:
            if row.item is not None:
                row.status = _DECIDED.get(row.item.verdict or "", row.status)
                row.note = row.item.note
        return rows

    def _points(self, index: Voxels) -> NDArray[np.intp]:
        """Return the voxels of a PVS in the order of the scan's grid."""
        scan = self._session.scan
        z, y, x = index
        depth = 0 if scan is None else scan.grid.shape[1] - 1
        return np.stack([x, depth - y, z], 1)

    def _curved(self, rows: Sequence[Row]) -> dict[int | tuple[int, ...], float]:
        """Measure rows along their course; all at once, which is much faster than one by one."""
        if not rows:
            return {}
        scan = self._session.scan
        affine = np.eye(4) if scan is None else scan.grid.affine
        points = [self._points(row.index) for row in rows]
        ids = np.repeat(np.arange(len(rows)), [len(one) for one in points])
        found = curved_lengths(np.concatenate(points), ids, affine[:3, :3])
        pairs = zip(rows, found, strict=True)
        return {row.key: float(mm) if np.isfinite(mm) else row.length_mm for row, mm in pairs}

    def _row(
        self,
        key: int | tuple[int, ...],
        index: Voxels,
        number: int | None,
        score: NDArray[np.float32] | None,
    ) -> Row:
        """Return the known row of a PVS, measured anew where its voxels have changed."""
        known = self._known.get(key)
        if known is not None and known.index is index:
            return known
        scan = self._session.scan
        points = self._points(index)
        affine = np.eye(4) if scan is None else scan.grid.affine
        length, diameter = rod_of(points, affine[:3, :3])
        place = affine[:3, :3] @ points.mean(0) + affine[:3, 3]
        row = Row(
            key=key,
            number=number,
            index=index,
            volume_mm3=len(points) * (1.0 if scan is None else scan.grid.voxel_volume),
            length_mm=length,
            diameter_mm=diameter,
            place=(float(place[0]), float(place[1]), float(place[2])),
            probability=None if score is None else float(score[index].mean()),
        )
        regions = self._session.regions
        if regions is not None:
            where = place_of(points, regions)
            row.region, row.side = where.region, where.side
        if known is None:
            return row
        vars(known).update(vars(row))
        return known

    def _exchange(self, rows: list[Row]) -> None:
        """Give the table other rows, one by one where they are few."""
        model = self.table.model_
        wanted, there = set(map(id, rows)), set(map(id, model.rows))
        gone = [row for row in model.rows if id(row) not in wanted]
        new = [row for row in rows if id(row) not in there]
        stay = [row for row in model.rows if id(row) in wanted]
        in_order = all(map(is_, stay, (row for row in rows if id(row) in there)))
        if len(gone) + len(new) > _MANY or not model.rows or not in_order:
            self.table.set_rows(rows)
        else:
            for row in gone:
                at = model.rows.index(row)
                model.beginRemoveRows(QModelIndex(), at, at)
                del model.rows[at]
                model.endRemoveRows()
            for at, row in enumerate(rows):
                if id(row) not in there:
                    model.beginInsertRows(QModelIndex(), at, at)
                    model.rows.insert(at, row)
                    model.endInsertRows()
            for at, row in enumerate(model.rows):
                if row.drawn != row.stamp:
                    model.refresh(at)
        for row in rows:
            row.drawn = row.stamp

    def _probability(self) -> NDArray[np.float32] | None:
        prediction = self._session.prediction
        score = None if prediction is None else prediction.probability
        if score is not self._score:
            self._score, self._known = score, {}
        return None if score is None else to_display(score)

    def _on_prediction(self) -> None:
        prediction = self._session.prediction
        if (None if prediction is None else prediction.probability) is not self._score:
            self._fill()

    def _on_moved(self, item: Item | None) -> None:
        """Select what is under review."""
        row = None
        if item is not None:
            row = next((one for one in self.rows if one.item is item), None)
        self._select(row)

    def _select(self, row: Row | None) -> None:
        self._quiet = True  # it is in view already
        if row is not None and any(one is row for one in self.rows):
            self.table.select(row)
        else:
            self.table.setCurrentIndex(QModelIndex())
        self._quiet = False

    def _count(self, rows: list[Row]) -> None:
        there = [row.volume_mm3 for row in rows if row.number is not None]
        left_out = [row for row in rows if row.status == "excluded by shape"]
        text = f"{len(there)} PVS, {sum(there):.0f} mm³"
        if left_out:
            volume = sum(row.volume_mm3 for row in left_out)
            text += f"; {len(left_out)} excluded by shape ({volume:.0f} mm³)"
        if self._components.mask is None:
            text = "No labels."
        self.total.setText(text)
        self.export.allow_if(None if self.rows else "there are no PVS.")

    def _show(self, row: Row) -> None:
        layer = self._session.labels
        if layer is None or self._quiet:
            return
        if row.item is not None:
            self._review.show_item(row.item)
            return
        points = np.stack(row.index, 1)
        x, y, z = points[np.square(points - points.mean(0)).sum(1).argmin()]
        show_voxel(self._session.viewer, layer, (int(x), int(y), int(z)))

    def _export(self) -> None:
        path = ask_where(self, f"{self._session.name}_pvs.tsv", "Table (*.tsv)")
        if path is not None:
            write(path, self.tsv(), self.notice)

    def tsv(self) -> str:
        """The rows that are shown, as a table; its columns are named as those of ``pvs.tsv``."""
        shown = self.table.shown()
        curved = self._curved(shown)
        values: dict[str, Callable[[Row], object]] = {
            "subject": lambda _: self._session.name,
            "id": lambda row: row.number,
            "status": lambda row: row.status,
            "voxels": lambda row: len(row.index[0]),
            "volume_mm3": lambda row: round(row.volume_mm3, 4),
            "length_mm": lambda row: round(row.length_mm, 3),
            "curved_length_mm": lambda row: round(curved[row.key], 3),
            "diameter_mm": lambda row: round(row.diameter_mm, 3),
            "x_mm": lambda row: round(row.place[0], 3),
            "y_mm": lambda row: round(row.place[1], 3),
            "z_mm": lambda row: round(row.place[2], 3),
            "mean_probability": lambda row: (
                None if row.probability is None else round(row.probability, 4)
            ),
            "region": lambda row: row.region,
            "side": lambda row: row.side,
            "note": lambda row: " ".join(row.note.split()),
        }
        return tsv(
            list(values),
            ({name: value(row) for name, value in values.items()} for row in shown),
        )
