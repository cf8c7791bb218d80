"""One thread whose answers arrive in the viewer's thread."""

import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("napari")

from qtpy.QtCore import QObject

from napari_pvs.errors import InputError
from napari_pvs.widgets.background.thread import Background

LONG = 60_000


@pytest.fixture
def background(qapp):
    parent = QObject()
    made = Background(parent)
    yield made
    made.wait()
    parent.deleteLater()


def raising(error):
    raise error


def test_one_after_the_other_and_answers_come_to_the_viewers_thread(background, qtbot):
    told, threads = [], set()
    for number in range(5):

        def work(number=number):
            threads.add(threading.get_ident())
            time.sleep(0.01 * (5 - number))
            return number

        background.submit(work, lambda n: told.append((n, threading.get_ident())))
    qtbot.waitUntil(lambda: len(told) == 5, timeout=LONG)
    assert [number for number, _ in told] == [0, 1, 2, 3, 4]
    assert {where for _, where in told} == {threading.get_ident()}
    assert len(threads) == 1
    assert threads != {threading.get_ident()}


def test_wrong_input_is_a_sentence_and_anything_else_is_raised(background, qtbot):
    told = []
    background.submit(lambda: raising(InputError("it is so; do that.")), told.append, told.append)
    qtbot.waitUntil(lambda: bool(told), timeout=LONG)
    assert told == ["It is so; do that."]
    background.submit(Path("/gone/away").read_bytes, told.append, told.append)
    qtbot.waitUntil(lambda: len(told) == 2, timeout=LONG)
    assert told.pop() == "/gone/away: No such file or directory."
    with qtbot.captureExceptions() as caught:
        background.submit(lambda: raising(KeyError("a bug")), told.append, told.append)
        qtbot.waitUntil(lambda: bool(caught), timeout=LONG)
    assert caught[0][0] is KeyError
    assert told[1:] == ["KeyError: 'a bug'."]


def test_what_was_begun_is_finished_without_a_listener(qapp):
    parent = QObject()
    background, done = Background(parent), []
    background.submit(lambda: (time.sleep(0.05), done.append(1)), done.append)
    background.wait()
    assert done == [1]
    parent.deleteLater()


def test_answers_stop_when_the_parent_is_gone(qtbot):
    parent, told = QObject(), []
    background = Background(parent)
    background.submit(lambda: time.sleep(0.05), told.append)
    with qtbot.waitSignal(parent.destroyed, timeout=LONG):
        parent.deleteLater()
    background.wait()
    qtbot.wait(20)
    assert told == []
