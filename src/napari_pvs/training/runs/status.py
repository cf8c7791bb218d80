"""Runs seen from outside: their list, status, curves and best weights."""

import contextlib
import json
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

from napari_pvs import json_files
from napari_pvs.errors import InputError
from napari_pvs.network.weights import ModelCard
from napari_pvs.processes import explain_death
from napari_pvs.training.runs.events import Event, Tail
from napari_pvs.training.runs.folder import BEST, CONFIG, EVENTS, LOG, RUNS, is_running, read_config
from napari_pvs.training.runs.words import sentence

State = Literal["new", "running", "paused", "stopped", "done", "failed", "died"]
_PACE = 200  # latest steps, from which the time left is estimated
_PIECE = 1 << 22  # bytes of events in memory at a time
_SPREAD = 500  # steps of a piece that are decoded, plus as many at its end
_TAIL = 1 << 16  # bytes of a log that are read
_MOST_STEPS = 4000  # steps kept for the curves; beyond that, every second one is dropped


@dataclass(frozen=True)
class RunStatus:
    """A run at one moment.

    Attributes
    ----------
    path
        Its folder.
    method, recipe
        From its configuration.
    state
        ``new``: never started. ``failed``: ended with an error that it reported. ``died``: ended
        without a report.
    step, of
        Steps done, and the total.
    epoch, epochs
        Epochs done, and the total.
    loss
        Mean over the last epoch.
    dsc
        Of its best weights on the validation.
    seconds_left
        At the pace of the last steps; None if it is not running or has only just begun.
    why
        Why it ``failed`` or ``died``, in words.
    """

    path: Path
    method: str
    recipe: str
    state: State
    step: int
    of: int
    epoch: int
    epochs: int
    loss: float | None
    dsc: float | None
    seconds_left: float | None
    why: str = ""


class Measures(NamedTuple):
    """Results of a validation, as means over its subjects; None if a measure is undefined."""

    dsc: float
    avd_percent: float | None
    recall: float | None


@dataclass
class History:
    """The curves of a run; steps and epochs repeated after a crash count once.

    Attributes
    ----------
    loss
        Mean loss by epoch.
    validation
        Measures by epoch.
    steps
        Epoch (fractional) and loss of single steps; in a long run, of only some of them.
    """

    loss: dict[int, float] = field(default_factory=dict)
    validation: dict[int, Measures] = field(default_factory=dict)
    steps: list[tuple[float, float]] = field(default_factory=list)

    def add_step(self, epoch: float, loss: float) -> None:
        """Add the loss of a step."""
        while self.steps and self.steps[-1][0] >= epoch:
            self.steps.pop()
        self.steps.append((epoch, loss))
        if len(self.steps) > _MOST_STEPS:
            del self.steps[::2]


def runs(study: Path) -> list[Path]:
    """List the run folders of a study, oldest first.

    Raises
    ------
    InputError
        Not a folder.
    """
    study = Path(study)
    if not study.is_dir():
        raise InputError(f"{study} is not a folder; give a BIDS dataset.")
    found = {path.parent for path in (study / RUNS).glob(f"*/{CONFIG}")}
    return sorted(found)


class Watch:
    """A run seen from outside; each `poll` reads only what is new since the last.

    Parameters
    ----------
    run
        Its folder.

    Attributes
    ----------
    path, config
        Its folder and configuration.
    history
        Its curves so far.
    phase
        What it is doing other than training, such as ``validation``; otherwise empty.
    best
        DSC (None of a run without labels) and epoch of its best weights; None before there are
        any.
    told
        Sentences beside its curves, such as what the unlabelled scans changed, by kind of event.
    news
        The latest label changes it picked up: an event ``data_added``.
    last
        Its last event other than heartbeats.
    left_out, everybody
        Why subjects of the study are not used, by name; total number of subjects.

    Raises
    ------
    InputError
        Not a run folder, or its configuration is damaged.
    """

    def __init__(self, run: Path):
        self.path = Path(run)
        self.config = read_config(self.path)
        self.history = History()
        self.phase = ""
        self.best: tuple[float | None, int] | None = None
        self.told: dict[str, str] = {}
        self.news: Event | None = None
        self.last: Event | None = None
        self.left_out: dict[str, str] = {}
        self.everybody = 0
        self._tail = Tail(self.path / EVENTS)
        self._pace: deque[tuple[float, int]] = deque(maxlen=_PACE)
        self._step = 0

    @property
    def behind(self) -> bool:
        """Whether the last poll left events unread."""
        return self._tail.behind

    def poll(self, most: int = -1, steps: int = -1) -> list[Event]:
        """Return the events since the last poll.

        Parameters
        ----------
        most, steps
            As for `Tail.read`.

        Raises
        ------
        InputError
            The events are damaged.
        """
        try:
            events = self._tail.read(most, steps)
            for event in events:
                self._take(event)
        except (ValueError, OSError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(
                f"{self.path / EVENTS} is damaged ({reason}); move it away."
            ) from error
        return events

    def catch_up(self) -> None:
        """Read all events so far, piece by piece; of very many steps only some.

        Raises
        ------
        InputError
            As `poll`.
        """
        self.poll(_PIECE, _SPREAD)
        while self.behind:
            self.poll(_PIECE, _SPREAD)

    def status(self, alive: bool | None = None) -> RunStatus:
        """Return the run's status according to the events read so far.

        Parameters
        ----------
        alive
            Whether its process is alive; None asks its lock.
        """
        config, past = self.config, self.history
        total = config.epochs * config.steps
        state, why = self._state(is_running(self.path) if alive is None else alive)
        epoch = max(past.loss, default=0)
        return RunStatus(
            path=self.path,
            method=config.method,
            recipe=config.recipe,
            state=state,
            step=total if state == "done" else min(self._step, total),
            of=total,
            epoch=epoch,
            epochs=config.epochs,
            loss=past.loss.get(epoch),
            dsc=None if self.best is None else self.best[0],
            seconds_left=self._seconds_left(total) if state == "running" else None,
            why=why,
        )

    def _take(self, event: Event) -> None:
        kind, past = event["type"], self.history
        if kind == "heartbeat":
            return
        self.last = event
        if kind in ("step", "checkpoint", "stopped", "resumed"):
            self._step = int(event["step"])
        if kind in ("hello", "resumed", "paused"):
            self._pace.clear()  # a pause says nothing about the pace
        if kind == "step":
            self._pace.append((float(event["time"]), self._step))
            if "loss" in event:
                past.add_step(self._step / self.config.steps, float(event["loss"]))
        elif kind == "epoch":
            past.loss[int(event["epoch"])] = float(event["loss"])
        elif kind == "validation":
            found = Measures(
                float(event["dsc"] or 0.0), _number(event["avd_percent"]), _number(event["recall"])
            )
            past.validation[int(event["epoch"])] = found
        elif kind == "phase":
            self.phase = "" if event["name"] == "train" else str(event["name"])
        elif kind == "weights" and event.get("weights", BEST) == BEST:
            self.best = _number(event["dsc"]), int(event["epoch"])
        elif kind == "data_added":
            self.news = event
        elif kind == "resumed":
            self.config = read_config(self.path)  # it may have been extended
        self._count(event)

    def _count(self, event: Event) -> None:
        """Keep track of the subjects, of those not used, and of what is said in sentences."""
        kind = event["type"]
        if kind in ("agreement", "unlabelled", "compared"):
            self.told[kind] = sentence(kind, event)
        if kind in ("hello", "resumed"):
            self.left_out = {}
            known = event.get("train", 0), event.get("validation", 0), event.get("unlabelled", 0)
            self.everybody = sum(map(int, known))
        elif kind == "left_out":
            self.everybody += event["name"] not in self.left_out
            self.left_out[str(event["name"])] = str(event["why"])

    def _state(self, alive: bool) -> tuple[State, str]:
        if self.last is None:
            return ("running" if alive else "new"), ""
        last = self.last["type"]
        if alive:
            return ("paused" if last == "paused" else "running"), ""
        if last in ("done", "stopped"):
            return last, ""
        if last == "error":
            return "failed", str(self.last.get("message", ""))
        log = self.path / LOG
        remedy = "continue with --resume, if need be with a smaller batch in its config.json"
        errors = log_end(log)
        return "died", explain_death(
            None, False, errors, what="it", remedy=f"see {log}", memory=remedy
        )

    def _seconds_left(self, total: int) -> float | None:
        """Extrapolate from the last steps, including any validation among them."""
        if len(self._pace) < 2 or self._pace[-1][1] <= self._pace[0][1]:
            return None
        (began, first), (now, last) = self._pace[0], self._pace[-1]
        return float((now - began) / (last - first) * (total - 1 - last))


def events_of(run: Path) -> list[Event]:
    """Read the events of a run; none if it has not started.

    Raises
    ------
    InputError
        As `Watch` and `Watch.poll`.
    """
    return Watch(run).poll()


def seen(run: Path) -> Watch:
    """Read all events of a run.

    Raises
    ------
    InputError
        As `events_of`.
    """
    watch = Watch(run)
    watch.catch_up()
    return watch


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)


def status(run: Path) -> RunStatus:
    """Return the status of a run; raises as `seen`."""
    return seen(run).status()


def history(run: Path) -> History:
    """Return the curves of a run; raises as `seen`."""
    return seen(run).history


def follow(run: Path, poll: float = 0.2) -> Iterator[Event]:
    """Yield the events of a run, then new ones until it ends or dies.

    Raises
    ------
    InputError
        As `events_of`.
    """
    watch = Watch(run)
    while True:
        alive = is_running(run)  # before reading, so that the last events are not missed
        yield from watch.poll()
        if not alive:
            return
        time.sleep(poll)


def log_end(path: Path) -> str:
    """Return the end of a log, or an empty string if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            return file.read().decode("utf-8", errors="replace").rstrip()
    except OSError:
        return ""


def to_json(runs: Iterable[RunStatus]) -> str:
    """Return the text of a JSON file of runs; ``null`` where undefined."""
    rows = [asdict(run) | {"path": str(run.path)} for run in runs]
    return json.dumps({"format": "napari-pvs-runs/1", "runs": rows}, indent=2) + "\n"


@dataclass(frozen=True)
class Known:
    """The best weights of a run.

    Attributes
    ----------
    path
        The weights file.
    label
        Text in a list, with the DSC first, since names of runs are long.
    tip
        Further details.
    """

    path: Path
    label: str
    tip: str


def best_weights(study: Path) -> list[Known]:
    """Find the best weights of each run of a study, newest run first."""
    try:
        found = runs(study)
    except (InputError, OSError):  # the study was moved; segmenting reports that
        return []
    known = []
    for run in reversed(found):
        path = run / BEST
        with contextlib.suppress(OSError):  # no validation yet
            about = path.stat()
            known.append(_described(path, about.st_mtime_ns, about.st_size))
    return known


@lru_cache(maxsize=512)
def _described(path: Path, _: int, __: int) -> Known:
    """Describe weights from their card; time and size of the file belong to the cache's key."""
    from safetensors import SafetensorError, safe_open

    run = path.parent.name
    try:
        with safe_open(path, framework="numpy") as file:
            card = json_files.parse((file.metadata() or {})["card"], ModelCard)
        epoch = card.training["epoch"]
        if "unlabelled" in card.training:
            scans = len(card.training["unlabelled"])
            tip = f"Weights of {run}, adapted to {scans} scans without a label, epoch {epoch}."
            return Known(path, f"no labels: {run}", f"{tip}\n{path}")
        reached = card.accuracy["validation"]
        label = f"DSC {reached['dsc']:.2f}: {run}"
        on = f"{reached['subjects']} validation scan{'s' * (reached['subjects'] != 1)}"
        tip = f"Best weights of {run}: DSC {reached['dsc']:.3f} on {on}, epoch {epoch}.\n{path}"
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return Known(path, run, str(path))  # segmenting will report what is wrong
    return Known(path, label, tip)


def duration(seconds: float) -> str:
    """Write a duration in words, as roughly as befits an estimate.

    Examples
    --------
    >>> duration(40), duration(310), duration(3 * 3600 + 1000), duration(4 * 86400)
    ('1 min', '5 min', '3 h 15 min', '4 days')
    """
    minutes = max(1, round(seconds / 60))
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(5 * round(minutes / 5), 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{round(hours / 24)} days"
