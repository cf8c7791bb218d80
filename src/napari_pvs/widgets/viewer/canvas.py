"""The canvas and camera of a viewer; adding and removing layers without a stall.

napari takes a tenth of a second to add a layer. A third of that can wait for later turns of the
event loop, or be done before: the sliders of an empty viewer, and what the polygon and brush tools
draw. When a layer is removed, napari runs a full garbage collection.
"""

import contextlib
import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from qtpy.QtCore import QObject

from napari_pvs.widgets.background.idle import IdleWork, Steps
from napari_pvs.widgets.viewer.typed import Layer, Viewer


def make_current(viewer: "weakref.ref[Any]", _: object = None) -> None:
    """Make the canvas of a viewer the current OpenGL context until the next drawing.

    napari carries out what is pending when a layer is removed, in whatever context is current
    then. Where it is not the canvas's, the next drawing may read freed buffers: a segmentation
    fault, with Mesa each time that two layers are removed without a drawing between them.
    """
    window = getattr(viewer(), "window", None)
    canvas = getattr(getattr(window, "_qt_viewer", None), "canvas", None)
    native: Any = getattr(canvas, "native", None)
    if hasattr(native, "makeCurrent"):
        native.makeCurrent()


Jump = Callable[[tuple[float, ...], float | None], None]
"""Shows a place, in the viewer's coordinates, at a zoom or at the same one."""
_views: "weakref.WeakKeyDictionary[Any, list[weakref.WeakMethod[Jump]]]"
_views = weakref.WeakKeyDictionary()


def follow_jumps(viewer: Viewer, show: Jump) -> None:
    """Let another view of the viewer follow when `show_voxel` moves it; a method, held weakly."""
    there = [one for one in _views.get(viewer, ()) if one() is not None]
    _views[viewer] = [*there, weakref.WeakMethod(show)]


def show_voxel(
    viewer: Viewer, layer: Layer, index: tuple[int, int, int], zoom: float | None = None
) -> None:
    """Centre the view on a voxel of a layer's data, and the other planes with it.

    Parameters
    ----------
    viewer, layer
        The viewer to move, and the layer of the voxel.
    index
        Of the layer's data.
    zoom
        Pixels of the canvas per mm; None leaves the zoom.
    """
    dims = viewer.dims
    camera = viewer.scene.camera
    world = layer.data_to_world(index)
    first = dims.ndim - len(world)
    dims.set_point(list(range(first, dims.ndim)), list(world))
    shown = [float(world[axis - first]) for axis in dims.displayed]
    camera.center = (*[0.0] * (3 - len(shown)), *shown)
    if zoom is not None:
        camera.zoom = zoom
    for view in _views.get(viewer, ()):
        show = view()
        if show is not None:
            show(tuple(float(one) for one in world), zoom)


def adding(viewer: Viewer, layer: Layer, selected: Layer | None = None) -> Steps:
    """Add a layer in steps, so that the viewer stays responsive.

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


def add(viewer: Viewer, layer: Layer, parent: QObject) -> None:
    """Add a layer at once; only what can wait is left to later turns.

    Parameters
    ----------
    viewer, layer
        As for `adding`.
    parent
        Owner; lives as long as the viewer.
    """
    steps = adding(viewer, layer)
    while layer not in viewer.layers:
        next(steps, None)  # of a layer without tools that was all
    work = IdleWork(steps, parent)
    work.ended.connect(work.deleteLater)


def remove(viewer: Viewer, layer: Layer) -> None:
    """Remove a layer without a look at the garbage of the whole process.

    napari collects it for each layer, and the viewer stands still for a good part of a second each
    time: a full collection looks through the 700,000 objects that napari and its libraries are
    made of. Python collects it later, in its own time.
    """
    with _without_collection():
        if layer in viewer.layers:
            viewer.layers.remove(layer)


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Leave nothing for a garbage collection to look at, for the time being.

    Freezing is the only way: napari calls `gc.collect` itself, which `gc.disable` does not stop.
    """
    if gc.get_freeze_count():  # someone else froze it, and will unfreeze it
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
