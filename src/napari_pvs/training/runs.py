"""Runs seen from outside: which there are, how they are, what they said."""

import json
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from napari_pvs.errors import InputError
from napari_pvs.training.events import Tail
from napari_pvs.training.folder import CONFIG, EVENTS, LOG, RUNS, is_running, read_config

State = Literal["new", "running", "paused", "stopped", "done", "failed", "died"]
_PACE = 200  # steps that the time left is told by
_ROLES = ("train", "validation", "unlabelled")
_PIECE = 1 << 22  # bytes of events that are in memory at a time
_TAIL = 1 << 16  # bytes of a log that are looked at


@dataclass(frozen=True)
class RunStatus:
    """A run at one moment.

    Attributes
    ----------
    path
        Its folder.
    method, recipe
        Of its configuration.
    state
        ``new``: never started. ``failed``: it said why. ``died``: it could not.
    step, of
        Steps done and steps in all.
    epoch, epochs
        Epochs done and epochs in all.
    loss
        Mean of the last epoch.
    dsc
        Best on the validation subjects.
    seconds_left
        At the pace of the last steps; None where it is not running or has not said enough.
    why
        For ``failed`` and ``died``, in words.
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


@dataclass(frozen=True)
class History:
    """What a run went through; an epoch that was repeated after a crash counts once.

    Attributes
    ----------
    loss
        Mean loss by epoch.
    validation
        Event ``validation`` by epoch: dsc, avd_percent, recall, threshold, subjects.
    """

    loss: dict[int, float] = field(default_factory=dict)
    validation: dict[int, dict[str, Any]] = field(default_factory=dict)


def runs(study: Path) -> list[Path]:
    """List the run folders of a study, the oldest first.

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
    """A run seen from outside; each look costs what is new since the one before.

    Parameters
    ----------
    run
        Its folder.

    Attributes
    ----------
    path, config, history, last
        Its folder, configuration, curves so far, and last event but for heartbeats.
    left_out, everybody
        Why subjects of the study were not used, by name; and how many there were in all.

    Raises
    ------
    InputError
        No run folder, or its configuration is damaged.
    """

    def __init__(self, run: Path):
        self.path = Path(run)
        self.config = read_config(self.path)
        self.history = History()
        self._tail = Tail(self.path / EVENTS)
        self._steps: deque[tuple[float, int]] = deque(maxlen=_PACE)
        self._step = 0
        self.left_out: dict[str, str] = {}
        self.everybody = 0
        self.last: dict[str, Any] | None = None

    @property
    def behind(self) -> bool:
        """Whether the last look left events for the next one."""
        return self._tail.behind

    def look(self, most: int = -1, steps: int = -1) -> list[dict[str, Any]]:
        """Return the events that came since the last look.

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
        except (ValueError, OSError, KeyError, TypeError) as error:
            where = self.path / EVENTS
            reason = f"an event lacks its {error}" if isinstance(error, KeyError) else error
            raise InputError(f"{where} is damaged ({reason}); move it away.") from error
        return events

    def catch_up(self) -> None:
        """Look at all that the run has said, in pieces: of a million steps at the last ones only.

        Raises
        ------
        InputError
            As `look`.
        """
        self.look(_PIECE, _PACE)
        while self.behind:
            self.look(_PIECE, _PACE)

    def status(self, alive: bool | None = None) -> RunStatus:
        """Tell how the run is, by the events that were looked at.

        Parameters
        ----------
        alive
            Whether its process lives; its lock tells where None.
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
            dsc=max((e["dsc"] for e in past.validation.values()), default=None),
            seconds_left=self._seconds_left(total) if state == "running" else None,
            why=why,
        )

    def _take(self, event: dict[str, Any]) -> None:
        kind, past = event["type"], self.history
        if kind == "heartbeat":
            return
        self.last = event
        if kind in ("step", "checkpoint", "stopped", "resumed"):
            self._step = int(event["step"])
        if kind == "step":
            self._steps.append((float(event["time"]), self._step))
        elif kind == "epoch":
            past.loss[int(event["epoch"])] = float(event["loss"])
        elif kind == "validation":
            numbers = {key: event[key] for key in ("dsc", "avd_percent", "recall")}
            read = {key: None if value is None else float(value) for key, value in numbers.items()}
            past.validation[int(event["epoch"])] = event | read | {"dsc": float(event["dsc"])}
        elif kind == "resumed":
            self.config = read_config(self.path)  # it may have got another length
        if kind in ("hello", "resumed"):
            self.left_out = {}
            self.everybody = sum(int(event[key]) for key in _ROLES if key in event)
        elif kind == "left_out":
            self.left_out[str(event["name"])] = str(event["why"])
            self.everybody += 1
        if kind in ("hello", "resumed", "paused"):
            self._steps.clear()  # a pause is no pace

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
        return "died", _last_words(self.path)

    def _seconds_left(self, total: int) -> float | None:
        """Extrapolate the pace of the last steps, validations included where they fell."""
        if len(self._steps) < 2 or self._steps[-1][1] <= self._steps[0][1]:
            return None
        (began, first), (now, last) = self._steps[0], self._steps[-1]
        return float((now - began) / (last - first) * (total - 1 - last))


def events_of(run: Path) -> list[dict[str, Any]]:
    """Read the events of a run; none where it has not started.

    Raises
    ------
    InputError
        As `Watch` and `Watch.look`.
    """
    return Watch(run).look()


def seen(run: Path) -> Watch:
    """Return a run as it is now, looked at once.

    Raises
    ------
    InputError
        As `events_of`.
    """
    watch = Watch(run)
    watch.catch_up()
    return watch


def status(run: Path) -> RunStatus:
    """Tell how a run is; errors are those of `seen`."""
    return seen(run).status()


def history(run: Path) -> History:
    """Return the curves of a run; errors are those of `seen`."""
    return seen(run).history


def follow(run: Path, poll: float = 0.2) -> Iterator[dict[str, Any]]:
    """Yield the events of a run, old ones first, then new ones until it ends or dies.

    Raises
    ------
    InputError
        As `events_of`.
    """
    watch = Watch(run)
    while True:
        alive = is_running(run)  # before reading: the last words are not missed
        yield from watch.look()
        if not alive:
            return
        time.sleep(poll)


def log_end(path: Path) -> list[str]:
    """Return the last lines of a log; none where there is no log."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    return text.rstrip().splitlines()


def refusal(lines: list[str]) -> str | None:
    """Return the sentence that the command line ended with, if it refused its input."""
    said = lines[-1] if lines else ""
    sentence = said.removeprefix("napari-pvs: ")
    return None if sentence == said or sentence.startswith("warning: ") else sentence


def _last_words(run: Path) -> str:
    """Explain a death: by the end of the log, else by what kills without a word."""
    lines = log_end(run / LOG)
    if (sentence := refusal(lines)) is not None:
        return sentence
    if any(line.startswith("Traceback") for line in lines[-60:]):
        return f"it crashed: {lines[-1]} (see {run / LOG})"
    return (
        "it ended without a word: the system killed it, probably for memory, or the machine was "
        "switched off; go on with --resume, where need be with a smaller batch in its config.json"
    )


def as_json(run: RunStatus) -> str:
    """Return a status as one JSON object."""
    return json.dumps(asdict(run) | {"path": str(run.path)})
