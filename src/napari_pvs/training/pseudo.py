"""Pseudo-labels of whole unlabelled scans, by the running mean of the weights."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel

from napari_pvs import json_files
from napari_pvs.errors import InputError
from napari_pvs.files import atomic, write_text
from napari_pvs.network.m2ss import M2SS
from napari_pvs.training.alignment import above, aligned
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.data import Loaded
from napari_pvs.training.distributed import ALONE, World
from napari_pvs.training.wholescan import reader

log = logging.getLogger(__name__)


class _About(BaseModel):
    """What lies beside the pseudo-labels."""

    epoch: int
    subjects: list[str]


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
        self._shares: NDArray[np.float64] | None = None
        self._predicted: tuple[int, list[str]] | None = None

    def probability(self, subject: Loaded) -> NDArray[np.float16] | None:
        """Return the teacher's probability of PVS, shape of the subject; None where it has none."""
        return self._maps.get(subject.name)

    def due(self, epoch: int) -> bool:
        """Tell whether an epoch (from 0) begins with new pseudo-labels."""
        since = epoch - self.config.warmup
        return since >= 0 and since % self.config.refresh == 0

    def predict(
        self,
        epoch: int,
        subjects: Sequence[Loaded],
        mean: M2SS,
        device: torch.device,
        alive: Callable[[], None] = lambda: None,
        keep: bool | None = None,
    ) -> NDArray[np.float64] | None:
        """Have the teacher look at the scans of an epoch, once.

        Parameters
        ----------
        epoch
            The one that begins; it decides which scans are drawn.
        subjects
            All unlabelled ones.
        mean
            The teacher.
        device
            Where to compute.
        alive
            Called after every window.
        keep
            Whether what it says is kept for `refresh`; where None, if the epoch begins with new
            pseudo-labels of the running mean.

        Returns
        -------
        What share of their brains is PVS at each threshold, as `alignment.above`, mean over the
        scans; None without scans.
        """
        if keep is None:
            keep = self.config.teacher == "mean" and self.due(epoch)
        drawn = self.drawn(epoch, subjects)
        probability = reader(mean, device, alive, self.config.precision)

        def look(subject: Loaded) -> NDArray[np.float64]:
            found = probability(subject)
            if keep:
                self._save(self._plain(subject), found)
            return above(found, subject.brain)

        shares = self._world.spread(look, drawn)
        self._shares = np.mean(shares, 0) if shares else None
        self._predicted = (epoch, [s.name for s in drawn]) if keep else None
        return self._shares

    def refresh(
        self,
        epoch: int,
        subjects: Sequence[Loaded],
        mean: M2SS,
        threshold: float,
        device: torch.device,
        alive: Callable[[], None] = lambda: None,
        burden: tuple[float, float] | None = None,
    ) -> None:
        """Make pseudo-labels anew.

        Parameters
        ----------
        epoch, subjects, mean, device, alive
            As in `predict`, which is not done again for the same scans.
        threshold
            The teacher's own, as it was validated with. Networks trained with focal and Dice loss
            are not calibrated: what is at this probability is as likely PVS as not. So it becomes
            0.5.
        burden
            Least and most of the brain, mean share over the scans, that may be above the threshold;
            where it would be less or more, the threshold moves.
        """
        drawn = self.drawn(epoch, subjects)
        if self._predicted != (epoch, [s.name for s in drawn]):
            # in the middle of a cycle too, where a resumed run has lost them
            self.predict(epoch, subjects, mean, device, alive, keep=True)
        if burden is not None and self._shares is not None:
            # there are none where the last unlabelled scan has got its label
            threshold = aligned(threshold, self._shares, burden)

        def shift(subject: Loaded) -> None:
            plain = self._plain(subject)
            found = np.load(plain).astype(np.float32)
            self._save(self._path(subject), shifted(found, threshold))
            plain.unlink()

        self._world.spread(shift, drawn)
        self._predicted = None
        about = json.dumps({"epoch": epoch, "subjects": [s.name for s in drawn]})
        self._world.lead(lambda: write_text(self.folder / "about.json", about + "\n"))
        self._world.together(lambda: self._open(drawn))

    def reopen(self, epoch: int, subjects: Sequence[Loaded]) -> bool:
        """Open what was made for an epoch in progress; False where it has to be made anew."""
        return all(self._world.gather(self._reopened(epoch, subjects)))

    def _reopened(self, epoch: int, subjects: Sequence[Loaded]) -> bool:
        begun = epoch - (epoch - self.config.warmup) % self.config.refresh
        try:
            about = json_files.read(self.folder / "about.json", _About, "")
            if about.epoch != begun:
                return False
            made = set(about.subjects)  # some may have got their label since
            self._open([subject for subject in subjects if subject.name in made])
        except (OSError, ValueError, InputError):
            return False
        return True

    def _path(self, subject: Loaded) -> Path:
        return self.folder / f"{subject.name}.npy"

    def _plain(self, subject: Loaded) -> Path:
        """Return where the teacher's own probability is, until it is shifted."""
        return self.folder / "plain" / f"{subject.name}.npy"

    def _save(self, path: Path, probability: NDArray[np.float32]) -> None:
        with atomic(path) as temporary:
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
            values = np.load(self._path(subject), mmap_mode="r")
            if values.shape != subject.brain.shape:
                raise ValueError(f"the pseudo-label of {subject.name} has another shape")
            maps[subject.name] = values
            voxels = np.argwhere(values > self.config.confidence_pvs).astype(np.int16)
            ready.append(replace(subject, foreground=voxels))
        self._maps, self.subjects = maps, ready


def shifted(probability: NDArray[np.float32], threshold: float) -> NDArray[np.float32]:
    """Move probabilities along the logistic curve so that ``threshold`` becomes 0.5.

    Examples
    --------
    >>> shifted(np.array([0.0, 0.8, 1.0], np.float32), 0.8).round(3).tolist()
    [0.0, 0.5, 1.0]
    """
    odds_at = np.float32(threshold / (1 - threshold))
    return np.asarray(probability / (probability + odds_at * (1 - probability)), np.float32)
