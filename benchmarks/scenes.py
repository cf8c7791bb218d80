"""A made-up brain with as many PVS as wanted, at full size."""

import numpy as np
from scipy import ndimage

from napari_pvs.scans.grid import Grid
from napari_pvs.scans.nifti import Geometry
from napari_pvs.scans.scan import Scan

SHAPE, SIZE = (176, 192, 240), 0.8


def scene(count: int) -> tuple[Scan, np.ndarray, np.ndarray, list[tuple[int, int, int]]]:
    """Tubes on a lattice in an ellipsoid; every tenth is in the map and in no mask."""
    rng = np.random.default_rng(0)
    middle = (np.array(SHAPE) - 1) / 2
    x, y, z = np.ogrid[tuple(slice(n) for n in SHAPE)]
    axes = zip((x, y, z), middle, SHAPE, strict=True)
    brain = sum(((axis - m) / (0.42 * n)) ** 2 for axis, m, n in axes) < 1
    steps = (9, 9, 9) if count <= 2500 else (6, 6, 9)
    lattice = [np.arange(6, n - 12, step) for n, step in zip(SHAPE, steps, strict=True)]
    corners = np.stack(np.meshgrid(*lattice), -1).reshape(-1, 3)
    corners = corners[brain[tuple(corners.T)] & brain[tuple((corners + 7).T)]]
    corners = corners[rng.permutation(len(corners))[:count]]
    tube = np.zeros(SHAPE, bool)
    label = np.zeros(SHAPE, np.uint8)
    missing = []
    for number, (a, b, c) in enumerate(corners.tolist()):
        box = (slice(a, a + 2), slice(b, b + 2), slice(c, c + int(rng.integers(3, 8))))
        tube[box] = True
        if number % 10:
            label[box] = 1
        else:
            missing.append((a, b, c + 1))
    fluid = ndimage.gaussian_filter(tube.astype(np.float32), 0.6)
    noise = rng.normal(0, 3, (2, *SHAPE)).astype(np.float32)
    t1 = ((100 - 60 * fluid + noise[0]) * brain).astype(np.float32)
    t2 = ((100 + 120 * fluid + noise[1]) * brain).astype(np.float32)
    probability = np.clip(fluid * 1.1, 0, 1).astype(np.float32)
    source = Geometry.from_affine(SHAPE, np.diag([SIZE, SIZE, SIZE, 1]))
    scan = Scan(t1=t1, t2=t2, grid=Grid(SHAPE, source.affine), brain=brain, source=source)
    return scan, probability, label, missing
