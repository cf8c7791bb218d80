"""Whether a network that learns without labels still agrees with what it started from.

Nothing here measures accuracy. Self-training can only fail unseen in two ways: it takes ever more
for PVS, or forgets what it was sure of. So its threshold is the one at which it marks as much as
the start weights did, and there it has to find what these were sure of.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from napari_pvs.network.device import Precision
from napari_pvs.network.m2ss import M2SS
from napari_pvs.scans.intensity import modalities
from napari_pvs.training.data.prepared import PreparedSubject
from napari_pvs.training.distributed.world import ALONE, World
from napari_pvs.training.place import EVERYWHERE, Place
from napari_pvs.training.semi_supervised.pseudo_labels import shifted
from napari_pvs.training.whole_scan import reader

LEAST = 0.8
"""Share of the start weights' sure PVS that adapted weights must find to be kept."""
_THRESHOLDS = 1 / (1 + np.exp(-np.linspace(-5, 5, 101)))  # even on the scale of logits


@dataclass(frozen=True, eq=False)
class Reference:
    """What the start weights saw in a scan.

    Attributes
    ----------
    subject
        The scan.
    pvs
        (X, Y, Z) bool: surely PVS.
    sure
        (X, Y, Z) bool: surely PVS or surely none; only these voxels are compared. What lies where
        no PVS can be is neither: it is to be unlearnt.
    marked
        Number of voxels above the threshold.
    """

    subject: PreparedSubject
    pvs: NDArray[np.bool_]
    sure: NDArray[np.bool_]
    marked: int


@dataclass(frozen=True)
class Agreement:
    """How far a network agrees with the start weights, at thresholds at which both mark as much.

    Attributes
    ----------
    thresholds
        By what is shown: ``T1``, ``T2`` or ``T1+T2``. With T1 alone and T2 alone, as much is to be
        marked as with both: it is the same person.
    dsc, found
        Over the sure voxels, mean over scans: DSC, and the share of sure PVS that is found (None
        where there are none).
    subjects
        DSC of each scan.
    """

    thresholds: dict[str, float]
    dsc: float
    found: float | None
    subjects: dict[str, float]

    @property
    def threshold(self) -> float:
        """That of scans that show most."""
        return self.thresholds[max(self.thresholds, key=len)]

    @property
    def kept(self) -> bool:
        """Whether enough of the sure PVS is found."""
        return self.found is None or self.found >= LEAST

    def __str__(self) -> str:
        found = "no sure PVS" if self.found is None else f"{100 * self.found:.0f} % of sure PVS"
        return f"{found}, DSC {self.dsc:.3f} over sure voxels, threshold {self.threshold:.2f}"


def references(
    network: M2SS,
    subjects: Sequence[PreparedSubject],
    answer_at_threshold: Callable[[PreparedSubject], float],
    sure: float,
    device: torch.device,
    alive: Callable[[], None] = lambda: None,
    world: World = ALONE,
    precision: Precision = "auto",
    place: Place = EVERYWHERE,
) -> list[Reference]:
    """Predict scans with the start weights.

    Parameters
    ----------
    network
        The start weights.
    subjects
        Scans; labels are not read.
    answer_at_threshold
        The network's answer from which a voxel of a scan is PVS; it is shifted to one half.
    sure
        Least probability, after the shift, of either class.
    device, alive, world, precision
        As for `validation.validate`.
    place
        Leaves out what lies where no PVS can be.
    """
    probability = reader(network, device, alive, precision)

    def of(subject: PreparedSubject) -> Reference:
        found = shifted(probability(subject), answer_at_threshold(subject))
        placed = place(subject, found, 0.5)
        pvs = placed > sure
        known = (pvs | (found < 1 - sure)) & subject.brain
        return Reference(subject, pvs, known, int(np.count_nonzero(placed >= 0.5)))

    return world.spread(of, subjects)


def agreement(
    network: M2SS,
    known: Sequence[Reference],
    judged: int,
    device: torch.device,
    alive: Callable[[], None] = lambda: None,
    world: World = ALONE,
    precision: Precision = "auto",
    place: Place = EVERYWHERE,
) -> Agreement:
    """Compare a network with the start weights.

    Parameters
    ----------
    network
        In evaluation mode.
    known
        From `references`; thresholds are chosen on all of them.
    judged
        How many of them, from the first, the measures are of.
    device, alive, world, precision, place
        As for `references`.
    """
    probability = reader(network, device, alive, precision)

    def look(one: Reference) -> _Look:
        found = probability(one.subject)
        marked = {_shown(one.subject): _above_each(place(one.subject, found, 0.5))}
        for view in _parts(one.subject):
            marked[_shown(view)] = _above_each(place(one.subject, probability(view), 0.5))
        return _Look(_above_each(found[one.pvs]), _above_each(found[one.sure & ~one.pvs]), marked)

    looks = world.spread(look, known)
    at = {}
    for shown in sorted({name for seen in looks for name in seen.marked}):
        pairs = zip(known, looks, strict=True)
        both = [(one.marked, seen.marked[shown]) for one, seen in pairs if shown in seen.marked]
        before, now = (np.sum(counts, axis=0) for counts in zip(*both, strict=True))
        at[shown] = int(np.abs(np.log((now + 1) / (before + 1))).argmin())
    shares, dsc = [], {}
    for one, seen in zip(known[:judged], looks, strict=False):
        k, sure_pvs = at[_shown(one.subject)], int(np.count_nonzero(one.pvs))
        found, wrong = int(seen.pvs[k]), int(seen.none[k])
        dsc[one.subject.name] = 2 * found / max(1, found + wrong + sure_pvs) if sure_pvs else 1.0
        shares += [found / sure_pvs] if sure_pvs else []
    return Agreement(
        thresholds={shown: float(_THRESHOLDS[k]) for shown, k in at.items()},
        dsc=float(np.mean(list(dsc.values()))),
        found=float(np.mean(shares)) if shares else None,
        subjects={name: round(value, 4) for name, value in dsc.items()},
    )


class _Look(NamedTuple):
    """Voxels of a scan from each threshold on: of sure PVS, of what is surely none, and marked."""

    pvs: NDArray[np.int64]
    none: NDArray[np.int64]
    marked: dict[str, NDArray[np.int64]]


def _above_each(probability: NDArray[np.float32]) -> NDArray[np.int64]:
    """Count the voxels from each of `_THRESHOLDS` on."""
    values = np.sort(probability[probability >= _THRESHOLDS[0]])
    return len(values) - np.searchsorted(values, _THRESHOLDS)


def _shown(subject: PreparedSubject) -> str:
    return "+".join(modalities(subject.images))


def _parts(subject: PreparedSubject) -> list[PreparedSubject]:
    """Return what T1 alone and T2 alone show of a scan that has both."""
    if not all(image.any() for image in subject.images):
        return []
    none = np.zeros_like(subject.images[0])
    t1, t2 = subject.images
    pairs = np.stack([t1, none]), np.stack([none, t2])
    return [replace(subject, images=images) for images in pairs]
