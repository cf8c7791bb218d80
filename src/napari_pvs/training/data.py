"""Subjects in memory, and patches drawn from them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_pvs.errors import InputError
from napari_pvs.inference.patches import bounding_box
from napari_pvs.scans.grid import Grid, to_ras
from napari_pvs.scans.nifti import read_labels
from napari_pvs.scans.scan import load_scan
from napari_pvs.study.bids import StudySubject
from napari_pvs.training.config import TrainingConfig


@dataclass(frozen=True, eq=False)
class Loaded:
    """A labelled subject, cropped to its brain.

    Attributes
    ----------
    name
        Of the subject.
    images
        (2, X, Y, Z) float16, normalised; a missing modality is zeros.
    label, brain
        (X, Y, Z) bool.
    voxel_size
        In mm.
    foreground
        (n, 3) PVS voxels.
    """

    name: str
    images: NDArray[np.float16]
    label: NDArray[np.bool_]
    brain: NDArray[np.bool_]
    voxel_size: tuple[float, float, float]
    foreground: NDArray[np.int16]


def load(subject: StudySubject) -> Loaded:
    """Load a labelled subject.

    Raises
    ------
    InputError
        The label is missing or lies on another grid than the scan.
    """
    if subject.label is None:
        raise InputError(f"{subject.name} has no label; put one under derivatives/labels.")
    scan = load_scan(subject.t1, subject.t2, subject.brain)
    volume = read_labels(subject.label)
    label, affine = to_ras(volume.data, volume.affine)
    if not Grid(label.shape, affine).same_as(scan.grid, tolerance=1e-2):
        raise InputError(
            f"{subject.label} lies on another grid than the scan of {subject.name}; "
            "resample it onto the scan."
        )
    box = bounding_box(scan.brain, margin=2)
    mask = np.ascontiguousarray(label[box] > 0)
    return Loaded(
        subject.name,
        scan.normalised()[(slice(None), *box)].astype(np.float16),
        mask,
        np.ascontiguousarray(scan.brain[box]),
        scan.grid.voxel_size,
        np.argwhere(mask).astype(np.int16),
    )


Batch = tuple[NDArray[np.float32], NDArray[np.float32]]


def batches(
    subjects: list[Loaded], config: TrainingConfig, first: int, last: int
) -> Iterator[Batch]:
    """Draw the batches of steps ``first`` to ``last`` (excluded), one ahead in a thread.

    Each step has its own random stream from the seed and its number, so that a run can continue
    at any step.

    Yields
    ------
    Images (N, 2, P, P, P) and labels (N, 1, P, P, P), float32.
    """
    warm = config.warmup * config.steps
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(_draw, subjects, config, first, first < warm)
        for step in range(first, last):
            batch = pending.result()
            if step + 1 < last:
                pending = pool.submit(_draw, subjects, config, step + 1, step + 1 < warm)
            yield batch


def _draw(subjects: list[Loaded], config: TrainingConfig, step: int, warm: bool) -> Batch:
    rng = np.random.default_rng([config.seed, 1, step])
    size = config.patch[step % len(config.patch)]
    # the same number of voxels in every step
    count = max(1, round(config.batch * (min(config.patch) / size) ** 3))
    images = np.zeros((count, 2, size, size, size), np.float32)
    labels = np.zeros((count, 1, size, size, size), np.float32)
    with_pvs = [s for s in subjects if len(s.foreground)]
    for n in range(count):
        on_pvs = bool(with_pvs) and (warm or rng.random() < config.foreground)
        pool = with_pvs if on_pvs else subjects
        subject = pool[rng.integers(len(pool))]
        if on_pvs:
            centre = subject.foreground[rng.integers(len(subject.foreground))].astype(int)
            centre = centre + rng.integers(-size // 3, size // 3 + 1, 3)
        else:
            centre = _inside(subject.brain, rng)
        _cut(subject, centre - size // 2, images[n], labels[n, 0])
    return images, labels


def _inside(brain: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw a voxel of the brain; the crop around a brain is half full, so few tries are needed."""
    while True:
        voxel = rng.integers(0, brain.shape)
        if brain[tuple(voxel)]:
            return voxel


def _cut(
    subject: Loaded,
    start: NDArray[np.int64],
    image: NDArray[np.float32],
    label: NDArray[np.float32],
) -> None:
    """Copy the cube at ``start`` into zeroed arrays; what lies outside the volume stays zero."""
    low = np.maximum(start, 0)
    high = np.minimum(start + label.shape[0], subject.label.shape)
    source = tuple(slice(a, max(a, b)) for a, b in zip(low, high, strict=True))
    target = tuple(slice(a - s, max(a, b) - s) for a, b, s in zip(low, high, start, strict=True))
    image[(slice(None), *target)] = subject.images[(slice(None), *source)]
    label[target] = subject.label[source]
