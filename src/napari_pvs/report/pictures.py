"""Pictures of a report, as ``data:`` addresses: mosaics with outlines, projections, thumbnails."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_pvs.scans.display import brain_limits
from napari_pvs.scans.masks import Mask, bounding_box
from napari_pvs.scans.regions import ELSEWHERE, Place
from napari_pvs.scans.scan import Scan

Plane = Literal["axial", "coronal", "sagittal"]
PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
OUTLINE = (255, 176, 0)
"""Amber: told from grey, and from black and white, with any colour vision."""
_ACROSS: dict[Plane, int] = {"axial": 2, "coronal": 1, "sagittal": 0}
_LETTERS: dict[Plane, tuple[str, str]] = {
    "axial": ("R", "L"),
    "coronal": ("R", "L"),
    "sagittal": ("A", "P"),
}
"""Left and right edge of the picture: the patient's right is on the left, as radiologists look."""
_PANELS, _PANEL = 5, 300  # pictures in a row, and their width in pixels
_THUMBNAIL, _AROUND_MM = 80, 24.0
_QUALITY = 82  # of JPEG


@dataclass(frozen=True)
class Picture:
    """A picture, and what it shows for those who do not see it."""

    address: str
    alt: str
    width: int
    height: int


def shown_image(scan: Scan) -> tuple[str, NDArray[np.float32]]:
    """Return the image that PVS are shown on: the T2, where they are brightest, or the T1."""
    if scan.t2 is not None:
        return "T2", scan.t2
    if scan.t1 is not None:
        return "T1", scan.t1
    raise ValueError("the scan has no image")


def grey(scan: Scan) -> NDArray[np.uint8]:
    """Return the image that PVS are shown on as shades of grey, inside a box around the brain."""
    name, image = shown_image(scan)
    low, high = brain_limits(image, scan.brain, "T2" if name == "T2" else "T1")
    part = image[bounding_box(scan.brain, margin=2)]
    return np.asarray(np.clip((part - low) / max(high - low, 1e-9), 0, 1) * 255, np.uint8)


def mosaic(scan: Scan, labels: NDArray[np.integer], plane: Plane) -> Picture:
    """Show slices of one plane, above as they are, below with the outlines of PVS.

    They are spread over the brain: of each part of it, the slice with most PVS.

    Parameters
    ----------
    scan, labels
        What was segmented, and what was found, on one grid.
    plane
        Which way it is cut.
    """
    from PIL import Image

    box = bounding_box(scan.brain, margin=2)
    shades, mask, brain = grey(scan), labels[box] > 0, scan.brain[box]
    across = _ACROSS[plane]
    rest = tuple(axis for axis in range(3) if axis != across)
    per_slice = mask.sum(rest) + 1e-6 * brain.sum(rest)
    n = len(per_slice)
    inner = np.arange(n)[n // 10 : max(n // 10 + 1, n - n // 10)]
    chosen = [
        int(part[per_slice[part].argmax()]) for part in np.array_split(inner, _PANELS) if len(part)
    ]
    panels = []
    for at in chosen:
        plain = _turned(shades.take(at, across))
        found = _turned(mask.take(at, across))
        panels.append(_panel(plain, found, _size(scan, plain.shape, plane)))
    height = max(one.height for pair in panels for one in pair)
    width = sum(pair[0].width for pair in panels)
    canvas = Image.new("RGB", (width, 2 * height))
    left = 0
    for pair, at in zip(panels, chosen, strict=True):
        for row, one in enumerate(pair):
            canvas.paste(one, (left, row * height))
        _write_on(canvas, (left, 0, pair[0].width, height), plane, _millimetres(scan, plane, at))
        left += pair[0].width
    where = ", ".join(_millimetres(scan, plane, at) for at in chosen)
    modality = shown_image(scan)[0]
    sides = "the patient's right is on the left" if plane != "sagittal" else "front on the left"
    return _picture(
        canvas,
        f"{plane.capitalize()} slices of the {modality} at {where}, above as they are, below with "
        f"PVS outlined; {sides}.",
    )


def projection(scan: Scan, labels: NDArray[np.integer]) -> Picture:
    """Show the PVS of the whole brain from three sides, the brighter the more lie in a row."""
    from PIL import Image

    box = bounding_box(scan.brain, margin=2)
    mask, brain = labels[box] > 0, scan.brain[box]
    panels = []
    for plane in PLANES:
        across = _ACROSS[plane]
        deep = _turned(mask.sum(across)).astype(np.float32)
        ground = _turned(brain.any(across))
        shade = np.sqrt(deep / max(float(deep.max()), 1.0))
        colours = np.zeros((*deep.shape, 3), np.float32)
        colours[ground] = 48
        for channel, full in enumerate(OUTLINE):
            colours[..., channel] += (full - colours[..., channel]) * np.where(
                deep > 0, 0.35 + 0.65 * shade, 0
            )
        one = Image.fromarray(np.asarray(colours, np.uint8))
        panels.append((plane, one.resize(_size(scan, deep.shape, plane), Image.Resampling.NEAREST)))
    height = max(one.height for _, one in panels)
    canvas = Image.new("RGB", (sum(one.width for _, one in panels), height))
    left = 0
    for plane, one in panels:
        canvas.paste(one, (left, 0))
        _write_on(canvas, (left, 0, one.width, height), plane, plane)
        left += one.width
    return _picture(
        canvas,
        "All PVS projected onto an axial, a coronal and a sagittal plane over the brain's outline; "
        "on the first two the patient's right is on the left.",
        kind="PNG",
    )


def thumbnail(
    scan: Scan,
    shades: NDArray[np.uint8],
    labels: NDArray[np.integer],
    centre: Sequence[int],
    alt: str,
) -> Picture:
    """Show one PVS in three planes, `_AROUND_MM` wide, outlined.

    Parameters
    ----------
    scan, labels
        On one grid.
    shades
        From `grey`.
    centre
        Voxel of the scan at which to look.
    alt
        What it shows.
    """
    from PIL import Image

    box = bounding_box(scan.brain, margin=2)
    canvas = Image.new("RGB", (3 * _THUMBNAIL, _THUMBNAIL))
    size = scan.grid.voxel_size
    start = [
        int(np.clip(c - side.start - _AROUND_MM / 2 / edge, 0, max(0, n - _AROUND_MM / edge)))
        for c, side, edge, n in zip(centre, box, size, shades.shape, strict=True)
    ]
    part = tuple(
        slice(a, min(n, a + max(1, round(_AROUND_MM / edge))))
        for a, edge, n in zip(start, size, shades.shape, strict=True)
    )
    near, mask = shades[part], labels[box][part] > 0
    for column, plane in enumerate(PLANES):
        across = _ACROSS[plane]
        at = int(
            np.clip(
                centre[across] - box[across].start - part[across].start, 0, near.shape[across] - 1
            )
        )
        plain = _turned(near.take(at, across))
        found = _turned(mask.take(at, across))
        _, outlined = _panel(plain, found, (_THUMBNAIL, _THUMBNAIL))
        canvas.paste(outlined, (column * _THUMBNAIL, 0))
    return _picture(canvas, alt)


def _panel(plain: NDArray[np.uint8], found: Mask, size: tuple[int, int]) -> tuple[Any, Any]:
    """Return a slice as it is, and with outlines, enlarged."""
    from PIL import Image

    enlarged = Image.fromarray(plain).resize(size, Image.Resampling.BICUBIC).convert("RGB")
    mask = np.asarray(
        Image.fromarray(found.astype(np.uint8) * 255).resize(size, Image.Resampling.NEAREST)
    )
    inside = mask > 0
    # one pixel outside of what is marked, so that it is not hidden
    grown = inside.copy()
    grown[1:] |= inside[:-1]
    grown[:-1] |= inside[1:]
    grown[:, 1:] |= inside[:, :-1]
    grown[:, :-1] |= inside[:, 1:]
    pixels = np.array(enlarged)
    pixels[grown & ~inside] = OUTLINE
    return enlarged, Image.fromarray(pixels)


def _turned(slice_: Any) -> NDArray[Any]:
    """Turn a slice of an RAS+ array into rows and columns, superior or the nose up.

    The patient's right comes to the left, of a sagittal slice the front.
    """
    return np.ascontiguousarray(slice_.T[::-1, ::-1])


def _size(scan: Scan, shape: tuple[int, ...], plane: Plane) -> tuple[int, int]:
    """Return width and height in pixels; a millimetre is as long both ways."""
    size = scan.grid.voxel_size
    along, up = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}[plane]
    rows, columns = shape
    height = round(_PANEL * rows * size[up] / (columns * size[along]))
    return _PANEL, max(1, height)


def _millimetres(scan: Scan, plane: Plane, at: int) -> str:
    """Say where a slice of the brain's box lies: the scanner millimetres of its middle."""
    box = bounding_box(scan.brain, margin=2)
    across = _ACROSS[plane]
    middle = [(side.start + side.stop - 1) / 2 for side in box]
    middle[across] = box[across].start + at
    value = (scan.grid.affine @ [*middle, 1.0])[across]
    return f"{'xyz'[across]} = {value:.0f} mm"


def _write_on(canvas: Any, where: tuple[int, int, int, int], plane: Plane, title: str) -> None:
    from PIL import ImageDraw

    left, top, width, height = where
    pen, font = ImageDraw.Draw(canvas), _font()
    outlined = {"fill": "white", "font": font, "stroke_width": 2, "stroke_fill": "black"}
    one, two = _LETTERS[plane]
    pen.text((left + 6, top + height / 2), one, anchor="lm", **outlined)
    pen.text((left + width - 6, top + height / 2), two, anchor="rm", **outlined)
    pen.text((left + width / 2, top + 4), title, anchor="mt", **outlined)


@cache
def _font() -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(18)


def _picture(canvas: Any, alt: str, kind: Literal["JPEG", "PNG"] = "JPEG") -> Picture:
    file = io.BytesIO()
    if kind == "PNG":
        canvas.quantize(64).save(file, format="PNG", optimize=True)
    else:
        canvas.save(file, format="JPEG", quality=_QUALITY, optimize=True)
    data = base64.b64encode(file.getvalue()).decode()
    return Picture(f"data:image/{kind.lower()};base64,{data}", alt, canvas.width, canvas.height)


def region_words(place: Place) -> str:
    """Say where a PVS lies: "left thalamus"."""
    if place.region == ELSEWHERE:
        return f"{ELSEWHERE}, {place.side}" if place.side else ELSEWHERE
    return f"{place.side} {place.region}" if place.side else place.region
