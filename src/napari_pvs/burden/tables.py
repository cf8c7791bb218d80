"""The tables that counting leaves: one row per PVS, one per subject and region."""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_pvs.burden.count import Burden, Counted, CountedPvs
from napari_pvs.burden.regions import ALL
from napari_pvs.burden.standards import VisualGrade
from napari_pvs.errors import plain
from napari_pvs.evaluation.tables import tsv
from napari_pvs.files import atomic_set, write_text
from napari_pvs.scans.derivative import described
from napari_pvs.scans.regions import SIDES

if TYPE_CHECKING:
    from rich.table import Table

FILES = ("burden_pvs.tsv", "burden_visual.tsv", "burden.tsv", "burden.json")
COLUMNS = {
    "subject": "Name in the study, or in the path of the mask.",
    "state": "Kind of label: segmented (a prediction), corrected, or reference (by another tool).",
    "region": f"{ALL}: every PVS; elsewhere: PVS without a voxel in any region.",
    "side": "Side of the brain: left, right, or both together.",
    "region_mm3": "Volume of the region on this side, or of the brain mask for all.",
    "seen_percent": "Share of the region that lies in the scan; n/a where it is not known.",
    "count": "Number of 26-connected PVS with most of their voxels in the region and on the side; "
    "n/a where the region is not in the scan.",
    "volume_mm3": "Volume of these PVS.",
    "volume_percent": "Volume of these PVS in % of the region's volume.",
    "count_per_ml": "Number of PVS per mL of the region.",
    "length_mm": "Median length of a PVS, as that of a straight rod that spreads as far.",
    "curved_length_mm": "Median length along the course of a PVS, however it is curved.",
    "diameter_mm": "Median diameter of a PVS, as that of a rod of its length and volume.",
    "scans": "Which the subject has: T1+T2, T1 or T2; counts from one and from both are not "
    "comparable.",
}
"""Of ``burden.tsv``, as its sidecar explains them."""


def write(counted: Sequence[Counted], out: Path) -> None:
    """Write `FILES`, as one set: the tables, n/a where nothing is known, and their sidecar."""
    pvs = [row for one in counted for row in one.pvs]
    visual = [row for one in counted for row in one.visual]
    burden = [row for one in counted for row in one.burden]
    with atomic_set(out, FILES) as folder:
        tables: tuple[tuple[str, Any, Sequence[Any]], ...] = (
            (FILES[0], CountedPvs, pvs),
            (FILES[1], VisualGrade, visual),
            (FILES[2], Burden, burden),
        )
        for file, kind, rows in tables:
            write_text(folder / file, _tsv(kind, rows))
        write_text(folder / FILES[3], json.dumps(described(COLUMNS), indent=2) + "\n")


def burden_tsv(counted: Sequence[Counted]) -> str:
    """Return ``burden.tsv``: a row per subject, region and side."""
    return _tsv(Burden, [row for one in counted for row in one.burden])


def _tsv(kind: Any, rows: Sequence[Any]) -> str:
    return tsv([field.name for field in fields(kind)], map(asdict, rows))


def table(counted: Sequence[Counted]) -> "Table":
    """One row per subject and region, for the terminal."""
    from rich.table import Table
    from rich.text import Text

    titles = (
        *("subject", "region", "PVS", "left", "right"),
        *("mm³", "% of region", "per mL", "length mm", "curved mm", "diameter mm"),
    )
    shown = Table()
    for at, title in enumerate(titles):
        shown.add_column(title, justify="left" if at < 2 else "right")
    rows = [row for one in counted for row in one.burden]
    of_side = {(row.subject, row.region, row.side): row.count for row in rows}
    for row in (row for row in rows if row.side == "both"):
        sides = (of_side.get((row.subject, row.region, side)) for side in SIDES)
        numbers = (
            *((value, "d") for value in (row.count, *sides)),
            (row.volume_mm3, ".0f"), (row.volume_percent, ".3f"), (row.count_per_ml, ".2f"),
            (row.length_mm, ".1f"), (row.curved_length_mm, ".1f"), (row.diameter_mm, ".2f"),
        )  # fmt: skip
        cells = ("–" if value is None else format(value, style) for value, style in numbers)
        shown.add_row(*(Text(plain(name)) for name in (row.subject, row.region)), *cells)
    return shown
