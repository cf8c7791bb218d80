"""Reads what `outputs.write` has left, or a map or mask alone, on the voxels of a scan."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from napari_pvs import json_files
from napari_pvs.errors import InputError
from napari_pvs.inference.components import LOWEST
from napari_pvs.inference.config import SegmentConfig
from napari_pvs.inference.outputs import LABELS, MASK, PROBABILITY, SUMMARY
from napari_pvs.inference.segment import components
from napari_pvs.scans.checks import Placed
from napari_pvs.scans.names import SUFFIXES, stem_of
from napari_pvs.scans.nifti import read_volume
from napari_pvs.scans.scan import Scan

_MAP = re.compile(r"(^|[_-])prob(s|seg|map|ability)?($|[_-])")
_THRESHOLD = 0.5  # of a map of which nothing is known


class _Summary(BaseModel):
    """What is read of ``summary.json``."""

    model_config = ConfigDict(extra="ignore")

    threshold: float = Field(ge=0, le=1)
    method: str
    weights: str | None = None
    weights_id: str | None = None
    config: dict[str, Any] = {}


@dataclass(frozen=True, eq=False)
class Results:
    """A segmentation that was written before.

    Attributes
    ----------
    probability
        float32 (X, Y, Z) on the scan's grid.
    labels
        Numbered PVS, as the threshold of then makes them.
    threshold
        Smallest probability of a PVS.
    config
        Smallest volume, largest width and weights.
    name, key
        Of the weights, or of the file; the key is an id of 12 digits or a method's name.
    """

    probability: NDArray[np.float32]
    labels: NDArray[np.int32]
    threshold: float
    config: SegmentConfig
    name: str
    key: str


def results_at(path: Path) -> Path | None:
    """Return what `read_results` can read where a file or folder is; None where that is none.

    Any of the images in a results folder stands for the folder, so that mask and map come together.
    A map of another tool is known by its name, such as ``sub-01_probseg``.
    """
    path = Path(path)
    if path.is_dir():
        return path if (path / PROBABILITY).is_file() else None
    beside = path.parent / PROBABILITY, path.parent / SUMMARY
    if path.name in (MASK, PROBABILITY, LABELS) and all(one.is_file() for one in beside):
        return path.parent
    is_map = _MAP.search(stem_of(path).lower()) and path.name.lower().endswith(SUFFIXES)
    return path if is_map and path.is_file() else None


def scan_files(path: Path) -> dict[str, Path]:
    """Return the files that results were made of, as far as they are known and still there.

    Returns
    -------
    By ``t1``, ``t2`` and ``brain``; empty for a map of another tool.

    Raises
    ------
    InputError
        The summary is damaged.
    """
    path = Path(path)
    summary = _summary_of(path / PROBABILITY if path.is_dir() else path)
    known = {} if summary is None else summary.config
    given = {"t1": known.get("t1"), "t2": known.get("t2"), "brain": known.get("brain_mask")}
    found = {name: Path(one) for name, one in given.items() if isinstance(one, str)}
    return {name: one for name, one in found.items() if one.is_absolute() and one.is_file()}


def read_results(path: Path, scan: Scan) -> Results:
    """Read a results folder, a probability map, a mask or a label image.

    Parameters
    ----------
    path
        A folder that `outputs.write` wrote, its probability map, or an image of another tool.
    scan
        Whose PVS they are; nothing is interpolated.

    Raises
    ------
    InputError
        There is no map, it is damaged, or it does not lie on the scan's voxels.
    """
    path = Path(path)
    file = path / PROBABILITY if path.is_dir() else path
    if not file.is_file():
        raise InputError(
            f"{path} holds no {PROBABILITY}; choose a folder that napari-pvs segment wrote."
        )
    volume = read_volume(file, constant=True)
    placed = Placed.turned(str(file), volume.data, volume.affine)
    if not placed.grid.same_as(scan.grid):
        raise InputError(
            f"{file} does not lie on the voxels of {scan.source.path or 'the scan'}; load the scan "
            "that it was made of."
        )
    score = np.ascontiguousarray(placed.data, np.float32)
    low, high = float(score.min()), float(score.max())
    if low >= 0 and high > 1 and np.array_equal(score, np.rint(score)):
        score = (score > 0).astype(np.float32)  # numbered PVS
        high = 1.0
    if not (np.isfinite([low, high]).all() and low >= -1e-3 and high <= 1.001):
        raise InputError(
            f"{file} holds values from {low:.3g} to {high:.3g}; a probability map holds 0 to 1."
        )
    summary = _summary_of(file)
    config = SegmentConfig()
    if summary is None:
        threshold, name = _THRESHOLD, file.name.split(".")[0]
        key = hashlib.sha256(score[::3, ::3, ::3].tobytes()).hexdigest()[:12]
    else:
        threshold = max(summary.threshold, LOWEST)
        name, key = summary.weights or summary.method, summary.weights_id or summary.method
        config = _config(summary)
    labels = components(score, threshold, scan.grid, config)
    return Results(score, labels, threshold, config, name, key)


def _summary_of(file: Path) -> _Summary | None:
    beside = file.with_name(SUMMARY)
    if file.name != PROBABILITY or not beside.is_file():
        return None
    return json_files.read(beside, _Summary, "segment the scan again")


def _config(summary: _Summary) -> SegmentConfig:
    """Return what shaped the mask; weights that are gone are not needed to look at it."""
    shape = ("min_volume", "max_width")
    known: dict[str, Any] = {k: summary.config[k] for k in shape if k in summary.config}
    weights = summary.config.get("weights")
    if isinstance(weights, str) and Path(weights).is_file():
        known["weights"] = weights
    try:
        return SegmentConfig(**known)
    except ValueError as error:
        raise InputError(f"summary.json holds settings that are none ({error}).") from error
