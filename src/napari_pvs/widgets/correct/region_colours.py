"""PVS of the labels in the colours of their regions, on a layer that follows edits."""

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray
from qtpy.QtWidgets import QCheckBox

from napari_pvs.scans.display import from_display
from napari_pvs.scans.masks import Voxels
from napari_pvs.scans.regions import ELSEWHERE, Regions, place_of
from napari_pvs.widgets.correct.components import Components
from napari_pvs.widgets.state.session import Session
from napari_pvs.widgets.viewer.canvas import add
from napari_pvs.widgets.viewer.layers import grid_layer
from napari_pvs.widgets.viewer.typed import LabelsLayer

NAME = "PVS by region"
COLOURS = (
    *("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7"),
    *("#ffffff", "#999999", "#8c6bb1", "#a6761d", "#66a61e"),
)
"""In the order of the regions; the first seven are those of Okabe and Ito, told apart by all."""
_FIRST = 1  # number of the first region in the layer; what lies in none is the last


class RegionColours(QCheckBox):
    """Shows the layer, and keeps it as the labels are.

    Parameters
    ----------
    session
        Of the viewer.
    components
        The PVS of its labels.
    """

    def __init__(self, session: Session, components: Components) -> None:
        super().__init__("Colours by region")
        self._session, self._components = session, components
        self.layer: LabelsLayer | None = None
        self.toggled.connect(lambda _: self._update())
        session.regions_changed.connect(self._on_regions)
        components.replaced.connect(self._update)
        components.changed.connect(lambda *_: self._update())
        session.viewer.layers.events.removed.connect(self._on_removed)
        self._on_regions()

    def _on_regions(self) -> None:
        there = self._session.regions is not None
        self.setEnabled(there)
        self.setToolTip(
            "Show each PVS in the colour of its region, on a layer of its own."
            if there
            else "Show each PVS in the colour of its region; find the regions in the Metrics dock "
            "first."
        )
        self._remove()
        self._update()

    def _update(self) -> None:
        """Show what the labels are now."""
        regions, scan = self._session.regions, self._session.scan
        if not self.isChecked() or regions is None or scan is None:
            self._remove()
            return
        numbers = np.zeros(scan.grid.shape[::-1], np.uint8)
        for entry in self._components.entries.values():
            numbers[entry.index] = self._number(entry.index, regions)
        if self.layer is not None:
            self.layer.data = numbers
            return
        self.layer = self._made(from_display(numbers), regions)
        active = self._session.viewer.layers.selection.active
        add(self._session.viewer, self.layer, self._session)
        self._session.viewer.layers.selection.active = active  # the labels, which keys work on

    def _number(self, index: Voxels, regions: Regions) -> int:
        scan = self._session.require_scan()
        z, y, x = index
        voxels = np.stack([x, scan.grid.shape[1] - 1 - y, z], 1)
        names = (*regions.names, ELSEWHERE)
        return _FIRST + names.index(place_of(voxels, regions).region)

    def _made(self, numbers: NDArray[np.uint8], regions: Regions) -> LabelsLayer:
        from napari.utils.colormaps import DirectLabelColormap

        scan = self._session.require_scan()
        data, meta, _ = grid_layer(numbers, scan.grid, scan.source, NAME, "labels")
        names = (*regions.names, ELSEWHERE)
        colours = {_FIRST + at: COLOURS[at % len(COLOURS)] for at in range(len(names))}
        known: dict[int | None, str] = {None: "transparent", 0: "transparent"}
        meta["colormap"] = DirectLabelColormap(color_dict=known | colours)
        # napari's status bar shows what is under the pointer
        meta["features"] = {"index": [0, *colours], "region": ["", *names]}
        layer: LabelsLayer = Labels(data, **meta, opacity=0.9)
        layer.editable = False
        return layer

    def _remove(self) -> None:
        layer, self.layer = self.layer, None
        if layer is not None and layer in self._session.viewer.layers:
            self._session.viewer.layers.remove(layer)

    def _on_removed(self, event: object) -> None:
        if self.layer is not None and getattr(event, "value", None) is self.layer:
            self.layer = None
            self.setChecked(False)
