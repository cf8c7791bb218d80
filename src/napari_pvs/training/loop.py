"""The loop of a run: steps, commands, labels that come, pseudo-labels, validation, checkpoints."""

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

import numpy as np

from napari_pvs.errors import InputError
from napari_pvs.training.cohort import Cohort
from napari_pvs.training.control import Command, Control
from napari_pvs.training.events import EventLog, Silence, explained
from napari_pvs.training.folder import BEST, CHECKPOINT, EVENTS, LAST, PSEUDO
from napari_pvs.training.sampling import Patches, ahead, draw, patches_of

if TYPE_CHECKING:
    from napari_pvs.training.state import State
    from napari_pvs.training.validation import Validation

log = logging.getLogger(__name__)
_STEP_EVENTS = 0.2  # seconds between step events: five a second at most
_HEARTBEAT = 5.0


class Run:
    """A run from where its state is to its end.

    Parameters
    ----------
    out
        Its folder.
    cohort
        Who takes part, loaded.
    state
        Where it is, and the processes that take part: all do the same, the first alone writes.
    """

    def __init__(self, out: Path, cohort: Cohort, state: "State"):
        from napari_pvs.training.pseudo import PseudoLabels

        self.config, self.out, self.cohort, self.state = state.config, out, cohort, state
        self.world = state.world
        self.events = Silence() if self.world.rank else EventLog(out / EVENTS)
        self.control = Control(out, self.world)
        self.pseudo = PseudoLabels(out / PSEUDO, self.config, self.world)
        self.spoke = 0.0
        self.losses: list[float] = []

    def go(self, greeting: str, **more: object) -> Path:
        """Train to the end, or to a stop; return the path of the best weights."""
        config, progress = self.config, self.state.progress
        with explained(self.out, self.events), self.control.stopped_by_signals():
            self.events.write(
                greeting,
                device=str(self.state.device),
                processes=self.world.size,
                method=config.method,
                step=progress.step,
                of=config.epochs * config.steps,
                train=len(self.cohort.train),
                validation=len(self.cohort.validation),
                unlabelled=len(self.cohort.unlabelled),
                **more,
            )
            for name, why in self.cohort.left_out.items():
                self.events.write("left_out", name=name, why=why)
            log.info("%s", self.cohort)
            progress.labels = dict(self.cohort.labels)
            # a cohort that goes on from a checkpoint was opened with the labels of that time
            look = progress.step > 0 and progress.step % config.steps == 0
            while progress.step < config.epochs * config.steps:
                epoch, within = divmod(progress.step, config.steps)
                if look and config.follow_labels:
                    self._look_for_labels()
                self._make_pseudo_labels(epoch, new=within == 0)
                ended = self._steps(epoch)
                look = ended == "reload"
                if progress.step % config.steps == 0:
                    self._end_epoch(epoch + 1)
                    look = True
                elif ended == "stop":
                    self._checkpoint()
                if ended == "stop":
                    self.events.write("stopped", step=progress.step)
                    return self.out / BEST
            self.events.write("done", weights=BEST, dsc=progress.best)
        return self.out / BEST

    def _look_for_labels(self) -> None:
        news = self.cohort.update()
        if any(news.values()):
            self.events.write("data_added", **news)
            log.info("labels: %s", ", ".join(f"{len(v)} {k}" for k, v in news.items() if v))
        self.state.progress.labels = dict(self.cohort.labels)

    def _make_pseudo_labels(self, epoch: int, new: bool) -> None:
        config, pseudo, scans = self.config, self.pseudo, self.cohort.unlabelled
        if not config.semi_supervised or config.teacher == "network" or epoch < config.warmup:
            return
        if not (new and pseudo.due(epoch)):
            if pseudo.subjects or pseudo.reopen(epoch, scans):
                return
            log.warning("The pseudo-labels are gone and are made anew.")
        self.events.write("phase", name="pseudo-labels", epoch=epoch)
        state = self.state
        threshold = state.progress.threshold
        pseudo.refresh(
            epoch, scans, state.mean, threshold, state.device, self._alive, self._burden()
        )
        voxels = sum(len(s.foreground) for s in pseudo.subjects)
        self.events.write("pseudo_labels", scans=len(pseudo.subjects), pvs_voxels=voxels)

    def _burden(self) -> tuple[float, float] | None:
        """Return how much of the unlabelled brains is likely PVS, where that is to count."""
        from napari_pvs.training.alignment import burden

        if not (self.config.semi_supervised and self.config.align):
            return None
        return burden([*self.cohort.train, *self.cohort.validation])

    def _steps(self, epoch: int) -> Literal["epoch", "reload", "stop"]:
        """Take the steps that are left of an epoch, or those until a command."""
        self.events.write("phase", name="train", epoch=epoch)
        first, last = self.state.progress.step, (epoch + 1) * self.config.steps
        for patches in ahead(self._draw, first, last):
            self._step(*patches)
            command = self.control.take()
            while command == "pause":
                command = self._wait()
            if command == "stop":
                return "stop"
            if command == "checkpoint":
                self._checkpoint()
            if command == "reload":
                return "reload"
        return "epoch"

    def _wait(self) -> Command:
        self.events.write("paused", step=self.state.progress.step)
        while (command := self.control.take()) is None:
            time.sleep(0.05)
            self._alive()
        if command not in ("stop", "pause"):
            self.events.write("phase", name="train")
        return command

    def _draw(self, step: int) -> tuple[Patches, Patches | None]:
        """Draw the labelled and the unlabelled patches of a step."""
        config, cohort = self.config, self.cohort
        warm = step < config.warmup * config.steps
        by_mean = config.teacher == "mean"
        scans = self.pseudo.subjects if by_mean else cohort.unlabelled
        known = {subject.name for subject in cohort.train}  # labelled meanwhile
        scans = [scan for scan in scans if scan.name not in known]
        if warm or not config.semi_supervised:
            scans = []
        labels = patches_of(config, step, config.batch)
        both = labels + (patches_of(config, step, config.unlabelled_batch) if scans else 0)
        share = self.world.share(both)
        labelled = draw(
            cohort.train,
            config,
            step,
            stream=1,
            count=config.batch,
            on_pvs_only=warm,
            target=lambda subject: subject.label,
            share=share.within(0, labels),
        )
        if not scans:
            return labelled, None
        unlabelled = draw(
            scans,
            config,
            step,
            stream=2,
            count=config.unlabelled_batch,
            on_pvs_only=False,
            target=self.pseudo.probability if by_mean else None,
            share=share.within(labels, both),
        )
        return labelled, unlabelled

    def _step(self, labelled: Patches, unlabelled: Patches | None) -> None:
        from napari_pvs.training.step import compute

        step = self.state.progress.step
        loss, said = compute(self.state, labelled, unlabelled)
        if not np.isfinite(said["loss"]):
            self._diverged(f"the loss became {said['loss']}", said["where"])
        if not self.state.update(loss):
            self._diverged("the gradient of the loss became infinite or undefined")
        self.losses.append(said["loss"])
        if time.monotonic() - self.spoke > _STEP_EVENTS:
            self.spoke = time.monotonic()
            total = self.config.epochs * self.config.steps
            self.events.write("step", step=step, of=total, **said)

    def _diverged(self, what: str, where: str = "") -> None:
        """End the run, the last checkpoint whole."""
        words = (
            f"{what} at step {self.state.progress.step}{where}; "
            f"{'look at that scan, or ' if where else ''}resume {self.out} from its last "
            "checkpoint with a lower learning_rate in its config.json."
        )
        self.world.lead(lambda: _refuse(words))

    def _end_epoch(self, epoch: int) -> None:
        """Say how it went, validate where it is time, and save."""
        config = self.config
        loss = float(np.mean(self.losses))
        self.losses = []
        self.events.write("epoch", epoch=epoch, of=config.epochs, loss=loss)
        log.info("epoch %d of %d: loss %.4f", epoch, config.epochs, loss)
        if epoch % config.validate_every == 0 or epoch in (config.warmup, config.epochs):
            self._validate(epoch)
        self._checkpoint()

    def _validate(self, epoch: int) -> None:
        """Measure the running mean; publish its weights where they are the best."""
        from napari_pvs.training.alignment import likely
        from napari_pvs.training.validation import THRESHOLDS, validate

        progress, subjects = self.state.progress, self.cohort.validation
        self.events.write("phase", name="validation", epoch=epoch)
        state = self.state
        where = state.device, self._alive, self.world, state.config.precision
        more = self.cohort.train[: max(0, state.config.threshold_scans - len(subjects))]
        wanted, allowed = self._burden(), None
        if wanted is not None:
            scans = self.cohort.unlabelled
            shares = self.pseudo.predict(epoch, scans, state.mean, state.device, self._alive)
            allowed = None if shares is None else likely(THRESHOLDS, shares, wanted)
        result: Validation = validate(state.mean, subjects, *where, more, allowed)
        progress.threshold = result.threshold
        self.events.write(
            "validation",
            epoch=epoch,
            threshold=result.threshold,
            subjects=result.subjects,
            **result.measures,
        )
        log.info("epoch %d: validation %s", epoch, result)
        better = progress.best is None or result.dsc > progress.best
        self.world.lead(lambda: self._publish(epoch, result, (LAST, BEST) if better else (LAST,)))
        if better:
            progress.best = result.dsc
            self.events.write("weights", weights=BEST, epoch=epoch, dsc=result.dsc)

    def _publish(self, epoch: int, result: "Validation", names: tuple[str, ...]) -> None:
        from napari_pvs.network.weights import save
        from napari_pvs.training.validation import card

        people = self.cohort
        learnt = [*people.train, *people.unlabelled]
        about = card(self.out, self.config, epoch, result, people.validation, learnt)
        for name in names:
            save(self.out / name, self.state.mean, about)

    def _checkpoint(self) -> None:
        self.world.lead(lambda: self.state.save(self.out / CHECKPOINT))
        self.events.write("checkpoint", step=self.state.progress.step)

    def _alive(self) -> None:
        if time.monotonic() - self.spoke > _HEARTBEAT:
            self.spoke = time.monotonic()
            self.events.write("heartbeat")


def _refuse(words: str) -> NoReturn:
    raise InputError(words)
