"""Counting the PVS of a mask, in total and by region."""

from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from napari_pvs.burden.regions import ALL, ELSEWHERE, Regions
from napari_pvs.inference.components import label, table
from napari_pvs.scans.grid import Grid


@dataclass(frozen=True)
class CountedPvs:
    """One connected PVS; its length and diameter are those of `shape.rod`."""

    subject: str
    id: int
    region: str
    volume_mm3: float
    length_mm: float
    diameter_mm: float
    x_mm: float
    y_mm: float
    z_mm: float


@dataclass(frozen=True)
class Burden:
    """PVS of one region. None means unknown, or a median of no PVS."""

    subject: str
    state: str | None
    """Of the subject's label, see `study.bids.StudySubject`; None for a mask alone."""
    region: str
    region_mm3: float | None
    count: int
    volume_mm3: float
    volume_percent: float | None
    """Of the region's volume."""
    count_per_ml: float | None
    length_mm: float | None
    """Median."""
    diameter_mm: float | None
    """Median."""


@dataclass(frozen=True)
class Counted:
    """What was counted in one mask: its PVS, and rows for `ALL` and each region."""

    pvs: tuple[CountedPvs, ...]
    burden: tuple[Burden, ...]


def count(
    mask: NDArray[np.bool_],
    grid: Grid,
    *,
    subject: str = "",
    state: str | None = None,
    regions: Regions | None = None,
    brain: NDArray[np.bool_] | None = None,
) -> Counted:
    """Count PVS: each is a 26-connected component, counted in the region that has most of it.

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
    where = _region_of(labels, len(rows), regions)
    pvs = tuple(
        CountedPvs(
            subject, one.id, name, one.volume_mm3, one.length_mm, one.diameter_mm,
            one.x_mm, one.y_mm, one.z_mm,
        )
        for one, name in zip(rows, where, strict=True)
    )  # fmt: skip

    def burden(region: str, voxels: int | None, inside: list[CountedPvs]) -> Burden:
        room = None if voxels is None else voxels * grid.voxel_volume
        volume = sum(one.volume_mm3 for one in inside)
        return Burden(
            subject,
            state,
            region,
            None if room is None else round(room, 1),
            len(inside),
            round(volume, 3),
            round(100 * volume / room, 5) if room else None,
            round(1000 * len(inside) / room, 4) if room else None,
            round(median(one.length_mm for one in inside), 3) if inside else None,
            round(median(one.diameter_mm for one in inside), 3) if inside else None,
        )

    out = [burden(ALL, None if brain is None else int(np.count_nonzero(brain)), list(pvs))]
    if regions is not None:
        sizes = np.bincount(regions.index.ravel(), minlength=len(regions.names) + 1).tolist()
        for name, size in (*zip(regions.names, sizes[1:], strict=True), (ELSEWHERE, None)):
            out.append(burden(name, size, [one for one in pvs if one.region == name]))
    return Counted(pvs, tuple(out))


def _region_of(labels: NDArray[np.int32], n: int, regions: Regions | None) -> list[str]:
    """Name the region that has most voxels of each PVS; the first of equals."""
    if regions is None:
        return [ALL] * n
    voxels = np.flatnonzero(labels > 0)
    ids, at = np.take(labels, voxels), np.take(regions.index, voxels).astype(np.int64)
    width = len(regions.names) + 1
    votes = np.bincount(ids * width + at, minlength=(n + 1) * width).reshape(n + 1, width)
    votes[:, 0] = 0
    names = (ELSEWHERE, *regions.names)
    return [names[one.argmax()] for one in votes[1:]]
