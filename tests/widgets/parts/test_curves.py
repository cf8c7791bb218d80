"""Curves: what is drawn, and that thousands of steps stay few."""

import pytest

pytest.importorskip("napari")
pytest.importorskip("pyqtgraph")

from napari_pvs.training.runs.status import History
from napari_pvs.widgets.parts.curves import Curves


@pytest.fixture
def curves(qtbot):
    curves = Curves()
    qtbot.addWidget(curves)
    qtbot.waitUntil(lambda: curves.ready)
    curves.wait = lambda: qtbot.waitUntil(lambda: curves.drawn)
    return curves


def lines(plot):
    data = [item.getData() for item in plot.listDataItems()]
    return [[] if x is None else list(zip(x, y, strict=True)) for x, y in data]


def test_a_run(curves):
    course = History(
        loss={1: 0.9, 2: 0.5},
        validation={1: (0.3, None, 0.5), 2: (0.6, 40.0, 0.7)},
        steps=[(0.5, 1.0), (1.5, 0.6)],
    )
    curves.show_run("one", History(loss={1: 9.0}), epochs=1)  # what follows takes its turn
    curves.show_run("one", course, epochs=4)
    curves.wait()
    loss, measures, avd = map(lines, curves.plots)
    assert loss == [[(0.5, 1.0), (1.5, 0.6)], [(1, 0.9), (2, 0.5)]]
    assert measures == [[(1, 0.3), (2, 0.6)], [(1, 0.5), (2, 0.7)]]
    assert avd == [[(2, 40.0)]]
    assert curves.plots[0].viewRange()[0][1] >= 4
    assert curves.plots[2].viewRange()[1][1] == pytest.approx(40, rel=0.2)
    course.validation[1] = (0.3, 25_000.0, 0.5)
    curves.show_run("one", course, epochs=4)
    curves.wait()
    assert len(lines(curves.plots[0])) == 2
    assert curves.plots[2].viewRange()[1][1] == pytest.approx(200, rel=0.2)


def test_what_is_shown_before_the_plots_are_there_is_drawn_then(qtbot):
    curves = Curves()
    qtbot.addWidget(curves)
    curves.show_runs([("old", History(loss={1: 0.7}))])
    curves.show_run("one", History(loss={1: 0.9}), epochs=4)
    assert not curves.ready
    assert [name for name, _ in curves.shown] == ["one"]
    qtbot.waitUntil(lambda: curves.drawn)
    assert lines(curves.plots[0]) == [[(1, 0.9)]]


def test_taken_away_before_the_plots_are_there(qtbot):
    curves = Curves()
    curves.deleteLater()
    qtbot.wait(300)  # no turn may reach what is gone: it would raise
    assert not curves.ready


def test_several_runs(curves):
    one, two = (
        History(loss={1: 0.9}, validation={1: (0.3, 9.0, 0.5)}),
        History(loss={1: 0.2, 9: 0.1}),
    )
    curves.show_runs([("one", one), ("two", two)])
    curves.wait()
    assert [len(lines(plot)) for plot in curves.plots] == [2, 2, 2]
    assert lines(curves.plots[1]) == [[(1, 0.3)], []]
    curves.show_runs([])
    curves.wait()
    assert [len(lines(plot)) for plot in curves.plots] == [0, 0, 0]
