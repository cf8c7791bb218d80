"""A picture of a segmentation: slices with most PVS, plain and with outlines."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_pvs.scans.masks import bounding_box
from napari_pvs.scans.scan import Scan

_PANELS = 4


def overlay(scan: Scan, labels: NDArray[np.int32], path: Path) -> None:
    """Draw axial slices of the scan, above as it is, below with the PVS in red, as a PNG.

    The slices are spread over the brain: of each quarter, the one with most PVS voxels. Shown is
    the T2 where there is one, as PVS are brightest there.

    Parameters
    ----------
    scan
        What was segmented.
    labels
        (X, Y, Z), above 0 in a PVS.
    path
        Where the PNG goes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    name, image = ("T2", scan.t2) if scan.t2 is not None else ("T1", scan.t1)
    if image is None:
        raise ValueError("the scan has no image")
    box = bounding_box(scan.brain, margin=2)
    image, mask, brain = image[box], labels[box] > 0, scan.brain[box]
    low, high = np.percentile(image[brain], (0.5, 99.0))
    per_slice = mask.sum((0, 1)) + 1e-6 * brain.sum((0, 1))
    chosen = [int(part[per_slice[part].argmax()]) for part in _quarters(image.shape[2])]
    x, y, _ = scan.grid.voxel_size
    extent = (0.0, image.shape[0] * x, 0.0, image.shape[1] * y)
    # radiological display: the patient's right on the left
    figure = Figure(
        figsize=(4 * len(chosen), 4 * 2 * extent[3] / extent[1]), dpi=120, facecolor="k"
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(chosen), squeeze=False)
    for column, z in enumerate(chosen):
        for row in range(2):
            axis = axes[row][column]
            axis.imshow(
                image[::-1, :, z].T, cmap="gray", vmin=low, vmax=high, origin="lower", extent=extent
            )
            axis.axis("off")
        found = mask[::-1, :, z].T
        if found.any():
            shade = np.zeros((*found.shape, 4))
            shade[found] = (1, 0.2, 0.1, 0.75)
            axes[1][column].imshow(shade, origin="lower", extent=extent, interpolation="nearest")
        height = scan.grid.affine[2] @ [0, 0, z + box[2].start, 1]
        axes[0][column].set_title(f"{name}  z = {height:.0f} mm", color="w", fontsize=11)
    figure.subplots_adjust(0.005, 0.005, 0.995, 0.96, 0.01, 0.01)
    figure.savefig(path, format="png", facecolor="k")


def _quarters(height: int) -> list[NDArray[np.intp]]:
    """Cut the middle 80 % of the slices into parts; the ends show little brain."""
    inner = np.arange(height)[height // 10 : max(height // 10 + 1, height - height // 10)]
    return [part for part in np.array_split(inner, _PANELS) if len(part)]
