"""Reads what `outputs.write` has left, or a map or mask alone, on the voxels of a scan."""

import csv
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
from napari_pvs.inference.outputs import FORMAT, LABELS, MASK, PROBABILITY, SUMMARY, TABLE
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

    format: str = FORMAT  # before it was written, there was only one
    threshold: float = Field(ge=0, le=1)
    method: str
    weights: str | None = None
    weights_id: str | None = None
    config: dict[str, Any] = {}
    excluded_by_place: int = 0


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
        Smallest volume, largest width, where PVS may lie, and weights.
    name, key
        Of the weights, or of the file; the key is an id of 12 digits or a method's name.
    excluded_by_place
        How many components were left out for their place.
    """

    probability: NDArray[np.float32]
    labels: NDArray[np.int32]
    threshold: float
    config: SegmentConfig
    name: str
    key: str
    excluded_by_place: int = 0


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
    config, by_place = SegmentConfig(), 0
    if summary is None:
        threshold, name = _THRESHOLD, file.name.split(".")[0]
        key = hashlib.sha256(score[::3, ::3, ::3].tobytes()).hexdigest()[:12]
    else:
        threshold = max(summary.threshold, LOWEST)
        name, key = summary.weights or summary.method, summary.weights_id or summary.method
        config, by_place = _config(summary), summary.excluded_by_place
    labels = components(score, threshold, scan.grid, config)
    return Results(score, labels, threshold, config, name, key, by_place)


@dataclass(frozen=True)
class ScanFiles:
    """The files that a scan was read from, all of them there; at least a T1 or a T2."""

    t1: Path | None
    t2: Path | None
    brain_mask: Path | None


@dataclass(frozen=True)
class Written:
    """What a results folder has to show.

    Attributes
    ----------
    probability, labels
        Images: the map, and the numbered PVS.
    scan
        The files that it was made of; None where they are not there any more.
    key
        Id of the weights, of 12 digits, or a method's name.
    table
        Columns of ``pvs.tsv``, a row for each number of ``labels``; what is not available is None.
    """

    probability: Path
    labels: Path
    scan: "ScanFiles | None"
    key: str
    table: dict[str, list[float | str | None]]


def written(folder: Path) -> Written:
    """Look into a folder that `outputs.write` wrote.

    Raises
    ------
    InputError
        It is none, or a file of it is damaged.
    """
    folder = Path(folder)
    summary = _summary_of(folder / PROBABILITY)
    missing = [one for one in (PROBABILITY, LABELS, TABLE) if not (folder / one).is_file()]
    if summary is None or missing:
        raise InputError(
            f"{folder} holds no {(missing or [SUMMARY])[0]}; choose a folder that napari-pvs "
            "segment wrote."
        )
    try:
        scan: ScanFiles | None = scan_files(folder)
    except ScanGone:
        scan = None
    key = summary.weights_id or summary.method
    table = _columns(folder / TABLE)
    return Written(folder / PROBABILITY, folder / LABELS, scan, key, table)


def _columns(path: Path) -> dict[str, list[float | str | None]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file, delimiter="\t")
        if any(len(row) != len(header) for row in rows) or "id" not in header:
            raise ValueError("its rows differ")
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path} is damaged ({error}); segment the scan again.") from error
    return {name: [_cell(row[at]) for row in rows] for at, name in enumerate(header)}


def _cell(text: str) -> float | str | None:
    if text == "n/a":
        return None
    try:
        return float(text)
    except ValueError:
        return text


class ScanGone(InputError):
    """The scan that results were made of is not known, or not there any more."""


def scan_files(results: Path, **moved: Path | None) -> ScanFiles:
    """Find the scan that results were made of.

    A relative path in ``summary.json`` is looked for from the current folder, then from the results
    folder and those above it, so that a tree of folders can be moved as a whole.

    Parameters
    ----------
    results
        A folder that `outputs.write` wrote, or the probability map in it.
    **moved
        Where ``t1``, ``t2`` or ``brain_mask`` are now.

    Raises
    ------
    ScanGone
        Nothing says what the scan was, or a file of it is not there any more.
    InputError
        The summary is damaged.
    """
    file = results / PROBABILITY if results.is_dir() else results
    summary = _summary_of(file)
    if summary is None:
        raise ScanGone(
            f"{results} holds no {SUMMARY}; choose a folder that napari-pvs segment wrote."
        )
    found: dict[str, Path | None] = {}
    for name in ("t1", "t2", "brain_mask"):
        given = moved.get(name) or summary.config.get(name)
        found[name] = None if given is None else _there(Path(str(given)), name, file.parent)
    if found["t1"] is None and found["t2"] is None:
        raise ScanGone(f"{file.with_name(SUMMARY)} names no scan; name it with --t1 or --t2.")
    return ScanFiles(**found)


def _there(path: Path, name: str, results: Path) -> Path:
    folder = results.absolute()
    for tried in (path, *(above / path for above in (folder, *folder.parents))):
        if tried.is_file():
            return tried.absolute()
    option = "--" + name.replace("_", "-")
    raise ScanGone(
        f"{path}, of which {results} was made, is not there any more; name it with {option}."
    )


def _summary_of(file: Path) -> _Summary | None:
    beside = file.with_name(SUMMARY)
    if file.name != PROBABILITY or not beside.is_file():
        return None
    found = json_files.read(beside, _Summary, "segment the scan again")
    if found.format != FORMAT:
        raise InputError(f"{beside} has format {found.format}, not {FORMAT}; update napari-pvs.")
    return found


def _config(summary: _Summary) -> SegmentConfig:
    """Return what shaped the mask; weights that are gone are not needed to look at it."""
    shaping = ("min_volume", "max_width", "within")
    known: dict[str, Any] = {k: summary.config[k] for k in shaping if k in summary.config}
    weights = summary.config.get("weights")
    if isinstance(weights, str) and Path(weights).is_file():
        known["weights"] = weights
    try:
        return SegmentConfig(**known)
    except ValueError as error:
        raise InputError(
            f"summary.json holds settings that are not valid ({error}); segment the scan again."
        ) from error
