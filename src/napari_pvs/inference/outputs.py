"""The files that a segmentation writes."""

import json
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

import napari_pvs
from napari_pvs.errors import InputError
from napari_pvs.evaluation.tables import tsv
from napari_pvs.files import atomic_set, require_replaceable, write_text
from napari_pvs.inference.components import Pvs
from napari_pvs.inference.config import SegmentConfig
from napari_pvs.inference.overlay import overlay
from napari_pvs.inference.segment import Segmentation
from napari_pvs.scans.dicom import convert, is_dicom
from napari_pvs.scans.nifti import write_like
from napari_pvs.scans.regions import Place, places
from napari_pvs.scans.registration import write_movement

MASK = "pvs_mask.nii.gz"
PROBABILITY = "pvs_probability.nii.gz"
LABELS = "pvs_labels.nii.gz"
TABLE = "pvs.tsv"
OVERLAY = "overlay.png"
SUMMARY = "summary.json"
CONVERTED = {"t1": "T1w.nii.gz", "t2": "T2w.nii.gz"}
"""Scans that were given as DICOM."""
REPORT = "report.html"
MOVEMENT = "t2_to_t1.tfm"
"""The rigid movement that put the T2 onto the T1, if it was moved."""
FORMAT = "napari-pvs-results/1"
"""Of a folder of these, in its `SUMMARY`; raised when a reader of before would misread one."""
COLUMNS = {
    "voxels": "Number of voxels.",
    "volume_mm3": "Volume.",
    "length_mm": "Length of the straight rod that spreads as far.",
    "curved_length_mm": "Length along the course.",
    "diameter_mm": "Diameter of the rod of this length and volume.",
    "x_mm": "Centre, scanner RAS+.",
    "y_mm": "Centre, scanner RAS+.",
    "z_mm": "Centre, scanner RAS+.",
    "mean_probability": "Mean of the probability map.",
    "region": "Of the brain; n/a where the template was not registered.",
    "side": "Of the brain.",
}
"""Of the table of a BIDS derivative, beside ``index`` and ``name``."""
_SCANS = ("--t1", "--t2")
FILES = (MASK, PROBABILITY, LABELS, TABLE, OVERLAY, SUMMARY)


def names(config: SegmentConfig) -> tuple[str, ...]:
    """Return the files that a segmentation writes."""
    converted = tuple(name for one, name in CONVERTED.items() if _from_dicom(config, one))
    return (*converted, *FILES, REPORT) if config.report else (*converted, *FILES)


def _from_dicom(config: SegmentConfig, one: str) -> Path | None:
    path: Path | None = getattr(config, one)
    return path if path is not None and is_dicom(path) else None


def convert_dicom(config: SegmentConfig, out: Path) -> SegmentConfig:
    """Write scans given as DICOM into the folder of results as NIfTI, which has no patient's name.

    Returns
    -------
    The configuration with the converted files, so that nothing that is written names the others.

    Raises
    ------
    InputError
        As `scans.dicom.convert`.
    """
    given = {one: _from_dicom(config, one) for one in CONVERTED}
    made = {one: convert(path, out / CONVERTED[one]) for one, path in given.items() if path}
    return config.model_copy(update=made)


def check_folder(out: Path, overwrite: bool, names: tuple[str, ...] = FILES) -> None:
    """Refuse a folder that already contains results or cannot be written, before any work.

    Raises
    ------
    InputError
        One of the ``names`` exists and ``overwrite`` is false, or the folder cannot be written.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file, not a folder; name another folder.")
    for name in names:
        require_replaceable(out / name)
    there = [name for name in names if (out / name).exists()]
    if there and not overwrite:
        raise InputError(f"{out / there[0]} exists; add --overwrite to replace it.")
    nearest = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):  # not visible to other processes
            pass
    except OSError as error:
        raise InputError(
            f"{out} cannot be written ({error.strerror}); name another folder."
        ) from error


def write(
    result: Segmentation, out: Path, config: SegmentConfig, report: str | None = None
) -> dict[str, Any]:
    """Write mask, probability map, label image, table, overlay and summary: `FILES`.

    And the ``report``, a page, if there is one, and `MOVEMENT`, if the T2 was moved; those of an
    older result are removed.

    Images have the shape, affine and header geometry of the input scan (of the T1, if there are
    both). The files are written as one set, the summary last: if it is there, so are all others.

    Returns
    -------
    The content of ``summary.json``.
    """
    scan, found = result.scan, summary(result, config)
    more = {REPORT: report is not None, MOVEMENT: scan.movement is not None}
    there = (*(name for name, made in more.items() if made), *FILES)
    gone = tuple(name for name, made in more.items() if not made)
    with atomic_set(Path(out), there, gone) as folder:
        with ThreadPoolExecutor(1) as pool:
            drawn = pool.submit(overlay, scan, result.labels, folder / OVERLAY)
            write_images(result, folder / MASK, folder / PROBABILITY, folder / LABELS)
        drawn.result()
        if report is not None:
            write_text(folder / REPORT, report)
        if scan.movement is not None:
            write_movement(scan.movement, folder / MOVEMENT)
        write_text(folder / TABLE, _tsv(result))
        write_text(folder / SUMMARY, json.dumps(found, indent=2) + "\n")
    return found


def write_images(result: Segmentation, mask: Path, probability: Path, labels: Path) -> None:
    """Write the images of a segmentation, in the axis order of the scan's file."""
    scan, numbers = result.scan, result.scan.to_source(result.labels)
    score = scan.to_source(result.probability)
    with ThreadPoolExecutor() as pool:  # compression releases the GIL
        jobs = [
            pool.submit(write_like, probability, score, scan.source, scaled=True),
            pool.submit(write_like, labels, numbers, scan.source),
            pool.submit(write_like, mask, numbers > 0, scan.source),
        ]
    for job in jobs:
        job.result()


def summary(result: Segmentation, config: SegmentConfig) -> dict[str, Any]:
    """Say what was found, in what, and how: the content of ``summary.json``."""
    grid = result.scan.grid
    return {
        "format": FORMAT,
        "count": len(result.table),
        "volume_mm3": round(sum(row.volume_mm3 for row in result.table), 3),
        **_excluded(result),
        "brain_volume_mm3": round(
            float(np.count_nonzero(result.scan.brain)) * grid.voxel_volume, 1
        ),
        "voxel_size_mm": [round(size, 4) for size in grid.voxel_size],
        "modalities": list(result.scan.modalities),
        "threshold": result.threshold,
        **result.origin,
        "regions": _regions(result),
        "t2_registration": result.scan.registration and result.scan.registration.as_json(),
        "warnings": list(result.scan.warnings),
        "command": _command(),
        # not by pydantic's own JSON, which refuses file names that are not UTF-8
        "config": json.loads(json.dumps(config.model_dump(), default=str)),
        "versions": _versions(),
    }


def _excluded(result: Segmentation) -> dict[str, float]:
    """Count and measure what was left out, by what for."""
    out: dict[str, float] = {}
    for reason, left_out in result.excluded.items():
        out[f"excluded_by_{reason}"] = len(left_out)
        out[f"excluded_by_{reason}_mm3"] = round(sum(row.volume_mm3 for row in left_out), 3)
    return out


def _command() -> list[str]:
    """Return the command without the paths of DICOM files, which may be named after the patient."""
    out: list[str] = []
    for word in sys.argv:
        option, equals, value = word.partition("=")
        if equals and option in _SCANS and is_dicom(Path(value)):
            word = f"{option}=DICOM"
        elif out and out[-1] in _SCANS and is_dicom(Path(word)):
            word = "DICOM"
        out.append(word)
    return out


def _regions(result: Segmentation) -> dict[str, Any] | None:
    """Say how well the template lies on the scan, and what of it the scan shows."""
    regions = result.regions
    if regions is None:
        return None
    quality = asdict(regions.quality) if regions.quality else {}
    seen = zip(regions.names, regions.seen, strict=True)
    return quality | {"seen": {name: round(share, 3) for name, share in seen}}


def _tsv(result: Segmentation) -> str:
    """Make a row for each PVS, then for each component that was left out for shape or place."""
    rows = [row | {"status": "pvs"} for row in _rows(result)]
    for reason, left_out in result.excluded.items():
        more = {"region": None, "side": None, "status": f"excluded by {reason}"}
        rows += [asdict(row) | more for row in left_out]
    columns = [*(field.name for field in fields(Pvs)), "region", "side", "status"]
    return tsv(columns, rows)


def dseg_tsv(result: Segmentation) -> str:
    """Make the table of the numbered PVS as BIDS wants it: a row for each, which has a name."""
    rows = _rows(result)
    named = [{"index": row.pop("id"), "name": f"PVS {at}"} | row for at, row in enumerate(rows, 1)]
    measured = [field.name for field in fields(Pvs) if field.name != "id"]
    return tsv(["index", "name", *measured, "region", "side"], named)


def _rows(result: Segmentation) -> list[dict[str, Any]]:
    """Make a row for each PVS, with its place where that is known."""
    where: list[Place | None] = [None] * len(result.table)
    if result.regions is not None:
        where[:] = places(result.labels, len(result.table), result.regions)
    nowhere = {"region": None, "side": None}
    pairs = zip(result.table, where, strict=True)
    return [asdict(row) | (asdict(place) if place else nowhere) for row, place in pairs]


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"napari-pvs": napari_pvs.__version__, "python": sys.version.split()[0]}
    for name in ("torch", "openvino", "numpy", "nibabel", "scikit-image"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
