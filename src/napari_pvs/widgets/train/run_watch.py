"""Follows one training run: its new events, and whether it is alive."""

import time
from pathlib import Path

from qtpy.QtCore import QObject, QTimer, Signal

from napari_pvs.errors import InputError
from napari_pvs.training.runs import process as launch
from napari_pvs.training.runs.events import Event
from napari_pvs.training.runs.folder import BEST, CONFIG
from napari_pvs.training.runs.status import History, RunStatus, Watch, log_end

_LIVE_MS, _STILL_MS, _BEHIND_MS = 300, 2000, 5
_SILENT_S = 20.0  # without a step, after which its pace says nothing any more
_AT_A_TIME = 1 << 17  # bytes of events a look: read in a few ms


class RunWatch(QObject):
    """The state of the run shown.

    Attributes
    ----------
    run
        Its folder, or None.
    status
        Its status; None before it could be read.
    starting
        Whether its process is alive but has not begun, because it is still reading its scans.
    log
        The last lines of its log.
    """

    changed = Signal()
    """It has progressed, or another run is followed."""
    ended = Signal()
    """Its process has ended while it was followed."""
    published = Signal()
    """It has better weights."""
    failed = Signal(str)
    """It can no longer be followed; a sentence."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.look)
        self._stopped = False
        self.run: Path | None = None
        self.status: RunStatus | None = None
        self.starting = False
        self.log: list[str] = []
        self._watch: Watch | None = None
        self._alive = False
        self._failed = False
        self._shown = False
        self._log_seen: tuple[Path, int] | None = None

    def follow(self, run: Path | None) -> None:
        """Follow another run, or none."""
        self._timer.stop()
        self._forget(run)
        if run is None:
            self.changed.emit()
        else:
            self.look()

    def stop(self) -> None:
        """Stop following, for good."""
        self._stopped = True
        self._timer.stop()

    @property
    def live(self) -> bool:
        """Whether the run's process is alive."""
        return self._alive

    def look(self) -> None:
        """Read what is new."""
        run, was = self.run, self._alive
        if run is None:
            return
        try:
            if self._watch is None:
                self._watch = Watch(run)
            elif not (run / CONFIG).is_file():
                raise FileNotFoundError
            watch = self._watch
            alive = launch.alive(run)  # before reading, so that the last events are not missed
            before = self.best
            events = watch.poll(_AT_A_TIME)
            self.status = watch.status(alive)
        except (InputError, OSError) as error:
            self._alive, self.status = False, None
            gone = f"{run} is gone; if the study was moved, open it where it is now."
            self._look_in(_STILL_MS)  # a network share may come back
            if not self._failed:
                self._failed = True
                self.failed.emit(str(error) if isinstance(error, InputError) else gone)
                self.changed.emit()
            return
        self._failed = False
        behind = watch.behind
        self._alive = alive
        self.starting = alive and not behind and _is_starting(watch)
        self.log = self._read_log(run)
        interval = _BEHIND_MS if behind else _LIVE_MS if alive else _STILL_MS
        self._look_in(interval)
        if events or was != alive or self.starting or not self._shown:
            self._shown = True
            self.changed.emit()
        if self.best != before:
            self.published.emit()
        if was and not alive:
            self.ended.emit()

    @property
    def course(self) -> History:
        """Its curves."""
        return History() if self._watch is None else self._watch.history

    @property
    def phase(self) -> str:
        """What it is doing, such as ``validation``."""
        return "" if self._watch is None else self._watch.phase

    @property
    def talks(self) -> bool:
        """Whether it takes steps now, so that its pace says how long it will take."""
        watch = self._watch
        if watch is None or watch.phase or watch.last is None or watch.last["type"] != "step":
            return False
        return time.time() - float(watch.last["time"]) < _SILENT_S

    @property
    def best(self) -> tuple[float | None, int] | None:
        """DSC (None of a run without labels) and epoch of its best weights, or None."""
        return None if self._watch is None else self._watch.best

    @property
    def told(self) -> list[str]:
        """What it says beside its curves, such as what unlabelled scans changed: sentences."""
        return [] if self._watch is None else list(self._watch.told.values())

    @property
    def news(self) -> Event | None:
        """The latest label changes it picked up: an event ``data_added``."""
        return None if self._watch is None else self._watch.news

    @property
    def weights(self) -> Path | None:
        """Path of its best weights, if it has published any."""
        return None if self.best is None or self.run is None else self.run / BEST

    def hurry(self) -> None:
        """Look again soon, because the run was sent a command."""
        if self.run is not None:
            self._look_in(_LIVE_MS)

    def _look_in(self, milliseconds: int) -> None:
        if not self._stopped:
            self._timer.start(milliseconds)

    def _forget(self, run: Path | None) -> None:
        self.run = run
        self._watch, self.status = None, None
        self._alive = self._shown = self.starting = self._failed = False
        self.log, self._log_seen = [], None

    def _read_log(self, run: Path) -> list[str]:
        path = launch.log_of(run)
        try:
            seen = path, path.stat().st_size
        except OSError:
            return []
        if seen == self._log_seen:
            return self.log
        self._log_seen = seen
        return log_end(path).splitlines()[-30:]


def _is_starting(watch: Watch) -> bool:
    """Whether the run has written no event since its process was started."""
    last, started = watch.last, launch.started_at(watch.path)
    return last is None or (started is not None and last["time"] < started)
