"""What is noted on layers."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.layers import Labels, Layer

from napari_pvs.widgets import notes
from napari_pvs.widgets.notes import KEY


def duplicate(layer):
    """As napari does it."""
    return Layer.create(*layer.as_layer_data_tuple())


def test_a_duplicate_has_its_own_notes():
    study = Path("study")
    layer = Labels(np.zeros((2, 3, 4), np.uint8), metadata={KEY: {"loaded": {study: 1}}})
    assert notes.origin_of(layer) == ("drawn", None)
    copy = duplicate(layer)
    notes.note_origin(layer, "aaaa")
    notes.parents_of(layer)[study] = 2
    assert notes.origin_of(layer) == ("corrected", "aaaa")
    assert notes.origin_of(copy) == ("drawn", None)
    assert (notes.parents_of(layer), notes.parents_of(copy)) == ({study: 2}, {study: 1})
    notes.set_parent(copy, Path("drafts"), 5)
    assert notes.parents_of(copy) == {Path("drafts"): 5}
    notes.forget(layer)
    assert notes.parents_of(layer) == {study: 1}


def test_a_layer_of_the_users_own_has_none():
    layer = Labels(np.zeros((2, 3, 4), np.uint8))
    assert (notes.role_of(layer), notes.made_by(layer), notes.source_of(layer)) == (None,) * 3
    assert notes.parents_of(layer) == {}
    assert KEY not in layer.metadata
