"""What scripts import to save layers."""

import pytest

pytest.importorskip("napari")

from napari_pvs.widgets import writer
from napari_pvs.widgets.viewer import files


def test_the_published_names_are_the_writers():
    assert writer.write_image is files.write_image
    assert writer.write_labels is files.write_labels
