"""napari's reader and writers of NIfTI and MGH files."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.errors import InputError
from napari_pvs.scans.checks import require_variety
from napari_pvs.scans.display import looks_like_labels
from napari_pvs.scans.names import SUFFIXES, is_label_name, is_scan_name, stem_of
from napari_pvs.scans.nifti import NotIntegers, Volume, read_labels, read_volume, write_like
from napari_pvs.widgets.viewer.layers import LayerData, layer_volume, volume_layer


def get_reader(
    path: str | Sequence[str],
) -> Callable[[str | Sequence[str]], list[LayerData]] | None:
    """Return what reads NIfTI and MGH files, or a results folder; None for others."""
    names = _listed(path)
    if len(names) == 1 and Path(names[0]).is_dir():
        from napari_pvs.widgets.viewer.results import folder_reader  # slow to import

        return folder_reader(Path(names[0]))
    return read if all(name.lower().endswith(SUFFIXES) for name in names) else None


def read(path: str | Sequence[str]) -> list[LayerData]:
    """Read one file or several, each into a layer of its own.

    Masks and label maps become Labels layers: by their name (``mask``, ``labels`` or, in BIDS,
    ``dseg``) or by their voxels; see `display.looks_like_labels`.

    Raises
    ------
    InputError
        As `napari_pvs.scans.nifti.read_volume`, or `read_labels` for names of labels.
    """
    return [_read(Path(name)) for name in _listed(path)]


def _read(path: Path) -> LayerData:
    name = stem_of(path)
    if is_label_name(path):
        try:
            return volume_layer(read_labels(path), name, "labels")
        except NotIntegers:  # a probability map that is called a mask
            return volume_layer(read_volume(path), name, "image")
    volume = read_volume(path, constant=True)
    if volume.data.any() or is_scan_name(path):  # else it may be a mask of nothing
        require_variety(volume.data, str(path))
    if not looks_like_labels(volume.data):
        return volume_layer(volume, name, "image")
    return volume_layer(replace(volume, data=volume.data.astype(np.int32)), name, "labels")


def _listed(path: str | Sequence[str]) -> list[str]:
    return [path] if isinstance(path, str) else list(path)


def write_image(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write an Image layer like the file it came from: float32, whole numbers as int32.

    Raises
    ------
    InputError
        As `layer_volume`; a value does not fit, or the folder cannot be written.
    """
    volume = layer_volume(data, meta)
    return _write(path, volume.data, volume, meta)


def write_labels(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write a Labels layer like the file it came from: uint8 for 0 and 1 alone, else int32.

    Raises
    ------
    InputError
        As `write_image`.
    """
    volume = layer_volume(data, meta)
    labels = volume.data
    binary = labels.min() >= 0 and labels.max() <= 1
    return _write(path, labels.astype(bool) if binary else labels, volume, meta)


def _write(path: str, array: NDArray[Any], like: Volume, meta: dict[str, Any]) -> list[str]:
    try:
        write_like(Path(path), array, like)
    except ValueError as error:
        # napari takes a ValueError for "no writer", and would save nothing without a word
        raise InputError(
            f"{path} cannot hold the layer {meta.get('name', '')!r} ({error}); use smaller numbers."
        ) from error
    return [path]
