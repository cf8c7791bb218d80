"""Keeps Python's collection of garbage short while a dock is open.

A full collection looks through all that napari and its libraries are made of, some 700,000
objects, and the viewer stands still for a quarter of a second: whenever a layer is removed, and
whenever enough has been made. What is there when the first dock opens is passed over until the
last one has closed; what comes later, such as the layers of scans, is collected as ever.
"""

import gc
import weakref
from collections.abc import Iterable
from typing import Any

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
