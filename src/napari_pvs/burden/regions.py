"""Regions of the brain in which PVS are counted, from a label map."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_pvs.errors import InputError
from napari_pvs.scans.grid import Grid, overlap, resample
from napari_pvs.scans.nifti import read_labels

Names = dict[str, tuple[int, ...]]
"""The numbers that each region has in a label map."""
FREESURFER: Names = {
    "white matter": (2, 41, 77, 78, 79, *range(251, 256), *range(3000, 5003), *range(13100, 14176)),
    "basal ganglia": (11, 12, 13, 26, 50, 51, 52, 58),
    "thalamus": (9, 10, 48, 49),
    "hippocampus": (17, 53),
    "cortex": (3, 42, *range(1000, 3000), *range(11100, 12176)),
    "brainstem": (16, *range(170, 176)),
    "cerebellum": (7, 8, 46, 47),
}
"""Regions by the numbers of FreeSurfer's colour table, which SynthSeg uses too."""
ALL, ELSEWHERE = "all", "elsewhere"
"""Every PVS, and those that touch no region."""
_LARGEST = 2**24  # number of a region; FreeSurfer's have five digits
_LEAST = 0.5  # least share of the smaller field of view that mask and map must have in common


@dataclass(frozen=True, eq=False)
class Regions:
    """The region of each voxel.

    Attributes
    ----------
    names
        Of the regions.
    index
        uint16 (X, Y, Z): 0 for none, n for the n-th name.
    """

    names: tuple[str, ...]
    index: NDArray[np.uint16]


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
    volume = read_labels(path)
    if overlap(Grid(volume.shape, volume.affine), grid) < _LEAST:
        raise InputError(
            f"{path} is in another place than the PVS; give one of the same scan, or bring it into "
            "the scan's space."
        )
    return resample(volume.data, volume.affine, grid, order=0)


def read_regions(path: Path, grid: Grid, names: Names) -> Regions:
    """Read the regions of a label map; see `read_map`.

    Parameters
    ----------
    path, grid
        As for `read_map`.
    names
        The numbers of each region, such as `FREESURFER` or from `read_names`.

    Raises
    ------
    InputError
        As for `read_map`, or the map has none of the numbers.
    """
    # numbers above all named ones belong to no region, however large they are in a file
    beyond = max((code for numbers in names.values() for code in numbers), default=0) + 1
    codes = np.clip(read_map(path, grid), 0, beyond)
    region = np.zeros(beyond + 1, np.uint16)
    for number, numbers in enumerate(names.values(), start=1):
        region[list(numbers)] = number
    index = region[codes]
    if not index.any():
        raise InputError(
            f"{path} has none of the numbers of {', '.join(names)}; name its regions with --names."
        )
    return Regions(tuple(names), index)


def read_names(path: Path) -> Names:
    """Read the numbers of each region from a table.

    Parameters
    ----------
    path
        A table such as BIDS puts beside ``dseg`` images: columns ``index`` and ``name``, separated
        by tabs. Rows of the same name are one region.

    Raises
    ------
    InputError
        It is not such a table, gives a number to two regions, or names one `ALL` or `ELSEWHERE`.
    """
    found: dict[str, list[int]] = {}
    owner: dict[int, str] = {}
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
    return {name: tuple(numbers) for name, numbers in found.items()}
