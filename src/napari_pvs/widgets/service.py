"""The docks' other half: a process without Qt that does what takes longer than a moment.

``python -m napari_pvs.widgets.service FOLDER`` does what ``FOLDER/request.json`` asks, leaves
arrays in the folder and says how it goes in JSON lines on stdout: ``progress`` (done, total),
``phase`` (text), ``row`` (one subject's result), and last ``done`` or ``error`` (one sentence). It
ends when its stdin closes, so it never outlives napari.
"""

import json
import logging
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.errors import InputError
from napari_pvs.scans.masks import Box, bounding_box
from napari_pvs.widgets import exchange

REQUEST = "request.json"
LOWEST = 0.02
"""Smallest threshold that can be set afterwards; below it lies most of the brain."""
Say = Callable[..., None]
_TITLES = {"t1": "T1", "t2": "T2", "brain": "brain mask"}


def load(request: dict[str, Any], folder: Path, say: Say) -> dict[str, Any]:
    """Load the scan of ``t1``, ``t2`` and ``brain``, and label files on its grid.

    Each image is a path, or is among the ``stored``: volumes in the folder. ``labels`` are paths
    by name; one that cannot be used is left out, and the answer's notes say why. Instead of all
    that, a ``subject`` of a ``study``: it is looked at now, and told in the answer.
    """
    from napari_pvs.scans import checks, nifti
    from napari_pvs.scans.scan import Scan

    say("phase", text="Reading …")
    of_study = {}
    if "study" in request:
        request, of_study = _of_study(Path(request["study"]), request["subject"])
    volumes = []
    for name in _TITLES:
        read = nifti.read_labels if name == "brain" else nifti.read_volume
        check = checks.require_finite if name == "brain" else checks.require_variety
        given = request.get(name)
        if name in request.get("stored", ()):
            volumes.append(exchange.load_volume(folder, f"layer_{name}"))
            check(volumes[-1].data, f"the layer that is the {_TITLES[name]}")
        else:
            volumes.append(None if given is None else read(Path(given)))
    if volumes[2] is None:
        say("phase", text="Finding the brain …")
    scan = Scan.from_volumes(*volumes)
    exchange.save_scan(folder, scan)
    notes = list(scan.warnings)
    for name, path in request.get("labels", {}).items():
        try:
            notes += _read(folder, name, Path(path), scan)
        except InputError as error:
            notes.append(str(error))
    return {"notes": notes, **of_study}


def mask(request: dict[str, Any], folder: Path, say: Say) -> dict[str, Any]:
    """Read the label file ``path`` on the grid of the scan in the folder ``scan``."""
    say("phase", text="Reading …")
    scan = exchange.load_scan(Path(request["scan"]))
    return {"notes": _read(folder, "mask", Path(request["path"]), scan)}


def sample(request: dict[str, Any], folder: Path, say: Say) -> dict[str, Any]:
    """Make the synthetic subject."""
    from napari_pvs.widgets.sample import FEATURES, make_subject

    say("phase", text="Making a synthetic subject …")
    scan, instances, table = make_subject()
    exchange.save_scan(folder, scan)
    exchange.save_array(folder, "reference", instances)
    return {"features": {name: [row[name] for row in table] for name in FEATURES}}


def segment(request: dict[str, Any], folder: Path, say: Say) -> dict[str, Any]:
    """Segment the scan in the folder ``scan`` as ``config`` says; see `SegmentConfig`.

    In a ``study``, the mask becomes a draft revision of its ``subject``; the study is scored by it.
    """
    from napari_pvs.inference.config import SegmentConfig
    from napari_pvs.inference.segment import predictor_of, segment_scan
    from napari_pvs.study.predictions import keep

    config = SegmentConfig(**request["config"])
    say("phase", text="Reading the weights …")
    predictor = predictor_of(config)
    scan = exchange.load_scan(Path(request["scan"]))
    say("phase", text=f"Segmenting on {predictor.device.type} …")
    result = segment_scan(
        scan, config, predictor, lambda done, total: say("progress", done=done, total=total)
    )
    exchange.save_array(folder, "probability", result.probability)
    exchange.save_array(folder, "mask", (result.labels > 0).astype(np.uint8))
    box = likely(result.probability, result.threshold)
    np.save(folder / "part.npy", np.ascontiguousarray(result.probability[box]))
    notes = []
    if request.get("study"):
        try:
            keep(result, Path(request["study"]), request["subject"])
        except InputError as error:
            notes.append(str(error))
    return {
        "threshold": result.threshold,
        "box": [[part.start, part.stop] for part in box],
        "count": len(result.table),
        "volume_mm3": sum(row.volume_mm3 for row in result.table),
        "notes": notes,
        **result.origin,
    }


def subjects(request: dict[str, Any], folder: Path, say: Say) -> dict[str, Any]:
    """List the subjects of ``study``."""
    from pydantic import TypeAdapter

    from napari_pvs.study.bids import StudySubject, survey

    say("phase", text="Looking for subjects …")
    seen = survey(Path(request["study"]))
    told = [f"{name}: {why}" for name, why in seen.refused]
    return {
        "subjects": TypeAdapter(list[StudySubject]).dump_python(list(seen.found), mode="json"),
        "notes": [*told, *seen.notes],
    }


def count(request: dict[str, Any], folder: Path, say: Say) -> dict[str, Any]:
    """Count the PVS of each of ``labels``, paths by subject, and measure their volume."""
    import cc3d

    from napari_pvs.scans.grid import Grid
    from napari_pvs.scans.nifti import read_labels

    for name, path in request["labels"].items():
        try:
            label = read_labels(Path(path))
        except InputError as error:
            say("row", name=name, error=str(error))
            continue
        present = label.data > 0
        found = cc3d.connected_components(present, connectivity=26, return_N=True)[1]
        volume = np.count_nonzero(present) * Grid(label.shape, label.affine).voxel_volume
        say("row", name=name, count=int(found), volume_mm3=float(volume))
    return {}


def scores(request: dict[str, Any], folder: Path, say: Say) -> dict[str, Any]:
    """Score the newest prediction of each subject of ``study`` against its label."""
    from napari_pvs.evaluation.compare import Comparison, compare_files
    from napari_pvs.evaluation.tables import to_tsv
    from napari_pvs.study.bids import survey
    from napari_pvs.study.labels import LabelStore

    seen = survey(Path(request["study"]))
    found, made = seen.found, []
    refused = [f"{name}: {why}" for name, why in seen.refused]
    for done, subject in enumerate(found, start=1):
        say("progress", done=done, total=len(found))
        try:
            store = LabelStore(Path(request["study"]), subject.name)
            newest = store.predicted()
            if subject.label is None or newest is None or subject.current == newest:
                continue
            score = compare_files(store.path(newest), subject.label, subject.brain)
        except InputError as error:
            refused.append(f"{subject.name}: {error}")
            continue
        made.append(replace(score, subject=subject.name))
        say("row", **asdict(made[-1]))
    if refused and not made:
        raise InputError(" ".join(refused))
    return {"tsv": to_tsv(Comparison(tuple(made))) if made else "", "notes": refused}


def _read(folder: Path, name: str, path: Path, scan: Any) -> list[str]:
    """Keep a mask file for the docks; return what is doubtful about it."""
    from napari_pvs.scans.pvs import read_on

    with warnings.catch_warnings(record=True) as doubts:
        warnings.simplefilter("always")
        mask = read_on(path, scan.grid, scan.source.path or "the scan")
        exchange.save_array(folder, name, mask)
    return [str(doubt.message) for doubt in doubts]


def likely(probability: NDArray[np.float32], threshold: float = LOWEST) -> Box:
    """Return the box of the voxels that a threshold from `LOWEST` on, or this one, can choose."""
    found = probability >= min(threshold, LOWEST)
    return bounding_box(found) if found.any() else (slice(0, 1), slice(0, 1), slice(0, 1))


VERBS = {f.__name__: f for f in (load, mask, sample, segment, subjects, count, scores)}


def main(folder: Path) -> int:
    """Answer the request in a folder; return the exit code."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.basicConfig(level=logging.INFO)

    def do(request: dict[str, Any], say: Say) -> None:
        say("done", **VERBS[request["verb"]](request, folder, say))

    return answer(folder, do)


def answer(folder: Path, do: Callable[[dict[str, Any], Say], None]) -> int:
    """Do what the request in a folder asks, say what goes wrong, and return the exit code.

    Parameters
    ----------
    folder
        With the request.
    do
        Gets the request, and what says a line: its type and values; ``raw`` are bytes that follow.
    """
    # libraries that print must not disturb the lines of JSON
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")  # those for the user travel with the scan

    def say(kind: str, raw: bytes = b"", **values: Any) -> None:
        size = {"bytes": len(raw)} if raw else {}
        out.write(json.dumps({"type": kind, **size, **values}).encode() + b"\n" + raw)
        out.flush()

    try:
        do(json.loads((folder / REQUEST).read_text(encoding="utf-8")), say)
    except InputError as error:
        say("error", text=str(error))
        return 2
    except OSError as error:
        traceback.print_exc()
        where = error.filename or folder
        say("error", text=f"{where} cannot be used ({error.strerror}); make room or allow access.")
        return 2
    return 0


def _of_study(study: Path, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the files of a subject for `load`, and what the answer tells of it."""
    from pydantic import TypeAdapter

    from napari_pvs.study.bids import StudySubject, label_of, subject

    found = subject(study, name)
    label, _ = label_of(study, found)
    role = "reference" if found.state == "reference" else "labels"
    files = {"t1": found.t1, "t2": found.t2, "brain": found.brain}
    return (
        {**files, "labels": {} if label is None else {role: label}},
        {"subject": TypeAdapter(StudySubject).dump_python(found, mode="json")},
    )


def _end_with_parent() -> None:
    while os.read(0, 1024):  # sys.stdin's lock would be held at the end
        pass
    os._exit(3)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
