"""Scores of a network on labelled subjects, and the choice of its threshold."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from napari_pvs.evaluation.overlap import Overlap, overlap
from napari_pvs.network.device import Precision
from napari_pvs.network.m2ss import M2SS
from napari_pvs.training.data.prepared import PreparedSubject
from napari_pvs.training.distributed.world import ALONE, World
from napari_pvs.training.whole_scan import reader

THRESHOLDS = np.array([0.02, 0.05, *np.arange(0.1, 0.96, 0.05).round(2)])
"""Thresholds to choose from; a network trained on few labels is far from calibrated."""


@dataclass(frozen=True)
class Validation:
    """Scores at the chosen threshold.

    Attributes
    ----------
    threshold
        The allowed threshold with the best mean DSC.
    dsc, avd_percent, recall
        Means over subjects; None if undefined for all of them.
    subjects
        DSC of each.
    """

    threshold: float
    dsc: float
    avd_percent: float | None
    recall: float | None
    subjects: dict[str, float]

    def __str__(self) -> str:
        avd = "undefined" if self.avd_percent is None else f"{self.avd_percent:.0f} %"
        recall = "undefined" if self.recall is None else f"{self.recall:.2f}"
        return f"DSC {self.dsc:.3f}, AVD {avd}, recall {recall}, threshold {self.threshold:.2f}"

    @property
    def measures(self) -> dict[str, float | None]:
        """DSC, AVD and recall."""
        return {"dsc": self.dsc, "avd_percent": self.avd_percent, "recall": self.recall}


def validate(
    network: M2SS,
    subjects: Sequence[PreparedSubject],
    device: torch.device,
    alive: Callable[[], None] = lambda: None,
    world: World = ALONE,
    precision: Precision = "auto",
    more: Sequence[PreparedSubject] = (),
    likely: NDArray[np.bool_] | None = None,
) -> Validation:
    """Predict labelled subjects and find the best threshold.

    The best threshold for two validation subjects may be far from the best for others: choosing it
    on six scans, four of them training scans, raised the DSC on unseen scans by .02.

    Parameters
    ----------
    network
        In evaluation mode.
    subjects
        Labelled.
    device
        Where to compute.
    alive
        Called after every window.
    world
        The processes that share the subjects.
    precision
        As in `Predictor`.
    more
        More labelled subjects, used only to choose the threshold.
    likely
        Which of ``THRESHOLDS`` may be chosen; None allows all. The best one for the labelled scans
        may be wrong for scans from another scanner.
    """
    probability = reader(network, device, alive, precision)

    def row(subject: PreparedSubject) -> list[Overlap]:
        if subject.label is None:
            raise ValueError(f"{subject.name} is not labelled")
        found, volume = probability(subject), float(np.prod(subject.voxel_size))
        return [overlap(found >= t, subject.label, volume, subject.brain) for t in THRESHOLDS]

    rows = world.spread(row, [*subjects, *more])
    dsc = np.array([[one.dsc for one in row] for row in rows])
    allowed = np.ones(len(THRESHOLDS), bool) if likely is None else likely
    best = int(np.where(allowed, dsc.mean(0), -1).argmax())
    rows, dsc = rows[: len(subjects)], dsc[: len(subjects)]
    chosen = [row[best] for row in rows]
    return Validation(
        threshold=float(THRESHOLDS[best]),
        dsc=float(dsc[:, best].mean()),
        avd_percent=_mean([one.avd_percent for one in chosen]),
        recall=_mean([one.recall for one in chosen]),
        subjects={s.name: round(float(d), 4) for s, d in zip(subjects, dsc[:, best], strict=True)},
    )


def _mean(values: list[float | None]) -> float | None:
    kept = [v for v in values if v is not None]
    return float(np.mean(kept)) if kept else None
