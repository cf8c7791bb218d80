"""Which way a view is turned: planes stand upright, and letters tell their sides.

A layer's axes run to superior, posterior and right. napari puts the first axis that it shows from
top to bottom and the second from left to right, so a coronal or sagittal view would lie upside down
or on its side; its camera is turned instead, and voxels stay where they are.
"""

import weakref
from dataclasses import dataclass
from typing import Literal

from qtpy.QtCore import QObject

from napari_pvs.widgets.viewer.typed import Viewer

SUPERIOR, POSTERIOR, RIGHT = range(3)
"""The axes of a layer's data."""
NAMES = {SUPERIOR: "Axial", POSTERIOR: "Coronal", RIGHT: "Sagittal"}
"""Of the plane across an axis."""
_ENDS = {SUPERIOR: ("I", "S"), POSTERIOR: ("A", "P"), RIGHT: ("L", "R")}  # from where to where
_CORONAL, _LYING = (POSTERIOR, SUPERIOR, RIGHT), (POSTERIOR, RIGHT, SUPERIOR)


@dataclass(frozen=True)
class Turn:
    """Where rows and columns of a plane run on the screen."""

    vertical: Literal["up", "down"] = "down"
    horizontal: Literal["left", "right"] = "right"

    @property
    def signs(self) -> tuple[int, int]:
        """Of steps to the right and down on the screen, for a step of a column and a row."""
        return 1 if self.horizontal == "right" else -1, 1 if self.vertical == "down" else -1


def upright(rows: int, columns: int, radiological: bool) -> Turn:
    """Turn a plane upright.

    Superior is up, or else anterior; on a sagittal plane anterior is to the left. In the
    radiological convention the patient's right is on the left, as if looked at from the feet.

    Parameters
    ----------
    rows, columns
        The axes that run down and across.
    radiological
        Whether the patient's right is on the left.

    Examples
    --------
    >>> upright(SUPERIOR, RIGHT, radiological=True)
    Turn(vertical='up', horizontal='left')
    """
    mirrored = columns == RIGHT and radiological
    return Turn("up" if rows == SUPERIOR else "down", "left" if mirrored else "right")


def letters(rows: int, columns: int, turn: Turn) -> tuple[str, str, str, str]:
    """Tell which sides of the patient are left, right, above and below on the screen.

    Examples
    --------
    >>> letters(POSTERIOR, RIGHT, upright(POSTERIOR, RIGHT, radiological=True))
    ('R', 'L', 'A', 'P')
    """
    across, down = turn.signs
    left, right = _ENDS[columns][::across]
    above, below = _ENDS[rows][::down]
    return left, right, above, below


def turn_of(viewer: Viewer) -> Turn:
    """Return how napari's own view is turned now."""
    vertical, horizontal = viewer.scene.camera.orientation2d
    return Turn("up" if vertical == "up" else "down", "left" if horizontal == "left" else "right")


class Upright(QObject):
    """Keeps napari's own view upright, however its axes are rolled.

    Parameters
    ----------
    viewer
        Of napari.
    parent
        Owner.
    radiological
        Whether the patient's right is on the left.
    """

    def __init__(self, viewer: Viewer, parent: QObject, radiological: bool) -> None:
        super().__init__(parent)
        self._known = weakref.ref(viewer)  # who lives as long as the viewer must not keep it
        self._radiological = radiological
        self._order: tuple[int, ...] = tuple(viewer.dims.order)
        events = viewer.dims.events
        for event in (events.order, events.ndisplay, events.ndim):
            event.connect(self._look)
        self._turn()

    @property
    def _viewer(self) -> Viewer:
        viewer = self._known()
        if viewer is None:
            raise RuntimeError("the viewer is gone")
        return viewer

    @property
    def radiological(self) -> bool:
        """Whether the patient's right is on the left."""
        return self._radiological

    @radiological.setter
    def radiological(self, on: bool) -> None:
        self._radiological = on
        self._turn()

    def _look(self, _: object = None) -> None:
        dims = self._viewer.dims
        before, self._order = self._order, tuple(dims.order)
        wanted = _stood_up(before, self._order) if dims.ndisplay == 2 else self._order
        if wanted != self._order:
            dims.order = wanted  # which comes back here
            return
        self._turn()

    def _turn(self) -> None:
        dims = self._viewer.dims
        if dims.ndim < 3:
            return
        first = dims.ndim - 3
        depth, rows, columns = (axis - first for axis in dims.order[-3:])
        if min(depth, rows, columns) < 0:  # a plane along time, say
            return
        turn = Turn() if dims.ndisplay == 3 else upright(rows, columns, self._radiological)
        # seen in 3D the head must not be mirrored, in whatever order its axes are
        odd = dims.ndisplay == 3 and (depth, rows, columns) in (
            (SUPERIOR, RIGHT, POSTERIOR), _CORONAL, (RIGHT, POSTERIOR, SUPERIOR),
        )  # fmt: skip
        away = "away" if odd else "towards"
        self._viewer.scene.camera.orientation = away, turn.vertical, turn.horizontal


def _stood_up(before: tuple[int, ...], order: tuple[int, ...]) -> tuple[int, ...]:
    """Return the order that shows a coronal plane upright, and lets the next roll go on from it.

    napari rolls axial, sagittal, coronal; only the last lies on its side.
    """
    first = len(order) - 3
    if first < 0:
        return order
    was, now = (tuple(axis - first for axis in one[-3:]) for one in (before, order))
    if now == _LYING and was == (RIGHT, SUPERIOR, POSTERIOR):
        now = _CORONAL
    elif now == (RIGHT, POSTERIOR, SUPERIOR) and was == _CORONAL:
        now = SUPERIOR, POSTERIOR, RIGHT
    return *order[:first], *(axis + first for axis in now)
