"""The canvas and camera of a viewer, where napari's versions differ or would crash."""

import weakref
from typing import Any


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
