"""Voxel grids: reorienting without interpolation, and resampling."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_pvs.scans.masks import Box

Shape = tuple[int, int, int]
TOLERANCE_MM = 0.1
"""Grids closer than this count as equal: tools round affines, and quaternions by about 0.01 mm."""
_RAS = np.array([[0, 1], [1, 1], [2, 1]])


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the voxels of an array lie.

    Parameters
    ----------
    shape
        Voxels along each axis.
    affine
        4x4 float64, voxel index to RAS+ mm; stored as a read-only copy.

    Examples
    --------
    >>> Grid((10, 10, 10), np.diag([0.8, 0.8, 1.0, 1.0])).voxel_size
    (0.8, 0.8, 1.0)
    """

    shape: Shape
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or len(self.shape) != 3:
            raise ValueError("a grid has three axes and a 4x4 affine")
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))

    @property
    def voxel_size(self) -> tuple[float, float, float]:
        """Edge lengths of a voxel, mm."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def voxel_volume(self) -> float:
        """Volume of a voxel, mm³."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def cropped(self, box: Box) -> "Grid":
        """Return the grid of a box of voxels.

        Examples
        --------
        >>> part = Grid((9, 9, 9), np.eye(4)).cropped((slice(2, 5), slice(0, 9), slice(1, 3)))
        >>> part.shape, part.affine[:3, 3].tolist()
        ((3, 9, 2), [2.0, 0.0, 1.0])
        """
        x, y, z = (side.stop - side.start for side in box)
        affine = self.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ [side.start for side in box]
        return Grid((x, y, z), affine)

    def same_as(self, other: "Grid", tolerance: float = TOLERANCE_MM) -> bool:
        """Tell whether the shapes agree and no voxel is more than ``tolerance`` mm off."""
        return self.shape == other.shape and self.away(other.affine) <= tolerance

    def away(self, affine: NDArray[np.float64]) -> float:
        """Return the largest distance, in mm, by which another affine would move a voxel."""
        # two affines differ most at a corner
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape])).reshape(3, -1)
        corners = np.vstack([corners, np.ones(corners.shape[1])])
        shift = ((self.affine - affine) @ corners)[:3]
        return float(np.linalg.norm(shift, axis=0).max())


def to_ras(
    data: NDArray[Any], affine: NDArray[np.float64]
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Flip and swap axes so that they run as nearly as possible to right, anterior and superior.

    Nothing is interpolated: each voxel keeps its value and its position in the world.

    Parameters
    ----------
    data
        At least three axes, the first three spatial.
    affine
        Of ``data``; may be oblique.

    Returns
    -------
    A view of the data, and its affine.
    """
    from nibabel import orientations  # only once there is a scan

    order = orientations.io_orientation(affine)
    turned = orientations.apply_orientation(data, order)
    return turned, affine @ orientations.inv_ornt_aff(order, data.shape[:3])


def from_ras(data: NDArray[Any], affine: NDArray[np.float64]) -> NDArray[Any]:
    """Undo `to_ras`: return ``data`` in the axes of the array that ``affine`` belongs to."""
    from nibabel import orientations

    order = orientations.io_orientation(affine)
    back: NDArray[Any] = orientations.apply_orientation(
        data, orientations.ornt_transform(_RAS, order)
    )
    return back


def resample(
    data: NDArray[Any], source_affine: NDArray[np.float64], target: Grid, order: Literal[0, 1, 3]
) -> NDArray[Any]:
    """Interpolate ``data`` at the voxels of ``target``, using only the affines.

    If the target's voxels are coarser, images are first smoothed with the Gaussian that turns the
    source's point spread into the target's (Cardoso et al., MICCAI 2015). If the grids are equal
    (within `TOLERANCE_MM`), the data is copied.

    Parameters
    ----------
    data
        Three axes.
    order
        Spline order: 0 for labels and masks, 1 or 3 for images.

    Returns
    -------
    Array with the target's shape and the data's type; 0 outside the data's field of view.
    """
    source = Grid(data.shape, source_affine)
    if source.same_as(target):
        return _copied(data)
    from scipy import ndimage

    matrix = np.linalg.inv(source.affine) @ target.affine
    values: NDArray[Any] = data.astype(np.uint8) if data.dtype == bool else data
    if order > 0:
        # how many source voxels one target voxel spans along each source axis
        span = np.maximum(np.linalg.norm(matrix[:3, :3], axis=1), 1)
        sigma = np.sqrt((span**2 - 1) / (8 * np.log(2)))
        sigma[span < 1.01] = 0
        if sigma.any():
            values = ndimage.gaussian_filter(values, sigma, mode="nearest")
    out: NDArray[Any] = ndimage.affine_transform(
        values, matrix[:3, :3], matrix[:3, 3], target.shape, order=order, mode="nearest"
    )
    out[~inside(target, source)] = 0
    return out.astype(data.dtype, copy=False)


def _copied(data: NDArray[Any]) -> NDArray[Any]:
    """Copy to C order, plane by plane: in a file's own order every voxel would miss the cache."""
    out = np.empty(data.shape, data.dtype)
    for y in range(data.shape[1]):
        out[:, y] = data[:, y]
    return out


def inside(grid: Grid, field: Grid) -> NDArray[np.bool_]:
    """Mark the voxels of ``grid`` whose centres lie in the field of view of ``field``."""
    matrix = np.linalg.inv(field.affine) @ grid.affine
    axes = np.ogrid[tuple(slice(0, n) for n in grid.shape)]
    out = np.ones(grid.shape, dtype=bool)
    for row, n in zip(matrix[:3], field.shape, strict=True):
        # where axes are parallel only one matters, which saves computing the whole volume
        index = row[3] + sum(
            step * axis
            for step, axis in zip(row[:3], axes, strict=True)
            if abs(step) * axis.size > 1e-9
        )
        out &= (index > -0.5 - 1e-6) & (index < n - 0.5 + 1e-6)
    return out


def overlap(first: Grid, second: Grid) -> float:
    """Return the share of the smaller field of view that lies inside the other, 0 to 1."""
    volumes = [np.prod(grid.shape) * grid.voxel_volume for grid in (first, second)]
    small, large = (first, second) if volumes[0] <= volumes[1] else (second, first)
    return float(inside(small, large).mean())


def with_voxel_size(grid: Grid, size: float | tuple[float, float, float]) -> Grid:
    """Return a grid with the same axes, centre and field of view but another voxel size.

    The field of view is rounded up to whole voxels.

    Parameters
    ----------
    size
        Edge length in mm, or one for each axis.
    """
    wanted = np.broadcast_to(np.asarray(size, dtype=np.float64), (3,))
    if not (wanted > 0).all():
        raise ValueError("a voxel size is positive")
    ratio = wanted / grid.voxel_size
    shape = np.maximum(np.ceil(np.array(grid.shape) / ratio - 1e-3), 1).astype(int)
    affine = grid.affine.copy()
    affine[:3, :3] *= ratio
    centre = grid.affine[:3, :3] @ ((np.array(grid.shape) - 1) / 2)
    affine[:3, 3] += centre - affine[:3, :3] @ ((shape - 1) / 2)
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)
