"""napari's reader of NIfTI and MGH files."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.widgets.layers import LayerData, volume_layer

SUFFIXES = (".nii", ".nii.gz", ".mgz")
_SCAN_NAME = re.compile(r"(^|_)(t1w?|t2w?|flair)$")
_LABELS_NAME = re.compile(r"(^|_)(mask|dseg|labels)$")


def get_reader(
    path: str | Sequence[str],
) -> Callable[[str | Sequence[str]], list[LayerData]] | None:
    """Return `read` for files ending in ``.nii``, ``.nii.gz`` or ``.mgz``, None for others."""
    ours = all(name.lower().endswith(SUFFIXES) for name in _listed(path))
    return read if ours else None


def read(path: str | Sequence[str]) -> list[LayerData]:
    """Read one file or several, each into a layer of its own.

    Masks and label maps become Labels layers: by their name (``mask``, ``labels`` or, in BIDS,
    ``dseg``) or by their voxels; see `looks_like_labels`.

    Raises
    ------
    InputError
        As `napari_pvs.scans.nifti.read_volume`, or `read_labels` for names of labels.
    """
    return [_read(Path(name)) for name in _listed(path)]


def looks_like_labels(data: NDArray[Any]) -> bool:
    """Tell whether voxels are labels: whole numbers that mostly continue in their neighbours.

    The number of different values tells nothing: a cortical parcellation has some 190, a
    FreeSurfer scan of 8 bits 125. Of the non-zero neighbours along the first axis 85-88 % are
    equal in label maps, 10 % in such a scan.
    """
    # float32 holds whole numbers up to here
    if data.min() < 0 or data.max() >= 2**24 or not np.array_equal(data, np.rint(data)):
        return False
    one, two = data[1:], data[:-1]
    inside = (one != 0) & (two != 0)
    # Lone voxels (small lesions) have no neighbours: a mask then holds a single value.
    if not inside.any():
        return np.unique(data).size <= 2
    return bool((one == two)[inside].mean() > 0.5)


def _read(path: Path) -> LayerData:
    from dataclasses import replace

    from napari_pvs.scans.checks import require_variety
    from napari_pvs.scans.nifti import NotIntegers, read_labels, read_volume

    name = path.name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
            break
    if _LABELS_NAME.search(name.lower()):
        try:
            return volume_layer(read_labels(path), name, "labels")
        except NotIntegers:  # a probability map that is called a mask
            return volume_layer(read_volume(path), name, "image")
    volume = read_volume(path, constant=True)
    if volume.data.any() or _SCAN_NAME.search(name.lower()):  # else it may be a mask of nothing
        require_variety(volume.data, str(path))
    if not looks_like_labels(volume.data):
        return volume_layer(volume, name, "image")
    return volume_layer(replace(volume, data=volume.data.astype(np.int32)), name, "labels")


def _listed(path: str | Sequence[str]) -> list[str]:
    return [path] if isinstance(path, str) else list(path)
