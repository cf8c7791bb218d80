"""The table of single PVS beside the labels."""

import numpy as np
import pytest

pytest.importorskip("napari")

from qtpy.QtCore import Qt

from napari_pvs.scans.display import display_index
from napari_pvs.widgets.correct import pvs_table
from napari_pvs.widgets.correct.pvs_table import PvsTable


@pytest.fixture
def beside(open_scan, predict, qtbot):
    session = open_scan()
    predict(session)
    table = PvsTable(session)
    qtbot.addWidget(table)
    return session, table


def at(session, point):
    return display_index(point, session.scan)


def followed(table, qtbot, edit):
    with qtbot.waitSignal(table.followed, timeout=60_000):
        edit()


def one_voxel(point):
    return tuple(np.array([i]) for i in point)


def shown(table):
    return {row.id: (row.voxels, round(row.probability, 2)) for row in table.table.rows}


def test_each_pvs_has_a_row(beside):
    _, table = beside
    assert sorted(shown(table).values()) == [(28, 0.95), (28, 0.97), (32, 0.6)]
    assert table.total.text() == "3 PVS, 45 mm³"
    model = table.table.model()
    texts = [model.index(0, column).data() for column in range(4)]
    assert texts[1:3] == ["14.3", "28"] or texts[1:3] == ["16.4", "32"]


def test_it_follows_edits_and_their_undoing(beside, qtbot):
    session, table = beside
    before = shown(table)
    layer = session.labels
    followed(
        table, qtbot, lambda: layer.data_setitem(tuple([np.array([i]) for i in (20, 5, 20)]), 1)
    )
    new = set(shown(table)) - set(before)
    assert len(new) == 1
    assert shown(table)[new.pop()][0] == 1
    followed(table, qtbot, layer.undo)
    assert shown(table) == before
    # a voxel more: the row stays, with other values
    point = at(session, (6, 6, 12))
    followed(table, qtbot, lambda: layer.data_setitem(one_voxel(point), 1))
    assert set(shown(table)) == set(before)
    assert 29 in [voxels for voxels, _ in shown(table).values()]


def test_a_new_prediction_changes_the_probabilities(beside, predict, probability):
    session, table = beside
    predict(session, labels=False, found=probability / 2)
    assert sorted(p for _, p in shown(table).values()) == [0.3, 0.48, 0.49]


def test_moving_to_a_row_shows_the_pvs(beside, qtbot):
    session, table = beside
    table.show()
    table.table.setFocus()
    table.table.selectRow(0)
    seen = []
    for _ in range(2):
        session.viewer.dims.set_point(0, 0)
        qtbot.keyClick(table.table, Qt.Key.Key_Down)
        row = table.table.current()
        assert session.viewer.dims.current_step[0] == table._index.entries[row.id].point[0]
        seen.append(row.id)
    assert len(set(seen)) == 2


def test_a_click_on_a_pvs_selects_its_row_and_moves_nothing(beside):
    session, table = beside
    session.viewer.dims.set_point(0, 0)
    before = session.viewer.dims.point
    table.select(at(session, (6, 18, 12)))
    assert table.table.current().voxels == 32
    assert session.viewer.dims.point == before
    table.select(at(session, (12, 12, 12)))  # nothing is there
    assert table.table.current().voxels == 32


def test_taking_the_selected_pvs_away_does_not_move_the_view(beside, qtbot):
    session, table = beside
    table.select(at(session, (6, 6, 6)))
    session.viewer.dims.set_point(0, 0)
    before = session.viewer.dims.point
    key = table.table.current().id
    one = table._index.entries[key].index
    followed(table, qtbot, lambda: session.labels.data_setitem(one, 0))
    assert key not in shown(table)
    assert session.viewer.dims.point == before


def test_many_changes_at_once(beside, qtbot, monkeypatch):
    monkeypatch.setattr(pvs_table, "_MANY", 2)
    session, table = beside
    layer = session.labels
    followed(table, qtbot, lambda: layer.data_setitem(np.nonzero(layer.data), 0))
    assert shown(table) == {}
    assert table.total.text() == "0 PVS, 0 mm³"
    followed(table, qtbot, layer.undo)
    assert len(shown(table)) == 3


def test_other_labels_and_none(beside, qtbot):
    session, table = beside
    old = session.labels
    followed(table, qtbot, lambda: session.new_labels())
    assert shown(table) == {}
    followed(table, qtbot, lambda: session.set_labels(old))
    assert len(shown(table)) == 3
    session.viewer.layers.remove(old)
    assert table.total.text() == "No labels."
    assert table.table.rows == []


def test_sorted_by_volume_it_stays_sorted(beside, qtbot):
    session, table = beside
    table.table.sortByColumn(1, Qt.SortOrder.DescendingOrder)
    points = (np.full(20, 22), np.full(20, 14), np.arange(2, 22))
    followed(table, qtbot, lambda: session.labels.data_setitem(points, 1))
    sizes = [row.voxels for row in table.table.shown()]
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) == 4
