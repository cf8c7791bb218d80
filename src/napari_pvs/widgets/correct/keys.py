"""Keys and mouse of the labels layer while it is corrected."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.widgets.viewer.canvas import camera_of
from napari_pvs.widgets.viewer.typed import LabelsLayer, MouseEvent, Viewer

Point = tuple[int, int, int]

_NAPARI_KEYS = (
    ("P", "brush"),
    ("E", "eraser"),
    ("Z", "move and zoom"),
    ("Ctrl+Z", "undo"),
    ("Ctrl+Shift+Z", "redo"),
)
_STILL = 4  # pixels that the mouse may move between press and release of a click


@dataclass(frozen=True)
class Key:
    """One key, what it does, and the call that does it."""

    key: str
    title: str
    call: Callable[[], object]


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
    viewer
        Of the layer.
    quick
        Tells whether a quick second click is one more; else it is napari's, which zooms.
    """

    def __init__(
        self,
        layer: LabelsLayer,
        keys: Iterable[Key],
        on_click: Callable[[LabelsLayer, MouseEvent], None],
        viewer: Viewer,
        quick: Callable[[], bool],
    ) -> None:
        self.layer = layer
        self._keys = tuple(keys)
        self._on_click, self._quick = on_click, quick
        self._viewer = viewer
        self._view: tuple[Any, ...] = ()
        for key in self._keys:
            layer.bind_key(key.key, _calling(key), overwrite=True)
        layer.mouse_drag_callbacks.append(self._on_drag)
        layer.mouse_double_click_callbacks.append(self._on_second)
        viewer.mouse_double_click_callbacks.insert(0, self._before_second)  # then comes napari's

    def release(self) -> None:
        """Leave the layer as it was."""
        for key in self._keys:
            self.layer.bind_key(key.key, None)
        for calls, call in (
            (self.layer.mouse_drag_callbacks, self._on_drag),
            (self.layer.mouse_double_click_callbacks, self._on_second),
            (self._viewer.mouse_double_click_callbacks, self._before_second),
        ):
            if call in calls:
                calls.remove(call)

    def _before_second(self, viewer: Viewer, _: MouseEvent) -> None:
        camera = camera_of(viewer)
        self._view = camera.zoom, camera.center

    def _on_second(self, layer: LabelsLayer, event: MouseEvent) -> None:
        if self._plain(event) and self._quick():
            camera = camera_of(self._viewer)
            camera.zoom, camera.center = self._view
            self._on_click(layer, event)

    def _plain(self, event: MouseEvent) -> bool:
        return event.button == 1 and not event.modifiers and self.layer.mode == "pan_zoom"

    def _on_drag(self, layer: LabelsLayer, event: MouseEvent) -> Iterator[None]:
        if not self._plain(event):
            return
        start = np.array(event.pos)
        yield
        still = True
        while event.type == "mouse_move":
            still = still and np.abs(np.array(event.pos) - start).max() <= _STILL
            yield
        if still:
            self._on_click(layer, event)


def _calling(key: Key) -> Callable[[object], None]:
    """Return a function that does what a key does; napari asks for its name."""

    def call(_: object) -> None:
        key.call()

    return call


def listed(keys: Iterable[Key]) -> str:
    """Return keys, and napari's own that help, as a table of rich text."""
    rows = [(key.key, key.title) for key in keys]
    cells = "".join(
        f"<tr><td><b>{key}</b>&nbsp;</td><td>{title}</td></tr>"
        for key, title in (*rows, *_NAPARI_KEYS)
    )
    return f"<table>{cells}</table>"


def voxel_under(
    layer: LabelsLayer, event: MouseEvent, choose: Callable[[NDArray[np.int_]], int | None]
) -> Point | None:
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
