"""Something is done once, a moment after it was last asked for."""

import pytest

pytest.importorskip("napari")

from qtpy.QtCore import QObject

from napari_pvs.widgets.background.debounce import Debouncer


def test_it_is_called_once_for_many_that_ask(parent, qtbot):
    called = []
    later = Debouncer(20, lambda: called.append(later.pending), parent)
    assert not later.pending
    for _ in range(5):
        later.throttle()
        assert later.pending
    qtbot.waitUntil(lambda: bool(called))
    assert called == [False]
    qtbot.wait(60)
    assert len(called) == 1
    later.throttle()
    qtbot.waitUntil(lambda: len(called) == 2)


def test_it_can_be_left_off_and_asked_for_again(parent, qtbot):
    called = []
    later = Debouncer(0, lambda: called.append(1), parent)
    later.throttle()
    later.cancel()
    assert not later.pending
    qtbot.wait(30)
    assert called == []
    later.throttle()
    qtbot.waitUntil(lambda: called == [1])


def test_it_may_ask_for_itself_again(parent, qtbot):
    called = []

    def call():
        called.append(1)
        if len(called) < 3:
            later.throttle()

    later = Debouncer(0, call, parent)
    later.throttle()
    qtbot.waitUntil(lambda: len(called) == 3)
    assert not later.pending


def test_nothing_is_called_for_a_parent_that_is_gone(qtbot):
    called = []
    owner = QObject()
    Debouncer(10, lambda: called.append(1), owner).throttle()
    owner.deleteLater()
    qtbot.wait(50)
    assert called == []
