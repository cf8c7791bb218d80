"""The training loop: steps, commands, new labels, pseudo-labels, validation, checkpoints."""

import logging
import time
from pathlib import Path
from typing import Literal, NoReturn, Unpack

import numpy as np

from napari_pvs.errors import InputError, command
from napari_pvs.network.weights import save
from napari_pvs.training.data.cohort import Cohort
from napari_pvs.training.data.sampling import Patches, ahead, draw, patches_of
from napari_pvs.training.runs.control import Command, Control
from napari_pvs.training.runs.events import EventLog, NullEventLog, Values, reported
from napari_pvs.training.runs.folder import BEST, CHECKPOINT, EVENTS, LAST
from napari_pvs.training.semi_supervised.teacher import make_teacher
from napari_pvs.training.state import State
from napari_pvs.training.step import compute
from napari_pvs.training.validation import THRESHOLDS, Validation, validate
from napari_pvs.training.weights import Start, card

log = logging.getLogger(__name__)
_STEP_EVENTS = 0.2  # seconds between step events: five a second at most
_HEARTBEAT = 5.0


class _Stopped(Exception):
    """A validation was told to stop."""


class Run:
    """A run, from its current state to its end.

    Parameters
    ----------
    out
        The run's folder.
    cohort
        The subjects, loaded.
    state
        How far the run has got, and its processes: all do the same, but only the first writes.
    start
        The weights that the run began with.
    """

    def __init__(self, out: Path, cohort: Cohort, state: State, start: Start):
        self.config, self.out, self.cohort, self.state = state.config, out, cohort, state
        self.start, self.world = start, state.world
        self.events = NullEventLog() if self.world.rank else EventLog(out / EVENTS)
        self.control = Control(out, self.world)
        self.teacher = make_teacher(state, out)
        self.spoke = 0.0
        self.losses: list[float] = []

    def go(self, greeting: Literal["hello", "resumed"], **more: Unpack[Values]) -> Path:
        """Train to the end, or until the run is stopped.

        Parameters
        ----------
        greeting
            Type of the first event.
        **more
            Further values of that event.

        Returns
        -------
        Path of the best weights.
        """
        config, progress = self.config, self.state.progress
        with reported(self.out, self.events), self.control.stopped_by_signals():
            about: Values = {
                "device": str(self.state.device),
                "processes": self.world.size,
                "method": config.method,
                "step": progress.step,
                "of": config.epochs * config.steps,
                "train": len(self.cohort.train),
                "validation": len(self.cohort.validation),
                "unlabelled": len(self.cohort.unlabelled),
            }
            self.events.write(greeting, **(about | more))
            for name, why in self.cohort.left_out.items():
                self.events.write("left_out", name=name, why=why)
            log.info("%s", self.cohort)
            progress.labels = dict(self.cohort.labels)
            # a run resumed from a checkpoint begins with the labels of that time
            reload = progress.step > 0 and progress.step % config.steps == 0
            if progress.due and not self._measured(progress.due):
                return self._stopped()
            while progress.step < config.epochs * config.steps:
                epoch, within = divmod(progress.step, config.steps)
                if reload and config.follow_labels:
                    self._look_for_labels()
                begins = within == 0
                self.teacher.prepare(epoch, self.cohort, self.events, self._alive, new=begins)
                ended = self._steps(epoch)
                reload = ended == "reload"
                if progress.step % config.steps == 0:
                    if not self._end_epoch(epoch + 1):
                        return self._stopped()
                    reload = True
                elif ended == "stop":
                    self._checkpoint()
                if ended == "stop":
                    return self._stopped()
            self.events.write("done", weights=BEST, dsc=progress.best)
        return self.out / BEST

    def _stopped(self) -> Path:
        self.events.write("stopped", step=self.state.progress.step)
        return self.out / BEST

    def _look_for_labels(self) -> None:
        news = self.cohort.update()
        if news:
            self.events.write(
                "data_added", added=news.added, changed=news.changed, removed=news.removed
            )
            log.info("labels: %s", news)
        self.state.progress.labels = dict(self.cohort.labels)

    def _steps(self, epoch: int) -> Literal["epoch", "reload", "stop"]:
        """Take the remaining steps of an epoch, or until a command ends it."""
        self.events.write("phase", name="train", epoch=epoch)
        first, last = self.state.progress.step, (epoch + 1) * self.config.steps
        for patches in ahead(self._draw, first, last):
            self._step(*patches)
            told = self.control.take()
            while told == "pause":
                told = self._wait()
            if told == "stop":
                return "stop"
            if told == "checkpoint":
                self._checkpoint()
            if told == "reload":
                return "reload"
        return "epoch"

    def _wait(self, phase: str = "train") -> Command:
        self.events.write("paused", step=self.state.progress.step)
        while (told := self.control.take()) is None:
            time.sleep(0.05)
            self._alive()
        if told not in ("stop", "pause"):
            self.events.write("phase", name=phase)
        return told

    def _draw(self, step: int) -> tuple[Patches, Patches | None]:
        """Draw the labelled and the unlabelled patches of a step."""
        config, cohort, teacher = self.config, self.cohort, self.teacher
        known = {subject.name for subject in cohort.train}  # some have been labelled since
        scans = [scan for scan in teacher.scans(step, cohort) if scan.name not in known]
        more = teacher.batch(config)
        labels = patches_of(config, step, config.batch)
        both = labels + (patches_of(config, step, more) if scans else 0)
        share = self.world.share(both)
        labelled = draw(
            cohort.train,
            config,
            step,
            stream=1,
            count=config.batch,
            on_pvs_only=step < config.warmup * config.steps,
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
            count=more,
            on_pvs_only=False,
            target=teacher.target,
            share=share.within(labels, both),
        )
        return labelled, unlabelled

    def _step(self, labelled: Patches, unlabelled: Patches | None) -> None:
        step = self.state.progress.step
        loss, said, where = compute(self.state, self.teacher, labelled, unlabelled)
        if not np.isfinite(said["loss"]):
            self._diverged(f"the loss became {said['loss']}", where)
        if not self.state.update(loss):
            self._diverged("the gradient of the loss became infinite or undefined")
        self.losses.append(said["loss"])
        if time.monotonic() - self.spoke > _STEP_EVENTS:
            self.spoke = time.monotonic()
            self._require_study()
            total = self.config.epochs * self.config.steps
            self.events.write("step", said, step=step, of=total)

    def _diverged(self, what: str, where: str = "") -> None:
        """End the run; its last checkpoint is still usable."""
        words = (
            f"{what} at step {self.state.progress.step}{where}; "
            f"{'check that scan, or ' if where else ''}resume {self.out} from its last "
            "checkpoint with a lower learning_rate in its config.json."
        )
        self.world.lead(lambda: _refuse(words))

    def _end_epoch(self, epoch: int) -> bool:
        """Report the epoch, validate if it is time, and save; return False if that was stopped."""
        config = self.config
        loss = float(np.mean(self.losses))
        self.losses = []
        self.events.write("epoch", epoch=epoch, of=config.epochs, loss=loss)
        log.info("epoch %d of %d: loss %.4f", epoch, config.epochs, loss)
        if epoch % config.validate_every == 0 or epoch in (config.warmup, config.epochs):
            return self._measured(epoch)
        self._checkpoint()
        return True

    def _measured(self, epoch: int) -> bool:
        """Validate and save; where that is stopped, it is due when the run is resumed."""
        progress = self.state.progress
        progress.due = epoch
        try:
            self._validate(epoch)
            progress.due = 0
        except _Stopped:
            pass
        self._checkpoint()
        return not progress.due

    def _validate(self, epoch: int) -> None:
        """Validate the running mean of the weights; publish it if it is the best so far."""
        state, cohort = self.state, self.cohort
        progress, subjects = state.progress, cohort.validation
        self.events.write("phase", name="validation", epoch=epoch)
        more = cohort.train[: max(0, state.config.threshold_scans - len(subjects))]
        allowed = self.teacher.allowed(THRESHOLDS, epoch, cohort, self._obey)
        precision = state.config.precision
        result = validate(
            state.ema, subjects, state.device, self._obey, self.world, precision, more, allowed
        )
        progress.threshold = result.threshold
        self.events.write(
            "validation",
            epoch=epoch,
            threshold=result.threshold,
            subjects=result.subjects,
            dsc=result.dsc,
            avd_percent=result.avd_percent,
            recall=result.recall,
        )
        log.info("epoch %d: validation %s", epoch, result)
        better = progress.best is None or result.dsc > progress.best
        self.world.lead(lambda: self._publish(epoch, result, (LAST, BEST) if better else (LAST,)))
        if better:
            progress.best = result.dsc
            self.events.write("weights", weights=BEST, epoch=epoch, dsc=result.dsc)

    def _publish(self, epoch: int, result: Validation, names: tuple[str, ...]) -> None:
        cohort = self.cohort
        learnt = [*cohort.train, *cohort.unlabelled]
        about = card(
            self.out.name, self.config, epoch, result, cohort.validation, learnt, self.start
        )
        for name in names:
            save(self.out / name, self.state.ema, about)

    def _checkpoint(self) -> None:
        self.world.lead(lambda: self.state.save(self.out / CHECKPOINT))
        self.events.write("checkpoint", step=self.state.progress.step)

    def _obey(self) -> None:
        """Pause or stop between the windows of a validation, which takes minutes.

        Several processes have windows of different subjects, and obey after it, together.
        """
        self._alive()
        if self.world.size > 1:
            return
        command = self.control.take()
        while command == "pause":
            command = self._wait("validation")
        if command == "stop":
            raise _Stopped

    def _alive(self) -> None:
        if time.monotonic() - self.spoke > _HEARTBEAT:
            self.spoke = time.monotonic()
            self._require_study()
            self.events.write("heartbeat")

    def _require_study(self) -> None:
        """End a run whose study is gone; with its scans in memory it would go on for hours."""
        if self.world.rank == 0 and not self.config.study.is_dir():
            then = command("train", "--resume", self.out)
            raise InputError(
                f"{self.config.study} is no longer there; put it back, then continue with {then}."
            )


def _refuse(words: str) -> NoReturn:
    raise InputError(words)
