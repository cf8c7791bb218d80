"""What the field's standards say of PVS: how wide they may be, and visual grades by region.

STRIVE-2 (Duering et al., Lancet Neurology 2023) and the scales of Potter et al. (Cerebrovascular
Diseases 2015) and Adams et al. (Stroke 2013).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_pvs.scans.grid import Grid
from napari_pvs.scans.regions import SIDES, Place, Side

Flag = Literal["wide", "lacune-like"]
WIDE_MM = 3.0
"""A PVS is narrower as a rule; a lacune is wider."""
ELONGATED = 2.0
"""Length over diameter, below which something is round."""
GRADES = (0, 10, 20, 40)
"""Most PVS of the grades 0 to 3 of the basal ganglia and the centrum semiovale; 4 is more."""
SLAB_MM = 3.0
"""How thick a slice is in which PVS are counted: raters see slices of 2 to 5 mm."""
GRADED, PRESENT, TOTAL = ("basal ganglia", "centrum semiovale"), "midbrain", "hippocampus"


@dataclass(frozen=True)
class VisualGrade:
    """What a rater would have said of a region, estimated from a mask.

    Attributes
    ----------
    subject
        Name in the tables.
    region
        One of four, as Adams' scale has them.
    count
        PVS in the fullest slice, of the side that has more; all PVS of hippocampus and midbrain.
    grade
        Potter's 0 to 4 for basal ganglia and centrum semiovale, 0 or 1 for the midbrain; None for
        the hippocampus, which has no grade.
    side
        That has more, in the fullest slice; None where both have as many or it does not matter.
    z_mm
        Where that slice is, in scanner millimetres at the brain's axis; None where it is none.
    """

    subject: str
    region: str
    count: int
    grade: int | None
    side: Side | None
    z_mm: float | None


def flag(length_mm: float, diameter_mm: float) -> Flag | None:
    """Tell what is wider than a PVS should be, and round as a lacune, from its rod.

    Examples
    --------
    >>> flag(8.0, 1.2), flag(12.0, 3.4), flag(4.0, 4.2)
    (None, 'wide', 'lacune-like')
    """
    if diameter_mm <= WIDE_MM:
        return None
    return "wide" if length_mm >= ELONGATED * diameter_mm else "lacune-like"


def grade_of(count: int) -> int:
    """Return Potter's grade of a number of PVS.

    Examples
    --------
    >>> [grade_of(n) for n in (0, 1, 10, 11, 20, 21, 40, 41)]
    [0, 1, 1, 2, 2, 3, 3, 4]
    """
    return sum(count > most for most in GRADES)


def visual_grades(
    labels: NDArray[np.integer], where: Sequence[Place], grid: Grid, subject: str = ""
) -> list[VisualGrade]:
    """Estimate visual grades: count PVS in axial slices of `SLAB_MM`, and grade the fullest.

    A rater sees fewer PVS than a mask holds where the mask has what is hardly visible, and takes a
    slice that is usual for the region; so these are estimates, not ratings.

    Parameters
    ----------
    labels
        (X, Y, Z): 0 background, k the k-th PVS; axes to right, anterior, superior.
    where
        Region and side of each PVS.
    grid
        Of the labels.
    subject
        For the tables.
    """
    voxels = np.argwhere(labels > 0)
    ids = labels[tuple(voxels.T)]
    thick = max(1, round(SLAB_MM / grid.voxel_size[2]))
    out = []
    for region in GRADED:
        # each PVS once in each slice of voxels, then in each slab that holds one of these
        best: tuple[int, Side | None, int] = (0, None, 0)
        for side in SIDES:
            mine = [at for at, place in enumerate(where, 1) if place == Place(region, side)]
            here = np.isin(ids, mine)
            pairs = np.unique(np.stack([ids[here], voxels[here, 2]], axis=-1), axis=0)
            slabs: dict[int, set[int]] = {}
            for one, z in pairs.tolist():
                for start in range(z - thick + 1, z + 1):
                    slabs.setdefault(start, set()).add(one)
            for start in sorted(slabs):
                if len(slabs[start]) > best[0]:
                    best = (len(slabs[start]), side, start)
        number, fullest, start = best
        middle = [(n - 1) / 2 for n in labels.shape[:2]]
        height = float((grid.affine @ [*middle, start + (thick - 1) / 2, 1.0])[2])
        z_mm = round(height, 1) if number else None
        out.append(VisualGrade(subject, region, number, grade_of(number), fullest, z_mm))
    for region in (TOTAL, PRESENT):
        number = sum(place.region == region for place in where)
        grade = min(number, 1) if region == PRESENT else None
        out.append(VisualGrade(subject, region, number, grade, None, None))
    return out
