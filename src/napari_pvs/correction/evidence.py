"""Evidence of a PVS around a point: a probability map, a local network pass, or intensities.

Arrays may have any axis order, the same for all arguments of a call; only the network needs RAS+.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_pvs.correction.neighbourhood import Point, VoxelSize, around
from napari_pvs.scans.grid import Shape
from napari_pvs.scans.masks import Box

Source = Literal["probability", "network", "intensity"]

LENGTH_MM = 20.0
"""Longest possible PVS."""
SEEN = 0.03
"""Smallest probability that counts as a sign of a PVS where someone clicks."""
EDGE = 40
"""Edge of a local network pass, voxels: 32 mm at 0.8 mm. Larger windows are slower, and PVS grown
in them agreed no better with the truth."""
_FACTOR = 8  # windows start at a multiple of it, so that pooling groups voxels as in a full pass
_FLOORS: dict[Source, float] = {"probability": SEEN, "network": SEEN, "intensity": 2.5}
_NOISE = 2.0  # standard deviations; lower intensities would add noise to a PVS
_WIDE_MM, _SMOOTH_MM = 4.0, 0.4


@dataclass(frozen=True, eq=False)
class Evidence:
    """A score per voxel of a box around a point.

    Attributes
    ----------
    values
        float32, the box's shape: a probability, or local contrast in robust standard deviations.
    box
        Where they lie in the volume.
    source
        What they were made from.
    """

    values: NDArray[np.float32]
    box: Box
    source: Source

    @property
    def floor(self) -> float:
        """Smallest score that the brightest voxel of a PVS must have."""
        return _FLOORS[self.source]

    def level(self, peak: float, tighter: float = 1.0) -> float:
        """Smallest score of a voxel that belongs to a PVS whose brightest voxel scores ``peak``.

        For intensities, half the peak. For probabilities, 0.6 of the peak if that is 1, and a
        smaller share if the network is less sure, because its map is flatter there. On synthetic
        subjects, PVS grown by this share agreed best with the truth.

        Parameters
        ----------
        peak
            Score.
        tighter
            Multiplies that share, up to 0.9 at most.
        """
        share = 0.5 if self.source == "intensity" else 0.2 + 0.4 * peak
        noise = _NOISE if self.source == "intensity" else 0.0
        return max(min(share * tighter, 0.9) * peak, noise)


def window(point: Point, shape: Shape, edges: tuple[int, int, int] = (EDGE,) * 3) -> Box:
    """Return the box of about ``edges`` voxels around a point for a local network pass.

    It starts at multiples of 8, so that pooling groups the same voxels as in a pass over the whole
    volume, lies inside the volume, and is up to 7 voxels smaller at the volume's far end.

    Examples
    --------
    >>> window((50, 3, 90), (100, 100, 100))
    (slice(32, 72, None), slice(0, 40, None), slice(64, 100, None))
    """
    box = []
    for at, n, edge in zip(point, shape, edges, strict=True):
        last = -(-max(0, n - edge) // _FACTOR) * _FACTOR
        low = min(last, max(0, round((at - edge / 2) / _FACTOR) * _FACTOR))
        box.append(slice(low, min(n, low + edge)))
    return box[0], box[1], box[2]


def network_edges(voxel_size: VoxelSize, trained: tuple[float, float]) -> tuple[int, int, int]:
    """Return the edges in voxels of a window that the network sees as `EDGE` voxels.

    Parameters
    ----------
    voxel_size
        Of the scan, mm.
    trained
        Smallest and largest voxel edge that the weights were trained on, mm.
    """
    x, y, z = (max(1, round(EDGE * float(np.clip(v, *trained)) / v)) for v in voxel_size)
    return x, y, z


def from_map(probability: NDArray[np.float32], point: Point, voxel_size: VoxelSize) -> Evidence:
    """Cut the region around a point out of a probability map.

    Parameters
    ----------
    probability
        (X, Y, Z).
    point
        Voxel index.
    voxel_size
        In mm.
    """
    box = around(point, probability.shape, _reach(voxel_size))
    return Evidence(np.asarray(probability[box], np.float32), box, "probability")


def from_intensities(
    t1: NDArray[Any] | None,
    t2: NDArray[Any] | None,
    brain: NDArray[np.bool_],
    point: Point,
    voxel_size: VoxelSize,
) -> Evidence:
    """Measure how much each voxel around a point stands out as a narrow, fluid-filled structure.

    Each image (T1 negated) is slightly smoothed, and its opening by a 4 mm cube, which keeps only
    what is wider than a PVS, is subtracted (white top-hat; Serra 1982). The result is expressed in
    standard deviations of its noise; the mean of both images is then scaled the same way.

    Parameters
    ----------
    t1, t2
        Either or both, (X, Y, Z).
    brain
        Brain mask of the same shape.
    point
        Voxel index.
    voxel_size
        In mm.
    """
    box = around(point, brain.shape, _reach(voxel_size))
    inside = np.asarray(brain[box], bool)
    total = np.zeros(inside.shape, np.float32)
    for sign, image in ((-1, t1), (1, t2)):
        if image is not None and inside.any():
            narrow = _top_hat(sign * np.asarray(image[box], np.float32), voxel_size)
            total += _standardised(narrow, inside)
    if inside.any():
        total = _standardised(total, inside)
    return Evidence(np.where(inside, total, np.float32(0)), box, "intensity")


def _top_hat(image: NDArray[np.float32], voxel_size: VoxelSize) -> NDArray[np.float32]:
    from scipy.ndimage import gaussian_filter, maximum_filter, minimum_filter

    smooth = gaussian_filter(image, [_SMOOTH_MM / edge for edge in voxel_size])
    cube = [2 * round(_WIDE_MM / 2 / edge) + 1 for edge in voxel_size]
    return np.asarray(smooth - maximum_filter(minimum_filter(smooth, cube), cube), np.float32)


def _standardised(values: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Centre and scale by the values below the median; structures lie above it."""
    low, middle = np.percentile(values[inside], (16, 50))
    if not middle > low:  # a constant image has no PVS
        return np.zeros_like(values)
    return np.asarray((values - middle) / (middle - low), np.float32)


def _reach(voxel_size: VoxelSize) -> tuple[int, int, int]:
    """How many voxels the longest PVS can extend to either side of a click."""
    x, y, z = (int(np.ceil(LENGTH_MM / edge)) for edge in voxel_size)
    return x, y, z
