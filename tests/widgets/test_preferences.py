"""Preferences: napari keeps them, the docks show them, and their defaults stand in one place."""

import gc
from typing import get_args

import pytest

pytest.importorskip("napari")

from npe2 import PluginManager

from napari_pvs.inference.config import SegmentConfig
from napari_pvs.network.device import Device
from napari_pvs.widgets import preferences as module
from napari_pvs.widgets.correct.dock import Correct
from napari_pvs.widgets.load.dock import Load
from napari_pvs.widgets.metrics.dock import Metrics
from napari_pvs.widgets.preferences import preferences
from napari_pvs.widgets.segment.dock import Segment
from napari_pvs.widgets.train.dock import Train


def manifest():
    manager = PluginManager.instance()
    manager.discover()
    return manager.get_manifest("napari-pvs").contributions.configurations


def test_the_manifest_offers_what_the_command_line_does():
    offered = manifest()["segment"].properties
    fields = SegmentConfig.model_fields
    for name in ("device", "windows", "min_volume"):
        assert offered[name].default == fields[name].default
    assert tuple(offered["device"].enum) == get_args(Device)
    assert tuple(offered["windows"].enum) == get_args(fields["windows"].annotation)
    assert fields["threshold"].default is None  # 0 stands for it


def test_what_a_dock_is_set_to_is_there_in_the_next(make_dock):
    dock = make_dock(Segment)
    assert dock.config() == SegmentConfig()
    dock.device.set("cpu")
    dock.windows.set("paper")
    again = make_dock(Segment)
    assert (again.config().device, again.config().windows) == ("cpu", "paper")
    assert "device: cpu" in preferences().config_path.read_text()


def test_docks_are_drawn_before_preferences_are_read(make_dock, monkeypatch, qtbot):
    chosen = preferences().segment
    chosen.windows, chosen.min_volume = "paper", 2.0
    preferences().correct.brush_3d = True
    monkeypatch.setattr(module, "_known", False)  # as in a process that has just begun
    read = []
    monkeypatch.setattr(module, "_read", lambda get=module._read: read.append(0) or get())
    segment, correct, *_others = map(make_dock, (Segment, Correct, Load, Metrics, Train))
    assert not read
    qtbot.waitUntil(correct.in_3d.isChecked)
    assert (segment.windows.raw(), segment.min_volume.value()) == ("paper", 2.0)
    assert (preferences().segment.windows, preferences().segment.min_volume) == ("paper", 2.0)


def test_a_choice_made_before_preferences_are_read_stays(make_dock, monkeypatch):
    preferences().segment.windows = "paper"
    monkeypatch.setattr(module, "_known", False)
    dock = make_dock(Segment)
    dock.device.set("cpu")
    assert (dock.config().device, dock.config().windows) == ("cpu", "paper")
    assert (preferences().segment.device, preferences().segment.windows) == ("cpu", "paper")


def test_open_docks_follow_napari_s_dialog_for_as_long_as_they_live(make_dock, qtbot):
    dock = make_dock(Segment)
    chosen = preferences().segment
    chosen.device, chosen.min_volume, chosen.threshold = "cpu", 3.0, 0.4
    assert dock.config() == SegmentConfig(device="cpu", min_volume=3.0, threshold=0.4)
    dock.deleteLater()
    qtbot.wait(10)
    chosen.device = "auto"
    del dock
    gc.collect()


# of napari's own commands, where it has no window yet
@pytest.mark.filterwarnings("ignore:Could not resolve type hint:UserWarning")
def test_they_are_changed_in_napari_s_own_dialog(qtbot, make_dock):
    dialogs = pytest.importorskip("napari._qt.dialogs.preferences_dialog")
    from qtpy.QtCore import Qt
    from qtpy.QtWidgets import QComboBox, QDoubleSpinBox

    preferences()  # finds the plugins
    dock = make_dock(Segment)
    dialog = dialogs.PreferencesDialog()
    qtbot.addWidget(dialog)
    (item,) = dialog._list.findItems("napari-pvs", Qt.MatchFlag.MatchContains)
    page = dialog._stack.widget(dialog._list.row(item))
    boxes = [box for box in page.findChildren(QComboBox) if box.findText("paper") >= 0]
    boxes[0].setCurrentText("paper")
    (least,) = [box for box in page.findChildren(QDoubleSpinBox) if box.value() == 1.0]
    least.setValue(2.5)
    dialog.accept()
    assert preferences().segment.windows == "paper"
    assert dock.config().windows == "paper"
    assert preferences().segment.min_volume == 2.5


def test_a_plugin_that_is_disabled_keeps_its_defaults(monkeypatch):
    def unknown(name):
        raise KeyError(f"Plugin named '{name}' does not exist.")

    new = preferences()
    monkeypatch.setattr("napari.settings.get_plugin_settings", unknown)
    old = preferences()
    for section in ("correct", "segment", "train", "planes"):
        assert vars(getattr(old, section)) == getattr(new, section).model_dump()
    old.correct.rater = "EF"
    assert preferences().correct.rater == "EF"
