"""The built-in teachers: the network itself, and the running mean of its weights."""

import logging
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_pvs.network.backends.torch_backend import send
from napari_pvs.study.bids import person_of
from napari_pvs.training.augment import augment, drop_modality, noise
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.data.cohort import Cohort
from napari_pvs.training.data.prepared import PreparedSubject
from napari_pvs.training.data.sampling import Patches, Target
from napari_pvs.training.runs.events import EventLog, Values
from napari_pvs.training.runs.folder import PSEUDO
from napari_pvs.training.runs.words import sentence
from napari_pvs.training.semi_supervised.alignment import burden, likely
from napari_pvs.training.semi_supervised.consistency import ramp, unsupervised
from napari_pvs.training.semi_supervised.pseudo_labels import PseudoLabels
from napari_pvs.training.semi_supervised.teacher import Teacher, register
from napari_pvs.training.state import State

log = logging.getLogger(__name__)


class Consistency(Teacher):
    """The common part: the network sees altered patches, and has to reproduce pseudo-labels.

    Only confident voxels count. A subclass makes the pseudo-labels.
    """

    def __init__(self, state: State, out: Path) -> None:
        self.state = state
        self.pseudo_labels = PseudoLabels(out / PSEUDO, state.config, state.world, state.place)

    @staticmethod
    def batch(config: TrainingConfig) -> int:
        """Return the configured number."""
        return config.unlabelled_batch

    def view(self, patches: Patches, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Add noise to the patches, or augment them like labelled ones."""
        config, share, alike = self.state.config, patches.share, self.state.config.one_scan
        images = send(patches.images, self.state.device)
        pseudo = self._pseudo_label(images, patches)
        if config.view == "noise":
            return images + noise(images, generator, share), pseudo
        images, pseudo = augment(images, pseudo, generator, share, alike=alike)
        drop = config.modality_dropout
        return drop_modality(images, drop, generator, share, alike=alike), pseudo

    def loss(self, logits: Tensor, pseudo: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Return the consistency loss, which rises after the warm-up; see `unsupervised`."""
        loss, shares = unsupervised(logits, pseudo, self.state.config, self.state.world)
        return self._weight() * loss, {"unsupervised": float(loss.detach()), **shares}

    def allowed(
        self,
        thresholds: NDArray[np.float64],
        epoch: int,
        cohort: Cohort,
        alive: Callable[[], None],
    ) -> NDArray[np.bool_] | None:
        """Allow thresholds that find a likely share of PVS in the unlabelled scans."""
        wanted = self._burden(cohort)
        if wanted is None:
            return None
        state, scans, keep = self.state, cohort.unlabelled, self._keeps(epoch)
        ask = state.ema, state.progress.threshold, state.device, alive, keep
        shares = self.pseudo_labels.predict(epoch, scans, *ask)
        return None if shares is None else likely(thresholds, shares, wanted)

    def _pseudo_label(self, images: Tensor, patches: Patches) -> Tensor:
        """Return the pseudo-labels of unaltered patches, whose images are on the device."""
        raise NotImplementedError

    def _weight(self) -> float:
        """Return the weight of the loss at this step."""
        config, step = self.state.config, self.state.progress.step
        return config.consistency_weight * ramp(step / config.steps - config.warmup, config.ramp_up)

    def _keeps(self, epoch: int) -> bool:
        """Whether the whole scans predicted for an epoch become its pseudo-labels."""
        return False

    def _warming_up(self, step: int) -> bool:
        return step < self.state.config.warmup * self.state.config.steps

    def _burden(self, cohort: Cohort) -> tuple[float, float] | None:
        """Return the likely share of PVS in the unlabelled brains; None if it is not to be used."""
        config = self.state.config
        if not config.align:
            return None
        persons = {person_of(one.name) for one in cohort.unlabelled}
        drawn = min(config.refresh_scans, len(persons))
        return burden([*cohort.train, *cohort.validation], drawn)


class Network(Consistency):
    """The network itself makes the pseudo-labels, at every step, from the unaltered patches.

    As in the paper: Chai et al., M2SS-PVS, MIDL 2023.
    """

    @staticmethod
    def predictions(config: TrainingConfig, scans: int, validated: Collection[int]) -> int:
        """Return the number of scans used to align the threshold."""
        return len(validated) * min(config.refresh_scans, scans) if config.align else 0

    def scans(self, step: int, cohort: Cohort) -> Sequence[PreparedSubject]:
        """Return all unlabelled scans, after the warm-up."""
        return () if self._warming_up(step) else cohort.unlabelled

    @torch.no_grad()
    def _pseudo_label(self, images: Tensor, patches: Patches) -> Tensor:
        model = self.state.model
        if not self.state.config.one_scan:  # as in use, and so that batch statistics do not change
            model.eval()
        with self.state.autocast():
            logits = model(images)
        probability = torch.sigmoid(logits.float())
        model.train()
        return probability


class RunningMean(Consistency):
    """The running mean of the weights makes pseudo-labels for whole scans, every few epochs.

    Its probabilities are shifted so that 0.5 corresponds to its threshold, or to the threshold that
    finds a likely share of PVS.
    """

    @staticmethod
    def predictions(config: TrainingConfig, scans: int, validated: Collection[int]) -> int:
        """Return the number of scans pseudo-labelled; the threshold is aligned on the same ones."""
        made = set(range(config.warmup, config.epochs, config.refresh))
        looked_at = made | set(validated) if config.align else made
        return len(looked_at) * min(config.refresh_scans, scans)

    def prepare(
        self,
        epoch: int,
        cohort: Cohort,
        events: EventLog,
        alive: Callable[[], None],
        *,
        new: bool,
    ) -> None:
        """Make pseudo-labels when they are due, or when a resumed run has lost them."""
        labels, state, scans = self.pseudo_labels, self.state, cohort.unlabelled
        if epoch < state.config.warmup:
            return
        if not (new and labels.due(epoch)):
            if labels.subjects or labels.reopen(epoch, scans):
                return
            log.warning("The pseudo-labels are missing; making them again.")
        events.write("phase", name="pseudo-labels", epoch=epoch)
        threshold = state.progress.threshold
        labels.refresh(
            epoch, scans, state.ema, threshold, state.device, alive, self._burden(cohort)
        )
        self._tell(events)

    def _tell(self, events: EventLog) -> None:
        """Report the pseudo-labels that were made."""
        scans = self.pseudo_labels.subjects
        voxels = sum(len(s.foreground) for s in scans)
        about: Values = {"scans": len(scans), "pvs_voxels": voxels}
        events.write("pseudo_labels", **about)
        log.info("%s", sentence("pseudo_labels", about))

    def scans(self, step: int, cohort: Cohort) -> Sequence[PreparedSubject]:
        """Return the scans that have a pseudo-label, after the warm-up."""
        return () if self._warming_up(step) else self.pseudo_labels.subjects

    @property
    def target(self) -> Target | None:
        """Returns the pseudo-label of a scan."""
        return self.pseudo_labels.probability

    def _pseudo_label(self, images: Tensor, patches: Patches) -> Tensor:
        if patches.target is None:
            raise ValueError("the unlabelled patches were drawn without their pseudo-labels")
        return send(patches.target, self.state.device)

    def _keeps(self, epoch: int) -> bool:
        return self.pseudo_labels.due(epoch)


register("network", Network)
register("mean", RunningMean)
