"""Keys and mouse of the labels layer while it is corrected."""

import functools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.widgets.viewer.typed import LabelsLayer, Layer, MouseEvent, Viewer

Point = tuple[int, int, int]

_NAPARI_KEYS = (
    ("P", "brush"),
    ("E", "eraser"),
    ("Z", "move and zoom"),
)
_CHORDS = ("Ctrl", "Shift", "Alt", "Meta")
_STILL = 4  # pixels that the mouse may move between press and release of a click


@dataclass(frozen=True)
class Key:
    """One key, what it does, and the call that does it.

    Attributes
    ----------
    everywhere
        Whether it works whichever layer is selected.
    """

    key: str
    title: str
    call: Callable[[], object]
    everywhere: bool = False


class Binding:
    """Keys and clicks bound to one layer, until `release`.

    Keys work while the layer is selected in the layer list, those that work everywhere whichever
    is, wherever the focus is but in a field that takes text.

    napari puts a tool back when its key is released after a while, and remembers that for as long
    as no other function is called by the same key: Ctrl+Z after Z switched the brush on again, when
    Z was released. While the layer is bound, its tools' keys forget that at their first release.

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
    beside
        Other layers of the scan, for which napari has keys of its own.
    """

    def __init__(
        self,
        layer: LabelsLayer,
        keys: Iterable[Key],
        on_click: Callable[[LabelsLayer, MouseEvent], None],
        viewer: Viewer,
        quick: Callable[[], bool],
        beside: Iterable[Layer] = (),
    ) -> None:
        self.layer = layer
        self._keys = tuple(keys)
        self._beside = tuple(beside)
        self._on_click, self._quick = on_click, quick
        self._viewer = viewer
        self._view: tuple[Any, ...] = ()
        self._tools = _tool_keys(layer)
        for shortcut, tool in self._tools.items():
            layer.bind_key(shortcut, _released_once(tool), overwrite=True)
        for key in self._keys:
            for holder in self._holders(key):
                holder.bind_key(_shortcut(key), _calling(key), overwrite=True)
        layer.mouse_drag_callbacks.append(self._on_drag)
        layer.mouse_double_click_callbacks.append(self._on_second)
        viewer.mouse_double_click_callbacks.insert(0, self._before_second)  # then comes napari's

    def release(self) -> None:
        """Leave the layer as it was."""
        for shortcut in self._tools:
            self.layer.bind_key(shortcut, None)
        for key in self._keys:
            for holder in self._holders(key):
                holder.bind_key(_shortcut(key), None)
        for calls, call in (
            (self.layer.mouse_drag_callbacks, self._on_drag),
            (self.layer.mouse_double_click_callbacks, self._on_second),
            (self._viewer.mouse_double_click_callbacks, self._before_second),
        ):
            if call in calls:
                calls.remove(call)

    def _holders(self, key: Key) -> tuple[Any, ...]:
        more = (self._viewer, *self._beside) if key.everywhere else ()
        return (self.layer, *more)

    def _before_second(self, viewer: Viewer, _: MouseEvent) -> None:
        camera = viewer.scene.camera
        self._view = camera.zoom, camera.center

    def _on_second(self, layer: LabelsLayer, event: MouseEvent) -> None:
        if self._plain(event) and self._quick():
            camera = self._viewer.scene.camera
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


def _shortcut(key: Key) -> Any:
    """Return a key as napari takes it: Ctrl is Command on a Mac, as for napari's own keys."""
    from napari.utils.key_bindings import KeyCode, KeyMod

    *held, letter = key.key.split("-")
    found: Any = KeyCode.from_string(letter)
    for one in held:
        found |= KeyMod.CtrlCmd if one == "Ctrl" else KeyMod.Shift
    return found


def _calling(key: Key) -> Callable[[object], Iterator[None]]:
    """Return what a key calls; napari asks for its name.

    It waits for the key's release, so that napari forgets what else was to be done then.
    """

    def call(_: object) -> Iterator[None]:
        key.call()
        yield

    return call


def _tool_keys(layer: LabelsLayer) -> dict[Any, Callable[[Any], Any]]:
    """Keys of one letter or digit that napari has for a layer of this type, and what they call."""
    keymap: dict[Any, Callable[[Any], Any]] = getattr(type(layer), "class_keymap", {})
    plain = {key: call for key, call in keymap.items() if not any(m in str(key) for m in _CHORDS)}
    return {key: call for key, call in plain.items() if callable(call) and _is_tool(call)}


def _is_tool(call: Callable[[Any], Any]) -> bool:
    """Whether a function of napari's chooses a tool; by its name, which its settings use too."""
    name = getattr(call, "__name__", "")
    return name.startswith("activate_") and name.endswith("_mode")


def _released_once(tool: Callable[[Any], Any]) -> Callable[[Any], Iterator[None]]:
    """Return what a key of a tool calls: the tool before comes back if the key was held."""

    @functools.wraps(tool)
    def call(layer: LabelsLayer) -> Iterator[None]:
        from napari.settings import get_settings

        back, begun = tool(layer), time.monotonic()
        yield
        held = time.monotonic() - begun > get_settings().application.hold_button_delay
        if held and callable(back):
            back()

    return call


def listed(keys: Iterable[Key]) -> str:
    """Return keys, and napari's own that help, as a table of rich text."""
    rows = [(key.key.replace("-", "+"), key.title) for key in keys]
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
