"""From an anatomy to a subject's grid: a random pose and a smooth deformation."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_pvs.phantom.anatomy import Anatomy

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
    import torch
    from torch.nn.functional import interpolate

    size = [max(4, round(n * v / (scale_mm / 2)) + 2) for n, v in zip(shape, voxel_size, strict=True)]
    coarse = ndimage.gaussian_filter(rng.standard_normal(size, dtype=np.float32), 1.0, mode="wrap")
    coarse /= coarse.std()
    fine = interpolate(
        torch.from_numpy(coarse)[None, None], shape, mode="trilinear", align_corners=True
    )
    return np.asarray(fine[0, 0].numpy(), np.float32)


class Placement:
    """A random pose and deformation of one anatomy on one grid.

    Parameters
    ----------
    anatomy
        What is placed; its brain's centre comes to the grid's centre.
    shape, voxel_size
        The subject's grid, in voxels and mm.
    deformation
        Amplitude of the smooth deformation, in mm.
    rng
        Source of randomness.
    """

    def __init__(
        self,
        anatomy: Anatomy,
        shape: Shape,
        voxel_size: NDArray[np.float64],
        deformation: float,
        rng: np.random.Generator,
    ):
        import torch
        from torch.nn.functional import interpolate

        inside = ndimage.find_objects(anatomy.brain.astype(np.uint8))[0]
        centre = np.array([(s.start + s.stop - 1) / 2 for s in inside])
        angles = np.deg2rad(rng.normal(0, 4, 3))
        scale = rng.uniform(0.95, 1.05) * rng.uniform(0.97, 1.03, 3)
        mirror = np.array([rng.choice((-1.0, 1.0)), 1.0, 1.0])
        matrix = _rotation(angles) @ np.diag(mirror / scale)
        extent = np.array(shape) * voxel_size
        coarse = [max(4, round(e / _COARSE_MM) + 2) for e in extent]
        shift = np.stack(
            [
                ndimage.gaussian_filter(rng.standard_normal(coarse), 1.0, mode="nearest")
                for _ in range(3)
            ]
        )
        shift *= deformation / shift.std()
        # source voxels (1 mm) of every target voxel, as torch.grid_sample wants them
        axes = [(np.arange(n) - (n - 1) / 2) * v for n, v in zip(shape, voxel_size, strict=True)]
        points = torch.zeros((*shape, 3))
        for row in range(3):
            for column, axis in enumerate(axes):
                view = [1, 1, 1]
                view[column] = -1
                line = torch.from_numpy(axis * matrix[row, column]).float().reshape(view)
                points[..., row] += line
            points[..., row] += float(centre[row])
        moved = interpolate(
            torch.from_numpy(shift).float()[None], shape, mode="trilinear", align_corners=True
        )[0]
        points += moved.permute(1, 2, 3, 0)
        size = torch.tensor(anatomy.tissue.shape, dtype=torch.float32)
        self._grid = (points / (size - 1) * 2 - 1).flip(-1)[None]

    def sample(self, channels: Mapping[str, Image]) -> dict[str, Image]:
        """Interpolate images of the anatomy (trilinear) onto the subject's grid."""
        import torch
        from torch.nn.functional import grid_sample

        stack = torch.from_numpy(np.stack([*channels.values()]).astype(np.float32, copy=False))
        moved = grid_sample(
            stack[None], self._grid, mode="bilinear", padding_mode="border", align_corners=True
        )
        return dict(zip(channels, moved[0].numpy(), strict=True))


def _rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_euler("xyz", angles).as_matrix())
