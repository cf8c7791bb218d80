"""The canvas and camera of a viewer, where napari's versions differ or would crash."""

import contextlib
import gc
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

from qtpy.QtCore import QObject

from napari_pvs.widgets.background.idle import Steps, Turns


def camera_of(viewer: Any) -> Any:
    """Return the camera of a viewer."""
    return getattr(viewer, "scene", viewer).camera  # its place since napari 0.9


def make_current(viewer: "weakref.ref[Any]", _: Any = None) -> None:
    """Let what is told to OpenGL until the next drawing reach the canvas of a viewer.

    napari 0.9 carries out what is pending when a layer is removed, in whatever context is current
    then. Where it is not the canvas's, the next drawing may read freed buffers: a segmentation
    fault, with Mesa each time that two layers are removed without a drawing between them.
    """
    window = getattr(viewer(), "window", None)
    canvas = getattr(getattr(window, "_qt_viewer", None), "canvas", None)
    native = getattr(canvas, "native", None)
    if hasattr(native, "makeCurrent"):
        native.makeCurrent()


def adding(viewer: Any, layer: Any, selected: Any = None) -> Steps:
    """Add a layer; the viewer lives between the pieces.

    Parameters
    ----------
    viewer
        Of napari.
    layer
        A 3D image or labels.
    selected
        The layer that is selected then; the new one where None.
    """
    dims = viewer.dims
    if not viewer.layers and dims.ndim < layer.ndim:
        dims.ndim = layer.ndim
        yield
        low, high = layer.extent.world
        dims.range = tuple(zip(low, high, layer.extent.step, strict=True))
        yield
    # napari makes what draws a tool when that is first visible
    tools = [one for one in getattr(layer, "_overlays", {}).values() if one.visible]
    for tool in tools:
        tool.visible = False
    try:
        viewer.add_layer(layer)
        if selected is not None:
            viewer.layers.selection.active = selected
        while tools:
            yield
            tools.pop().visible = True
    finally:
        for tool in tools:
            tool.visible = True


def add(viewer: Any, layer: Any, parent: QObject) -> Any:
    """Add a layer at once, and return it; only what can wait is left to the next turns.

    Parameters
    ----------
    viewer, layer
        As for `adding`.
    parent
        Lives as long as the viewer.
    """
    steps = adding(viewer, layer)
    while layer not in viewer.layers:
        next(steps, None)  # of a layer without tools that was all
    turns = Turns(steps, parent)
    turns.ended.connect(turns.deleteLater)
    return layer


_open: set[int] = set()
_frozen = False  # gc.get_freeze_count would count them one by one
_before: "weakref.WeakSet[Any]" = weakref.WeakSet()


def hold(dock: Any, layers: Iterable[Any]) -> None:
    """Pass over what is there now, for as long as a dock is open.

    Parameters
    ----------
    dock
        It is open until `release`.
    layers
        Those of its viewer: these are large, and must not stay when they are removed.
    """
    global _frozen
    _open.add(id(dock))
    if not _frozen:
        _frozen = True
        _before.update(layers)
        gc.freeze()


def release(dock: Any) -> None:
    """Tell that a dock is closed."""
    _open.discard(id(dock))
    if not _open:
        _thaw()


def let_go(layer: Any) -> None:
    """Tell that a layer was removed: it can be collected, also if it was there before."""
    if layer in _before:
        _thaw()


def _thaw() -> None:
    global _frozen
    _before.clear()
    _frozen = False
    gc.unfreeze()


def show_voxel(
    viewer: Any, layer: Any, index: tuple[int, int, int], zoom: float | None = None
) -> None:
    """Show a voxel of a layer's data in the middle of the view; `zoom` as in `jump`."""
    dims = viewer.dims
    camera = camera_of(viewer)
    world = layer.data_to_world(index)
    first = dims.ndim - len(world)
    dims.set_point(list(range(first, dims.ndim)), list(world))
    shown = [float(world[axis - first]) for axis in dims.displayed]
    camera.center = (*[0.0] * (3 - len(shown)), *shown)
    if zoom is not None:
        camera.zoom = zoom


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Keep the whole process's garbage from being collected while a layer goes.

    napari does that for each of them, and the viewer stands still for a good part of a second
    each time. What is frozen is passed over; Python collects it later, in its own time.
    """
    if gc.get_freeze_count():  # somebody else does this; it is theirs to end
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
