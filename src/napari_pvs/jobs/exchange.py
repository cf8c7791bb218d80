"""Scans and label images as arrays in a folder, passed between napari and its processes.

Arrays are stored in the axis order that the viewer shows (see `display.to_display`) and are mapped
from disk, so that neither reading them nor making layers from them copies anything or blocks.
"""

import base64
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.scans.display import Modality, brain_limits, from_display, to_display
from napari_pvs.scans.grid import Grid
from napari_pvs.scans.nifti import Geometry, Volume
from napari_pvs.scans.regions import Quality, Regions
from napari_pvs.scans.registration import Registration
from napari_pvs.scans.scan import Scan

_SCAN, _REGIONS = "scan.json", "regions.json"


def save_array(folder: Path, name: str, array: NDArray[Any]) -> None:
    """Save an array on a scan's grid (X, Y, Z)."""
    np.save(folder / f"{name}.npy", np.ascontiguousarray(to_display(array)))


def load_array(folder: Path, name: str) -> NDArray[Any]:
    """Map an array written by `save_array`; changes to it stay in memory."""
    return from_display(np.asarray(np.load(folder / f"{name}.npy", mmap_mode="c")))


def save_volume(folder: Path, name: str, volume: Volume) -> None:
    """Save a volume that has no file of its own."""
    np.save(folder / f"{name}.npy", volume.data)
    (folder / f"{name}.json").write_text(json.dumps(_encoded(volume)), encoding="utf-8")


def load_volume(folder: Path, name: str) -> Volume:
    """Read what `save_volume` wrote."""
    geometry = _decoded(json.loads((folder / f"{name}.json").read_text(encoding="utf-8")))
    data = np.load(folder / f"{name}.npy")
    return Volume(**vars(geometry), data=data)


def save_scan(folder: Path, scan: Scan) -> None:
    """Save a scan and the contrast limits to show it with."""
    limits = {}
    images: tuple[tuple[Modality, NDArray[np.float32] | None], ...] = (
        ("T1", scan.t1),
        ("T2", scan.t2),
    )
    for name, image in images:
        if image is not None:
            save_array(folder, name.lower(), image)
            limits[name] = brain_limits(image, scan.brain, name)
    save_array(folder, "brain", scan.brain)
    if scan.lesions is not None:
        save_array(folder, "lesions", scan.lesions)
    values = {
        "affine": scan.grid.affine.tolist(),
        "source": _encoded(scan.source),
        "warnings": scan.warnings,
        "limits": limits,
        "lesions": scan.lesions is not None,
        "registration": scan.registration and scan.registration.as_json(),
    }
    (folder / _SCAN).write_text(json.dumps(values), encoding="utf-8")


def load_scan(folder: Path) -> Scan:
    """Map what `save_scan` wrote."""
    values = json.loads((folder / _SCAN).read_text(encoding="utf-8"))
    images = {name: load_array(folder, name.lower()) for name in values["limits"]}
    brain = load_array(folder, "brain")
    registration = values["registration"]
    return Scan(
        t1=images.get("T1"),
        t2=images.get("T2"),
        grid=Grid(brain.shape, np.array(values["affine"])),
        brain=brain,
        source=_decoded(values["source"]),
        warnings=tuple(values["warnings"]),
        lesions=load_array(folder, "lesions") if values["lesions"] else None,
        registration=registration and Registration.from_json(registration),
    )


def save_regions(folder: Path, regions: Regions) -> None:
    """Save the regions of a scan."""
    arrays = {"index": regions.index, "sides": regions.sides, "tissue": regions.tissue}
    for name, array in arrays.items():
        if array is not None:
            save_array(folder, name, array)
    values = {
        "names": regions.names,
        "seen": regions.seen,
        "doubts": regions.doubts,
        "quality": None if regions.quality is None else asdict(regions.quality),
        "arrays": [name for name, array in arrays.items() if array is not None],
    }
    (folder / _REGIONS).write_text(json.dumps(values), encoding="utf-8")


def load_regions(folder: Path) -> Regions:
    """Map what `save_regions` wrote."""
    values = json.loads((folder / _REGIONS).read_text(encoding="utf-8"))
    quality = values["quality"]
    return Regions(
        names=tuple(values["names"]),
        seen=tuple(values["seen"]),
        doubts=tuple(values["doubts"]),
        quality=None if quality is None else Quality(**quality),
        **{name: load_array(folder, name) for name in values["arrays"]},
    )


def load_limits(folder: Path) -> dict[str, tuple[float, float]]:
    """Read the contrast limits of a saved scan, by ``T1`` and ``T2``."""
    found = json.loads((folder / _SCAN).read_text(encoding="utf-8"))["limits"]
    return {name: (low, high) for name, (low, high) in found.items()}


def _encoded(geometry: Geometry) -> dict[str, Any]:
    from nibabel import Nifti1Header  # only once there is a scan

    header = geometry.header.copy()
    content = io.BytesIO()
    if isinstance(header, Nifti1Header):
        header.write_to(content)  # with its extensions
    else:
        content.write(header.binaryblock)
    return {
        "shape": [int(n) for n in geometry.shape],
        "affine": geometry.affine.tolist(),
        "kind": type(header).__name__,
        "header": base64.b64encode(content.getvalue()).decode(),
        "path": None if geometry.path is None else str(geometry.path),
    }


def _decoded(values: dict[str, Any]) -> Geometry:
    from nibabel import Nifti1Header, Nifti2Header
    from nibabel.freesurfer.mghformat import MGHHeader

    kinds = {kind.__name__: kind for kind in (Nifti1Header, Nifti2Header, MGHHeader)}
    kind = kinds[values["kind"]]
    content = base64.b64decode(values["header"])
    if issubclass(kind, Nifti1Header):
        header = kind.from_fileobj(io.BytesIO(content))
        header["vox_offset"] = 0  # the writer sets it
    else:
        header = kind(content)
    path = values["path"]
    return Geometry(
        shape=tuple(values["shape"]),
        affine=np.array(values["affine"]),
        header=header,
        path=None if path is None else Path(path),
    )
