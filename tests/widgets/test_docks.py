"""The docks with all that they show filled in: narrow, by keys alone, in both themes."""

import os
import sys

import numpy as np
import pytest

pytest.importorskip("napari")
if sys.platform == "linux" and not os.environ.get("DISPLAY"):
    pytest.skip("no display; run under xvfb-run", allow_module_level=True)

from napari._qt.qt_resources import get_stylesheet
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QProgressBar,
    QScrollBar,
    QWidget,
)

from napari_pvs.study.bids import subjects
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.runs.events import EventLog
from napari_pvs.widgets.dock import WIDTH
from napari_pvs.widgets.parts.controls import Button
from napari_pvs.widgets.parts.table import Table

NAMES = ("Load", "Segment", "Correct", "Train", "Metrics")
LONG = 300_000
CONTROLS = (
    *(QAbstractButton, QComboBox, QAbstractSpinBox, QAbstractSlider, QLineEdit),
    *(QPlainTextEdit, QProgressBar, Table),
)


@pytest.fixture
def docks(make_napari_viewer, make_study, tiny_weights, qtbot, wait, own_folders):
    """Docks with a study, a subject, its prediction, labels to review, and a run."""
    viewer = make_napari_viewer()
    docks = {name: viewer.window.add_plugin_dock_widget("napari-pvs", name)[1] for name in NAMES}
    study = make_study(3)
    make_run(study)
    load, segment, correct, train, _ = docks.values()
    with qtbot.waitSignal(load.subjects.listed, timeout=LONG):
        load.open_study(study)
    load.load_subject(subjects(study)[0])
    wait(load)
    assert load.session.scan is not None, load.notice.text()
    segment.add_weights(tiny_weights)
    segment.device.set("cpu")
    segment.run_it()
    wait(segment)
    assert segment.notice.isHidden(), segment.notice.text()
    correct.copy.click()
    # labels that are the prediction would not be measured against it
    load.session.labels.data_setitem(tuple(np.array([n]) for n in (12, 12, 12)), 1)
    load.session.set_reference(segment.session.prediction.layer)
    qtbot.waitUntil(lambda: docks["Metrics"].agreement is not None, timeout=LONG)
    train._stop_planning()
    train.form.more.expand(animate=False)
    train.new.expand(animate=False)
    for dock in docks.values():
        dock.notice.error("/a/long/path/without/a/space" * 9 + " is gone; look for it.")
    return docks


def make_run(study):
    """A run that has died."""
    run = study / "derivatives" / "runs" / "20260101-120000-supervised-multi-with-a-long-name"
    run.mkdir(parents=True)
    (run / "config.json").write_text(TrainingConfig(study=study).model_dump_json())
    log = EventLog(run / "events.jsonl")
    log.write("hello", step=0, of=5000)
    log.write("epoch", epoch=1, of=100, loss=1.0)
    (run / "train.log").write_text("a line that is much longer than the dock is wide " * 9)


def shown(dock, kinds):
    """Widgets of some kinds that are seen, but for the parts of others."""
    inner = (QAbstractItemView, QAbstractSpinBox, QComboBox)
    return [
        child
        for child in dock.findChildren(QWidget)
        if isinstance(child, kinds)
        and child.isVisible()
        and not isinstance(child, QScrollBar)
        and not isinstance(child.parent(), inner)
    ]


def tip_of(widget, dock):
    """What Qt shows of a widget: its tooltip, or that of what it is a part of."""
    while widget is not dock:
        if widget.toolTip():
            return widget.toolTip()
        widget = widget.parent()
    return ""


def alone(dock, qtbot, theme):
    """Take a dock out of its window, as narrow as it can be, with the window's style."""
    dock.setParent(None)
    dock.setStyleSheet(get_stylesheet(theme))
    dock.resize(WIDTH, 900)
    qtbot.addWidget(dock, before_close_func=lambda dock: dock.stop())
    with qtbot.waitExposed(dock, timeout=LONG):
        dock.show()


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_filled_docks_are_narrow_and_every_control_explains_itself(docks, qtbot, theme):
    docks["Load"].session.viewer.theme = theme
    wide, mute = [], []
    for name, dock in docks.items():
        alone(dock, qtbot, theme)
        assert dock.width() == WIDTH
        for child in shown(dock, (*CONTROLS, QLabel)):
            right = child.mapTo(dock, QPoint(child.width(), 0)).x()
            if right > WIDTH:
                wide.append((name, type(child).__name__, right))
            if isinstance(child, CONTROLS) and not tip_of(child, dock):
                mute.append((name, type(child).__name__, getattr(child, "text", str)()))
        dock.hide()
    assert docks["Train"].view.why.kind == "error"
    buttons = [button for dock in docks.values() for button in dock.findChildren(Button)]
    assert all(button.toolTip() for button in buttons)  # those that are not seen, too
    tables = [table for dock in docks.values() for table in dock.findChildren(Table)]
    assert len(tables) > 4
    silent = [one.title for table in tables for one in table.model_.columns if not one.tip]
    assert (wide, mute, silent) == ([], [], [])


@pytest.mark.parametrize("name", NAMES)
def test_the_tab_key_goes_down_a_dock(docks, qtbot, name):
    dock = docks[name]
    alone(dock, qtbot, "dark")
    stops = [
        child
        for child in shown(dock, CONTROLS)
        if child.isEnabled() and child.focusPolicy() & Qt.FocusPolicy.TabFocus
    ]
    order, at = [], dock
    for _ in range(2000):
        at = at.nextInFocusChain()
        if at is dock:
            break
        if any(at is one for one in stops):
            order.append(at)
    assert len(order) == len(stops) > 2
    tops = [one.mapTo(dock, QPoint(0, one.height() // 2)).y() for one in order]
    back = [
        (type(one).__name__, one.toolTip(), top, after)
        for one, top, after in zip(order, tops, tops[1:], strict=False)
        if after < top - 12
    ]
    assert back == []
    docks.clear()
    del dock, at, order, stops, tops
