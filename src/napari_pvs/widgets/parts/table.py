"""Tables that stay fast with thousands of rows, sort by value and filter by text."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from qtpy.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QSignalBlocker,
    QSortFilterProxyModel,
    Qt,
    Signal,
)
from qtpy.QtGui import QKeyEvent, QMouseEvent
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView

from napari_pvs.widgets.parts.controls import as_it_is, there

R = TypeVar("R")
"""Of a row."""
_Role = Qt.ItemDataRole


@dataclass(frozen=True)
class Column(Generic[R]):
    """One column.

    Attributes
    ----------
    title
        Its heading.
    value
        Function from a row to its value, used for sorting; None if there is none.
    format
        Format of a number.
    tip
        What the column means.
    """

    title: str
    value: Callable[[R], Any]
    format: str = "{}"
    tip: str = ""

    def text(self, row: R) -> str:
        """The text of a cell."""
        value = self.value(row)
        return "–" if value is None else self.format.format(value)


class Rows(QAbstractTableModel, Generic[R]):
    """Rows of any objects, shown by columns."""

    def __init__(self, columns: Sequence[Column[R]]) -> None:
        super().__init__()
        self.columns = tuple(columns)
        self.rows: list[R] = []

    def set_rows(self, rows: Sequence[R]) -> None:
        """Show other rows."""
        self.beginResetModel()
        self.rows = list(rows)
        self.endResetModel()

    def refresh(self, at: int) -> None:
        """Update a row whose values changed."""
        self.dataChanged.emit(self.index(at, 0), self.index(at, len(self.columns) - 1))

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Number of rows; cells have none below them."""
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """Number of columns; cells have none below them."""
        return 0 if parent is not None and parent.isValid() else len(self.columns)

    def data(self, index: QModelIndex, role: int = _Role.DisplayRole) -> object:
        """Text, tooltip, sort value or alignment of a cell."""
        column, row = self.columns[index.column()], self.rows[index.row()]
        if role == _Role.DisplayRole:
            return column.text(row)
        if role == _Role.ToolTipRole:
            return as_it_is(column.text(row))
        value = column.value(row)
        number = column.format != "{}"
        if role == _Role.UserRole:
            return (-math.inf if number else "") if value is None else value
        if role == _Role.TextAlignmentRole and number:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        return None

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = _Role.DisplayRole
    ) -> Any:
        """Title or tooltip of a column."""
        if orientation == Qt.Orientation.Horizontal:
            if role == _Role.DisplayRole:
                return self.columns[section].title
            if role == _Role.ToolTipRole:
                return self.columns[section].tip or None
        return None


class Table(QTableView, Generic[R]):
    """A table of `Rows`, sorted by clicking on a heading and filtered by text.

    Parameters
    ----------
    columns
        The first takes the width that the others leave.
    tip
        What the table is for, and what Enter and a double click do.
    key
        Returns what identifies a row across refreshes. If the selected row is gone, the one above
        is selected, so that the arrow key leads to the next.
    """

    selected = Signal(object)
    """The row selected with mouse or arrow keys, or clicked again."""
    chosen = Signal(object)
    """The row that was double-clicked, or on which Enter was pressed."""

    def __init__(
        self,
        columns: Sequence[Column[R]],
        tip: str = "",
        key: Callable[[R], object] | None = None,
    ) -> None:
        super().__init__()
        self._key = key
        self.model_ = Rows(columns)
        self._sorted = QSortFilterProxyModel(self)
        self._sorted.setSourceModel(self.model_)
        self._sorted.setSortRole(_Role.UserRole)
        self._sorted.setFilterKeyColumn(-1)
        self._sorted.setFilterCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self.setModel(self._sorted)
        self.setToolTip(tip)
        self.setSortingEnabled(True)
        self.sortByColumn(-1, Qt.SortOrder.AscendingOrder)  # initially unsorted
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setTabKeyNavigation(False)  # Tab leaves the table
        self.setWordWrap(False)
        rows = there(self.verticalHeader())
        rows.hide()
        rows.setDefaultSectionSize(22)
        header = there(self.horizontalHeader())
        header.setHighlightSections(False)
        # do not measure every row for the width, which would be slow for thousands
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for at, column in enumerate(columns[1:], start=1):
            text = max(column.title, "00000" if column.format != "{}" else "reference", key=len)
            self.setColumnWidth(at, self.fontMetrics().horizontalAdvance(text) + 16)
        self.setMinimumHeight(100)
        there(self.selectionModel()).currentRowChanged.connect(self._on_current)

    @property
    def rows(self) -> list[R]:
        """All rows, in the order given."""
        return self.model_.rows

    def set_rows(self, rows: Sequence[R]) -> None:
        """Show other rows and keep the selection, without a signal."""
        current, at = self.current(), self.currentIndex().row()
        self.model_.set_rows(rows)
        if current is None or self._key is None:
            return
        found = [i for i, row in enumerate(rows) if self._key(row) == self._key(current)]
        last = self._sorted.rowCount() - 1
        index = self._sorted.index(min(at - 1, last), 0)
        if found:
            index = self._sorted.mapFromSource(self.model_.index(found[0], 0))
        with QSignalBlocker(self):
            self.setCurrentIndex(index)

    def show_rows(self, rows: Sequence[R]) -> None:
        """Like `set_rows`, but hide the table if it is empty."""
        self.set_rows(rows)
        self.setVisible(bool(rows))

    def set_widths(self, widths: dict[int, str]) -> None:
        """Make columns as wide as these texts, and their titles, need.

        The first column takes what the others leave, unless it is named too; then the table is
        scrolled where it is too narrow for all of them.
        """
        if 0 in widths:
            header = there(self.horizontalHeader())
            header.setSectionResizeMode(0, QHeaderView.ResizeMode.Interactive)
        for at, text in widths.items():
            wide = max(self.fontMetrics().horizontalAdvance(one) for one in
                       (text, self.model_.columns[at].title))  # fmt: skip
            self.setColumnWidth(at, wide + 12)

    def refresh(self, row: R) -> None:
        """Update a row whose values changed."""
        self.model_.refresh(next(i for i, one in enumerate(self.rows) if one is row))

    def select(self, row: R) -> None:
        """Move to a row."""
        at = next(i for i, one in enumerate(self.rows) if one is row)
        self.setCurrentIndex(self._sorted.mapFromSource(self.model_.index(at, 0)))

    def filter(self, text: str) -> None:
        """Show only rows with a cell that contains the text."""
        self._sorted.setFilterFixedString(text)

    def shown(self) -> list[R]:
        """The rows that pass the filter, in the order shown."""
        return [self._row(self._sorted.index(i, 0)) for i in range(self._sorted.rowCount())]

    def current(self) -> R | None:
        """The row that is selected, or None."""
        index = self.currentIndex()
        return self._row(index) if index.isValid() else None

    def marked(self) -> list[R]:
        """All selected rows."""
        return [self._row(index) for index in there(self.selectionModel()).selectedRows()]

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Choose a row by Enter."""
        event = there(event)
        enter = (Qt.Key.Key_Return, Qt.Key.Key_Enter)
        if event.key() in enter and self.current() is not None:
            self.chosen.emit(self.current())
        elif event.text().strip() or event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            event.ignore()  # letters are the viewer's keys, not a search in the table
        else:
            super().keyPressEvent(event)

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Report a click on the selected row, too."""
        index = self.indexAt(there(event).position().toPoint())
        again = index.isValid() and index.row() == self.currentIndex().row()
        super().mousePressEvent(event)
        if again:
            self.selected.emit(self._row(index))

    def mouseDoubleClickEvent(self, event: QMouseEvent | None) -> None:
        """Choose a row by a double click."""
        index = self.indexAt(there(event).position().toPoint())
        if index.isValid():
            self.chosen.emit(self._row(index))

    def _row(self, index: QModelIndex) -> R:
        return self.rows[self._sorted.mapToSource(index).row()]

    def _on_current(self, index: QModelIndex, _: QModelIndex) -> None:
        if index.isValid():
            self.selected.emit(self._row(index))
