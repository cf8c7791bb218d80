"""napari's viewer and layers, as far as the plugin uses them: napari itself carries no types.

Everything else of the package names these. What napari makes at run time (events, dims, camera) is
`Any` here, and nowhere else has to be.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Layer(Protocol):
    """A layer of any kind."""

    name: str
    visible: bool
    editable: bool
    mode: str
    ndim: int
    metadata: dict[str, Any]
    scale: NDArray[np.float64]
    translate: NDArray[np.float64]
    rotate: NDArray[np.float64]
    shear: NDArray[np.float64]
    affine: Any
    units: tuple[Any, ...]
    axis_labels: tuple[str, ...]
    data: Any
    opacity: float
    blending: Any
    events: Any
    extent: Any
    get_status: Callable[..., dict[str, str]]

    def as_layer_data_tuple(self) -> tuple[Any, dict[str, Any], str]:
        """Return data, metadata and kind."""

    def data_to_world(self, position: Any) -> tuple[float, ...]:
        """Return where a voxel lies, in the viewer's coordinates."""

    def world_to_data(self, position: Any) -> tuple[float, ...]:
        """Return the voxel at a place."""

    def refresh(self, *, extent: bool = True) -> None:
        """Draw anew."""


class ImageLayer(Layer, Protocol):
    """An image."""

    contrast_limits: Any
    gamma: float
    colormap: Any
    contrast_limits_range: Any


class LabelsLayer(Layer, Protocol):
    """Labels that can be painted on."""

    selected_label: int
    brush_size: float
    n_edit_dimensions: int
    contiguous: bool
    preserve_labels: bool
    colormap: Any
    mouse_drag_callbacks: list[Any]
    mouse_double_click_callbacks: list[Any]
    _undo_history: Any
    _redo_history: Any

    def block_history(self) -> AbstractContextManager[None]:
        """Make all that is set meanwhile one step that can be undone."""

    def data_setitem(self, indices: Any, value: Any) -> None:
        """Set voxels, as one step that can be undone."""

    def undo(self) -> None:
        """Undo the last edit."""

    def redo(self) -> None:
        """Redo what was undone last."""

    def bind_key(
        self, key: str, call: Callable[[Any], Any] | None = None, *, overwrite: bool = False
    ) -> Any:
        """Let a key call something while the layer is selected."""

    def get_ray_intersections(
        self, position: Any, view_direction: Any, dims_displayed: list[int], world: bool = True
    ) -> tuple[Any, Any]:
        """Return where a line of sight enters and leaves the data."""


class Event(Protocol):
    """A change: of which layer or list, and what was put in or taken out."""

    source: Any
    value: Any


class Layers(Protocol):
    """The list of layers."""

    selection: Any
    events: Any

    def __iter__(self) -> Iterator[Any]:
        """Walk through the layers."""

    def __contains__(self, layer: object) -> bool:
        """Tell whether a layer is in the list."""

    def __len__(self) -> int:
        """Return how many there are."""

    def remove(self, layer: Layer) -> None:
        """Take a layer out."""

    def link_layers(self, layers: Sequence[Layer], attributes: tuple[str, ...]) -> None:
        """Let a change of one layer change the others."""


class Viewer(Protocol):
    """The viewer, or its model without a window."""

    layers: Layers
    dims: Any
    scene: Any
    canvas: Any
    events: Any
    mouse_drag_callbacks: list[Any]
    mouse_double_click_callbacks: list[Any]
    title: str
    status: Any

    def add_layer(self, layer: Any) -> Any:
        """Add a layer, and return it."""

    def open(self, path: str, *, plugin: str) -> Any:
        """Open a file by a plugin's reader, and return its layers."""

    def bind_key(self, key: str, call: Callable[[Any], Any], *, overwrite: bool = False) -> Any:
        """Let a key call something."""

    def reset_view(self) -> None:
        """Show all of it."""


class MouseEvent(Protocol):
    """What napari tells of the mouse."""

    type: str
    button: int
    modifiers: Any
    pos: Any
    position: tuple[float, ...]
    view_direction: Any
    dims_displayed: list[int]
