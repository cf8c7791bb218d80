"""napari's writers of NIfTI and MGH files."""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from napari_pvs.errors import InputError
from napari_pvs.widgets.layers import layer_volume


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


def _write(path: str, array: NDArray[Any], like: Any, meta: dict[str, Any]) -> list[str]:
    from napari_pvs.scans.nifti import write_like

    try:
        write_like(Path(path), array, like)
    except ValueError as error:
        # napari takes a ValueError for "no writer", and would save nothing without a word
        raise InputError(
            f"{path} cannot hold the layer {meta.get('name', '')!r} ({error}); use smaller numbers."
        ) from error
    return [path]
