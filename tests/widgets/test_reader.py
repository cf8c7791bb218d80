"""What scripts import to read files into layers."""

import pytest

pytest.importorskip("napari")

from napari_pvs.widgets import reader
from napari_pvs.widgets.viewer import files


def test_the_published_names_are_the_reader():
    assert reader.get_reader is files.get_reader
    assert reader.read is files.read
