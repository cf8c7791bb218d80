"""How a viewer shows scans: axis order, contrast limits, labels or image.

A viewer's slider moves along the first axis, rows run down along the second, and columns to the
right along the third; so the axes point to superior, posterior and right.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_pvs.scans.scan import Scan

Limits = tuple[float, float]
Modality = Literal["T1", "T2"]


def brain_limits(
    image: NDArray[np.floating], brain: NDArray[np.bool_], modality: Modality
) -> Limits:
    """Choose black and white so that white matter appears middle grey.

    White matter is near the 80th percentile of the brain on T1 and the 20th on T2 (79-85 and 15-26
    in the scans examined). On T1 the range below it is spread out, on T2 the range above it, so
    that PVS stand out on both; fluid as bright as in the ventricles may be plain white.

    Parameters
    ----------
    image
        Intensities.
    brain
        Mask of the same shape.
    modality
        Which of the two.
    """
    lowest, dark, dim, bright, brightest, highest = np.percentile(
        image[brain], (0.5, 2, 20, 80, 95, 99.5)
    )
    if modality == "T1":
        low, high = dark, dark + (bright - dark) / 0.6
    else:
        low, high = max((dim - 0.4 * brightest) / 0.6, min(lowest, 0)), brightest
    if high <= low:
        low, high = lowest, highest
    return float(low), float(high)


def contrast_limits(data: NDArray[Any]) -> Limits:
    """Return contrast limits: the 0.5th and 99.5th percentile of the non-zero voxels."""
    values = data[data != 0]
    if not values.size:
        return 0.0, 1.0
    # a sample is enough, and keeps opening a large scan quick
    low, high = np.percentile(values[:: 1 + values.size // 10**6], (0.5, 99.5))
    if high <= low:
        low, high = float(data.min()), float(data.max())
    return float(low), float(high)


AXES = ("superior", "posterior", "right")


def to_display(array: NDArray[Any]) -> NDArray[Any]:
    """Return a view of an RAS+ array (x, y, z) with axes to superior, posterior and right."""
    return array.transpose(2, 1, 0)[:, ::-1]


def from_display(array: NDArray[Any]) -> NDArray[Any]:
    """Undo `to_display`."""
    return array[:, ::-1].transpose(2, 1, 0)


def display_index(index: tuple[int, int, int], scan: Scan) -> tuple[int, int, int]:
    """Turn a voxel (x, y, z) of the scan's grid into an index of its layers' data."""
    x, y, z = index
    return z, scan.grid.shape[1] - 1 - y, x


def grid_index(index: tuple[int, int, int], scan: Scan) -> tuple[int, int, int]:
    """Undo `display_index`."""
    z, y, x = index
    return x, scan.grid.shape[1] - 1 - y, z


def scanner_mm(index: Sequence[float], scan: Scan) -> tuple[float, float, float]:
    """Return where a voxel of a scan's layers lies, in the scanner's RAS millimetres.

    Parameters
    ----------
    index
        Of the layers' data (superior, posterior, right); may lie between voxels.
    scan
        Whose layers.
    """
    z, y, x = index
    voxel = np.array([x, scan.grid.shape[1] - 1 - y, z, 1.0])
    right, anterior, superior = (scan.grid.affine @ voxel)[:3].tolist()
    return right, anterior, superior


def place_text(index: Sequence[float], scan: Scan) -> str:
    """Say where a voxel of a scan's layers lies: RAS millimetres, and the voxel of its grid.

    The millimetres are those of ``pvs.tsv`` (``x_mm``, ``y_mm``, ``z_mm``); the grid's axes run to
    right, anterior and superior. Outside the grid there is no voxel.
    """
    right, anterior, superior = scanner_mm(index, scan)
    text = f"RAS {right:.1f}, {anterior:.1f}, {superior:.1f} mm"
    z, y, x = (round(one) for one in index)
    voxel = grid_index((z, y, x), scan)
    inside = all(0 <= i < n for i, n in zip(voxel, scan.grid.shape, strict=True))
    return f"{text} · voxel {', '.join(map(str, voxel))}" if inside else text


def looks_like_labels(data: NDArray[Any]) -> bool:
    """Tell whether voxels are labels: whole numbers that mostly equal their neighbours.

    The number of different values says nothing: a cortical parcellation has about 190, an 8-bit
    FreeSurfer scan 125. Of the non-zero neighbours along the first axis, 85-88 % are equal in label
    maps, but only 10 % in such a scan.
    """
    # float32 represents all whole numbers up to here
    if data.min() < 0 or data.max() >= 2**24 or not np.array_equal(data, np.rint(data)):
        return False
    one, two = data[1:], data[:-1]
    inside = (one != 0) & (two != 0)
    # isolated voxels (small lesions) have no neighbours; then a mask has a single value
    if not inside.any():
        return np.unique(data).size <= 2
    return bool((one == two)[inside].mean() > 0.5)
