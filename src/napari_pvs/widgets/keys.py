"""Keys and mouse of the labels layer while it is corrected."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

Point = tuple[int, int, int]

_STILL = 4  # pixels that the mouse may move between press and release of a click


@dataclass(frozen=True)
class Key:
    """One key, what it does, and the call that does it."""

    key: str
    title: str
    call: Callable[[], Any]


class Binding:
    """Keys and clicks bound to one layer, until `release`.

    Keys work while the layer is selected in the layer list and the mouse or focus is on the canvas.

    Parameters
    ----------
    layer
        A Labels layer.
    keys
        To be bound; they win over napari's own.
    on_click
        Gets the layer and the mouse event of a press and release of the left button in one place.
    """

    def __init__(
        self, layer: Any, keys: Iterable[Key], on_click: Callable[[Any, Any], None]
    ) -> None:
        self.layer = layer
        self._keys = tuple(keys)
        self._on_click = on_click
        for key in self._keys:
            layer.bind_key(key.key, lambda _, call=key.call: call(), overwrite=True)
        layer.mouse_drag_callbacks.append(self._on_drag)

    def release(self) -> None:
        """Leave the layer as it was."""
        for key in self._keys:
            self.layer.bind_key(key.key, None)
        if self._on_drag in self.layer.mouse_drag_callbacks:
            self.layer.mouse_drag_callbacks.remove(self._on_drag)

    def _on_drag(self, layer: Any, event: Any) -> Any:
        if event.button != 1 or event.modifiers or layer.mode != "pan_zoom":
            return
        start = np.array(event.pos)
        yield
        still = True
        while event.type == "mouse_move":
            still = still and np.abs(np.array(event.pos) - start).max() <= _STILL
            yield
        if still:
            self._on_click(layer, event)


def voxel_under(layer: Any, event: Any, choose: Callable[[np.ndarray], int | None]) -> Point | None:
    """Find the voxel that a mouse event points at, None outside the data.

    Parameters
    ----------
    layer
        Of three axes.
    event
        napari's.
    choose
        In 3D a line of voxels lies under the mouse: it gets their indices (N, 3), from front to
        back, and returns which one is meant.
    """
    if len(event.dims_displayed) < 3:
        index = np.rint(layer.world_to_data(event.position)).astype(int)[-3:]
        inside = ((index >= 0) & (index < layer.data.shape)).all()
        return (int(index[0]), int(index[1]), int(index[2])) if inside else None
    # the viewer has more axes where another layer has
    more = len(event.position) - layer.ndim
    near, far = layer.get_ray_intersections(
        event.position[more:],
        event.view_direction[more:],
        [axis - more for axis in event.dims_displayed],
        world=True,
    )
    if near is None or far is None:
        return None
    steps = 2 * int(np.linalg.norm(np.subtract(far, near))) + 2
    line = np.rint(np.linspace(near, far, steps)).astype(int)
    line = np.clip(line, 0, np.array(layer.data.shape) - 1)
    at = choose(line)
    return None if at is None else (int(line[at][0]), int(line[at][1]), int(line[at][2]))
