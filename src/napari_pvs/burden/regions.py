"""Regions of the brain in which PVS are counted, from a label map."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_pvs.errors import InputError
from napari_pvs.scans.grid import Grid, inside, overlap, resample
from napari_pvs.scans.nifti import Volume, read_labels
from napari_pvs.scans.regions import ELSEWHERE, SIDES, Regions, Side

TEMPLATE, NONE = "template", "none"
"""In the place of a label map: the template's regions, registered to the scan; or no regions."""


@dataclass(frozen=True)
class Numbering:
    """What the numbers of a label map mean.

    Attributes
    ----------
    regions
        The numbers of each region.
    sides
        The side of numbers that have one.
    """

    regions: Mapping[str, tuple[int, ...]]
    sides: Mapping[int, Side]


_LEFT = (2, 3, 7, 8, 10, 11, 12, 13, 17, 26, 30, 78, *range(1000, 2000), *range(3000, 4000), 5001)
_RIGHT = (
    41,
    42,
    46,
    47,
    49,
    50,
    51,
    52,
    53,
    58,
    62,
    79,
    *range(2000, 3000),
    *range(4000, 5000),
    5002,
)
# Destrieux's parcels: cortex, then white matter
_LEFT_A2009S = (*range(11100, 11200), *range(13100, 13200))
_RIGHT_A2009S = (*range(12100, 12200), *range(14100, 14200))
FREESURFER = Numbering(
    {
        "white matter": (
            *(2, 41, 77, 78, 79), *range(251, 256), *range(3000, 5003), *range(13100, 14176),
        ),
        "basal ganglia": (11, 12, 13, 26, 30, 50, 51, 52, 58, 62),
        "thalamus": (9, 10, 48, 49),
        "hippocampus": (17, 53),
        "cortex": (3, 42, *range(1000, 3000), *range(11100, 12176)),
        "brainstem": (16, *range(170, 176)),
        "cerebellum": (7, 8, 46, 47),
    },
    dict.fromkeys((*_LEFT, 9, *_LEFT_A2009S), SIDES[0])
    | dict.fromkeys((*_RIGHT, 48, *_RIGHT_A2009S), SIDES[1]),
)  # fmt: skip
"""Regions by the numbers of FreeSurfer's colour table, which SynthSeg has too."""
ALL = "all"
"""Every PVS."""
_HEMISPHERES: dict[str, Side] = {"l": "left", "left": "left", "r": "right", "right": "right"}
_LARGEST = 2**24  # of a region; FreeSurfer's have five digits
_LEAST = 0.5  # of the smaller field of view, that mask and map share


def read_map(path: Path, grid: Grid) -> NDArray[np.integer]:
    """Read a label map, or a mask, on a grid: each voxel takes the number of the nearest one.

    Parameters
    ----------
    path
        NIfTI or MGH on any grid in the world space of the scan, as FreeSurfer and SynthSeg write.
    grid
        Of the PVS.

    Raises
    ------
    InputError
        It is not a label map, or is in another place.
    """
    return _on(_placed(path, grid), grid)


def _placed(path: Path, grid: Grid) -> Volume:
    volume = read_labels(path)
    if overlap(Grid(volume.shape, volume.affine), grid) < _LEAST:
        raise InputError(
            f"{path} does not lie where the PVS are; give a label map of the same scan, or move it "
            "into the scan's space."
        )
    return volume


def _on(volume: Volume, grid: Grid) -> NDArray[np.integer]:
    return resample(volume.data, volume.affine, grid, order=0)


def read_regions(path: Path, grid: Grid, names: Numbering) -> Regions:
    """Read the regions of a label map, and their sides; see `read_map`.

    What has a number without a side, such as the brainstem, lies on the side of the plane half way
    between the left and the right of what has one.

    Parameters
    ----------
    path, grid
        As for `read_map`.
    names
        What the numbers mean, such as `FREESURFER` or from `read_names`.

    Raises
    ------
    InputError
        As for `read_map`, or the map has none of the numbers.
    """
    volume = _placed(path, grid)
    codes = _on(volume, grid)
    regions = names.regions
    region = np.zeros(max((c for some in regions.values() for c in some), default=0) + 2, np.uint16)
    for number, numbers in enumerate(regions.values(), start=1):
        region[list(numbers)] = number
    index = _looked_up(region, codes)
    if not index.any():
        raise InputError(
            f"{path} has none of the numbers of {', '.join(regions)}; name its regions with "
            "--names."
        )
    # what the map has, but the scan does not show
    field = Grid(volume.shape, volume.affine)
    everywhere = _looked_up(region, volume.data)
    total = np.bincount(everywhere.ravel(), minlength=len(regions) + 1)[1:]
    there = np.bincount(everywhere[inside(field, grid)], minlength=len(regions) + 1)[1:]
    seen = tuple(float(a / b) if b else 0.0 for a, b in zip(there, total, strict=True))
    return Regions(tuple(regions), index, _sides(codes, grid, names.sides), None, seen)


def _looked_up(table: NDArray[np.uint16], codes: NDArray[np.integer]) -> NDArray[np.uint16]:
    # what is larger than all that have a name is of no region, however large a file makes it
    return np.asarray(table[np.clip(codes, 0, len(table) - 1)])


def _sides(
    codes: NDArray[np.integer], grid: Grid, sides: Mapping[int, Side]
) -> NDArray[np.uint8] | None:
    """Return the side of every voxel, as `Regions` has it; None where no number has one."""
    table = np.zeros(max(sides, default=0) + 2, np.uint16)
    for code, side in sides.items():
        table[code] = 1 + SIDES.index(side)
    out = _looked_up(table, codes).astype(np.uint8)
    if not out.any():
        return None
    centres = [np.argwhere(out == n).mean(0) for n in (1, 2) if (out == n).any()]
    if len(centres) == 2:
        left, right = (centre @ grid.affine[:3, :3].T for centre in centres)
        towards = (right - left) @ grid.affine[:3, :3]
        axes = np.ogrid[tuple(slice(0, n) for n in out.shape)]
        away = sum(step * axis for step, axis in zip(towards, axes, strict=True))
        middle = towards @ (centres[0] + centres[1]) / 2
        out = np.where(out > 0, out, np.where(away < middle, 1, 2)).astype(np.uint8)
    return out


def read_names(path: Path | None) -> Numbering:
    """Read the numbers of each region from a table; without one, they are FreeSurfer's.

    Parameters
    ----------
    path
        A table such as BIDS puts beside ``dseg`` images: columns ``index`` and ``name``, separated
        by tabs. Rows of the same name are one region; a column ``hemisphere`` says left or right.

    Raises
    ------
    InputError
        It is not such a table, gives a number to two regions, or names one `ALL` or `ELSEWHERE`.
    """
    if path is None:
        return FREESURFER
    found: dict[str, list[int]] = {}
    owner: dict[int, str] = {}
    sides: dict[int, Side] = {}
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                number, name = int(row["index"]), row["name"].strip()
                if number > _LARGEST:
                    raise ValueError(f"{number} is too large")
                if number > 0 and name:
                    found.setdefault(name, []).append(number)
                    if owner.setdefault(number, name) != name:
                        raise ValueError(f"{number} is both {owner[number]} and {name}")
                    said = (row.get("hemisphere") or "").strip().lower()
                    if said in _HEMISPHERES:
                        sides[number] = _HEMISPHERES[said]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise InputError(
            f"{path} is not a table of regions ({error}); give one with the columns index and "
            "name, separated by tabs."
        ) from error
    if not found:
        raise InputError(f"{path} names no region; give a table with the columns index and name.")
    taken = next((name for name in (ALL, ELSEWHERE) if name in found), None)
    if taken is not None:
        raise InputError(
            f"{path} names a region {taken}, a name that the tables need themselves; rename it."
        )
    return Numbering({name: tuple(numbers) for name, numbers in found.items()}, sides)
