"""Whether a T2 lies on its T1, and the rigid registration that puts it there.

Scans of one session often differ by a movement of the head between them; scans of two sessions, or
with a header that a converter has rounded, by more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.errors import InputError
from napari_pvs.scans.checks import LEAST_ML, Placed
from napari_pvs.scans.grid import Grid
from napari_pvs.scans.masks import Mask

Affine = NDArray[np.floating[Any]]
Movement = NDArray[np.float64]

SHARP, AWAY_MM = 1.8, 5.0
"""Where a T2 of the same person lies on the T1, mutual information is more than so many times that
`AWAY_MM` beside, because the folds of a cortex only match themselves. Noise lowers both, so that it
tells less than mutual information itself. ``benchmarks/registration.py`` measures the margin."""
THICK_MM = 2.5
"""Slices thicker than this blur the folds, so that nobody is told from another person by them."""
COARSE_MM, MIDDLE_MM = 4.0, 2.0
"""Voxel sizes at which the movement is searched and refined, before the scan's own."""
RADIUS_MM = 60.0
"""One unit of a turn moves what is this far from the brain's centre by 1 mm."""
_TURNS = (-8.0, 0.0, 8.0)  # around each axis, in these units, where the search starts
_MOVES = (-24.0, -16.0, -8.0, 0.0, 8.0, 16.0, 24.0)  # along each axis, mm
_STARTS = 3
_BINS = 32
_SEED = 0
_GAIN = 1.02  # least ratio of the mutual information after a correction to that before


@dataclass(frozen=True, eq=False)
class Registration:
    """How the T2 of a scan lies on its T1.

    Attributes
    ----------
    to_t1
        4x4 float64, RAS+ mm: from where the T2's header places a point to where it was put. The
        identity unless ``corrected``.
    shift_mm
        Largest distance in the brain from where the header places the T2 to where it fits best.
    before, after
        Mutual information of T1 and T2 in the brain at `MIDDLE_MM`, as a share of the lesser
        entropy: as the headers place them, and as the scan has them.
    corrected
        Whether the T2 was moved.
    sharpness
        ``after`` over the mutual information `AWAY_MM` beside; below `SHARP`, it may be another
        person's.
    """

    to_t1: Affine
    shift_mm: float
    before: float
    after: float
    corrected: bool
    sharpness: float

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {**vars(self), "to_t1": np.asarray(self.to_t1).tolist()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Registration":
        """Undo `as_json`."""
        return cls(**{**values, "to_t1": np.array(values["to_t1"])})

    def told(self, first: str, second: str) -> list[str]:
        """Return what the user should know of it, with the names of T1 and T2."""
        told = []
        if self.corrected:
            told.append(
                f"{second} lay up to {self.shift_mm:.1f} mm off {first} and was registered to it "
                f"(mutual information {self.before:.2f} before, {self.after:.2f} after)."
            )
        if self.sharpness < SHARP:
            told.append(
                f"even where {second} fits {first} best, it fits hardly better than "
                f"{AWAY_MM:.0f} mm away; check that both show the same head."
            )
        return told


def find(first: Placed, second: Placed, brain: Mask) -> Registration | None:
    """Find out whether a T2 lies on a T1, and by which rigid movement it would.

    Mutual information (Collignon et al. 1995; Maes et al., IEEE TMI 1997) at points of the brain
    that lie between voxels, so that no grid is favoured: at 2 mm, from where the header places the
    T2; if that leads nowhere, from the best of many places at 4 mm; then in the scans' own voxels.
    If the T2 fits best within half a voxel of where it is, it stays there. The points come from a
    fixed seed and there is one thread: the same scans give the same movement everywhere.

    Parameters
    ----------
    first, second
        T1 and T2, each on its own grid.
    brain
        Of the T1, shape of its grid.

    Returns
    -------
    None if both show less than `LEAST_ML` of the brain, or one of them has no contrast there.

    Raises
    ------
    InputError
        The T2 is of another person.
    """
    pair = _Pair(first, second, brain)
    if not pair.comparable:
        return None
    still = np.zeros(6)
    middle = pair.at(MIDDLE_MM, 8000)
    near, fit = _climb(middle, still, 0.4, 1e-4)
    within = 0.5 * max(np.cbrt(image.grid.voxel_volume) for image in (first, second))
    sharp = _sharpness(middle, near, fit)
    if sharp < SHARP:  # otherwise the folds fit, and nowhere else would they fit better
        near, fit = _search(pair)
        sharp = _sharpness(middle, near, fit)
        _require_same_person(first, second, sharp)
    before = middle(still)
    if pair.shift(near) <= within:
        return Registration(np.eye(4), pair.shift(near), before, before, False, sharp)
    fine = pair.at(0.0, 20_000)
    best, gained = _climb(fine, near, 0.3, 1e-5)
    shift = pair.shift(best)
    if shift <= within or gained < _GAIN * fine(still):
        return Registration(np.eye(4), shift, before, before, False, sharp)
    placed = np.linalg.inv(pair.matrix(best))
    return Registration(placed, shift, before, middle(best), True, sharp)


def moved(image: Placed, registration: Registration) -> Placed:
    """Return an image where a registration puts it; only its affine changes."""
    grid = Grid(image.grid.shape, registration.to_t1 @ image.grid.affine)
    return replace(image, grid=grid)


def write_movement(registration: Registration, path: Path) -> None:
    """Write a movement as ITK's text (``.tfm``), as other tools read it.

    ITK's transforms take points of the fixed image, the T1, to the moving one, in LPS: to resample
    the T2's file onto the T1, give this file as it is.
    """
    import SimpleITK as sitk

    lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    matrix = lps @ np.linalg.inv(registration.to_t1) @ lps
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(matrix[:3, :3].ravel().tolist())
    transform.SetTranslation(matrix[:3, 3].tolist())
    sitk.WriteTransform(transform, str(path))


def _search(pair: "_Pair") -> tuple[Movement, float]:
    """Return the movement that fits best at 2 mm, and the mutual information there."""
    rough = pair.at(COARSE_MM, 2000)
    moves = [np.array((0.0, 0.0, 0.0, *move)) for move in product(_MOVES, repeat=3)]
    turns = [np.array((*turn, 0.0, 0.0, 0.0)) for turn in product(_TURNS, repeat=3)]
    starts = _best([move + turn for move in _best(moves, rough) for turn in turns], rough)
    coarse = pair.at(COARSE_MM, 4000)
    found = [_climb(coarse, start, 1.0, 1e-4) for start in starts]
    best, _ = max(found, key=lambda one: one[1])
    return _climb(pair.at(MIDDLE_MM, 8000), best, 0.4, 1e-4)


def _best(movements: Sequence[Movement], information: "_Information") -> list[Movement]:
    order = np.argsort([-information(one) for one in movements], kind="stable")
    return [movements[at] for at in order[:_STARTS]]


def _sharpness(information: "_Information", best: Movement, fit: float) -> float:
    """Return how many times more two images agree in a place than `AWAY_MM` beside, on average."""
    moves = np.hstack([np.zeros((3, 3)), np.eye(3) * AWAY_MM])
    beside = np.mean([information(best + way * one) for one in moves for way in (1, -1)])
    return fit / max(float(beside), 1e-9)


def _require_same_person(first: Placed, second: Placed, sharp: float) -> None:
    slices = max(max(image.grid.voxel_size) for image in (first, second))
    if slices <= THICK_MM and sharp < SHARP:
        raise InputError(
            f"{second.name} does not fit {first.name}: where it fits best, they agree only "
            f"{sharp:.1f} times as well as {AWAY_MM:.0f} mm away (images of one person: more than "
            f"{SHARP} times). It may be of another person, or lie more than 3 cm off; give this "
            "person's T2, or only one of the two images, or add --register off to leave the T2 "
            "where its header places it."
        )


class _Pair:
    """Two images and what they have in common, at several resolutions."""

    def __init__(self, first: Placed, second: Placed, brain: Mask) -> None:
        self._images, self._brain = (first, second), brain
        self._voxels = np.flatnonzero(brain)
        self._small: dict[float, tuple[Placed, Placed]] = {0.0: self._images}
        points = self._points(4000)
        self.centre = points.mean(0) if len(points) else np.zeros(3)
        self._sampled = points
        inside = _inside(second, points)
        seen = len(self._voxels) * first.grid.voxel_volume * inside.mean() if len(points) else 0
        values = [_sample(image, points[inside]) for image in self._images]
        varied = all(len(one) and np.ptp(one) > 0 for one in values)
        self.comparable = bool(varied and seen >= LEAST_ML * 1000)

    def at(self, step: float, points: int) -> "_Information":
        """Return how much they agree at so many points, in voxels of about ``step`` mm."""
        if step not in self._small:
            one, two = self._images
            self._small[step] = _shrunk(one, step), _shrunk(two, step)
        return _Information(*self._small[step], self._points(points), self.centre)

    def matrix(self, movement: Movement) -> Affine:
        """Take a point of the T1 to where it lies in the T2, 4x4."""
        return _rigid(movement, self.centre)

    def shift(self, movement: Movement) -> float:
        """Return the largest distance by which a movement moves a point of the brain, mm."""
        away = self.matrix(movement) - np.eye(4)
        return float(np.linalg.norm(_mapped(away, self._sampled), axis=1).max())

    def _points(self, number: int) -> NDArray[np.float64]:
        """Draw (n, 3) points of the brain, RAS+ mm, between voxels."""
        if not len(self._voxels):
            return np.empty((0, 3))
        draw = np.random.default_rng(_SEED)
        # in the order of the array, so that neighbours are read together
        chosen = np.sort(self._voxels[draw.integers(0, len(self._voxels), number)])
        at = np.stack(np.unravel_index(chosen, self._brain.shape), -1)
        return _mapped(self._images[0].grid.affine, at + draw.uniform(-0.5, 0.5, at.shape))


class _Information:
    """Mutual information of two images at some points, for movements of the second.

    Parameters
    ----------
    first, second
        Each on its own grid.
    points
        (n, 3), RAS+ mm.
    centre
        Of the turns.
    """

    def __init__(
        self,
        first: Placed,
        second: Placed,
        points: NDArray[np.float64],
        centre: NDArray[np.float64],
    ) -> None:
        self._second, self._points, self._centre = second, points, centre
        values = _sample(first, points)
        edges = np.quantile(values, np.linspace(0, 1, _BINS + 1)[1:-1])
        self._row = np.searchsorted(edges, values, side="right") * _BINS
        known = _sample(second, points)[_inside(second, points)]
        low, high = np.percentile(known, (1, 99)) if len(known) else (0.0, 1.0)
        self._low, self._scale = float(low), (_BINS - 1) / max(float(high - low), 1e-9)
        self._back = np.linalg.inv(second.grid.affine)
        self._edge = np.array(second.grid.shape)[:, None] - 0.5

    def __call__(self, movement: Movement) -> float:
        """Return it as a share of the lesser entropy; 0 where less than a tenth is in both."""
        where = _mapped(self._back @ _rigid(movement, self._centre), self._points).T
        seen = np.asarray(((where > -0.5) & (where < self._edge)).all(axis=0))
        count = np.count_nonzero(seen)
        if count < 0.1 * len(seen):
            return 0.0
        values = _interpolated(self._second.data, where)[seen]
        level = np.clip((values - self._low) * self._scale, 0, _BINS - 1.001)
        lower = level.astype(np.intp)
        share = level - lower  # each value counts in two bins, so that the sum is smooth
        cell = self._row[seen] + lower
        counts = np.bincount(cell, 1 - share, _BINS**2) + np.bincount(cell + 1, share, _BINS**2)
        joint = counts.reshape(_BINS, _BINS) / count
        one, two = _entropy(joint.sum(1)), _entropy(joint.sum(0))
        return (one + two - _entropy(joint)) / max(min(one, two), 1e-9)


def _climb(
    information: _Information, start: Movement, step: float, tolerance: float
) -> tuple[Movement, float]:
    """Find the best movement near one, by L-BFGS with differences of ``step`` mm."""
    from scipy.optimize import minimize

    steps = np.eye(6) * step

    def slope(movement: Movement) -> NDArray[np.float64]:
        ahead = [information(movement + one) - information(movement - one) for one in steps]
        return -np.array(ahead) / (2 * step)

    found = minimize(
        lambda movement: -information(movement),
        start,
        jac=slope,
        method="L-BFGS-B",
        options={"ftol": tolerance, "gtol": 1e-9, "maxiter": 20, "maxls": 6},
    )
    return np.asarray(found.x), -float(found.fun)


def _rigid(movement: Movement, centre: NDArray[np.float64]) -> Affine:
    """Make the matrix of a movement: three turns around a centre, `RADIUS_MM`, then three moves."""
    x, y, z = movement[:3] / RADIUS_MM
    around_x = ((1, 0, 0), (0, np.cos(x), -np.sin(x)), (0, np.sin(x), np.cos(x)))
    around_y = ((np.cos(y), 0, np.sin(y)), (0, 1, 0), (-np.sin(y), 0, np.cos(y)))
    around_z = ((np.cos(z), -np.sin(z), 0), (np.sin(z), np.cos(z), 0), (0, 0, 1))
    turn = np.array(around_z) @ np.array(around_y) @ np.array(around_x)
    out = np.eye(4)
    out[:3, :3] = turn
    out[:3, 3] = centre + movement[3:] - turn @ centre
    return out


def _mapped(matrix: NDArray[Any], points: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3])


def _inside(image: Placed, points: NDArray[np.float64]) -> NDArray[np.bool_]:
    where = _mapped(np.linalg.inv(image.grid.affine), points)
    within = (where > -0.5) & (where < np.array(image.grid.shape) - 0.5)
    return np.asarray(within.all(axis=1))


def _sample(image: Placed, points: NDArray[np.float64]) -> NDArray[np.float32]:
    return _interpolated(image.data, _mapped(np.linalg.inv(image.grid.affine), points).T)


def _interpolated(data: NDArray[Any], where: NDArray[np.float64]) -> NDArray[np.float32]:
    from scipy.ndimage import map_coordinates

    found = map_coordinates(data, where, order=1, mode="nearest", output=np.float32)
    return np.asarray(found)


def _entropy(shares: NDArray[np.float64]) -> float:
    present = shares[shares > 0]
    return float(-(present * np.log(present)).sum())


def _shrunk(image: Placed, size_mm: float) -> Placed:
    """Average blocks of voxels to about a size; incomplete blocks at the end are dropped."""
    step = np.maximum(np.round(size_mm / np.array(image.grid.voxel_size)), 1).astype(int)
    step = np.minimum(step, image.grid.shape)
    x, y, z = (n // k for n, k in zip(image.grid.shape, step, strict=True))
    data = np.asarray(image.data[: x * step[0], : y * step[1], : z * step[2]], np.float32)
    for axis, many in enumerate(step):  # one axis at a time: much faster than all at once
        # the first of each block, the second …
        layers = (
            np.take(data, range(start, data.shape[axis], many), axis) for start in range(many)
        )
        data = np.asarray(sum(layers) / np.float32(many), np.float32)
    affine = image.grid.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ ((step - 1) / 2)
    affine[:3, :3] *= step
    return replace(image, data=data, grid=Grid((x, y, z), affine))
