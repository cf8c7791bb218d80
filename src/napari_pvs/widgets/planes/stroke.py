"""Brush, eraser, fill and picker of labels in a plane that napari does not draw itself.

napari's own tools work in the plane of its canvas. These do the same in another, by
`Labels.data_setitem`, so that a stroke is one step of napari's undo.
"""

import contextlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.widgets.planes.picture import Lattice, Point, lattice
from napari_pvs.widgets.viewer.typed import LabelsLayer


class Stroke:
    """One use of the tool that the labels are in, from press to release.

    Parameters
    ----------
    layer
        The labels, on upright axes.
    axis
        The plane lies across it.
    """

    def __init__(self, layer: LabelsLayer, axis: int) -> None:
        self._layer, self._axis = layer, axis
        self._grid: Lattice | None = lattice(layer)
        self._last: NDArray[np.int_] | None = None
        self._mode = str(layer.mode)
        self._step = contextlib.ExitStack()
        self._step.enter_context(layer.block_history())

    def to(self, place: Point) -> None:
        """Go on to a place."""
        if self._grid is None:
            return
        at = np.array(self._grid.index(place))
        first = self._last is None
        if self._mode == "pick" and first:
            if self._inside(at):
                self._layer.selected_label = int(self._layer.data[tuple(at)])
        elif self._mode == "fill" and first:
            if self._inside(at):
                self._fill(at)
        elif self._mode in ("paint", "erase"):
            last = at if self._last is None else self._last
            steps = int(np.abs(at - last).max()) + 1
            line = np.rint(np.linspace(last, at, steps + 1)).astype(int)
            self._paint(np.unique(line, axis=0))
        self._last = at

    def end(self) -> None:
        """Make all of it one step of undo."""
        self._step.close()

    def _inside(self, at: NDArray[np.int_]) -> bool:
        return bool(((at >= 0) & (at < self._layer.data.shape)).all())

    def _paint(self, centres: NDArray[np.int_]) -> None:
        layer = self._layer
        offsets = brush(layer, self._axis)
        voxels = np.unique((centres[:, None] + offsets[None]).reshape(-1, 3), axis=0)
        voxels = voxels[((voxels >= 0) & (voxels < layer.data.shape)).all(1)]
        value = 0 if self._mode == "erase" else layer.selected_label
        self._set(tuple(voxels.T), value)

    def _fill(self, at: NDArray[np.int_]) -> None:
        from skimage.segmentation import flood

        layer = self._layer

        def alike(part: NDArray[Any], start: NDArray[np.int_]) -> NDArray[np.bool_]:
            place = tuple(start.tolist())
            same: NDArray[np.bool_] = (
                flood(part, place) if layer.contiguous else part == part[place]
            )
            return same

        if layer.n_edit_dimensions == 3:
            where = np.nonzero(alike(layer.data, at))
        else:
            k = int(at[self._axis])
            part = np.take(layer.data, [k], self._axis)
            start = at.copy()
            start[self._axis] = 0
            found = list(np.nonzero(alike(part, start)))
            found[self._axis] = np.full_like(found[self._axis], k)
            where = tuple(found)
        self._set(where, layer.selected_label)

    def _set(self, where: tuple[NDArray[Any], ...], value: int) -> None:
        layer = self._layer
        old = layer.data[where]
        change = old != value
        if layer.preserve_labels:
            change &= old == (layer.selected_label if value == 0 else 0)
        if change.any():
            layer.data_setitem(tuple(axis[change] for axis in where), value)


def brush(layer: LabelsLayer, axis: int) -> NDArray[np.int_]:
    """Return the voxels of the brush around its middle, (N, 3): a disc across an axis, or a ball.

    As in napari its width counts in voxels, of the narrowest side where they are not cubes.
    """
    radius = float(layer.brush_size) / 2
    scale = np.abs(np.asarray(layer.scale, float))[-3:]
    scale = scale / scale.min()
    reach = np.floor(radius / scale).astype(int)
    if layer.n_edit_dimensions < 3:
        reach[axis] = 0
    axes = [np.arange(-n, n + 1) for n in reach]
    offsets = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    found: NDArray[np.int_] = offsets[np.linalg.norm(offsets * scale, axis=1) <= radius]
    return found


def brush_outline(layer: LabelsLayer, axis: int) -> tuple[NDArray[np.bool_], NDArray[np.int_]]:
    """Return the brush in a plane as a mask, and its first voxel relative to the middle."""
    offsets = brush(layer, axis)
    offsets = np.delete(offsets[offsets[:, axis] == 0], axis, axis=1)
    low = offsets.min(0)
    mask = np.zeros(offsets.max(0) - low + 1, bool)
    mask[tuple((offsets - low).T)] = True
    return mask, np.insert(low, axis, 0)
