"""Shows in the viewer which PVS is under review, by a ring that is no data of anybody's."""

from typing import Any

import numpy as np

from napari_pvs.inference.nearby import Point
from napari_pvs.widgets.notes import KEY
from napari_pvs.widgets.session import Session

COLOUR = "#ff5fd2"  # none of the label layers'
WIDTH_MM = 9.0
"""Of the ring: it must not hide the PVS."""
_SLICES = 3  # to each side that show it too


class Marker:
    """A ring around one voxel, in a layer of its own that comes and goes with what it marks.

    It lies in the list of layers as *under review*, cannot be edited, and is in no file that the
    plugin writes. Whoever deletes it gets it back with the next mark.

    Parameters
    ----------
    session
        Whose viewer.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._layer: Any = None
        self._marked: Any = None
        events = session.viewer.dims.events
        for event in (events.order, events.ndisplay):
            event.connect(self._turn)

    def show(self, layer: Any, point: Point) -> None:
        """Mark a voxel of a layer's data."""
        viewer = self._session.viewer
        self._marked = layer, point
        if self._layer in viewer.layers:
            self._layer.scale, self._layer.translate = layer.scale, layer.translate
            self._layer.size = WIDTH_MM / min(layer.scale)
            self._layer.data = self._places()
            return
        active = viewer.layers.selection.active
        self._layer = viewer.add_points(
            self._places(),
            name="under review",
            scale=layer.scale,  # another would change the slider's steps
            translate=layer.translate,
            size=WIDTH_MM / min(layer.scale),
            face_color="transparent",
            border_color=COLOUR,
            border_width=0.05,
            canvas_size_limits=(0, 10_000),  # else other slices get a black dot at their origin
            units=layer.units,
            axis_labels=layer.axis_labels,
            metadata={KEY: {"role": "mark"}},
        )
        self._layer.editable = False
        viewer.layers.selection.active = active  # keys work on the labels alone

    def clear(self) -> None:
        """Take the mark away."""
        layer, self._layer, self._marked = self._layer, None, None
        if layer is not None and layer in self._session.viewer.layers:
            self._session.viewer.layers.remove(layer)

    def _places(self) -> Any:
        """The voxel, and in 2D the same place in the slices beside it."""
        layer, point = self._marked
        dims = self._session.viewer.dims
        places = [point]
        if dims.ndisplay == 2:
            first = dims.ndim - len(point)
            axis = next(axis for axis in dims.not_displayed[::-1] if axis >= first) - first
            steps = range(-_SLICES, _SLICES + 1)
            places = [np.add(point, k * np.eye(3)[axis]) for k in steps]
        inside = np.array(layer.data.shape) - 1
        return np.array([place for place in places if (np.clip(place, 0, inside) == place).all()])

    def _turn(self, _: Any = None) -> None:
        """Follow another view: other slices are beside the voxel."""
        if self._layer in self._session.viewer.layers:
            self._layer.data = self._places()
            self._layer.editable = False
