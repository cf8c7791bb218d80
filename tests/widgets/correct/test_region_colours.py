"""PVS in the colours of their regions."""

import numpy as np
import pytest

pytest.importorskip("napari")

from qtpy.QtWidgets import QWidget

from napari_pvs.scans.display import display_index, to_display
from napari_pvs.scans.regions import Regions
from napari_pvs.widgets.correct.components import Components
from napari_pvs.widgets.correct.region_colours import COLOURS, NAME, RegionColours


@pytest.fixture
def regions(pvs_scan):
    """Front and back; what is highest is in none."""
    index = np.where(np.arange(pvs_scan.grid.shape[1]) < 14, 1, 2)[None, :, None]
    index = np.where(pvs_scan.brain, index, 0).astype(np.uint16)
    index[:, :, 22:] = 0
    return Regions(("front", "back"), index)


@pytest.fixture
def beside(open_scan, tubes, qtbot):
    session = open_scan()
    mask = np.zeros(session.scan.grid.shape, np.uint8)
    for name in ("sure", "doubtful"):
        mask[tubes[name]] = 1
    session.new_labels(mask)
    holder = QWidget()
    qtbot.addWidget(holder)
    components = Components(session, holder)
    box = RegionColours(session, components)
    box.holder, box.components = holder, components
    qtbot.addWidget(box)
    return session, box


def test_each_pvs_has_the_colour_of_its_region(beside, regions, tubes):
    session, box = beside
    assert not box.isEnabled()
    assert "Metrics dock" in box.toolTip()
    session.set_regions(regions, None)
    assert box.isEnabled()
    labels = session.labels
    session.viewer.layers.selection.active = labels
    box.setChecked(True)
    layer = session.viewer.layers[NAME]
    assert layer is box.layer
    assert not layer.editable
    assert session.labels is labels
    assert session.viewer.layers.selection.active is labels
    shown = {name: layer.data[to_index(session, tubes[name])] for name in ("sure", "doubtful")}
    assert {name: set(np.unique(values)) for name, values in shown.items()} == {
        "sure": {1}, "doubtful": {2},
    }  # fmt: skip
    np.testing.assert_array_equal(layer.data > 0, labels.data > 0)
    assert layer.features["region"].tolist() == ["", "front", "back", "elsewhere"]
    colours = [tuple(np.round(255 * layer.colormap.map(n)[:3]).astype(int)) for n in (1, 2)]
    assert colours == [tuple(bytes.fromhex(one[1:])) for one in COLOURS[:2]]


def to_index(session, tube):
    inside = np.zeros(session.scan.grid.shape, bool)
    inside[tube] = True
    return to_display(inside)


def test_it_follows_edits_and_goes(beside, regions, qtbot):
    session, box = beside
    session.set_regions(regions, None)
    box.setChecked(True)
    high = display_index((10, 10, 23), session.scan)
    with qtbot.waitSignal(box.components.changed, timeout=60_000):
        session.labels.data_setitem(tuple(np.array([i]) for i in high), 1)
    assert box.layer.data[high] == 3  # elsewhere
    with qtbot.waitSignal(box.components.changed, timeout=60_000):
        session.labels.undo()
    assert box.layer.data[high] == 0
    box.setChecked(False)
    assert NAME not in session.viewer.layers
    box.setChecked(True)
    session.viewer.layers.remove(NAME)
    assert not box.isChecked()
    assert box.layer is None
    box.setChecked(True)
    session.set_regions(None, None)
    assert NAME not in session.viewer.layers
    assert not box.isEnabled()
