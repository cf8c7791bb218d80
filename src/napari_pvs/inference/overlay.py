"""A picture of a segmentation: the slices with the most PVS, with and without the mask."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.scans.masks import bounding_box
from napari_pvs.scans.scan import Scan

_PANELS = 4
_WIDTH, _TITLE, _GAP = 480, 32, 4  # pixels
_RED, _OPACITY = (255, 51, 26), 191


def overlay(scan: Scan, labels: NDArray[np.int32], path: Path) -> None:
    """Draw axial slices of the scan as a PNG: plain in the top row, with PVS in red below.

    The slices are spread over the brain: from each quarter, the one with the most PVS voxels. The
    T2 is shown if there is one, because PVS are brightest there.

    Parameters
    ----------
    scan
        The segmented scan.
    labels
        (X, Y, Z), above 0 in a PVS.
    path
        The PNG file.
    """
    from PIL import Image, ImageDraw, ImageFont

    name, image = ("T2", scan.t2) if scan.t2 is not None else ("T1", scan.t1)
    if image is None:
        raise ValueError("the scan has no image")
    box = bounding_box(scan.brain, margin=2)
    image, mask, brain = image[box], labels[box] > 0, scan.brain[box]
    low, high = np.percentile(image[brain], (0.5, 99.0))
    per_slice = mask.sum((0, 1)) + 1e-6 * brain.sum((0, 1))
    chosen = [int(part[per_slice[part].argmax()]) for part in _quarters(image.shape[2])]
    x, y, _ = scan.grid.voxel_size
    middle = [(side.start + side.stop - 1) / 2 for side in box[:2]]
    panel = (_WIDTH, max(1, round(_WIDTH * image.shape[1] * y / (image.shape[0] * x))))
    rows = (_TITLE, _TITLE + panel[1] + _GAP)
    canvas = Image.new("RGB", (len(chosen) * (_WIDTH + _GAP) + _GAP, rows[1] + panel[1] + _GAP))
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(_TITLE * 0.6)
    for column, z in enumerate(chosen):
        left = _GAP + column * (_WIDTH + _GAP)
        shade = np.clip((image[:, :, z] - low) / max(high - low, 1e-9), 0, 1) * 255
        slice_ = Image.fromarray(_radiological(shade)).resize(panel, Image.Resampling.BICUBIC)
        found = Image.fromarray(_radiological(mask[:, :, z] * _OPACITY))
        for top in rows:
            canvas.paste(slice_, (left, top))
        canvas.paste(_RED, (left, rows[1]), found.resize(panel, Image.Resampling.NEAREST))
        # at the middle of the brain; the corner of an oblique slice may be centimetres higher
        height = scan.grid.affine[2] @ [*middle, z + box[2].start, 1]
        centre = (left + _WIDTH / 2, _TITLE / 2)
        pen.text(centre, f"{name}  z = {height:.0f} mm", "white", font, anchor="mm")
    canvas.save(path, format="PNG", compress_level=4)


def _radiological(axial: NDArray[Any]) -> NDArray[np.uint8]:
    """Turn (right, anterior) into rows and columns: the patient's right on the left, nose up."""
    return np.ascontiguousarray(axial.T[::-1, ::-1]).astype(np.uint8)


def _quarters(height: int) -> list[NDArray[np.intp]]:
    """Divide the middle 80 % of the slices into parts; the ends show little brain."""
    inner = np.arange(height)[height // 10 : max(height // 10 + 1, height - height // 10)]
    return [part for part in np.array_split(inner, _PANELS) if len(part)]
