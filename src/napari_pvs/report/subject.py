"""The report of one subject: what was found, where, and whether it can be trusted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.burden.count import Counted, count
from napari_pvs.burden.regions import ALL
from napari_pvs.burden.standards import VisualGrade
from napari_pvs.inference.components import Pvs, table
from napari_pvs.report import pictures, trust
from napari_pvs.report.page import render
from napari_pvs.scans.regions import ELSEWHERE, Place, Regions, places
from napari_pvs.scans.scan import Scan

PICTURED = 100
"""Most PVS that have a picture; a page stays below 3 MB."""


@dataclass(frozen=True, eq=False)
class Findings:
    """What a report is made of.

    Attributes
    ----------
    name
        Of the subject or the scan.
    scan
        T1, T2 or both, with the brain.
    labels
        int32 (X, Y, Z) on the scan's grid, one number per PVS, as from `components.label`.
    probability
        Score per voxel, where there is one.
    regions
        Of the brain, where they are known.
    why_none
        Why there are no regions, where there are none.
    origin
        What the mask is, and what made it: shown as pairs.
    training
        What is known of the intensities that the weights were trained on; see `trust.TRAINING`.
    """

    name: str
    scan: Scan
    labels: NDArray[np.int32]
    probability: NDArray[np.float32] | None = None
    regions: Regions | None = None
    why_none: str = ""
    origin: Mapping[str, str] = field(default_factory=dict)
    training: trust.Ranges | None = None


@dataclass(frozen=True, eq=False)
class SubjectReport:
    """A page, and what a cohort's page takes from it."""

    html: str
    light: trust.Light
    checks: tuple[trust.Check, ...]
    counted: Counted


def report(found: Findings) -> SubjectReport:
    """Make the page of a subject: one HTML file that needs nothing else, not even scripts.

    Returns
    -------
    The page as text, below 3 MB whatever the number of PVS.
    """
    scan, regions = found.scan, found.regions
    grid = scan.grid
    mask = found.labels > 0
    rows = table(found.labels, mask if found.probability is None else found.probability, grid)
    where: Sequence[Place | None] = [None] * len(rows)
    if regions is not None:
        where = places(found.labels, len(rows), regions)
    counted = count(mask, grid, subject=found.name, regions=regions, brain=scan.brain)
    checks = trust.trust(scan, regions, found.training)
    volume = sum(row.volume_mm3 for row in rows)
    brain = float(np.count_nonzero(scan.brain)) * grid.voxel_volume
    facts = [
        _fact("PVS", str(len(rows))),
        _fact("Volume", f"{volume:.0f} mm³"),
        _fact("Of the brain", f"{100 * volume / brain:.3f} %"),
        _fact("Median diameter", _median([row.diameter_mm for row in rows], "mm")),
        _fact("Median length", _median([row.length_mm for row in rows], "mm")),
        _fact("Images", " + ".join(scan.modalities)),
    ]
    bars = _bars(counted)
    html = render(
        "subject.html",
        name=found.name,
        facts=facts,
        overall=trust.worst(checks),
        checks=checks,
        notes=list(dict.fromkeys((*scan.warnings, *(regions.doubts if regions else ())))),
        mosaics=[pictures.mosaic(scan, found.labels, plane) for plane in pictures.PLANES],
        projection=pictures.projection(scan, found.labels),
        regional=bars,
        most=max((bar["left"] or 0 for bar in bars), default=0) or 1,
        regions_from=_regions_from(found),
        burden=_burden(counted),
        pvs=_pvs(found, rows, where),
        pictured=min(PICTURED, len(rows)),
        probable=found.probability is not None,
        histograms=histograms(
            [row.volume_mm3 for row in rows],
            [row.length_mm for row in rows],
            [row.diameter_mm for row in rows],
        ),
        visual=[
            {
                "region": one.region,
                "count": str(one.count),
                "grade": "–" if one.grade is None else str(one.grade),
                "where": _slice_of(one),
            }
            for one in counted.visual
        ],
        flags=[
            f"PVS {one.id} is wider than 3 mm"
            + (" and round: it may be a lacune." if one.flag == "lacune-like" else ".")
            for one in counted.pvs
            if one.flag is not None
        ],
        origin=[_fact(what, value) for what, value in found.origin.items()],
    )
    return SubjectReport(html, trust.worst(checks), tuple(checks), counted)


def _fact(what: str, value: str) -> dict[str, str]:
    return {"what": what, "value": value}


def _median(values: Sequence[float], unit: str) -> str:
    return f"{np.median(values):.1f} {unit}" if values else "–"


def _regions_from(found: Findings) -> str:
    if found.regions is None:
        return found.why_none or "none were asked for."
    if found.regions.quality is None:
        return "Regions of a label map."
    return "Regions of the ICBM152 template, registered to this scan."


def _bars(counted: Counted) -> list[dict[str, Any]]:
    """Return for each region how many PVS lie on the left and on the right."""
    sides = {(row.region, row.side): row.count for row in counted.burden}
    named = [
        row.region
        for row in counted.burden
        if row.side == "both"
        and row.region != ALL
        and (row.region != ELSEWHERE or row.count)
        and (row.region, "left") in sides
    ]
    return [
        {"region": name}
        | {
            key: value
            for side in ("left", "right")
            for key, value in (
                (side, sides[name, side]),
                (f"{side}_text", _number_of(sides[name, side])),
            )
        }
        for name in named
    ]


def _slice_of(one: VisualGrade) -> str:
    if one.z_mm is None:
        return "all of it"
    return f"{one.side} side, slice at z = {one.z_mm:.0f} mm"


def _number_of(count: int | None) -> str:
    return "not in scan" if count is None else str(count)


def _burden(counted: Counted) -> list[dict[str, Any]]:
    return [
        {
            "region": row.region,
            "side": row.side,
            "cells": [
                _number(None if row.region_mm3 is None else row.region_mm3 / 1000, ".1f"),
                _number_of(row.count),
                _number(row.volume_mm3, ".0f"),
                _number(row.volume_percent, ".3f"),
                _number(row.count_per_ml, ".2f"),
                _number(row.length_mm, ".1f"),
                _number(row.diameter_mm, ".2f"),
            ],
        }
        for row in counted.burden
        if row.region != ELSEWHERE or row.count
    ]


def _number(value: float | None, style: str) -> str:
    return "–" if value is None else format(value, style)


def _pvs(
    found: Findings, rows: Sequence[Pvs], where: Sequence[Place | None]
) -> list[dict[str, Any]]:
    """Describe each PVS, the largest first; the first `PICTURED` with a picture."""
    shades = pictures.grey(found.scan)
    back = np.linalg.inv(found.scan.grid.affine)
    out = []
    for at, (row, place) in enumerate(zip(rows, where, strict=True)):
        words = "–" if place is None else pictures.region_words(place)
        centre = (row.x_mm, row.y_mm, row.z_mm)
        cells = [f"{row.volume_mm3:.1f}", f"{row.length_mm:.1f}", f"{row.diameter_mm:.2f}"]
        if found.probability is not None:
            cells.append(f"{row.mean_probability:.2f}")
        one: dict[str, Any] = {
            "id": row.id,
            "where": words,
            "cells": cells,
            "centre": ", ".join(f"{value:.0f}" for value in centre),
        }
        if at < PICTURED:
            voxel = np.rint((back @ [*centre, 1.0])[:3]).astype(int).tolist()
            alt = f"PVS {row.id}" + (f", {words}" if place else "")
            one["picture"] = pictures.thumbnail(found.scan, shades, found.labels, voxel, alt)
        out.append(one)
    return out


def histograms(
    volumes: Sequence[float], lengths: Sequence[float], diameters: Sequence[float]
) -> list[dict[str, Any]]:
    """Return histograms of size, of classes with round limits, the last of which is open."""
    wanted = (
        ("Volume, mm³", volumes, (0, 2, 5, 10, 15, 25, 50)),
        ("Length, mm", lengths, (0, 2, 4, 6, 8, 12, 16)),
        ("Diameter, mm", diameters, (0, 0.5, 1, 1.5, 2, 2.5, 3)),
    )
    out = []
    for title, values, edges in wanted:
        counts = np.histogram(values, [*edges, np.inf])[0].tolist()
        names = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
        names.append(f"{edges[-1]:g} and more")
        told = "; ".join(f"{name}: {n}" for name, n in zip(names, counts, strict=True))
        out.append(
            {
                "title": title,
                "counts": counts,
                "edges": [f"{edge:g}" for edge in edges],
                "alt": f"Histogram of {title}. {told}.",
                "caption": f"Number of PVS by {title.lower()}; the last class has no upper end.",
            }
        )
    return out
