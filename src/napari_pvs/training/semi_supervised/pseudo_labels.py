"""Pseudo-labels for whole unlabelled scans, made by the running mean of the weights."""

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
from napari_pvs.files import atomic, write_text
from napari_pvs.network.m2ss import M2SS
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.data.prepared import PreparedSubject
from napari_pvs.training.distributed.world import ALONE, World
from napari_pvs.training.place import EVERYWHERE, Place
from napari_pvs.training.semi_supervised.alignment import above, aligned
from napari_pvs.training.whole_scan import Answer, reader

log = logging.getLogger(__name__)


class _About(BaseModel):
    """The JSON file beside the pseudo-labels."""

    epoch: int
    subjects: list[str]


class PseudoLabels:
    """Probability maps of the scans drawn last, in the run's folder.

    What lies where no PVS can be is none in them, with certainty, as `napari-pvs segment` leaves it
    out (`TrainingConfig.within`): so location teaches the network what intensities alone do not.

    Parameters
    ----------
    folder
        ``pseudo`` in the run's folder.
    config
        Seed, how often they are made, and for how many scans.
    world
        The processes that share the scans.
    place
        Where PVS may lie in them.
    """

    def __init__(
        self,
        folder: Path,
        config: TrainingConfig,
        world: World = ALONE,
        place: Place = EVERYWHERE,
    ):
        self.folder, self.config = Path(folder), config
        self._world, self._place = world, place
        self.subjects: list[PreparedSubject] = []
        self._maps: dict[str, NDArray[np.float16]] = {}
        self._shares: NDArray[np.float64] | None = None
        self._predicted: tuple[int, list[str]] | None = None

    def probability(self, subject: PreparedSubject) -> NDArray[np.float16] | None:
        """Return the probability of PVS in the subject's shape; None if there is none."""
        return self._maps.get(subject.name)

    def due(self, epoch: int) -> bool:
        """Return whether new pseudo-labels are due when an epoch (from 0) begins."""
        since = epoch - self.config.warmup
        return since >= 0 and since % self.config.refresh == 0

    def predict(
        self,
        epoch: int,
        subjects: Sequence[PreparedSubject],
        mean: M2SS,
        threshold: float,
        device: torch.device,
        alive: Callable[[], None] = lambda: None,
        keep: bool | None = None,
    ) -> NDArray[np.float64] | None:
        """Predict the scans drawn for an epoch.

        Parameters
        ----------
        epoch
            The epoch about to begin; it determines which scans are drawn.
        subjects
            All unlabelled subjects.
        mean
            The teacher.
        threshold
            At which its PVS are told apart, to leave out those that lie where none can be.
        device
            Where to compute.
        alive
            Called after every window.
        keep
            Whether to keep the predictions for `refresh`; if None, when pseudo-labels are due.

        Returns
        -------
        Share of the brain that is PVS at each threshold, as from `alignment.above`, averaged over
        the scans; None if there are none.
        """
        if keep is None:
            keep = self.due(epoch)
        drawn = self.drawn(epoch, subjects)
        probability = reader(mean, device, alive, self.config.precision)

        def predict_one(subject: PreparedSubject) -> NDArray[np.float64]:
            found = self._place(subject, probability(subject), threshold)
            if keep:
                self._save(self._plain(subject), found)
            return above(found, subject.brain)

        shares = self._world.spread(predict_one, drawn)
        self._shares = np.mean(shares, 0) if shares else None
        self._predicted = (epoch, [s.name for s in drawn]) if keep else None
        return self._shares

    def refresh(
        self,
        epoch: int,
        subjects: Sequence[PreparedSubject],
        mean: M2SS,
        threshold: float,
        device: torch.device,
        alive: Callable[[], None] = lambda: None,
        burden: tuple[float, float] | None = None,
    ) -> None:
        """Make new pseudo-labels.

        Parameters
        ----------
        epoch, subjects, mean, device, alive
            As for `predict`, whose kept predictions are used if they are for the same scans.
        threshold
            The threshold chosen by the last validation. Networks trained with focal and Dice loss
            are not calibrated: at this probability, a voxel is as likely PVS as not. It is mapped
            to 0.5.
        burden
            Lowest and highest mean share of the brain that may exceed the threshold, which is
            moved if necessary.
        """
        drawn = self.drawn(epoch, subjects)
        if self._predicted != (epoch, [s.name for s in drawn]):
            # also mid-cycle, if a resumed run has lost them
            self.predict(epoch, subjects, mean, threshold, device, alive, keep=True)
        if burden is not None and self._shares is not None:
            # None if the last unlabelled scan was labelled meanwhile
            threshold = aligned(threshold, self._shares, burden)

        self._maps, self.subjects = {}, []  # Windows replaces no file that is mapped

        def shift(subject: PreparedSubject) -> None:
            plain = self._plain(subject)
            found = np.load(plain).astype(np.float32)
            self._save(self._path(subject), shifted(found, threshold))
            plain.unlink()

        self._world.spread(shift, drawn)
        self._predicted = None
        self._finish(epoch, drawn)

    def make(self, epoch: int, subjects: Sequence[PreparedSubject], answer: Answer) -> None:
        """Make the pseudo-labels of all scans by a function of a scan, for `reopen` at ``epoch``.

        It returns probabilities in the scan's shape, 0 outside the brain, and PVS from .5 on.
        """

        def make_one(subject: PreparedSubject) -> None:
            self._save(self._path(subject), self._place(subject, answer(subject), 0.5))

        self._world.spread(make_one, subjects)
        self._finish(epoch, subjects)

    def _finish(self, epoch: int, subjects: Sequence[PreparedSubject]) -> None:
        about = json.dumps({"epoch": epoch, "subjects": [s.name for s in subjects]})
        self._world.lead(lambda: write_text(self.folder / "about.json", about + "\n"))
        self._world.together(lambda: self._open(subjects))

    def reopen(self, epoch: int, subjects: Sequence[PreparedSubject]) -> bool:
        """Open the pseudo-labels of an epoch in progress; False if they have to be made again."""
        return all(self._world.gather(self._reopened(epoch, subjects)))

    def _reopened(self, epoch: int, subjects: Sequence[PreparedSubject]) -> bool:
        begun = epoch - (epoch - self.config.warmup) % self.config.refresh
        try:
            about = json_files.read(self.folder / "about.json", _About, "")
            if about.epoch != begun:
                return False
            made = set(about.subjects)  # some may have been labelled since
            self._open([subject for subject in subjects if subject.name in made])
        except Exception:  # numpy's reader raises anything on foreign bytes
            return False
        return True

    def _path(self, subject: PreparedSubject) -> Path:
        return self.folder / f"{subject.name}.npy"

    def _plain(self, subject: PreparedSubject) -> Path:
        """Return the path of a prediction until it is shifted."""
        return self.folder / "plain" / f"{subject.name}.npy"

    def _save(self, path: Path, probability: NDArray[np.float32]) -> None:
        with atomic(path) as temporary:
            np.save(temporary, probability.astype(np.float16))

    def drawn(self, epoch: int, subjects: Sequence[PreparedSubject]) -> list[PreparedSubject]:
        """Draw the scans of the epoch that begins."""
        rng = np.random.default_rng([self.config.seed, 3, epoch])
        count = min(self.config.refresh_scans, len(subjects))
        chosen = rng.choice(len(subjects), size=count, replace=False)
        return [subjects[i] for i in sorted(chosen)]

    def _open(self, drawn: Sequence[PreparedSubject]) -> None:
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
    """Shift probabilities on the logit scale so that ``threshold`` becomes 0.5.

    Examples
    --------
    >>> shifted(np.array([0.0, 0.8, 1.0], np.float32), 0.8).round(3).tolist()
    [0.0, 0.5, 1.0]
    """
    odds_at = np.float32(threshold / (1 - threshold))
    return np.asarray(probability / (probability + odds_at * (1 - probability)), np.float32)
