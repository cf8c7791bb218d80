import pytest

pytest.importorskip("napari")

from napari._qt.qt_resources import get_stylesheet
from qtpy.QtCore import QPoint, Qt

from napari_pvs.widgets.parts.table import Column, Table

ROWS = [{"name": f"sub-{i:04d}", "state": "new" if i % 3 else "corrected",
         "mm3": None if i % 2 else i * 1.5} for i in range(3000)]  # fmt: skip


@pytest.fixture
def table(qtbot):
    columns = (
        Column("Subject", lambda row: row["name"]),
        Column("State", lambda row: row["state"], tip="how far"),
        Column("mm³", lambda row: row["mm3"], "{:.1f}"),
    )
    table = Table(columns, "a table")
    qtbot.addWidget(table)
    table.set_rows(ROWS)
    return table


def names(table):
    return [row["name"] for row in table.shown()]


def test_rows_come_as_given_and_are_filtered_by_any_column(table):
    assert names(table) == [row["name"] for row in ROWS]
    table.filter("CORR")
    assert len(names(table)) == 1000
    table.filter("sub-0042")
    assert names(table) == ["sub-0042"]
    table.filter("")
    assert len(names(table)) == 3000


def test_numbers_are_sorted_as_numbers_and_what_is_missing_is_least(table):
    table.sortByColumn(2, Qt.SortOrder.DescendingOrder)
    assert names(table)[:3] == ["sub-2998", "sub-2996", "sub-2994"]
    assert names(table)[-1] in {row["name"] for row in ROWS if row["mm3"] is None}
    model = table.model()
    assert model.index(0, 2).data() == "4497.0"
    assert model.index(2999, 2).data() == "–"
    assert model.headerData(1, Qt.Orientation.Horizontal, Qt.ItemDataRole.ToolTipRole) == "how far"


def test_a_row_whose_values_change_is_shown_anew(table):
    rows = [dict(row) for row in ROWS[:5]]
    table.set_rows(rows)
    table.sortByColumn(2, Qt.SortOrder.DescendingOrder)
    rows[1]["mm3"] = 99.0
    table.refresh(rows[1])
    assert names(table)[0] == "sub-0001"
    assert table.model().index(0, 2).data() == "99.0"


def test_rows_are_chosen_by_enter_and_by_double_click(table, qtbot):
    chosen, selected = [], []
    table.chosen.connect(chosen.append)
    table.selected.connect(selected.append)
    with qtbot.waitExposed(table):
        table.show()
    at = table.visualRect(table.model().index(1, 0)).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=at)
    assert (selected, chosen) == ([ROWS[1]], [])
    qtbot.keyClick(table, Qt.Key.Key_Down)
    qtbot.keyClick(table, Qt.Key.Key_Return)
    assert (selected[-1], chosen) == (ROWS[2], [ROWS[2]])
    qtbot.mouseDClick(table.viewport(), Qt.MouseButton.LeftButton, pos=at)
    assert chosen == [ROWS[2], ROWS[1]]
    qtbot.mouseDClick(table.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(5, 10**5))
    assert len(chosen) == 2


def test_what_is_selected_stays_so_when_other_rows_come(qtbot):
    columns = (Column("Name", lambda row: row[0]), Column("mm³", lambda row: row[1], "{:.1f}"))
    table = Table(columns, "a table", key=lambda row: row[0])
    qtbot.addWidget(table)
    table.set_rows([("a", 3), ("b", 2), ("c", 1)])
    selected = []
    table.selectRow(1)
    table.selected.connect(selected.append)
    table.set_rows([("c", 9), ("b", 8), ("a", 7)])
    assert table.current() == ("b", 8)
    # it is gone: the arrow leads to what was below it
    table.set_rows([("c", 9), ("a", 7)])
    assert table.current() == ("c", 9)
    assert selected == []
    qtbot.keyClick(table, Qt.Key.Key_Down)
    assert selected == [("a", 7)]
    table.set_rows([("d", 1)])
    table.set_rows([])
    assert table.current() is None


def test_a_click_on_the_selected_row_moves_there_again(table, qtbot):
    selected = []
    table.selected.connect(selected.append)
    with qtbot.waitExposed(table):
        table.show()
    at = table.visualRect(table.model().index(1, 0)).center()
    for _ in range(2):
        qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=at)
    assert selected == [ROWS[1], ROWS[1]]


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_a_first_column_with_a_width_of_its_own_is_not_squeezed(qtbot, theme):
    columns = [Column("Region", lambda row: "centrum semiovale")]
    columns += [Column(f"Column {at}", lambda row: 7, "{:d}") for at in range(8)]
    table = Table(tuple(columns), "a table")
    table.set_widths({0: "centrum semiovale"})
    table.setStyleSheet(get_stylesheet(theme))
    table.resize(280, 200)
    qtbot.addWidget(table)
    with qtbot.waitExposed(table):
        table.show()
    table.set_rows([None])
    needed = table.fontMetrics().horizontalAdvance("centrum semiovale")
    assert table.columnWidth(0) > needed
    assert table.horizontalScrollBar().isVisible()  # the others are reached so
