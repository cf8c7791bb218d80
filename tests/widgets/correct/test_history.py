"""Decisions and edits are undone in the order in which they were made."""

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.layers import Labels

from napari_pvs.widgets.correct.history import History


@pytest.fixture
def layer():
    return Labels(np.zeros((6, 6, 6), np.uint8))


@pytest.fixture
def history(layer):
    return History(layer)


def stroke(layer, at, value=1):
    layer.data_setitem(tuple(np.array([i]) for i in (at, 0, 0)), value)


def decide(history, name, at=None):
    """A decision, which changes a voxel where one is given."""
    if at is not None:
        stroke(history.layer, at)
    history.record((name, 0, 0), (), (), edited=at is not None)


def names(steps):
    return [None if step is None else step.point[0] for step in steps]


def test_in_any_order(history, layer):
    decide(history, "a")
    stroke(layer, 1)
    decide(history, "b", at=2)
    decide(history, "c")
    decide(history, "d")
    stroke(layer, 3)
    whole = layer.data.copy()
    undone = [history.undo() for _ in range(6)]
    assert names(undone) == [None, "d", "c", "b", None, "a"]
    assert not layer.data.any()
    redone = [history.redo() for _ in range(6)]
    assert names(redone) == ["a", None, "b", "c", "d", None]
    np.testing.assert_array_equal(layer.data, whole)
    assert names([history.redo()]) == [None]


def test_nothing_to_undo(history):
    assert history.undo() is None
    assert history.redo() is None


def test_what_comes_after_an_undo_takes_the_place_of_what_was_undone(history, layer):
    decide(history, "a", at=1)
    decide(history, "b")
    history.undo()
    history.undo()
    stroke(layer, 2)
    assert names([history.redo()]) == [None]
    assert layer.data[:, 0, 0].tolist() == [0, 0, 1, 0, 0, 0]
    history.undo()
    decide(history, "c")
    assert names([history.redo()]) == [None]
    assert not layer.data.any()  # the stroke that was undone before is not redone after c
    assert names([history.undo()]) == ["c"]


def test_an_edit_that_was_undone_by_other_means_takes_its_decision_along(history, layer):
    decide(history, "a")
    decide(history, "b", at=1)
    layer.undo()
    assert names([history.undo()]) == ["a"]
    assert names([history.redo()]) == ["a"]


def test_a_decision_after_an_edit_that_is_gone_from_naparis_memory(history, layer):
    stroke(layer, 1)
    decide(history, "a")
    for n in range(layer._history_limit):
        stroke(layer, 2, value=1 + n % 2)
    for _ in range(layer._history_limit):
        assert history.undo() is None
    assert names([history.undo()]) == ["a"]
