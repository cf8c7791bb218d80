"""Runs seen from outside: which there are, how they are, what they said."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from napari_pvs.errors import InputError
from napari_pvs.training.events import read
from napari_pvs.training.folder import CONFIG, EVENTS, LOG, RUNS, is_running, read_config

State = Literal["new", "running", "paused", "stopped", "done", "failed", "died"]


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

    loss: dict[int, float]
    validation: dict[int, dict[str, Any]]


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


def events_of(run: Path) -> list[dict[str, Any]]:
    """Read the events of a run; none where it has not started.

    Raises
    ------
    InputError
        No run folder, or its events are damaged.
    """
    run = Path(run)
    if not (run / CONFIG).is_file():
        raise InputError(f"{run} holds no {CONFIG}; name the folder of a run.")
    if not (run / EVENTS).is_file():
        return []
    try:
        return read(run / EVENTS)
    except (ValueError, OSError) as error:
        raise InputError(f"{run / EVENTS} is damaged ({error}); move it away.") from error


def status(run: Path) -> RunStatus:
    """Tell how a run is.

    Raises
    ------
    InputError
        As `events_of`.
    """
    run = Path(run)
    config, events = read_config(run), events_of(run)
    history = _history(events)
    total = config.epochs * config.steps
    stepped = [e for e in events if e["type"] in ("step", "checkpoint", "stopped", "resumed")]
    step = int(stepped[-1]["step"]) if stepped else 0
    state, why = _state(run, events)
    if state == "done":
        step = total
    return RunStatus(
        path=run,
        method=config.method,
        recipe=config.recipe,
        state=state,
        step=min(step, total),
        of=total,
        epoch=max(history.loss, default=0),
        epochs=config.epochs,
        loss=history.loss.get(max(history.loss, default=0)),
        dsc=max((e["dsc"] for e in history.validation.values()), default=None),
        seconds_left=_seconds_left(events, total) if state == "running" else None,
        why=why,
    )


def history(run: Path) -> History:
    """Return the curves of a run.

    Raises
    ------
    InputError
        As `events_of`.
    """
    return _history(events_of(run))


def follow(run: Path, poll: float = 0.2) -> Iterator[dict[str, Any]]:
    """Yield the events of a run, old ones first, then new ones until it ends or dies.

    Raises
    ------
    InputError
        As `events_of`.
    """
    seen = 0
    while True:
        alive = is_running(run)  # before reading: the last words are not missed
        events = events_of(run)
        yield from events[seen:]
        seen = len(events)
        if not alive:
            return
        time.sleep(poll)


def _history(events: list[dict[str, Any]]) -> History:
    loss = {int(e["epoch"]): float(e["loss"]) for e in events if e["type"] == "epoch"}
    validation = {int(e["epoch"]): e for e in events if e["type"] == "validation"}
    return History(dict(sorted(loss.items())), dict(sorted(validation.items())))


def _state(run: Path, events: list[dict[str, Any]]) -> tuple[State, str]:
    if not events:
        return ("running", "") if is_running(run) else ("new", "")
    kinds = [e["type"] for e in events if e["type"] != "heartbeat"]
    last = kinds[-1] if kinds else "hello"
    if is_running(run):
        return ("paused", "") if last == "paused" else ("running", "")
    if last == "done":
        return "done", ""
    if last == "stopped":
        return "stopped", ""
    if last == "error":
        return "failed", str(events[-1].get("message", ""))
    return "died", _last_words(run)


def _last_words(run: Path) -> str:
    """Explain a death: by the traceback in the log, else by what kills without a word."""
    try:
        lines = (run / LOG).read_text(encoding="utf-8", errors="replace").rstrip().splitlines()
    except OSError:
        lines = []
    if any(line.startswith("Traceback") for line in lines[-60:]):
        return f"it crashed: {lines[-1]} (see {run / LOG})"
    return (
        "it ended without a word: the system killed it, probably for memory, or the machine was "
        "switched off; go on with --resume, where need be with a smaller batch"
    )


def _seconds_left(events: list[dict[str, Any]], total: int) -> float | None:
    """Extrapolate the pace since the last phase began, validations included where they fell."""
    steps = [e for e in events if e["type"] == "step"][-200:]
    if len(steps) < 2 or steps[-1]["step"] <= steps[0]["step"]:
        return None
    pace = (steps[-1]["time"] - steps[0]["time"]) / (steps[-1]["step"] - steps[0]["step"])
    return float(pace * (total - 1 - steps[-1]["step"]))


def as_json(run: RunStatus) -> str:
    """Return a status as one JSON object."""
    from dataclasses import asdict

    return json.dumps(asdict(run) | {"path": str(run.path)})
