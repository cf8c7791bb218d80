"""Whether a network that learns without labels still agrees with what it started from.

Nothing here measures accuracy. Self-training can only fail unseen in two ways: it forgets what it
was sure of, or takes ever more for PVS. Both show against the sure voxels of the start weights.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from napari_pvs.evaluation.overlap import Overlap, overlap
from napari_pvs.inference.config import Within
from napari_pvs.network.device import Precision
from napari_pvs.network.m2ss import M2SS
from napari_pvs.training.data.prepared import PreparedSubject
from napari_pvs.training.distributed.world import ALONE, World
from napari_pvs.training.semi_supervised.place import Place
from napari_pvs.training.semi_supervised.pseudo_labels import shifted
from napari_pvs.training.validation import THRESHOLDS
from napari_pvs.training.whole_scan import reader

LEAST = 0.8
"""DSC with the sure voxels of the start weights below which adapted weights are not kept."""


@dataclass(frozen=True, eq=False)
class Reference:
    """What the start weights were sure of in a scan.

    Attributes
    ----------
    subject
        The scan.
    pvs
        (X, Y, Z) bool: surely PVS.
    sure
        (X, Y, Z) bool: surely PVS or surely none; only these voxels are compared. What lies where
        no PVS can be is neither: it is to be unlearnt.
    """

    subject: PreparedSubject
    pvs: NDArray[np.bool_]
    sure: NDArray[np.bool_]


@dataclass(frozen=True)
class Agreement:
    """How far a network agrees with the start weights, at the threshold where it does so best.

    Attributes
    ----------
    threshold
        Of those that agree equally well, the one closest to one half, at which pseudo-labels are
        cut.
    dsc, found
        Over the sure voxels, mean over scans: DSC, and the share of sure PVS that is found (None
        where there are none).
    subjects
        DSC of each scan.
    """

    threshold: float
    dsc: float
    found: float | None
    subjects: dict[str, float]

    def __str__(self) -> str:
        found = "no sure PVS" if self.found is None else f"{100 * self.found:.0f} % of sure PVS"
        return f"DSC {self.dsc:.3f} over sure voxels ({found}), threshold {self.threshold:.2f}"


def references(
    network: M2SS,
    subjects: Sequence[PreparedSubject],
    answer_at_threshold: Callable[[PreparedSubject], float],
    sure: float,
    device: torch.device,
    alive: Callable[[], None] = lambda: None,
    world: World = ALONE,
    precision: Precision = "auto",
    within: Within = "brain",
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
    within
        As `TrainingConfig.within`.
    """
    probability, place = reader(network, device, alive, precision), Place(within)

    def of(subject: PreparedSubject) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        found = shifted(probability(subject), answer_at_threshold(subject))
        pvs = place(subject, found, 0.5) > sure
        return pvs, (pvs | (found < 1 - sure)) & subject.brain

    made = world.spread(of, subjects)
    return [Reference(one, *masks) for one, masks in zip(subjects, made, strict=True)]


def agreement(
    network: M2SS,
    known: Sequence[Reference],
    judged: int,
    device: torch.device,
    alive: Callable[[], None] = lambda: None,
    world: World = ALONE,
    precision: Precision = "auto",
) -> Agreement:
    """Compare a network with the start weights.

    Parameters
    ----------
    network
        In evaluation mode.
    known
        From `references`; the threshold is chosen on all of them.
    judged
        How many of them, from the first, the measures are of.
    device, alive, world, precision
        As for `validation.validate`.
    """
    probability = reader(network, device, alive, precision)

    def row(one: Reference) -> list[Overlap]:
        found = probability(one.subject)
        volume = float(np.prod(one.subject.voxel_size))
        return [overlap(found >= t, one.pvs, volume, one.sure) for t in THRESHOLDS]

    rows = world.spread(row, known)
    dsc = np.array([[each.dsc for each in row] for row in rows])
    mean = dsc.mean(0)
    best = min(np.flatnonzero(mean >= mean.max() - 1e-9), key=lambda n: abs(THRESHOLDS[n] - 0.5))
    chosen = [row[best] for row in rows[:judged]]
    found = [one.recall for one in chosen if one.recall is not None]
    return Agreement(
        threshold=float(THRESHOLDS[best]),
        dsc=float(np.mean([one.dsc for one in chosen])),
        found=float(np.mean(found)) if found else None,
        subjects={known[n].subject.name: round(one.dsc, 4) for n, one in enumerate(chosen)},
    )
