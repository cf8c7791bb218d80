"""The PVS of the labels, followed edit by edit."""

import numpy as np
import pytest

pytest.importorskip("napari")

from napari_pvs.widgets.correct.components import Components


@pytest.fixture
def followed(open_scan, predict, parent):
    session = open_scan()
    predict(session)
    return session, Components(session, parent)


def test_it_says_what_an_edit_has_changed(followed):
    session, components = followed
    heard = []
    components.changed.connect(lambda gone, new: heard.append((gone, new)))
    first = components.entries[1].index
    session.labels.data_setitem(first, 0)
    voxels = components.follow()
    assert len(voxels[0]) == len(first[0])
    assert heard == [({1}, set())]
    session.labels.undo()
    components.follow()
    assert heard[1:] == [(set(), {1})]
    assert len(components.follow()[0]) == 0
    assert len(heard) == 2


def test_edits_are_the_users_and_what_is_filled_in_is_nobodys(followed, predict, probability):
    session, components = followed
    assert components.edited == set()
    x, y, z = components.entries[1].index
    session.labels.data_setitem((x[:4], y[:4], z[:4]), 0)
    components.follow()
    assert components.edited == {1}
    session.labels.undo()
    components.follow()
    assert components.edited == set()
    session.labels.data_setitem((x[:4], y[:4], z[:4]), 0)
    predict(session, found=probability)  # copied into the labels
    assert components.edited == set()


def test_labels_that_come_back_have_their_numbers(followed, open_scan):
    session, components = followed
    labels, numbers = session.labels, set(components.entries)
    session.set_labels(None)
    assert components.entries == {}
    assert components.index is None
    session.set_labels(labels)
    assert set(components.entries) == numbers
    points = {key: entry.point for key, entry in components.entries.items()}
    again = session.new_labels(session.array(labels).copy())
    assert again is session.labels
    assert {key: entry.point for key, entry in components.entries.items()} == points


def test_labels_of_another_shape_are_looked_at_anew(followed):
    session, components = followed
    heard = []
    components.replaced.connect(lambda: heard.append(1))
    session.labels.data = np.zeros((3, 4, 5), np.uint8)
    components.follow()
    assert heard == [1]
    assert components.entries == {}
