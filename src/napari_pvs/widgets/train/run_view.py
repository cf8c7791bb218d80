"""One training run: its status, the buttons that control it, its curves and its log."""

from pathlib import Path

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QProgressBar,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_pvs.errors import InputError
from napari_pvs.training.runs import process as launch
from napari_pvs.training.runs.control import Command, tell
from napari_pvs.training.runs.status import RunStatus, duration
from napari_pvs.widgets.background.thread import Background
from napari_pvs.widgets.parts.controls import Button, Notice, as_it_is, there
from napari_pvs.widgets.parts.curves import Curves
from napari_pvs.widgets.train.run_watch import RunWatch

_CHOICE = "Runs of this study, newest first."
_LINES = 6
_NO_LOG = "Started from a command line; its output is there."


class RunView(QWidget):
    """Shows a run of a study, and controls it.

    Parameters
    ----------
    notice
        Where failures and the end of a run are reported.
    """

    resumed = Signal()
    """A run that had ended was resumed or extended."""

    def __init__(self, notice: Notice) -> None:
        super().__init__()
        self._notice = notice
        self._asked: Command | None = None
        self._drawn: tuple[object, ...] | None = None
        self._thread = Background(self)
        self.watch = RunWatch(self)
        self.choice = QComboBox()
        self.choice.setToolTip(_CHOICE)
        self.choice.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.choice.currentIndexChanged.connect(lambda _: self._on_choice())
        self.state, self.why, self.news = Notice(), Notice(), Notice()
        self.bar = QProgressBar()
        self.bar.setToolTip("Steps of the whole run.")
        self.bar.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.extend = Extend()
        self.extend.asked.connect(self._launch)
        self.curves: Curves | None = None  # made with the first run, since a study may have none
        self.log = _log()
        self._column = column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        above: tuple[QWidget, ...] = (self.choice, self.state, self.why, self.bar)
        below: tuple[QWidget, ...] = (self.extend, self.news, self.log)
        for part in above:
            column.addWidget(part)
        column.addLayout(self._buttons())
        for part in below:
            column.addWidget(part)
        self.watch.changed.connect(self.show_run)
        self.watch.failed.connect(notice.error)
        self.watch.ended.connect(self._on_end)
        self.show_run()

    def _buttons(self) -> QHBoxLayout:
        self.pause = Button(
            "Pause",
            "Pause after the current step; memory stays in use.",
            lambda: self._tell("pause"),
        )
        self.resume = Button(
            "Resume", "Continue after a pause, or from the last checkpoint.", self.go_on
        )
        self.stop_run = Button(
            "Stop", "Save a checkpoint and stop; Resume continues from it.", self._on_stop
        )
        row = QHBoxLayout()
        row.setSpacing(3)
        for button in (self.pause, self.resume, self.stop_run):
            button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            row.addWidget(button)
        return row

    @property
    def live(self) -> bool:
        """Whether the run shown is in progress."""
        return self.watch.live

    def set_runs(self, found: list[Path], chosen: Path | None = None) -> None:
        """List runs, newest first, and follow one of them.

        Parameters
        ----------
        found
            Their folders, oldest first.
        chosen
            The run to follow; None for the one in progress, otherwise the newest.
        """
        if chosen is None and found:
            chosen = next((run for run in reversed(found) if launch.alive(run)), found[-1])
        with QSignalBlocker(self.choice):
            self.choice.clear()
            for run in reversed(found):
                self.choice.addItem(run.name, run)
            names = [run.name for run in reversed(found)]
            self.choice.setCurrentIndex(names.index(chosen.name) if chosen else -1)
        self._follow(chosen)

    def go_on(self) -> None:
        """Continue a run that is paused, was stopped, or died."""
        status = self.watch.status
        if self.live and status is not None and status.state == "paused":
            self._tell("resume")
        else:
            self._launch()

    def stop(self) -> None:
        """Stop following; the run continues."""
        self.watch.stop()

    def show_run(self) -> None:
        """Show the current status of the run."""
        watch, status = self.watch, self.watch.status
        self.bar.setVisible(status is not None)
        self.log.setVisible(status is not None)
        self.setVisible(watch.run is not None)
        if status is not None:
            self.bar.setRange(0, 0 if watch.starting else status.of)
            self.bar.setValue(status.step)
            self._show_log()
        self.state.say(self._sentence())
        self._show_news()
        self._draw()
        self.check()

    def check(self) -> None:
        """Enable what can be done now."""
        status = self.watch.status
        state = None if status is None else status.state
        running = self.live and not self.watch.starting
        asked = f"waiting for the run to {self._asked}." if self._asked else None
        if status is None:
            why = "there is no run, or it cannot be read."
        elif self.watch.starting:
            why = "it is starting."
        else:
            why = f"the run is {_STATES[status.state]}."
        may_pause = running and state == "running"
        self.pause.allow_if(asked if may_pause else why)
        self.stop_run.allow_if((asked if self._asked == "stop" else None) if self.live else why)
        self.extend.offer(None if self.live or state != "done" else status)
        dead = not self.live and state in ("new", "stopped", "failed", "died")
        self.resume.allow_if(asked if dead or (running and state == "paused") else why)

    def _launch(self, epochs: int | None = None) -> None:
        """Start the process of a run that has ended, perhaps with more epochs."""
        run, self._asked = self.watch.run, None
        if run is None:
            return
        try:
            launch.resume(run, epochs)
        except InputError as error:
            self._notice.error(str(error))
            return
        self._notice.clear()
        self.why.clear()
        self.watch.look()
        self.resumed.emit()

    def _on_choice(self) -> None:
        self._notice.clear()
        self._follow(self.choice.currentData())

    def _follow(self, run: Path | None) -> None:
        self._asked = None
        self.why.clear()
        self.choice.setToolTip(_CHOICE if run is None else as_it_is(f"{_CHOICE}\n{run}"))
        self.watch.follow(run)
        status = self.watch.status
        if not self.live and status is not None and status.state in ("new", "failed", "died"):
            self._on_end()

    def _tell(self, command: Command) -> None:
        run = self.watch.run
        if run is None:
            return
        self._asked = command
        self._thread.submit(lambda: tell(run, command), lambda _: None, self._on_not_told)
        self.watch.hurry()
        self.state.say(self._sentence())
        self.check()

    def _on_not_told(self, text: str) -> None:
        self._asked = None
        self._notice.error(text)
        self.check()

    def _on_stop(self) -> None:
        if self.watch.starting and self.watch.run is not None:
            self._asked = "stop"
            launch.kill(self.watch.run)
            self.watch.hurry()
            self.check()
        else:
            self._tell("stop")

    def _on_end(self) -> None:
        """Say why the run ended, unless it was told to stop."""
        run, status, asked = self.watch.run, self.watch.status, self._asked
        self._asked = None
        if run is None:
            return
        bad = status is not None and status.state in ("new", "failed", "died")
        if asked != "stop" and (bad or launch.end_code(run) not in (None, 0)):
            self.why.error(launch.explain(run, "" if status is None else status.why))
        self.check()

    def _sentence(self) -> str:
        watch, status = self.watch, self.watch.status
        if status is None:
            return "No run yet." if watch.run is None else ""
        if watch.starting:
            return "Starting: reading and preparing the scans…"
        if self._obeyed(status.state):
            self._asked = None
        words = _STATES[status.state]
        if status.state == "running" and watch.phase:
            words += f" ({watch.phase})"
        parts = [f"{words[0].upper()}{words[1:]}: epoch {status.epoch} of {status.epochs}"]
        if status.loss is not None:
            parts.append(f"loss {status.loss:.3f}")
        if watch.best is not None:
            dsc, epoch = watch.best
            known = "weights kept" if dsc is None else f"best validation DSC {dsc:.2f}"
            parts.append(f"{known} at epoch {epoch}")
        text = ", ".join(parts)
        if self._asked in _ASKED and self.live:
            return f"{text}. {_ASKED[self._asked]}"
        if status.seconds_left is not None and watch.talks:
            text += f"; about {duration(status.seconds_left)} left"
        told = [words if words.endswith(".") else f"{words}." for words in watch.told]
        return " ".join([f"{text}.", *(f"{one[0].upper()}{one[1:]}" for one in told)])

    def _obeyed(self, state: str) -> bool:
        return state == {"pause": "paused", "resume": "running"}.get(self._asked or "")

    def _show_news(self) -> None:
        news = self.watch.news
        names = [] if news is None else [*news["added"], *news["changed"]]
        if names and self.live:
            few = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            self.news.say(f"Now training on {few} too.")
        else:
            self.news.clear()

    def _draw(self) -> None:
        watch = self.watch
        course = watch.course
        if self.curves is not None:
            self.curves.setVisible(bool(course.loss or course.steps))
        if watch.run is None or watch.status is None or not (course.loss or course.steps):
            return
        drawn = (watch.run, len(course.steps), len(course.loss), len(course.validation))
        if drawn != self._drawn:
            self._drawn = drawn
            if self.curves is None:
                self.curves = Curves()
                self._column.insertWidget(self._column.count() - 1, self.curves)
            self.curves.show_run(watch.run.name, course, watch.status.epochs)

    def _show_log(self) -> None:
        text = "\n".join(self.watch.log) or ("" if self.watch.starting else _NO_LOG)
        if text != self.log.toPlainText():
            self.log.setPlainText(text)
            bar = there(self.log.verticalScrollBar())
            bar.setValue(bar.maximum())


def _log() -> QPlainTextEdit:
    log = QPlainTextEdit()
    log.setToolTip("The last lines of the run's log.")
    log.setReadOnly(True)
    log.setTabChangesFocus(True)
    log.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
    log.setFixedHeight((_LINES + 2) * log.fontMetrics().lineSpacing())
    log.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    return log


_STATES = {
    "new": "not started",
    "running": "running",
    "paused": "paused",
    "stopped": "stopped",
    "done": "done",
    "failed": "ended by an error",
    "died": "dead",
}


_ASKED: dict[Command | None, str] = {
    "pause": "Pausing…", "stop": "Stopping…", "resume": "Resuming…"
}  # fmt: skip
"""What is asked of a run and not done yet."""
_TIP = "Total length of the run; the learning rate adapts to it."


class Extend(QWidget):
    """A row that is visible only if there is a run to extend."""

    asked = Signal(int)
    """The total number of epochs to continue to."""

    def __init__(self) -> None:
        super().__init__()
        self._offered: tuple[Path, int] | None = None
        self.epochs = QSpinBox()
        self.epochs.setRange(1, 10**9)
        self.epochs.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.epochs.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.epochs.setToolTip(_TIP)
        self.start = Button(
            "Extend",
            "Continue the run up to this number of epochs.",
            lambda: self.asked.emit(self.epochs.value()),
        )
        label = QLabel("Total epochs")
        label.setToolTip(_TIP)
        label.setBuddy(self.epochs)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(3)
        row.addWidget(label)
        row.addWidget(self.epochs, 1)
        row.addWidget(self.start)
        self.offer(None)

    def offer(self, status: RunStatus | None) -> None:
        """Offer to extend a finished run, or hide the row (None).

        A number that was entered stays as long as the run is the same.
        """
        self.setVisible(status is not None)
        offered = None if status is None else (status.path, status.epoch)
        if offered != self._offered and status is not None:
            self.epochs.setMinimum(status.epoch + 1)
            self.epochs.setValue(status.epoch + max(1, status.epoch // 2))
        self._offered = offered
