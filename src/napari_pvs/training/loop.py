"""The training loop: steps, commands, new labels, pseudo-labels, validation, checkpoints.

At the end of a semi-supervised run, what the unlabelled scans changed, and the supervised twin.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from shutil import copyfile
from typing import Literal, NoReturn, Unpack

import numpy as np

from napari_pvs.errors import InputError, command
from napari_pvs.files import atomic, write_text
from napari_pvs.network.device import place
from napari_pvs.network.m2ss import M2SS
from napari_pvs.network.weights import ModelCard, load, read, save
from napari_pvs.training import effect
from napari_pvs.training.agreement import LEAST, Reference, agreement, references
from napari_pvs.training.data.cohort import Cohort
from napari_pvs.training.data.prepared import PreparedSubject
from napari_pvs.training.data.sampling import Patches, ahead, draw, patches_of
from napari_pvs.training.effect import looked_at
from napari_pvs.training.runs.control import Command, Control, taken_over
from napari_pvs.training.runs.events import EventLog, Kind, NullEventLog, Values, reported
from napari_pvs.training.runs.folder import (
    BEST,
    CHECKPOINT,
    CONFIG,
    EVENTS,
    LAST,
    OWN,
    TWIN,
    UNLABELLED,
)
from napari_pvs.training.runs.status import duration
from napari_pvs.training.runs.words import sentence
from napari_pvs.training.semi_supervised import synthetic
from napari_pvs.training.semi_supervised.teacher import make_teacher
from napari_pvs.training.state import State
from napari_pvs.training.step import compute
from napari_pvs.training.validation import THRESHOLDS, Validation, validate
from napari_pvs.training.weights import Start, card, card_without_labels, load_start

log = logging.getLogger(__name__)
_AWAY = (
    "The network finds only {:.0f} % of what the start weights were sure of (at least {:.0f} % is "
    "wanted); these weights are not kept."
)
_NOT_KEPT = (
    "{} has no weights to give: without a label, the network forgot what the start weights were "
    "sure of; correct two or three scans and train on them, or lower learning_rate."
)
_STEP_EVENTS = 0.2  # seconds between step events: five a second at most
_HEARTBEAT = 5.0


class _Stopped(Exception):
    """The run was told to stop while it was not taking steps."""


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
    control
        Where its commands come from; its own folder where None.
    """

    def __init__(
        self,
        out: Path,
        cohort: Cohort,
        state: State,
        start: Start,
        control: Control | None = None,
    ):
        self.config, self.out, self.cohort, self.state = state.config, out, cohort, state
        self.start, self.world = start, state.world
        self.events = NullEventLog() if self.world.rank else EventLog(out / EVENTS)
        self.control = control or Control(out, self.world)
        self.teacher = make_teacher(state, out)
        self.spoke = 0.0
        self.told: dict[str, str] = {}
        self.losses: list[float] = []
        self.pace: tuple[float, int] | None = None
        self.twin: float | None = None  # its DSC
        self.known: list[Reference] = []
        self.synthetic: list[PreparedSubject] = []

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
            self._tell_left_out()
            log.info("%s", self.cohort)
            progress.labels = self.cohort.labels | self.cohort.judged
            try:
                whole = self._train()
            except _Stopped:
                self._checkpoint()
                whole = False
            if not whole:
                return self._stopped()
            dsc = None if self.cohort.label_free else self.published
            self.events.write("done", weights=BEST, dsc=dsc)
        return self.out / BEST

    def _train(self) -> bool:
        """Do all that is left; False if the run was stopped, and has saved what it had."""
        config, progress = self.config, self.state.progress
        self._get_ready()
        # a run resumed from a checkpoint begins with the labels of that time
        reload = progress.step > 0 and progress.step % config.steps == 0
        if progress.due and not self._measured(progress.due):
            return False
        while progress.step < config.epochs * config.steps:
            epoch, within = divmod(progress.step, config.steps)
            if reload and config.follow_labels:
                self._look_for_labels()
            begins = within == 0
            if begins and epoch == config.warmup:
                self._look_before()
            self.teacher.prepare(epoch, self.cohort, self.events, self._obey, new=begins)
            ended = self._steps(epoch)
            reload = ended == "reload"
            if progress.step % config.steps == 0:
                if not self._end_epoch(epoch + 1, stop=ended == "stop"):
                    return False
                reload = True
            elif ended == "stop":
                raise _Stopped
        return self._finish()

    @property
    def published(self) -> float | None:
        """DSC of the weights that the run gives: its own, or its twin's if these are better."""
        found = (self.state.progress.best, self.twin)
        return max((dsc for dsc in found if dsc is not None), default=None)

    def _stopped(self) -> Path:
        self.events.write("stopped", step=self.state.progress.step)
        return self.out / BEST

    def _finish(self) -> bool:
        """Do what comes after the last step; False if the run was stopped meanwhile."""
        if self.cohort.label_free and self.state.progress.best is None:
            self.world.lead(lambda: _refuse(_NOT_KEPT.format(self.out)))
        self._look_after()
        if self.config.compare and self.config.semi_supervised:
            return self._compare_with_twin()
        return True

    def _tell_left_out(self) -> None:
        """Write an event for each subject that has newly become unusable."""
        for name, why in self.cohort.left_out.items():
            if self.told.get(name) != why:
                self.events.write("left_out", name=name, why=why)
        self.told = dict(self.cohort.left_out)

    def _look_for_labels(self) -> None:
        news = self.cohort.update()
        self._tell_left_out()
        if news:
            self.events.write(
                "data_added", added=news.added, changed=news.changed, removed=news.removed
            )
            log.info("labels: %s", news)
        self.state.progress.labels = self.cohort.labels | self.cohort.judged

    def _steps(self, epoch: int) -> Literal["epoch", "reload", "stop"]:
        """Take the remaining steps of an epoch, or until a command ends it."""
        self.events.write("phase", name="train", epoch=epoch)
        first, last = self.state.progress.step, (epoch + 1) * self.config.steps
        for patches in ahead(self._draw, first, last):
            self._step(*patches)
            told = self.control.take()
            if told == "pause":
                told = self._wait()
            if told == "stop":
                return "stop"
            if told == "checkpoint":
                self._checkpoint()
            if told == "reload":
                return "reload"
        return "epoch"

    def _wait(self) -> Command:
        """Wait until the run is told to go on (``resume`` or ``reload``) or to stop."""
        phase, reload = self.events.phase, False
        self.events.write("paused", step=self.state.progress.step)
        while (told := self.control.take()) not in ("resume", "stop"):
            reload |= told == "reload"
            if told == "checkpoint":
                self._checkpoint()
                self.events.write("paused", step=self.state.progress.step)
            time.sleep(0.05)
            self._alive()
        if told == "stop":
            return told
        self.events.write("phase", name=phase)
        return "reload" if reload else "resume"

    def _draw(self, step: int) -> tuple[Patches | None, Patches | None]:
        """Draw the labelled and the unlabelled patches of a step."""
        config, cohort, teacher = self.config, self.cohort, self.teacher
        known = {subject.name for subject in cohort.train}  # some have been labelled since
        scans = [scan for scan in teacher.scans(step, cohort) if scan.name not in known]
        more = teacher.batch(config)
        with_label = [*cohort.train, *self.synthetic]
        labels = patches_of(config, step, config.batch) if with_label else 0
        both = labels + (patches_of(config, step, more) if scans else 0)
        share = self.world.share(both)
        labelled = None
        if with_label:
            labelled = draw(
                with_label,
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
        return labelled, teacher.enrich(unlabelled, step)

    def _step(self, labelled: Patches | None, unlabelled: Patches | None) -> None:
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

    def _end_epoch(self, epoch: int, stop: bool) -> bool:
        """Report the epoch, validate if it is time, and save; return False if that was stopped.

        If the run has just been told to stop, the validation is due when it is resumed.
        """
        config = self.config
        loss = float(np.mean(self.losses))
        self.losses = []
        self.events.write("epoch", epoch=epoch, of=config.epochs, loss=loss)
        log.info("epoch %d of %d: loss %.4f%s", epoch, config.epochs, loss, self._left(epoch))
        if epoch % config.validate_every == 0 or epoch in (config.warmup, config.epochs):
            if not stop:
                return self._measured(epoch)
            self.state.progress.due = epoch
        self._checkpoint()
        return not stop

    def _left(self, epoch: int) -> str:
        """Say how long the rest takes, from the epochs since the first of this process."""
        now, of = time.monotonic(), self.config.epochs
        began, first = self.pace = self.pace or (now, epoch)
        if not first < epoch < of:
            return ""
        return f", about {duration((now - began) / (epoch - first) * (of - epoch))} left"

    def _measured(self, epoch: int) -> bool:
        """Validate and save; where that is stopped, it is due when the run is resumed."""
        progress = self.state.progress
        progress.due = epoch
        try:
            if self.cohort.label_free:
                self._compare_with_start(epoch)
            else:
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
        own = self.world.lead(self._own)
        self.world.lead(lambda: self._publish(epoch, result, (LAST, own) if better else (LAST,)))
        if better:
            progress.best = result.dsc
            self.events.write("weights", weights=own, epoch=epoch, dsc=result.dsc)

    def _own(self) -> str:
        """Name the file of the run's own best weights; its twin's may have taken their place."""
        return OWN if (self.out / OWN).is_file() else BEST

    def _publish(self, epoch: int, result: Validation, names: tuple[str, ...]) -> None:
        cohort = self.cohort
        learnt = [*cohort.train, *cohort.unlabelled]
        about = card(
            self.out.name, self.config, epoch, result, cohort.validation, learnt, self.start
        )
        self._save(about, names)

    def _save(self, about: ModelCard, names: tuple[str, ...]) -> None:
        for name in names:
            save(self.out / name, self.state.ema, about)

    def _get_ready(self) -> None:
        """Make what the run needs beside its cohort."""
        if not self.cohort.label_free:
            return
        self._remember_the_start()
        self.events.write("phase", name="synthetic subjects")
        self.synthetic = synthetic.subjects(
            self.out, self.config, self.cohort.unlabelled, self.world, self._obey
        )

    def _remember_the_start(self) -> None:
        """Predict scans with the start weights, to compare with when the network has changed."""
        cohort, config = self.cohort, self.config
        self.events.write("phase", name="start weights")
        judged = cohort.validation or cohort.unlabelled
        more = [] if judged is cohort.unlabelled else cohort.unlabelled
        scans = [*judged, *more[: max(0, config.threshold_scans - len(judged))]]
        again = load_start(config, self.out)  # the loaded network is the one that is trained
        assert again.network is not None
        network = place(again.network, self.state.device)
        self.known = references(
            network,
            scans,
            again.answer_at_threshold,
            config.sure,
            self.state.device,
            self._obey,
            self.world,
            config.precision,
            self.state.place,
        )
        if not self.state.progress.step:
            answers = [again.answer_at_threshold(scan) for scan in cohort.unlabelled]
            self.state.progress.threshold = float(np.median(answers))

    def _compare_with_start(self, epoch: int) -> None:
        """Measure how far the network agrees with the start weights, and keep it if it does.

        The last weights that agree are kept, not those that agree most: these are the first.
        """
        state, config, cohort = self.state, self.config, self.cohort
        self.events.write("phase", name="agreement", epoch=epoch)
        judged = len(cohort.validation or cohort.unlabelled)
        result = agreement(
            *(state.ema, self.known, judged, state.device, self._obey, self.world),
            *(config.precision, self.state.place),
        )
        state.progress.threshold = result.threshold
        about: Values = {
            "epoch": epoch,
            "threshold": result.threshold,
            "subjects": result.subjects,
            "dsc": result.dsc,
            "recall": result.found,
        }
        self.events.write("agreement", **about)
        log.info("epoch %d: agreement with the start weights %s", epoch, result)
        names = (LAST, BEST) if result.kept else (LAST,)
        learnt = cohort.unlabelled
        self.world.lead(
            lambda: self._save(
                card_without_labels(self.out.name, config, epoch, result, learnt, self.start),
                names,
            )
        )
        if result.kept:
            state.progress.best = result.dsc
            self.events.write("weights", weights=BEST, epoch=epoch, dsc=None)
        else:
            words = _AWAY.format(100 * (result.found or 0), 100 * LEAST)
            self.events.write("warning", message=words)
            log.warning("%s", words)

    def _look_before(self) -> None:
        """Measure what is found in the unlabelled scans before the run is trained on them."""
        scans, path = looked_at(self.cohort.unlabelled), self.out / UNLABELLED
        step, threshold = self.state.progress.step, self.state.progress.threshold
        random = not step and self.start.network is None
        if not self.config.semi_supervised or not scans or random:
            return
        at_start = self.start.answer_at_threshold
        before = self._volumes(
            self.state.ema, (lambda _: threshold) if step else at_start, scans, "before"
        )
        self.world.lead(lambda: effect.save(path, effect.Effect(before=before)))

    def _look_after(self) -> None:
        """Measure the same with the best weights, and say what has changed."""
        path = self.out / UNLABELLED
        found = self.world.lead(lambda: effect.load(path))
        scans = [scan for scan in self.cohort.unlabelled if scan.name in found.before]
        best = self.out / self.world.lead(self._own)
        if not scans or not self.world.lead(best.is_file):
            return
        network, about = load(best)
        network = place(network, self.state.device)
        after = self._volumes(network, lambda _: about.threshold, scans, "after")
        found = found.model_copy(update={"after": after})
        self.world.lead(lambda: effect.save(path, found))
        if found.means is not None:
            before, now, count = found.means
            self._say("unlabelled", before_mm3=before, after_mm3=now, scans=count)

    def _volumes(
        self,
        network: M2SS,
        threshold: Callable[[PreparedSubject], float],
        scans: list[PreparedSubject],
        when: str,
    ) -> dict[str, float]:
        self.events.write("phase", name=f"unlabelled scans, {when}")
        state = self.state
        return effect.volumes(
            *(network, threshold, scans, state.device, self._obey, self.world),
            self.config.precision,
        )

    def _compare_with_twin(self) -> bool:
        """Train the supervised twin and keep its weights where they are better; False if stopped.

        It learns from the same labelled patches in the same order, and nothing else.
        """
        config, world, out = self.config.twin(), self.world, self.out / TWIN
        self.events.write("phase", name="supervised twin")
        world.lead(lambda: write_text(out / CONFIG, config.model_dump_json(indent=2) + "\n"))
        start = load_start(config, self.out)
        with world.holding(taken_over(out)):
            state = State(config, self.state.device, start.network, world)
            state.progress.threshold = start.threshold
            resumed = world.lead((out / CHECKPOINT).is_file)
            if resumed:
                world.in_turn(lambda: state.load(out / CHECKPOINT))
            twin = Run(out, self.cohort, state, start, self.control)
            twin.go("resumed" if resumed else "hello")
        if state.progress.step < config.epochs * config.steps or state.progress.due:
            return False
        own, other = self.state.progress.best, state.progress.best
        if own is None or other is None:
            return True
        better, self.twin = other > own, other
        epoch = world.lead(lambda: self._keep_better(out / BEST if better else None))
        if epoch is not None:
            self.events.write("weights", weights=BEST, epoch=epoch, dsc=max(own, other))
        kept = "twin" if better else self.config.method
        self._say("compared", dsc=own, twin=other, kept=kept, method=self.config.method)
        return True

    def _keep_better(self, twin: Path | None) -> int | None:
        """Publish the twin's weights, the run's own beside them; or its own again.

        A longer run ends once more. If this is cut short, it can be done again.

        Returns
        -------
        Epoch of the weights that are now the best; None if they were before.
        """
        best, own = self.out / BEST, self.out / OWN
        if twin is not None:
            if not own.exists():
                _copy(best, own)
            _copy(twin, best)
        elif own.exists():
            _copy(own, best)
            own.unlink()
            own.with_suffix(".json").unlink(missing_ok=True)
        else:
            return None
        return int(read(best)[1].training["epoch"])

    def _say(self, kind: Kind, **values: Unpack[Values]) -> None:
        """Write an event, and log the sentence that it stands for."""
        self.events.write(kind, **values)
        log.info("%s", sentence(kind, values))

    def _checkpoint(self) -> None:
        self.world.lead(lambda: self.state.save(self.out / CHECKPOINT))
        self.events.write("checkpoint", step=self.state.progress.step)

    def _obey(self) -> None:
        """Pause or stop between the windows of a whole scan; a few scans take minutes.

        Several processes have windows of different subjects, and obey after it, together.
        """
        self._alive()
        if self.world.size > 1:
            return
        told = self.control.take()
        if told == "pause":
            told = self._wait()
        if told == "stop":
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


def _copy(weights: Path, to: Path) -> None:
    """Copy weights and their card, the weights last."""
    for suffix in (".json", ".safetensors"):
        with atomic(to.with_suffix(suffix)) as temporary:
            copyfile(weights.with_suffix(suffix), temporary)


def _refuse(words: str) -> NoReturn:
    raise InputError(words)
