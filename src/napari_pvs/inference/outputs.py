"""What a segmentation leaves on disk."""

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
from napari_pvs.files import atomic_set, require_replaceable, write_text
from napari_pvs.inference.components import Pvs
from napari_pvs.inference.config import SegmentConfig
from napari_pvs.inference.overlay import overlay
from napari_pvs.inference.segment import Segmentation
from napari_pvs.scans.nifti import write_like

MASK = "pvs_mask.nii.gz"
PROBABILITY = "pvs_probability.nii.gz"
LABELS = "pvs_labels.nii.gz"
TABLE = "pvs.tsv"
OVERLAY = "overlay.png"
SUMMARY = "summary.json"
FILES = (MASK, PROBABILITY, LABELS, TABLE, OVERLAY, SUMMARY)


def check_folder(out: Path, overwrite: bool, names: tuple[str, ...] = FILES) -> None:
    """Refuse a folder that already holds a result or cannot be written, before any work.

    Raises
    ------
    InputError
        One of the ``names`` exists and ``overwrite`` is false, or nothing can be written there.
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
        with tempfile.TemporaryFile(dir=nearest):  # nothing that another process could see
            pass
    except OSError as error:
        raise InputError(
            f"{out} cannot be written ({error.strerror}); name another folder."
        ) from error


def write(result: Segmentation, out: Path, config: SegmentConfig) -> dict[str, Any]:
    """Write mask, probability map, label image, table, overlay and summary: `FILES`.

    Images have the shape, affine and header geometry of the input scan (the T1 where there are
    both). They are written as one set, the summary last: where it is, all is, and of this scan.

    Returns
    -------
    The content of ``summary.json``.
    """
    scan, found = result.scan, _summary(result, config)
    probability, labels = scan.to_source(result.probability), scan.to_source(result.labels)
    with atomic_set(Path(out), FILES) as folder:
        with ThreadPoolExecutor() as pool:  # compression releases the interpreter
            jobs = [
                pool.submit(
                    write_like, folder / PROBABILITY, probability, scan.source, scaled=True
                ),
                pool.submit(write_like, folder / LABELS, labels, scan.source),
                pool.submit(write_like, folder / MASK, labels > 0, scan.source),
                pool.submit(overlay, scan, result.labels, folder / OVERLAY),
            ]
        for job in jobs:
            job.result()
        write_text(folder / TABLE, _tsv(result.table, result.excluded))
        write_text(folder / SUMMARY, json.dumps(found, indent=2) + "\n")
    return found


def _summary(result: Segmentation, config: SegmentConfig) -> dict[str, Any]:
    grid = result.scan.grid
    return {
        "count": len(result.table),
        "volume_mm3": round(sum(row.volume_mm3 for row in result.table), 3),
        "excluded_by_shape": len(result.excluded),
        "excluded_by_shape_mm3": round(sum(row.volume_mm3 for row in result.excluded), 3),
        "brain_volume_mm3": round(
            float(np.count_nonzero(result.scan.brain)) * grid.voxel_volume, 1
        ),
        "voxel_size_mm": [round(size, 4) for size in grid.voxel_size],
        "modalities": list(result.scan.modalities),
        "threshold": result.threshold,
        **result.origin,
        "warnings": list(result.scan.warnings),
        "command": sys.argv,
        # not as pydantic writes JSON, which refuses names that are no UTF-8
        "config": json.loads(json.dumps(config.model_dump(), default=str)),
        "versions": _versions(),
    }


def _tsv(rows: list[Pvs], excluded: tuple[Pvs, ...] = ()) -> str:
    """Write a row for each PVS, then those of components that were left out for their shape."""
    lines = ["\t".join([*(field.name for field in fields(Pvs)), "status"])]
    for status, some in (("pvs", rows), ("excluded by shape", excluded)):
        cells = ([*map(str, asdict(row).values()), status] for row in some)
        lines += map("\t".join, cells)
    return "\n".join(lines) + "\n"


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"napari-pvs": napari_pvs.__version__, "python": sys.version.split()[0]}
    for name in ("torch", "openvino", "numpy", "nibabel", "scikit-image"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
