"""The table of single PVS, tied to the viewer both ways."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QModelIndex, Signal
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_pvs.correction.component_index import ComponentIndex, Entry
from napari_pvs.scans.display import to_display
from napari_pvs.scans.masks import voxels_of
from napari_pvs.widgets.background.debounce import Debouncer
from napari_pvs.widgets.parts.table import Column, Table
from napari_pvs.widgets.state.session import Session
from napari_pvs.widgets.viewer.canvas import show_voxel

PAUSE_MS = 80
"""How long after an edit the table follows; a stroke is one edit."""
_MANY = 100  # rows that change at once, from which on all are shown anew


@dataclass(eq=False)
class Row:
    """One PVS."""

    id: int
    voxels: int
    volume_mm3: float
    probability: float | None


COLUMNS = (
    Column("PVS", lambda row: row.id, "{:d}", "A number that it keeps while it is edited."),
    Column("mm³", lambda row: row.volume_mm3, "{:.1f}", "Its volume."),
    Column("Voxels", lambda row: row.voxels, "{:d}", "Number of its voxels."),
    Column(
        "Prob.",
        lambda row: row.probability,
        "{:.2f}",
        "Mean probability in the newest prediction.",
    ),
)


class PvsTable(QWidget):
    """All connected PVS of the labels: a row shows its PVS, a click on a PVS selects its row.

    Parameters
    ----------
    session
        Of the viewer.
    """

    followed = Signal()
    """The table shows what the labels are now."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._index: ComponentIndex | None = None
        self._mask: NDArray[np.bool_] | None = None  # what the catalogue is of
        self._rows: dict[int, Row] = {}
        self._score: NDArray[np.float32] | None = None
        self._quiet = False
        self.total = QLabel()
        self.table = Table(COLUMNS, "Move to a row to see its PVS in the viewer.")
        self.table.setMinimumHeight(170)
        self.table.selected.connect(self._show)
        self.table.chosen.connect(self._show)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.total)
        column.addWidget(self.table)
        self._later = Debouncer(PAUSE_MS, self.follow, self)
        session.labels_edited.connect(self._later.throttle)
        session.labels_changed.connect(self._start)
        session.prediction_changed.connect(self._measure)
        self._start()

    def follow(self) -> None:
        """Show what the labels are now."""
        layer = self._session.labels
        if layer is None or self._mask is None or self._index is None:
            return
        now = layer.data > 0
        if now.shape != self._mask.shape:
            self._start()
            return
        changed = voxels_of(now != self._mask)
        if len(changed[0]):
            gone, new = self._index.update(now, changed)
            self._mask = now
            self._quiet = True  # where a row goes, its neighbour becomes the current one
            self._replace(gone, [self._index.entries[key] for key in new])
            self._quiet = False
            self._count()
        self.followed.emit()

    def select(self, point: tuple[int, int, int]) -> None:
        """Select the row of the PVS at a voxel of the labels' data, if there is one."""
        if self._later.pending:
            self._later.cancel()
            self.follow()
        key = None if self._index is None else self._index.at(point)
        row = None if key is None else self._rows.get(key)
        if row is not None:
            self._quiet = True  # it is in view already
            self.table.select(row)
            self._quiet = False

    def _start(self) -> None:
        layer = self._session.labels
        self._index, self._mask, self._rows = None, None, {}
        if layer is not None and layer.data.ndim == 3:
            self._mask = layer.data > 0
            self._index = ComponentIndex(self._mask)
        entries = self._index.entries.values() if self._index else ()
        self._rows = {row.id: row for row in self._made(entries)}
        self.table.set_rows(list(self._rows.values()))
        self._count()
        self.followed.emit()

    def _replace(self, gone: set[int], new: list[Entry]) -> None:
        fresh = {row.id: row for row in self._made(new)}
        model = self.table.model_
        if len(gone) + len(new) > _MANY:
            kept = {key: row for key, row in self._rows.items() if key not in gone}
            self._rows = kept | fresh
            self.table.set_rows(list(self._rows.values()))
            return
        for key in gone:
            at = model.rows.index(self._rows.pop(key))
            model.beginRemoveRows(QModelIndex(), at, at)
            del model.rows[at]
            model.endRemoveRows()
        for key, row in fresh.items():
            known = self._rows.get(key)
            if known is not None:
                vars(known).update(vars(row))
                self.table.refresh(known)
                continue
            self._rows[key] = row
            at = len(model.rows)
            model.beginInsertRows(QModelIndex(), at, at)
            model.rows.append(row)
            model.endInsertRows()

    def _made(self, entries: Iterable[Entry]) -> list[Row]:
        volume = self._session.scan.grid.voxel_volume if self._session.scan else 1.0
        prediction = self._session.prediction
        self._score = None if prediction is None else prediction.probability
        score = None if self._score is None else to_display(self._score)
        return [
            Row(
                entry.id,
                entry.voxels,
                entry.voxels * volume,
                None if score is None else float(score[entry.index].mean()),
            )
            for entry in entries
        ]

    def _measure(self) -> None:
        """Take the probabilities of another prediction."""
        prediction = self._session.prediction
        score = None if prediction is None else prediction.probability
        if score is self._score or self._index is None:
            return
        for row in self._made(self._index.entries.values()):
            self._rows[row.id].probability = row.probability
        model = self.table.model_
        model.dataChanged.emit(model.index(0, 0), model.index(len(model.rows) - 1, 3))

    def _count(self) -> None:
        volume = sum(row.volume_mm3 for row in self._rows.values())
        text = f"{len(self._rows)} PVS, {volume:.0f} mm³"
        self.total.setText(text if self._mask is not None else "No labels.")
        self.table.setVisible(bool(self._rows))

    def _show(self, row: Row) -> None:
        layer = self._session.labels
        entry = self._index.entries.get(row.id) if self._index else None
        if layer is not None and entry is not None and not self._quiet:
            show_voxel(self._session.viewer, layer, entry.point)
