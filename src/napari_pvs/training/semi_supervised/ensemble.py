"""Ensemble teacher: several weights average into soft targets, which a fresh network learns.

Distillation of an ensemble (Hinton et al., 2015): where its members differ, the target says how
much. The last steps are on labels alone, so that these have the last word.
"""

from collections.abc import Callable, Collection, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from napari_pvs.network.device import place
from napari_pvs.network.weights import load
from napari_pvs.scans.intensity import modalities
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.data.cohort import Cohort
from napari_pvs.training.data.prepared import PreparedSubject
from napari_pvs.training.losses import supervised
from napari_pvs.training.runs.events import EventLog
from napari_pvs.training.semi_supervised.pseudo_labels import shifted
from napari_pvs.training.semi_supervised.teacher import register
from napari_pvs.training.semi_supervised.teachers import RunningMean
from napari_pvs.training.whole_scan import reader

LABELS_ALONE = 0.1
"""Share of the steps, the last ones, without unlabelled patches."""


class Ensemble(RunningMean):
    """Averages the answers of ``members``, each shifted so that its own threshold is one half.

    It is asked once, on all unlabelled scans, after the warm-up. The loss is that of labelled
    patches with its probability for a label, on all voxels.
    """

    @staticmethod
    def predictions(config: TrainingConfig, scans: int, validated: Collection[int]) -> int:
        """Return the scans that each member predicts, and those the threshold is aligned by."""
        aligned = len(validated) * min(config.refresh_scans, scans) if config.align else 0
        return len(config.members) * scans + aligned

    def prepare(
        self,
        epoch: int,
        cohort: Cohort,
        events: EventLog,
        alive: Callable[[], None],
        *,
        new: bool,
    ) -> None:
        """Ask the members, once in a run."""
        labels, config, scans = self.pseudo_labels, self.state.config, cohort.unlabelled
        if epoch < config.warmup or labels.subjects or labels.reopen(config.warmup, scans):
            return
        events.write("phase", name="pseudo-labels", epoch=epoch)
        labels.make(config.warmup, scans, self._ask(alive))
        self._tell(events)

    def scans(self, step: int, cohort: Cohort) -> Sequence[PreparedSubject]:
        """Return the scans that have a pseudo-label, but at the beginning and at the end."""
        config = self.state.config
        last = (1 - LABELS_ALONE) * config.epochs * config.steps
        return super().scans(step, cohort) if step < last or cohort.label_free else ()

    def loss(self, logits: Tensor, pseudo: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of labelled patches against the soft target, with weight and ramp."""
        world = self.state.world
        known = (pseudo >= 0).to(logits.dtype)
        loss = supervised(logits, pseudo.clamp(0, 1), self.state.config, known, world)
        pvs = float(world.mean((pseudo > 0.5).to(logits.dtype)))
        return self._weight() * loss, {"unsupervised": float(loss.detach()), "selected_pvs": pvs}

    def _keeps(self, epoch: int) -> bool:
        return False

    def _ask(self, alive: Callable[[], None]) -> Callable[[PreparedSubject], NDArray[np.float32]]:
        state, members = self.state, []
        for path in state.config.members:
            network, card = load(path)
            network = place(network, state.device)
            members.append((reader(network, state.device, alive, state.config.precision), card))

        def average(scan: PreparedSubject) -> NDArray[np.float32]:
            there = modalities(scan.images)
            answers = [shifted(ask(scan), card.answer_at_threshold(there)) for ask, card in members]
            return np.asarray(np.mean(answers, axis=0), np.float32)

        return average


register("ensemble", Ensemble)
