"""PVS as gently curved tubes: drawn, kept inside their region, rasterised with partial volume."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

STEP_MM = 0.2  # between points of a centreline
WIDEST = {"WM": 3.0, "BG": 4.5}  # mm
SUPERSAMPLING = 4  # sub-voxels per axis


@dataclass(frozen=True)
class Tube:
    """One tube.

    Attributes
    ----------
    points
        (n, 3) centreline in mm from the corner voxel's centre, `STEP_MM` apart.
    radii
        (n,) in mm; tapered and slightly uneven along the tube.
    diameter, length
        Mean diameter and centreline length in mm.
    region
        "WM" or "BG".
    """

    points: NDArray[np.float64]
    radii: NDArray[np.float64]
    diameter: float
    length: float
    region: str


def lognormal(
    rng: np.random.Generator, median: float, sigma: float, low: float, high: float
) -> float:
    """Draw a clipped lognormal number."""
    return float(np.clip(median * np.exp(rng.normal(0, sigma)), low, high))


def median_diameter(number: int) -> float:
    """Return the median diameter of a subject's PVS in mm; it increases with their number.

    It goes from 1.2 mm at 60 PVS to 1.56 mm at 500, with the logarithm of their number, so that
    volume increases faster than number; subjects differ from it by `PhantomConfig.width`.

    Examples
    --------
    >>> [round(median_diameter(n), 2) for n in (10, 60, 173, 500, 900)]
    [1.2, 1.2, 1.38, 1.56, 1.56]
    """
    share = np.log(max(number, 1) / 60) / np.log(500 / 60)
    return float(1.2 + 0.36 * np.clip(share, 0, 1))


def draw_tube(
    start: NDArray[np.float64],
    direction: NDArray[np.float64],
    allowed: NDArray[np.bool_],
    voxel_size: NDArray[np.float64],
    region: str,
    rng: np.random.Generator,
    median: float = 1.0,
) -> Tube | None:
    """Draw a tube through ``start`` along ``direction``, cut where it leaves ``allowed``.

    Diameters and lengths are lognormal. The median diameter is ``median`` mm, a quarter more in
    basal ganglia; the median length 5 mm, 4 mm in basal ganglia. In white matter no tube is wider
    than 3 mm (STRIVE-2), in basal ganglia none than 4.5 mm.

    Returns
    -------
    The tube; None if it is shorter than two diameters, or three if it is wide, since something
    wide and round in white matter would be a lesion. In basal ganglia, where PVS may be short and
    wide, 1.3 diameters are enough.
    """
    ganglia = region == "BG"
    diameter = lognormal(rng, median * (1.25 if ganglia else 1.0), 0.35, 0.5, WIDEST[region])
    least = 1.3 if ganglia else 2.0 + min(max(diameter - 1.5, 0), 1)
    length = lognormal(rng, 4.0 if ganglia else 5.0, 0.5, least * diameter, 20.0)
    direction = direction + rng.normal(0, 0.25, 3)
    direction /= np.linalg.norm(direction)
    side = np.cross(direction, rng.normal(size=3))
    side /= np.linalg.norm(side)
    other = np.cross(direction, side)
    s = np.arange(-length / 2, length / 2 + STEP_MM / 2, STEP_MM)
    bend = rng.normal(0, 1 / 30)  # 1/mm
    wave, phase = rng.normal(0, 0.2), rng.uniform(0, 2 * np.pi)
    points = (
        start
        + s[:, None] * direction
        + (bend * s**2 / 2)[:, None] * side
        + (wave * np.sin(2 * np.pi * s / 6 + phase))[:, None] * other
    )
    voxels = np.rint(points / voxel_size).astype(int)
    inside = np.all((voxels >= 0) & (voxels < allowed.shape), axis=1)
    inside[inside] = allowed[tuple(voxels[inside].T)]
    middle = len(s) // 2
    if not inside[middle]:
        return None
    first = middle - int(np.argmin(np.r_[inside[middle::-1], False])) + 1
    last = middle + int(np.argmin(np.r_[inside[middle:], False])) - 1
    points, s = points[first : last + 1], s[first : last + 1]
    length = float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())
    if length < least * diameter:
        return None
    along = np.linspace(0, 1, len(s))
    taper = 1 - 0.4 * np.abs(2 * along - 1) ** 4
    beads = rng.uniform(0.25, 0.45) if rng.random() < 0.2 else 0.12
    uneven = 1 + beads * np.sin(2 * np.pi * (s / rng.uniform(2, 5) + rng.uniform()))
    radii = taper * uneven
    radii *= diameter / 2 / radii.mean()
    return Tube(points, radii, diameter, length, region)


@dataclass(frozen=True)
class Raster:
    """A rasterised tube.

    Attributes
    ----------
    voxels
        (m, 3) voxel indices it touches.
    fraction
        (m,) share of each voxel inside the tube, 0-1.
    """

    voxels: NDArray[np.intp]
    fraction: NDArray[np.float32]


def rasterise(tube: Tube, shape: tuple[int, ...], voxel_size: NDArray[np.float64]) -> Raster:
    """Measure the share of every voxel inside the tube, on `SUPERSAMPLING`³ sub-voxels."""
    reach = tube.radii.max() + np.linalg.norm(voxel_size) / 2
    low = np.floor((tube.points.min(0) - reach) / voxel_size).astype(int)
    high = np.ceil((tube.points.max(0) + reach) / voxel_size).astype(int)
    low, high = np.maximum(low, 0), np.minimum(high, np.array(shape) - 1)
    box = np.stack(
        np.meshgrid(*(np.arange(a, b + 1) for a, b in zip(low, high, strict=True)), indexing="ij"),
        -1,
    ).reshape(-1, 3)
    tree = cKDTree(tube.points)
    distance, _ = tree.query(box * voxel_size, distance_upper_bound=reach)
    box = box[np.isfinite(distance)]
    steps = (np.arange(SUPERSAMPLING) + 0.5) / SUPERSAMPLING - 0.5
    offsets = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    fine = (box[:, None] + offsets) * voxel_size
    distance, nearest = tree.query(fine.reshape(-1, 3), distance_upper_bound=tube.radii.max())
    radii = np.r_[tube.radii, -1.0]  # no neighbour within reach: index n
    fraction = (distance <= radii[nearest]).reshape(len(box), -1).mean(1)
    hit = fraction > 0
    return Raster(box[hit], fraction[hit].astype(np.float32))


def union(first: Raster, second: Raster) -> Raster:
    """Join two tubes into one PVS; in a voxel that has both, the larger share counts."""
    voxels = np.concatenate([first.voxels, second.voxels])
    fraction = np.concatenate([first.fraction, second.fraction])
    unique, index = np.unique(voxels, axis=0, return_inverse=True)
    most = np.zeros(len(unique), np.float32)
    np.maximum.at(most, index.ravel(), fraction)
    return Raster(unique, most)
