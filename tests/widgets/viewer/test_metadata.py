"""What is noted on layers."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.layers import Labels, Layer

from napari_pvs.widgets.viewer import layers as metadata
from napari_pvs.widgets.viewer.layers import KEY


def duplicate(layer):
    """As napari does it."""
    return Layer.create(*layer.as_layer_data_tuple())


def test_a_duplicate_has_its_own_notes():
    study = Path("study")
    layer = Labels(np.zeros((2, 3, 4), np.uint8), metadata={KEY: {"loaded": {study: 1}}})
    assert metadata.origin_of(layer) == ("drawn", None)
    copy = duplicate(layer)
    metadata.record_origin(layer, "aaaa")
    metadata.parents_of(layer)[study] = 2
    assert metadata.origin_of(layer) == ("corrected", "aaaa")
    assert metadata.origin_of(copy) == ("drawn", None)
    assert (metadata.parents_of(layer), metadata.parents_of(copy)) == ({study: 2}, {study: 1})
    metadata.set_parent(copy, Path("drafts"), 5)
    assert metadata.parents_of(copy) == {Path("drafts"): 5}
    metadata.forget(layer)
    assert metadata.parents_of(layer) == {study: 1}


def test_a_layer_of_the_users_own_has_none():
    layer = Labels(np.zeros((2, 3, 4), np.uint8))
    assert (metadata.role_of(layer), metadata.made_by(layer), metadata.source_of(layer)) == (
        None,
    ) * 3
    assert metadata.parents_of(layer) == {}
    assert KEY not in layer.metadata
