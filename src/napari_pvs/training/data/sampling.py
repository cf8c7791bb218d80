"""Patches drawn from subjects, reproducible from seed and step."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.data.prepared import PreparedSubject
from napari_pvs.training.distributed.world import Share

Start = tuple[int, int, int]
Made = TypeVar("Made")


@dataclass(frozen=True, eq=False)
class Patches:
    """A batch of patches.

    Attributes
    ----------
    images
        (N, 2, P, P, P) float32.
    target
        (N, 1, P, P, P) float32: the label or, for unlabelled patches, the teacher's probability
        of PVS, -1 where there is none. None if no target was requested.
    origin
        Subject and first voxel (in its scan's grid) of each patch.
    share
        Which of the step's patches these are; None for all.
    """

    images: NDArray[np.float32]
    target: NDArray[np.float32] | None
    origin: tuple[tuple[str, Start], ...]
    share: Share | None = None


Target = Callable[[PreparedSubject], "NDArray[np.generic] | None"]
"""Returns what to train on for a subject: an array of its shape, or None."""


def draw(
    subjects: Sequence[PreparedSubject],
    config: TrainingConfig,
    step: int,
    *,
    stream: int,
    count: int,
    on_pvs_only: bool,
    target: Target | None,
    share: Share | None = None,
) -> Patches:
    """Draw the patches of one step.

    Parameters
    ----------
    subjects
        All are equally likely. With the statistics of each scan, all patches are of one.
    config
        Seed, patch edges, share of patches on PVS.
    step, stream
        Numbers of the step and of the kind of patches. Each pair has its own random stream, so
        that a run can continue at any step.
    count
        Number of patches if they have the smallest edge; there are fewer larger ones, so that a
        step always has about the same number of voxels.
    on_pvs_only
        As in the warm-up: centre every patch near a PVS, if there is any.
    target
        What to train on.
    share
        Which of the step's patches to make; None for all. It does not affect what is drawn.
    """
    rng = np.random.default_rng([config.seed, stream, step])
    size = config.patch[step % len(config.patch)]
    count = patches_of(config, step, count)
    own = share or Share(0, count, count)
    made = own.stop - own.start
    images = np.zeros((made, 2, size, size, size), np.float32)
    targets = np.zeros((made, 1, size, size, size), np.float32) if target else None
    with_pvs = [s for s in subjects if len(s.foreground)]
    if config.one_scan:
        pool = with_pvs if on_pvs_only and with_pvs else subjects
        subjects = [pool[int(rng.integers(len(pool)))]]
        with_pvs = [s for s in subjects if len(s.foreground)]
    origin = []
    for n in range(-own.start, count - own.start):
        on_pvs = bool(with_pvs) and (on_pvs_only or rng.random() < config.foreground)
        pool = with_pvs if on_pvs else subjects
        subject = pool[int(rng.integers(len(pool)))]
        if on_pvs:
            centre = subject.foreground[rng.integers(len(subject.foreground))].astype(int)
            centre = centre + rng.integers(-size // 3, size // 3 + 1, 3)
        else:
            centre = _inside(subject.brain, rng)
        if not 0 <= n < made:
            continue  # for another process
        start = centre - size // 2
        images[n] = cube(subject.images, start, size)
        if target is not None and targets is not None:
            values = target(subject)
            if values is None:
                targets[n] = -1
            else:
                targets[n] = cube(values[None], start, size)
        first = start + subject.corner
        origin.append((subject.name, (int(first[0]), int(first[1]), int(first[2]))))
    return Patches(images, targets, tuple(origin), own)


def patches_of(config: TrainingConfig, step: int, count: int) -> int:
    """Return how many patches a step has, given the ``count`` at the smallest edge."""
    size = config.patch[step % len(config.patch)]
    return max(1, round(count * (min(config.patch) / size) ** 3))


def ahead(make: Callable[[int], Made], first: int, last: int) -> Iterator[Made]:
    """Yield ``make(step)`` for steps ``first`` to ``last - 1``, made one ahead in a thread."""
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(make, first) if first < last else None
        for step in range(first, last):
            assert pending is not None
            made = pending.result()
            pending = pool.submit(make, step + 1) if step + 1 < last else None
            yield made


def _inside(brain: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw a voxel of the brain; about half of the crop is brain, so few tries are needed."""
    while True:
        voxel = rng.integers(0, brain.shape)
        if brain[tuple(voxel)]:
            return voxel


def cube(
    source: NDArray[np.generic], start: NDArray[np.signedinteger[Any]], edge: int
) -> NDArray[np.float32]:
    """Return the cube of (C, X, Y, Z) at ``start``; voxels outside the source are zero."""
    out = np.zeros((len(source), edge, edge, edge), np.float32)
    low = np.maximum(start, 0)
    high = np.minimum(start + edge, source.shape[1:])
    taken = tuple(slice(a, max(a, b)) for a, b in zip(low, high, strict=True))
    given = tuple(slice(a - s, max(a, b) - s) for a, b, s in zip(low, high, start, strict=True))
    out[(slice(None), *given)] = source[(slice(None), *taken)]
    return out
