"""Counting the PVS of a mask, in total and by region and side."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_pvs.burden.regions import ALL
from napari_pvs.burden.standards import Flag, VisualGrade, flag, visual_grades
from napari_pvs.inference.components import label, table
from napari_pvs.scans.grid import Grid
from napari_pvs.scans.regions import ELSEWHERE, SIDES, Place, Regions, Side, places
from napari_pvs.scans.template import REGIONS

BothSides = Literal["both", "left", "right"]


@dataclass(frozen=True)
class CountedPvs:
    """One connected PVS, with the lengths and the diameter of `components.Pvs`.

    ``side`` is None where nothing tells it. ``flag`` tells what is wider than a PVS should be.
    """

    subject: str
    id: int
    region: str
    side: Side | None
    volume_mm3: float
    length_mm: float
    curved_length_mm: float
    diameter_mm: float
    flag: Flag | None
    x_mm: float
    y_mm: float
    z_mm: float


@dataclass(frozen=True)
class Burden:
    """PVS of one region, on both sides or one. None means unknown, or a median of no PVS."""

    subject: str
    state: str | None
    """Of the subject's label, see `study.bids.StudySubject`; None for a mask alone."""
    region: str
    side: BothSides
    region_mm3: float | None
    seen_percent: float | None
    """Of the region, that lies in the scan; None where it is not known."""
    count: int | None
    """None for a region that is not in the scan: it is missing, not empty."""
    volume_mm3: float | None
    volume_percent: float | None
    """Of the region's volume."""
    count_per_ml: float | None
    length_mm: float | None
    """Median."""
    curved_length_mm: float | None
    """Median."""
    diameter_mm: float | None
    """Median."""
    scans: str | None = None
    """That the subject has, such as ``T1+T2``; None for a mask alone."""


@dataclass(frozen=True)
class Counted:
    """What was counted in one mask: its PVS, rows for `ALL` and each region, and visual grades.

    Grades are there where regions and sides are those of the template.
    """

    pvs: tuple[CountedPvs, ...]
    burden: tuple[Burden, ...]
    visual: tuple[VisualGrade, ...] = ()


def count(
    mask: NDArray[np.bool_],
    grid: Grid,
    *,
    subject: str = "",
    state: str | None = None,
    regions: Regions | None = None,
    brain: NDArray[np.bool_] | None = None,
) -> Counted:
    """Count PVS: each is a 26-connected component, in one region and on one side; see `places`.

    Parameters
    ----------
    mask
        (X, Y, Z).
    grid
        Of the mask, RAS+.
    subject, state
        For the tables.
    regions
        On the grid; without them, PVS are only counted in total.
    brain
        Mask whose volume is the volume of `ALL`.

    Raises
    ------
    ValueError
        The shapes differ.
    """
    shapes = {mask.shape, grid.shape}
    shapes |= set() if regions is None else {regions.index.shape}
    shapes |= set() if brain is None else {brain.shape}
    if len(shapes) > 1:
        raise ValueError(f"mask, grid, regions and brain differ in shape: {shapes}")
    labels = label(mask, 1, 0.0, grid.voxel_volume)
    rows = table(labels, mask, grid)
    unknown = [Place(ALL, None)] * len(rows)
    where = unknown if regions is None else places(labels, len(rows), regions)
    pvs = tuple(
        CountedPvs(
            subject, one.id, place.region, place.side, one.volume_mm3, one.length_mm,
            one.curved_length_mm, one.diameter_mm, flag(one.length_mm, one.diameter_mm),
            one.x_mm, one.y_mm, one.z_mm,
        )
        for one, place in zip(rows, where, strict=True)
    )  # fmt: skip
    whole = None if brain is None else float(np.count_nonzero(brain)) * grid.voxel_volume
    burden = tuple(_burden(subject, state, pvs, regions, whole, grid.voxel_volume))
    visual: list[VisualGrade] = []
    if regions is not None and regions.names == REGIONS:
        graded = visual_grades(labels, where, grid, subject)
        visual = [one for one in graded if not regions.missing(one.region)]
    return Counted(pvs, burden, tuple(visual))


def _burden(
    subject: str,
    state: str | None,
    pvs: tuple[CountedPvs, ...],
    regions: Regions | None,
    brain_mm3: float | None,
    voxel_volume: float,
) -> Iterator[Burden]:
    rooms: dict[tuple[str, Side | None], float] = {}
    seen: dict[str, float] = {}
    sides: tuple[Side, ...] = ()
    if regions is not None:
        rooms = regions.volumes(voxel_volume)
        seen = dict(zip(regions.names, regions.seen, strict=False))
        sides = SIDES if regions.sides is not None else ()
    if brain_mm3 is not None:
        rooms[ALL, None] = brain_mm3
    for region in (ALL, *(() if regions is None else (*regions.names, ELSEWHERE))):
        here = [one for one in pvs if region in (ALL, one.region)]
        share = round(100 * seen[region], 1) if region in seen else None
        missing = regions is not None and region in regions.names and regions.missing(region)
        for side in (None, *sides):
            inside = [one for one in here if side in (None, one.side)]
            # PVS that the mask has where the template has no region all the same
            absent = missing and not inside
            room = rooms.get((region, side))
            volume = sum(one.volume_mm3 for one in inside)
            yield Burden(
                subject,
                state,
                region,
                side or "both",
                None if room is None else round(room, 1),
                share,
                None if absent else len(inside),
                None if absent else round(volume, 3),
                round(100 * volume / room, 5) if room else None,
                round(1000 * len(inside) / room, 4) if room else None,
                round(median(one.length_mm for one in inside), 3) if inside else None,
                round(median(one.curved_length_mm for one in inside), 3) if inside else None,
                round(median(one.diameter_mm for one in inside), 3) if inside else None,
            )
