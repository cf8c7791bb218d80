"""Scans prepared for training: normalised, cropped to the brain, memory-mapped."""

import json
import logging
import shutil
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, FiniteFloat

from napari_pvs import json_files
from napari_pvs.errors import InputWarning
from napari_pvs.files import atomic_folder
from napari_pvs.scans.grid import Grid
from napari_pvs.scans.intensity import percentiles
from napari_pvs.scans.masks import bounding_box
from napari_pvs.scans.pvs import read_on, warn_of_outside
from napari_pvs.study.bids import StudySubject, scan_of
from napari_pvs.study.registrations import key

log = logging.getLogger(__name__)

_Row = tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]
_MEDIAN = 1e-3  # of a brain, which is 0: augmentation takes zeros for what is outside
_FORMAT = 3  # raise it when the content of the cache changes


@dataclass(frozen=True, eq=False)
class PreparedSubject:
    """A subject prepared for training, cropped to its brain.

    Attributes
    ----------
    name
        Name of the subject.
    images
        (2, X, Y, Z) float16, normalised; zeros outside the brain, nowhere in it, and for a missing
        modality. Memory-mapped if the study is writable, so that memory use does not grow with it.
    label
        (X, Y, Z) bool, inside the brain; None if the subject is not labelled.
    brain
        (X, Y, Z) bool.
    voxel_size
        In mm.
    foreground
        (n, 3) PVS voxels of the label or, for an unlabelled subject, of its pseudo-label.
    corner
        First voxel of the crop in the scan's grid.
    """

    name: str
    images: NDArray[np.float16]
    label: NDArray[np.bool_] | None
    brain: NDArray[np.bool_]
    voxel_size: tuple[float, float, float]
    foreground: NDArray[np.int16]
    corner: tuple[int, int, int]

    @cached_property
    def percentiles(self) -> dict[str, dict[str, float]]:
        """Those of the intensities of each modality that is there, of every fourth plane."""
        brain, out = self.brain[..., ::4], {}
        for name, image in zip(("T1", "T2"), self.images, strict=True):
            values = image[..., ::4][brain].astype(np.float32)
            if values.any():  # a missing one is zeros
                out[name] = percentiles(values)
        return out


class _About(BaseModel):
    """The JSON file beside the arrays of a prepared scan."""

    shape: tuple[int, int, int]
    affine: tuple[_Row, _Row, _Row, _Row]
    corner: tuple[int, int, int]
    warnings: tuple[str, ...] = ()


def load(subject: StudySubject, cache: Path | None = None) -> PreparedSubject:
    """Prepare a subject, or open it from the cache if it was prepared before.

    Parameters
    ----------
    subject
        Its scans, and its label if it has one.
    cache
        Folder for prepared scans; if it is None or not writable, they are kept in memory.

    Raises
    ------
    InputError
        A file is unusable, or the label is on another grid than the scan.
    """
    prepared = _prepared(subject, cache)
    for text in prepared.warnings:  # in every run, even if the scan comes from the cache
        warnings.warn(text, InputWarning, stacklevel=2)
    label = None
    foreground = np.empty((0, 3), np.int16)
    if subject.label is not None:
        whole = read_on(subject.label, prepared.grid, f"the scan of {subject.name}") > 0
        shape = prepared.brain.shape
        box = tuple(slice(c, c + n) for c, n in zip(prepared.corner, shape, strict=True))
        label = np.ascontiguousarray(whole[box] & prepared.brain)
        warn_of_outside(
            int(np.count_nonzero(whole)),
            int(np.count_nonzero(label)),
            f"{subject.label}: {{}} label voxels lie outside the brain mask and are not trained "
            "on; check label and mask.",
        )
        foreground = np.argwhere(label).astype(np.int16)
    return PreparedSubject(
        subject.name,
        prepared.images,
        label,
        prepared.brain,
        prepared.grid.voxel_size,
        foreground,
        prepared.corner,
    )


@dataclass(frozen=True, eq=False)
class _Prepared:
    images: NDArray[np.float16]
    brain: NDArray[np.bool_]
    grid: Grid
    corner: tuple[int, int, int]
    warnings: tuple[str, ...]


def _prepared(subject: StudySubject, cache: Path | None) -> _Prepared:
    if cache is None:
        return _prepare(subject, None)
    folder = cache / f"{subject.name}-{key((subject.t1, subject.t2, subject.brain), _FORMAT)}"
    try:
        return _open(folder)
    except FileNotFoundError:
        made = _prepare(subject, cache.parent)
    except Exception:  # numpy's reader raises anything on foreign bytes
        log.warning("%s is damaged; preparing the scan again.", folder)
        shutil.rmtree(folder, ignore_errors=True)
        made = _prepare(subject, cache.parent)
    try:
        _write(folder, made)
        return _open(folder)
    except OSError as error:
        log.warning(
            "%s cannot be written (%s); %s is kept in memory.", cache, error.strerror, subject.name
        )
        return made


def _prepare(subject: StudySubject, derivative: Path | None) -> _Prepared:
    with warnings.catch_warnings():  # `load` tells
        warnings.simplefilter("ignore", InputWarning)
        scan = scan_of(subject, keep_in=derivative)
    box = bounding_box(scan.brain, margin=2)
    images = scan.normalised()[(slice(None), *box)].astype(np.float16)
    for image in images:
        if image.any():  # not missing
            image[scan.brain[box] & (image == 0)] = _MEDIAN
    return _Prepared(
        images,
        np.ascontiguousarray(scan.brain[box]),
        scan.grid,
        (box[0].start, box[1].start, box[2].start),
        scan.warnings,
    )


def _write(folder: Path, prepared: _Prepared) -> None:
    """Write atomically, unless another run was faster."""
    with atomic_folder(folder) as temporary:
        np.save(temporary / "images.npy", prepared.images)
        np.save(temporary / "brain.npy", prepared.brain)
        about = {
            "shape": prepared.grid.shape,
            "affine": prepared.grid.affine.tolist(),
            "corner": prepared.corner,
            "warnings": prepared.warnings,
        }
        (temporary / "about.json").write_text(json.dumps(about), encoding="utf-8")


def _open(folder: Path) -> _Prepared:
    about = json_files.read(folder / "about.json", _About, "")
    images = np.load(folder / "images.npy", mmap_mode="r")
    # copy on write: the distance transform needs a writable buffer
    brain = np.load(folder / "brain.npy", mmap_mode="c")
    grid = Grid(about.shape, np.array(about.affine))
    if images.shape != (2, *brain.shape):
        raise ValueError("images and brain differ in shape")
    if images.dtype != np.float16 or brain.dtype != np.bool_:
        raise ValueError("images or brain are of another type")
    fits = zip(about.corner, brain.shape, about.shape, strict=True)
    if any(corner < 0 or corner + size > whole for corner, size, whole in fits):
        raise ValueError("the crop does not fit into the scan")
    return _Prepared(images, brain, grid, about.corner, about.warnings)
