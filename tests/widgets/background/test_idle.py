"""Work in pieces, between which the event loop lives."""

import time

import pytest

pytest.importorskip("napari")

from qtpy.QtCore import QCoreApplication, QEvent, QObject, QTimer

from napari_pvs.widgets.background.idle import IdleWork


def counting(said, n=50):
    try:
        for number in range(n):
            said.append(number)
            yield
        said.append("done")
    finally:
        said.append("closed")


def test_the_event_loop_lives_between_pieces(parent, qtbot):
    said = []
    turns = IdleWork(counting(said), parent)
    assert said == []
    with qtbot.waitSignal(turns.ended):
        QTimer.singleShot(0, lambda: said.append("something else"))
    assert [one for one in said if isinstance(one, int)] == list(range(50))
    assert said.index("something else") < said.index("done")
    assert said[-2:] == ["done", "closed"]


def test_what_is_due_after_a_long_piece_comes_before_the_next(parent, qtbot):
    said = []

    def work():
        for number in range(5):
            said.append(number)
            time.sleep(0.02)
            yield

    timer = QTimer(parent)
    timer.timeout.connect(lambda: said.append("due"))
    timer.start(5)
    with qtbot.waitSignal(IdleWork(work(), parent).ended):
        pass
    timer.stop()
    pieces = [one for one in said if one != "due"]
    assert pieces == list(range(5))
    for number in range(4):
        assert "due" in said[said.index(number) : said.index(number + 1)]


def test_the_rest_is_left_off_without_a_signal(parent, qtbot):
    said, ended = [], []
    turns = IdleWork(counting(said, 10**9), parent)
    turns.ended.connect(lambda: ended.append(1))
    qtbot.waitUntil(lambda: 0 in said)
    turns.stop()
    turns.stop()
    before = list(said)
    qtbot.wait(20)
    assert said == before
    assert said[-1] == "closed"
    assert not ended


def test_a_piece_may_stop_the_rest(parent, qtbot):
    def work():
        said.append(1)
        turns.stop()
        yield
        said.append(2)

    said = []
    turns = IdleWork(work(), parent)
    qtbot.waitUntil(lambda: bool(said))
    qtbot.wait(20)
    assert said == [1]


def test_a_failure_ends_it_and_is_raised(parent, qtbot):
    def work():
        yield
        raise ValueError("no")

    with qtbot.captureExceptions() as raised:
        turns = IdleWork(work(), parent)
        with qtbot.waitSignal(turns.ended):
            pass
    assert [str(value) for _, value, _ in raised] == ["no"]


def test_it_goes_with_its_parent(qtbot):
    said, parent = [], QObject()
    turns = IdleWork(counting(said, 10**9), parent)
    with qtbot.waitSignal(turns.destroyed):
        parent.deleteLater()
    before = len(said)
    qtbot.wait(20)
    assert len([one for one in said if one != "closed"]) <= before


def test_its_parent_may_go_while_a_piece_lets_the_event_loop_run(qtbot):
    said, parent = [], QObject()

    def work():
        yield
        parent.deleteLater()
        QCoreApplication.sendPostedEvents(parent, QEvent.Type.DeferredDelete)
        said.append(1)
        yield
        said.append(2)

    with qtbot.captureExceptions() as raised:
        IdleWork(work(), parent)
        qtbot.waitUntil(lambda: bool(said))
        qtbot.wait(20)
    assert not raised
    assert said == [1]
