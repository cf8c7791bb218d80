"""The table of single PVS beside the labels."""

import numpy as np
import pytest

pytest.importorskip("napari")

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QWidget

from napari_pvs.scans.display import display_index
from napari_pvs.scans.regions import Regions
from napari_pvs.widgets.correct import pvs_table, review_queue
from napari_pvs.widgets.correct.clicks import Clicker
from napari_pvs.widgets.correct.components import Components
from napari_pvs.widgets.correct.pvs_table import PvsTable
from napari_pvs.widgets.correct.review_queue import QueuePanel
from napari_pvs.widgets.state.autosave import autosave_of


@pytest.fixture
def beside(open_scan, predict, qtbot, monkeypatch):
    session = open_scan()
    predict(session)
    monkeypatch.setattr(review_queue, "PAUSE_MS", 10)
    holder = QWidget()
    qtbot.addWidget(holder)
    components = Components(session, holder)
    review = QueuePanel(session, components, Clicker(session, holder), autosave_of(session))
    table = PvsTable(session, components, review)
    table.holder, table.review, table.components = holder, review, components
    for widget in (review, table):
        qtbot.addWidget(widget)
    qtbot.waitUntil(lambda: review.queue is not None, timeout=60_000)
    return session, table


def at(session, point):
    return display_index(point, session.scan)


def followed(table, qtbot, edit):
    with qtbot.waitSignal(table.followed, timeout=60_000):
        edit()


def one_voxel(point):
    return tuple(np.array([i]) for i in point)


def shown(table):
    rows = (row for row in table.rows if row.number is not None)
    return {row.number: (len(row.index[0]), round(row.probability, 2)) for row in rows}


def test_each_pvs_has_a_row(beside):
    _, table = beside
    assert sorted(shown(table).values()) == [(28, 0.95), (28, 0.97), (32, 0.6)]
    assert table.total.text() == "3 PVS, 45 mm³"
    model = table.table.model()
    texts = [model.index(0, column).data() for column in range(10)]
    # the largest first: 2x2x8 voxels of 0.8 mm
    assert texts == ["unreviewed", "1", "16.4", "6.4", "1.8", "0.60", "", "", "5, 15, 11", ""]
    # and what was perhaps missed
    assert [row.status for row in table.rows] == ["unreviewed"] * 3 + ["possibly missed"]


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


def test_moving_to_a_row_shows_the_pvs_and_puts_it_under_review(beside, qtbot):
    session, table = beside
    table.show()
    table.table.setFocus()
    table.table.selectRow(0)
    seen = []
    for _ in range(2):
        session.viewer.dims.set_point(0, 0)
        qtbot.keyClick(table.table, Qt.Key.Key_Down)
        row = table.table.current()
        assert session.viewer.dims.current_step[0] in row.index[0]
        assert table.review.item is row.item
        assert len(session.focus.voxels[0]) == len(row.index[0])
        seen.append(row.number)
    assert len(set(seen)) == 2
    # letters are the viewer's keys
    qtbot.keyClick(table.table, "u")
    assert table.table.current() is row


def test_the_row_is_that_of_the_pvs_under_review(beside):
    _, table = beside
    for _ in range(4):
        table.review.move_on()
        assert table.table.current().item is table.review.item


def test_a_click_on_a_pvs_selects_its_row_and_moves_nothing(beside):
    session, table = beside
    session.viewer.dims.set_point(0, 0)
    before = session.viewer.dims.point
    table.select(at(session, (6, 18, 12)))
    assert len(table.table.current().index[0]) == 32
    assert session.viewer.dims.point == before
    table.select(at(session, (12, 12, 12)))  # nothing is there
    assert table.table.current() is None


def test_taking_the_selected_pvs_away_does_not_move_the_view(beside, qtbot):
    session, table = beside
    table.select(at(session, (6, 6, 6)))
    session.viewer.dims.set_point(0, 0)
    before = session.viewer.dims.point
    row = table.table.current()
    followed(table, qtbot, lambda: session.labels.data_setitem(row.index, 0))
    assert row.number not in shown(table)
    assert session.viewer.dims.point == before
    assert "rejected" in [row.status for row in table.rows]


def test_status_and_number_follow_decisions_edits_and_undo(beside, qtbot):
    session, table = beside
    table.review.show_item(table.rows[0].item)
    table.review.no()
    states = {row.status for row in table.rows}
    assert states == {"rejected", "unreviewed", "possibly missed"}
    assert sorted(shown(table)) == [2, 3]
    table.review.undo()
    assert sorted(shown(table)) == [1, 2, 3]
    table.review.yes()
    assert table.rows[-1].status == "possibly missed"
    by_number = {row.number: row.status for row in table.rows}
    assert by_number[1] == "accepted"
    point = at(session, (6, 6, 12))
    followed(table, qtbot, lambda: session.labels.data_setitem(one_voxel(point), 1))
    number = table.components.at(point)
    assert {row.number: row.status for row in table.rows}[number] == "edited"
    followed(table, qtbot, session.labels.undo)
    assert {row.number: row.status for row in table.rows}[number] == "unreviewed"


def test_rows_can_be_chosen_by_status_and_exported(beside, monkeypatch, tmp_path):
    _, table = beside
    table.review.show_item(table.rows[0].item)
    table.review.yes()
    table.which.setCurrentText("Accepted")
    assert [row.number for row in table.rows] == [1]
    table.which.setCurrentText("Possibly missed")
    assert [row.number for row in table.rows] == [None]
    table.which.setCurrentText("All")
    out = tmp_path / "rows.tsv"
    monkeypatch.setattr(pvs_table, "ask_where", lambda *_: out)
    table.export.click()
    lines = [line.split("\t") for line in out.read_text().splitlines()]
    assert lines[0][:4] == ["subject", "id", "status", "voxels"]
    assert lines[1][:4] == ["scan", "1", "accepted", "32"]
    assert lines[-1][1:3] == ["n/a", "possibly missed"]


def test_many_changes_at_once(beside, qtbot, monkeypatch):
    monkeypatch.setattr(pvs_table, "_MANY", 2)
    session, table = beside
    layer = session.labels
    before = shown(table)
    followed(table, qtbot, lambda: layer.data_setitem(np.nonzero(layer.data), 0))
    assert shown(table) == {}
    assert table.total.text() == "0 PVS, 0 mm³"
    followed(table, qtbot, layer.undo)
    assert shown(table) == before


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
    table.table.sortByColumn(2, Qt.SortOrder.DescendingOrder)
    points = (np.full(20, 22), np.full(20, 14), np.arange(2, 22))
    followed(table, qtbot, lambda: session.labels.data_setitem(points, 1))
    sizes = [len(row.index[0]) for row in table.table.shown()]
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) == 5


def test_rows_have_region_and_side_once_they_are_known(beside):
    session, table = beside
    shape = session.scan.grid.shape
    index = np.broadcast_to(np.where(np.arange(shape[1]) < 14, 1, 2)[None, :, None], shape)
    sides = np.broadcast_to(np.where(np.arange(shape[0]) < 12, 1, 2)[:, None, None], shape)
    found = Regions(("front", "back"), index.astype(np.uint16), sides.astype(np.uint8))
    assert {row.region for row in table.rows} == {None}
    session.set_regions(found, None)
    where = {(row.region, row.side, round(row.place[0]), round(row.place[1])) for row in table.rows}
    for region, side, right, anterior in where:
        assert region == ("front" if anterior / 0.8 < 14 else "back")
        assert side == ("left" if right / 0.8 < 12 else "right")
    assert len({one[:2] for one in where}) > 2
    header, first, *_ = table.tsv().splitlines()
    row = dict(zip(header.split("\t"), first.split("\t"), strict=True))
    assert (row["region"], row["side"]) == (table.rows[0].region, table.rows[0].side)
