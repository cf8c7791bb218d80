"""Adding a layer to the viewer in pieces, because napari takes a tenth of a second for it.

A third of it goes to what can wait for the next turns of the event loop, or be done before: the
sliders, where the viewer was empty, and what the polygon and brush tools draw.
"""

from typing import Any

from qtpy.QtCore import QObject

from napari_pvs.widgets.turns import Steps, Turns


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
