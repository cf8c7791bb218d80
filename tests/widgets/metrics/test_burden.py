"""PVS by region in the Metrics dock: they follow edits; the report; all subjects of a study."""

import csv

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.components import ViewerModel
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QFileDialog

from napari_pvs.burden.count import count
from napari_pvs.jobs.scratch import Folder
from napari_pvs.scans.regions import Regions
from napari_pvs.widgets.metrics.dock import Metrics

LONG = 300_000


@pytest.fixture
def dock(make_dock, add_scan, head_files, own_folders):
    viewer = ViewerModel()
    add_scan(viewer, *head_files)
    return make_dock(Metrics, viewer)


@pytest.fixture
def regions(head):
    """The front half is white matter, the back half pons; left and right."""
    index = np.where(np.arange(head.brain.shape[1]) < 14, 1, 2)[None, :, None]
    index = np.where(head.brain, index, 0).astype(np.uint16)
    sides = np.where(np.arange(head.brain.shape[0]) < 12, 1, 2)[:, None, None]
    sides = np.broadcast_to(sides, index.shape).astype(np.uint8)
    return Regions(("white matter", "pons"), index, sides, head.brain, (1.0, 1.0))


def settled(qtbot, panel, shown):
    qtbot.waitUntil(lambda: not panel.soon.pending and shown(), timeout=LONG)


def texts(table):
    columns = table.model_.columns
    return [[column.text(row) for column in columns] for row in table.rows]


def test_pvs_are_counted_by_region_after_each_edit(dock, head, regions, qtbot):
    panel, session = dock.burden, dock.session
    assert "segment the scan or draw labels first" in panel.report.toolTip()
    labels = session.new_labels(head.label)
    settled(qtbot, panel, lambda: panel.counted is not None)
    whole = count(head.label, session.scan.grid, brain=session.scan.brain).burden[0]
    assert [row[:2] for row in texts(panel.table)] == [["all", str(whole.count)]]
    session.set_regions(regions, None)
    settled(qtbot, panel, lambda: len(panel.table.rows) == 3)
    assert "the regions are already known" in panel.regions.toolTip()
    wanted = count(head.label, session.scan.grid, regions=regions, brain=session.scan.brain)
    of = {(one.region, one.side): one for one in wanted.burden}
    for name, row in zip(("all", "white matter", "pons"), texts(panel.table), strict=True):
        both = of[name, "both"]
        assert row[:4] == [
            name, str(both.count), str(of[name, "left"].count), str(of[name, "right"].count)
        ]  # fmt: skip
        assert row[4] == f"{both.volume_mm3:.0f}"
    before = panel.counted
    labels.data_setitem(tuple(np.nonzero(labels.data)), 0)
    settled(qtbot, panel, lambda: panel.counted is not before)
    assert [row[1] for row in texts(panel.table)] == ["0", "0", "0"]


def test_a_blind_rater_has_only_own_labels_counted(dock, head, make_study, qtbot):
    panel, session = dock.burden, dock.session
    own = session.new_labels(head.label)
    other = session.new_labels(np.zeros_like(head.label), "other")
    session.set_labels(own)
    dock.what.setCurrentText(other.name)
    settled(qtbot, panel, lambda: panel.counted and panel.counted.burden[0].count == 0)
    session.open_study(make_study(1))
    other.data_setitem(tuple(np.array([at]) for at in np.argwhere(own.data)[0]), 1)
    settled(qtbot, panel, lambda: panel.counted and panel.counted.burden[0].count == 1)
    session.blind = True
    settled(qtbot, panel, lambda: panel.counted and panel.counted.burden[0].count > 1)
    assert "blind mode is on" in dock.study_burden.count.toolTip()
    session.blind = False
    settled(qtbot, panel, lambda: panel.counted and panel.counted.burden[0].count == 1)
    assert "blind mode" not in dock.study_burden.count.toolTip()


def test_regions_go_with_their_scan(dock, regions, qtbot):
    session = dock.session
    session.set_regions(regions, Folder())
    with qtbot.waitSignal(session.regions_changed):
        session.set_scan(None)
    assert session.regions is None
    assert session.regions_folder is None
    settled(qtbot, dock.burden, lambda: not dock.burden.table.rows)
    assert "load a scan first" in dock.burden.regions.toolTip()


def test_a_scan_with_too_little_brain_says_so(dock, click, wait):
    click(dock.burden.regions)
    wait(dock)
    assert "too little to lay a template over" in dock.notice.text()
    assert dock.session.regions is None
    assert dock.burden.regions.isEnabled()


def test_a_report_is_written_and_opened(dock, head, click, wait, qtbot, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    path = tmp_path / "page.html"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    dock.session.new_labels(head.label, "PVS of <b>me</b>")
    settled(qtbot, dock.burden, lambda: dock.burden.counted is not None)
    click(dock.burden.report)
    wait(dock)
    page = path.read_text(encoding="utf-8")
    assert "Perivascular spaces of t1" in page
    assert "PVS of &lt;b&gt;me&lt;/b&gt;" in page
    assert opened == [str(path)]
    table = tmp_path / "burden.tsv"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(table), ""))
    click(dock.burden.export)
    with table.open() as file:
        (row,) = csv.DictReader(file, delimiter="\t")
    assert (row["subject"], row["region"]) == ("t1", "all")
    assert int(row["count"]) == dock.burden.counted.burden[0].count


def test_all_subjects_are_counted(dock, make_study, click, wait, tmp_path, monkeypatch):
    panel = dock.study_burden
    assert "open a study first" in panel.count.toolTip()
    dock.session.open_study(make_study(3, labelled=2))
    click(panel.count)
    wait(dock)
    assert [row[:2] for row in texts(panel.table)] == [
        ["sub-01", "reference"],
        ["sub-02", "reference"],
    ]
    assert "sub-03: no label and no prediction yet" in dock.notice.text()
    path = tmp_path / "study.tsv"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    click(panel.export)
    with path.open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [(row["subject"], row["count"]) for row in rows] == [
        (row.subject, str(row.count)) for row in panel.table.rows
    ]
    dock.session.open_study(tmp_path)
    assert not panel.table.rows
    assert "count the study first" in panel.export.toolTip()
