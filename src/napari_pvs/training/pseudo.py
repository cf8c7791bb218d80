"""Pseudo-labels of whole unlabelled scans, by the running mean of the weights."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from napari_pvs.files import atomic, write_text
from napari_pvs.network.m2ss import M2SS
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.data import Loaded
from napari_pvs.training.distributed import ALONE, World
from napari_pvs.training.wholescan import reader

log = logging.getLogger(__name__)

_BINS = np.linspace(0, 1, 201)
_ALLOWED = 0.02, 0.98
_SPREAD = 0.6  # SD of the logarithm of PVS volume between persons: volumes vary by 50 to 65 %


class PseudoLabels:
    """Probabilities on disk, in the run's folder, of the scans that were drawn last.

    Parameters
    ----------
    folder
        ``pseudo`` in the run's folder.
    config
        Seed; how often and for how many scans they are made.
    world
        The processes that make them, each for its part of the scans.
    """

    def __init__(self, folder: Path, config: TrainingConfig, world: World = ALONE):
        self.folder, self.config, self._world = Path(folder), config, world
        self.subjects: list[Loaded] = []
        self._maps: dict[str, NDArray[np.float16]] = {}

    def probability(self, subject: Loaded) -> NDArray[np.float16] | None:
        """Return the teacher's probability of PVS, shape of the subject; None where it has none."""
        return self._maps.get(subject.name)

    def due(self, epoch: int) -> bool:
        """Tell whether an epoch (from 0) begins with new pseudo-labels."""
        since = epoch - self.config.warmup
        return since >= 0 and since % self.config.refresh == 0

    def refresh(
        self,
        epoch: int,
        subjects: Sequence[Loaded],
        mean: M2SS,
        threshold: float,
        device: torch.device,
        alive: Callable[[], None],
        burden: tuple[float, float] | None = None,
    ) -> None:
        """Make pseudo-labels anew.

        Parameters
        ----------
        epoch
            The one that begins; it decides which scans are drawn.
        subjects
            All unlabelled ones.
        mean
            The teacher.
        threshold
            Its own, as it was validated with. Networks trained with focal and Dice loss are
            not calibrated: what is at this probability is as likely PVS as not. So it becomes 0.5.
        device
            Where to compute.
        alive
            Called after every window.
        burden
            Least and most of the brain, mean share over the scans, that may be above the threshold;
            where it would be less or more, the threshold moves: distribution alignment (Berthelot
            et al., ReMixMatch, ICLR 2020), as far as so few labels tell the distribution.
        """
        drawn = self.drawn(epoch, subjects)
        probability = reader(mean, device, alive, self.config.precision)

        def make(subject: Loaded) -> NDArray[np.float64]:
            found = probability(subject)
            self._save(subject, found)
            counts, _ = np.histogram(found[found > 0], _BINS)
            return np.asarray(counts / max(1, subject.brain.sum()), np.float64)

        shares = self._world.spread(make, drawn)
        if burden is not None and shares:  # the last unlabelled scan may have got its label
            threshold = _aligned(threshold, np.mean(shares, 0), burden)

        def shift(subject: Loaded) -> None:
            found = np.load(self.folder / f"{subject.name}.npy").astype(np.float32)
            self._save(subject, shifted(found, threshold))

        self._world.spread(shift, drawn)
        about = json.dumps({"epoch": epoch, "subjects": [s.name for s in drawn]})
        self._world.lead(lambda: write_text(self.folder / "about.json", about + "\n"))
        self._world.together(lambda: self._open(drawn))

    def reopen(self, epoch: int, subjects: Sequence[Loaded]) -> bool:
        """Open what was made for an epoch in progress; False where it has to be made anew."""
        return all(self._world.gather(self._reopened(epoch, subjects)))

    def _reopened(self, epoch: int, subjects: Sequence[Loaded]) -> bool:
        begun = epoch - (epoch - self.config.warmup) % self.config.refresh
        drawn = self.drawn(begun, subjects)
        expected = {"epoch": begun, "subjects": [s.name for s in drawn]}
        try:
            about = json.loads((self.folder / "about.json").read_text(encoding="utf-8"))
            if about != expected:
                return False
            self._open(drawn)
        except (OSError, ValueError):
            return False
        return True

    def _save(self, subject: Loaded, probability: NDArray[np.float32]) -> None:
        with atomic(self.folder / f"{subject.name}.npy") as temporary:
            np.save(temporary, probability.astype(np.float16))

    def drawn(self, epoch: int, subjects: Sequence[Loaded]) -> list[Loaded]:
        """Return the scans of the epoch that begins, at most as many as get pseudo-labels."""
        rng = np.random.default_rng([self.config.seed, 3, epoch])
        count = min(self.config.refresh_scans, len(subjects))
        chosen = rng.choice(len(subjects), size=count, replace=False)
        return [subjects[i] for i in sorted(chosen)]

    def _open(self, drawn: Sequence[Loaded]) -> None:
        maps, ready = {}, []
        for subject in drawn:
            values = np.load(self.folder / f"{subject.name}.npy", mmap_mode="r")
            if values.shape != subject.brain.shape:
                raise ValueError(f"the pseudo-label of {subject.name} has another shape")
            maps[subject.name] = values
            voxels = np.argwhere(values > self.config.confidence_pvs).astype(np.int16)
            ready.append(replace(subject, foreground=voxels))
        self._maps, self.subjects = maps, ready


def burden(subjects: Sequence[Loaded]) -> tuple[float, float]:
    """Return between what shares of the brain the PVS of a mean person lie, by the labels.

    That is the standard error on either side of the mean over the labelled subjects, on a
    logarithmic scale. The spread between persons is a constant: two labels do not tell it.
    """
    shares = [s.label.sum() / max(1, s.brain.sum()) for s in subjects if s.label is not None]
    mean, factor = float(np.mean(shares)), float(np.exp(_SPREAD / np.sqrt(len(shares))))
    return mean / factor, mean * factor


def _aligned(threshold: float, shares: NDArray[np.float64], burden: tuple[float, float]) -> float:
    """Return the threshold nearest to the given one above which lies an allowed share of the brain.

    Parameters
    ----------
    threshold
        It stays where it is allowed.
    shares
        Share of the brain in each of ``_BINS``.
    burden
        Least and most that may lie above.
    """
    above = shares[::-1].cumsum()[::-1]  # from the lower edge of each bin upwards
    share = float(np.interp(threshold, _BINS[:-1], above))
    wanted = float(np.clip(share, *burden))
    if wanted == share:
        return threshold
    closest = int(np.abs(above - wanted).argmin())
    return float(np.clip(_BINS[closest], *_ALLOWED))


def shifted(probability: NDArray[np.float32], threshold: float) -> NDArray[np.float32]:
    """Move probabilities along the logistic curve so that ``threshold`` becomes 0.5.

    Examples
    --------
    >>> shifted(np.array([0.0, 0.8, 1.0], np.float32), 0.8).round(3).tolist()
    [0.0, 0.5, 1.0]
    """
    odds_at = np.float32(threshold / (1 - threshold))
    return np.asarray(probability / (probability + odds_at * (1 - probability)), np.float32)
