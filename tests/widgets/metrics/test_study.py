"""The runs of a study, side by side in the Metrics dock."""

import csv
from types import SimpleNamespace

import pytest

pytest.importorskip("napari")

from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage
from qtpy.QtWidgets import QFileDialog

from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.runs.events import EventLog
from napari_pvs.widgets.metrics.dock import Metrics

LONG = 300_000


@pytest.fixture
def dock(qtbot, own_folders):
    viewer = ViewerModel()
    dock = Metrics(viewer)
    dock.viewer = viewer
    qtbot.addWidget(dock, before_close_func=lambda dock: dock.stop())
    return dock


@pytest.fixture
def study(tmp_path):
    root = tmp_path / "study"
    for name, best in (("one", 0.5), ("two", 0.75)):
        run = root / "derivatives" / "runs" / name
        run.mkdir(parents=True)
        (run / "config.json").write_text(TrainingConfig(study=root).model_dump_json())
        log = EventLog(run / "events.jsonl")
        log.write("hello", step=0, of=5000)
        for epoch, dsc in ((1, best - 0.25), (2, best)):
            log.write("epoch", epoch=epoch, of=100, loss=1 / epoch)
            log.write("validation", epoch=epoch, dsc=dsc, avd_percent=None, recall=0.4)
    return root


def run(qtbot, table):
    assert table.compare.isEnabled(), table.compare.toolTip()
    qtbot.mouseClick(table.compare, Qt.MouseButton.LeftButton)
    with qtbot.waitSignal(table._dock._job.ended, timeout=LONG):
        pass


def test_runs_are_compared_and_exported(dock, study, qtbot, tmp_path, monkeypatch):
    table = dock.runs
    assert "open a study" in table.compare.toolTip()
    dock.session.set_study(study, None)
    assert "compare runs first" in table.tsv.toolTip()
    run(qtbot, table)
    assert [row.name for row in table.table.shown()] == ["one", "two"]
    assert [name for name, _ in table.curves.shown] == ["one", "two"]
    assert dict(table.curves.shown)["two"].validation == {1: (0.5, None, 0.4), 2: (0.75, None, 0.4)}
    assert ">●</span> two" in table.legend.text()
    table.table.selectRow(1)
    assert [name for name, _ in table.curves.shown] == ["two"]

    asked = iter([str(tmp_path / "runs.tsv"), str(tmp_path / "runs.png")])
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (next(asked), ""))
    for button in (table.tsv, table.png):
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    with (tmp_path / "runs.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [(row["run"], row["state"], row["DSC"]) for row in rows] == [
        ("one", "died", "0.500"),
        ("two", "died", "0.750"),
    ]
    assert QImage(str(tmp_path / "runs.png")).width() > 100


def test_a_study_without_runs(dock, qtbot, tmp_path):
    dock.session.set_study(tmp_path, None)
    run(qtbot, dock.runs)
    assert "no runs yet; start one in the Train dock" in dock.notice.text()
    assert not dock.runs.tsv.isEnabled()


def test_runs_and_scores_go_when_another_study_is_opened(dock, study, qtbot, tmp_path):
    dock.session.open_study(study)
    run(qtbot, dock.runs)
    dock.study.table.set_rows([SimpleNamespace(subject="sub-01")])
    dock.study._tsv = "subject\n"
    (tmp_path / "other").mkdir()
    dock.session.open_study(tmp_path / "other")
    assert dock.runs.table.rows == dock.study.table.rows == []
    assert not dock.runs.curves.isVisibleTo(dock)
    assert not dock.runs.tsv.isEnabled()
    assert not dock.study.export.isEnabled()
    # what is still read of the one before does not come
    dock.session.open_study(study)
    qtbot.mouseClick(dock.runs.compare, Qt.MouseButton.LeftButton)
    dock.session.open_study(tmp_path / "other")
    with qtbot.waitSignal(dock._job.ended, timeout=LONG):
        pass
    assert dock.runs.table.rows == []
