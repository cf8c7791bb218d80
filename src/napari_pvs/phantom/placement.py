"""Placing an anatomy on a subject's grid: a random pose and a smooth deformation."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_pvs.phantom.anatomy import Anatomy
from napari_pvs.phantom.config import PhantomConfig
from napari_pvs.scans.masks import bounding_box

Image = NDArray[np.float32]
Shape = tuple[int, int, int]

_COARSE_MM = 16.0  # spacing of the control points of the deformation


def smooth_field(
    shape: Shape, voxel_size: NDArray[np.float64], scale_mm: float, rng: np.random.Generator
) -> Image:
    """Make a smooth Gaussian random field: mean 0, standard deviation 1.

    Parameters
    ----------
    shape, voxel_size
        The grid, in voxels and mm.
    scale_mm
        Correlation length; the field is drawn at half of it and interpolated.
    rng
        Source of randomness.
    """
    size = [
        max(4, round(n * v / (scale_mm / 2)) + 2) for n, v in zip(shape, voxel_size, strict=True)
    ]
    coarse = ndimage.gaussian_filter(rng.standard_normal(size, dtype=np.float32), 1.0, mode="wrap")
    return _enlarge(coarse / coarse.std(), shape)


class Placement:
    """A random pose and deformation of one anatomy on one grid.

    Parameters
    ----------
    anatomy
        What is placed: the centre of its brain goes to the centre of the grid.
    shape, voxel_size
        The subject's grid, in voxels and mm.
    config
        Amplitude of the smooth deformation, and whether more than the brain is kept.
    rng
        Source of randomness.
    """

    def __init__(
        self,
        anatomy: Anatomy,
        shape: Shape,
        voxel_size: NDArray[np.float64],
        config: PhantomConfig,
        rng: np.random.Generator,
    ):
        inside = bounding_box(anatomy.brain)
        centre = np.array([(s.start + s.stop - 1) / 2 for s in inside])
        angles = np.deg2rad(rng.normal(0, 4, 3))
        extent = np.array(shape) * voxel_size
        brain = np.array([s.stop - s.start for s in inside])
        # the ICBM152 brain is larger than most, and would be cut at the sides
        room = np.clip(0.96 * (extent / brain).min(), 0.9, 1)
        scale = room * rng.uniform(0.95, 1.05) * rng.uniform(0.97, 1.03, 3)
        mirror = np.array([rng.choice((-1.0, 1.0)), 1.0, 1.0])
        matrix = _rotation(angles) @ np.diag(mirror / scale)
        coarse = [max(4, round(e / _COARSE_MM) + 2) for e in extent]
        shift = np.stack(
            [
                ndimage.gaussian_filter(rng.standard_normal(coarse), 1.0, mode="nearest")
                for _ in range(3)
            ]
        )
        shift *= config.deformation / shift.std()
        axes = [(np.arange(n) - (n - 1) / 2) * v for n, v in zip(shape, voxel_size, strict=True)]
        points = []  # source voxels (1 mm) of every target voxel
        for row in range(3):
            x, y, z = (
                (axis * matrix[row, column]).astype(np.float32) for column, axis in enumerate(axes)
            )
            point = _enlarge(shift[row].astype(np.float32), shape)
            point += x[:, None, None] + np.float32(centre[row])
            point += y[:, None] + z
            points.append(point)
        self._shape = shape
        # more than half of a grid is outside the brain, and nothing is sampled there
        self._where = np.ones(shape, bool) if config.head else _around(anatomy.brain, points)
        # as torch.grid_sample wants them: last axis first, -1 to 1
        self._grid = np.stack(
            [
                points[axis][self._where] * np.float32(2 / (anatomy.tissue.shape[axis] - 1)) - 1
                for axis in (2, 1, 0)
            ],
            -1,
        )

    def sample(self, channels: Mapping[str, Image]) -> dict[str, Image]:
        """Interpolate images of the anatomy (trilinear) onto the subject's grid.

        If only the brain is kept, voxels far from it have the value of the anatomy's corner voxel.
        """
        import torch
        from torch.nn.functional import grid_sample

        stack = torch.from_numpy(np.stack([*channels.values()]).astype(np.float32, copy=False))
        grid = torch.from_numpy(self._grid)[None, None, None]
        moved = grid_sample(
            stack[None], grid, mode="bilinear", padding_mode="border", align_corners=True
        )[0, :, 0, 0].numpy()
        out = {}
        for (name, channel), values in zip(channels.items(), moved, strict=True):
            out[name] = np.full(self._shape, channel[0, 0, 0], np.float32)
            out[name][self._where] = values
        return out


def _around(brain: NDArray[np.bool_], points: list[Image]) -> NDArray[np.bool_]:
    """Mark the voxels within six of the brain, judged at every second voxel of ``points``."""
    half = (slice(None, None, 2),) * 3
    index = tuple(
        np.clip(np.rint(point[half]), 0, n - 1).astype(np.intp)
        for point, n in zip(points, brain.shape, strict=True)
    )
    near = np.asarray(ndimage.maximum_filter(brain[index].astype(np.uint8), 7), bool)
    for axis in range(3):
        near = near.repeat(2, axis)
    return near[tuple(slice(0, n) for n in points[0].shape)]


def _enlarge(coarse: Image, shape: Shape) -> Image:
    """Interpolate linearly along every axis, from its first to its last sample."""
    out = coarse
    for axis in (2, 1, 0):  # the last step, over most values, then runs along memory
        at = np.linspace(0, out.shape[axis] - 1, shape[axis])
        low = np.minimum(at.astype(np.intp), out.shape[axis] - 2)
        weight = (at - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        first, second = np.take(out, low, axis), np.take(out, low + 1, axis)
        second -= first
        second *= weight
        first += second
        out = first
    return out


def _rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_euler("xyz", angles).as_matrix())
