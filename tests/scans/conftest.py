"""A head bent from the template in a known way, and what `deform` makes of it: once for all."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from napari_pvs.scans import deform as module
from napari_pvs.scans.deform import Deformation, deform
from napari_pvs.scans.grid import Grid
from napari_pvs.scans.template import load_template

SIZE = 2.5
SHAPE = (74, 88, 76)


@dataclass(frozen=True)
class Bent:
    """T2 and brain of the head, where each voxel came from (MNI mm), and what was found."""

    t2: np.ndarray
    brain: np.ndarray
    grid: Grid
    truth: np.ndarray
    found: Deformation


@pytest.fixture(scope="session")
def bent() -> Bent:
    """Its ventricles are twice as wide, and it leans."""
    template = load_template()
    lean = np.deg2rad(6)
    turn = np.array([[np.cos(lean), -np.sin(lean), 0], [np.sin(lean), np.cos(lean), 0], [0, 0, 1]])
    index = np.indices(SHAPE).reshape(3, -1).T
    points = (index - np.array(SHAPE) / 2) * SIZE @ turn.T * 1.1 + [0, -17, 8]
    # towards the middle of the ventricles: what lies there fills more room in the head
    away = points - [0, -8, 16]
    pull = 0.45 * np.exp(-((away / [26, 40, 22]) ** 2).sum(1))
    truth = points - pull[:, None] * away * [1, 0, 0.6]

    def at(image: np.ndarray) -> np.ndarray:
        where = (truth - template.affine[:3, 3]).T
        return map_coordinates(image.astype(np.float32), where, order=1).reshape(SHAPE)

    wm, gm, inside = at(template.wm), at(template.gm), at(template.t1 > 0)
    noise = np.random.default_rng(0).normal(0, 0.04, SHAPE)
    t2 = wm + 1.35 * gm + 3.5 * np.clip(1 - wm - gm, 0, 1) + noise
    brain = inside > 0.5
    t2 = np.where(brain, 400 * t2, 0).astype(np.float32)
    grid = Grid(SHAPE, np.diag([SIZE, SIZE, SIZE, 1.0]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_LEVELS", ((2, 60, 1.5),))  # coarse, so that it takes seconds
        found = deform(None, t2, brain, grid)
    return Bent(t2, brain, grid, truth.reshape(*SHAPE, 3), found)
