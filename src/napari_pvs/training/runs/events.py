"""Events of a run: one JSON object a line, appended to ``events.jsonl``."""

import errno
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Required, TypedDict, Unpack, cast

from napari_pvs import json_files
from napari_pvs.errors import InputError, command
from napari_pvs.files import unwritable

VERSION = 1
Kind = Literal[
    "hello",
    "resumed",
    "left_out",
    "phase",
    "step",
    "epoch",
    "validation",
    "agreement",
    "weights",
    "checkpoint",
    "pseudo_labels",
    "unlabelled",
    "compared",
    "data_added",
    "paused",
    "stopped",
    "done",
    "warning",
    "error",
    "heartbeat",
]
_OFTEN = re.compile(rb'"type": ?"(step|heartbeat)"')
_CHUNK = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Values(TypedDict, total=False):
    """The keys of all events; each type of event has a few of them."""

    step: int
    of: int
    epoch: int
    loss: float
    name: str
    device: str
    processes: int
    method: str
    train: int
    validation: int
    unlabelled: int
    memory_forecast: int
    threshold: float
    dsc: float | None
    avd_percent: float | None
    recall: float | None
    subjects: dict[str, float]
    weights: str
    scans: int
    pvs_voxels: int
    before_mm3: float
    after_mm3: float
    twin: float
    kept: str
    added: list[str]
    changed: list[str]
    removed: list[str]
    message: str
    why: str


class Event(Values):
    """One event: a line of ``events.jsonl``.

    Attributes
    ----------
    v
        Version of the format.
    seq
        Number of the event, from 0.
    time
        Seconds since 1970.
    type
        What happened.
    """

    v: Required[int]
    seq: Required[int]
    time: Required[float]
    type: Required[Kind]


class EventLog:
    """Appends events to a file; a reader that follows it sees whole lines only.

    Parameters
    ----------
    path
        ``events.jsonl`` of the run; numbers continue from its last event.
    """

    def __init__(self, path: Path):
        self._path = Path(path)
        self._sequence = 0
        if not self._path.exists():
            return
        whole = size = 0
        with self._path.open("r+b") as file:
            while chunk := file.read(_CHUNK):
                self._sequence += chunk.count(b"\n")
                if (last := chunk.rfind(b"\n")) >= 0:
                    whole = size + last + 1
                size += len(chunk)
            if whole != size:  # a killed run left half a line
                file.truncate(whole)

    def write(
        self, kind: Kind, /, more: Mapping[str, float] | None = None, **values: Unpack[Values]
    ) -> None:
        """Append an event ``{v, seq, time, type, ...}``; ``more`` has numbers of any name."""
        event = {"v": VERSION, "seq": self._sequence, "time": time.time(), "type": kind}
        # only the first event creates the file: a folder that was moved must not reappear
        create = 0 if self._sequence else os.O_CREAT
        with open(self._path, "a", encoding="utf-8", opener=_opener(create)) as file:
            file.write(json.dumps(event | values | dict(more or {})) + "\n")
        self._sequence += 1


class NullEventLog(EventLog):
    """Writes nothing: of the processes of a run, the first alone writes."""

    def __init__(self) -> None:
        pass

    def write(
        self, kind: Kind, /, more: Mapping[str, float] | None = None, **values: Unpack[Values]
    ) -> None:
        """Write nothing."""


@contextmanager
def explained(out: Path, events: EventLog) -> Iterator[None]:
    """Turn a full disk or a missing file into an `InputError`, and log it as an event.

    Parameters
    ----------
    out
        The run's folder.
    events
        Of the run; not written to if the disk is full.

    Raises
    ------
    InputError
        A file cannot be read or written.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        path, number = getattr(error, "filename", None), getattr(error, "errno", None)
        reason = getattr(error, "strerror", None) or error
        then = f"then go on with {command('train', '--resume', out)}"
        if path is None or number in _FULL or Path(str(path)).is_relative_to(out):
            raise unwritable(out, error, f"make room, {then}") from error
        words = f"{path} cannot be used any more ({reason}); put it back, {then}."
        events.write("error", message=words)
        raise InputError(words) from error
    except InputError as error:
        events.write("error", message=str(error))
        raise
    except MemoryError:
        events.write(
            "error", message="the memory ran out; resume it with a smaller batch in its config.json"
        )
        raise


def _opener(create: int) -> Callable[[str, int], int]:
    return lambda path, flags: os.open(path, flags & ~os.O_CREAT | create, 0o666)


class Tail:
    """Reads a growing file of events, each line once.

    Parameters
    ----------
    path
        ``events.jsonl`` of a run; it need not exist yet.

    Attributes
    ----------
    behind
        Whether the last `read` left whole lines unread.
    """

    def __init__(self, path: Path):
        self._path, self._at = Path(path), 0
        self.behind = False

    def read(self, most: int = -1, steps: int = -1) -> list[Event]:
        """Return the new events, without a line that is still being written.

        Parameters
        ----------
        most
            Most bytes to read, at least a line; all if negative.
        steps
            Of ``step`` and ``heartbeat`` events only so many of the last, and as many spread over
            those before them; all if negative. Nearly all lines of a long run are such, and take
            long to decode.

        Raises
        ------
        ValueError
            A line is no event.
        """
        try:
            with self._path.open("rb") as file:
                file.seek(self._at)
                new = file.read(most)
        except FileNotFoundError:
            new = b""
        self.behind = len(new) == most
        whole = new[: new.rfind(b"\n") + 1]
        if self.behind and not whole:
            raise ValueError("a line has no end")
        self._at += len(whole)
        lines = whole.split(b"\n")[:-1]
        if steps >= 0:
            lines = _thinned(lines, steps)
        return [_event(line) for line in lines]


def _thinned(lines: list[bytes], steps: int) -> list[bytes]:
    """Leave out most lines of the kinds that a run writes several of in a second."""
    often = [at for at, line in enumerate(lines) if _OFTEN.search(line)]
    early = often[: max(0, len(often) - steps)]
    kept = early[:: -(-len(early) // steps)] if early and steps else []
    old = set(early) - set(kept)
    return [line for at, line in enumerate(lines) if at not in old]


def _event(line: bytes) -> Event:
    event = json_files.parse(line, dict[str, Any])
    if not isinstance(event.get("type"), str):
        raise ValueError("a line is no event")
    return cast(Event, event)


def read(path: Path) -> list[Event]:
    """Read the events of a run, without a last line that is still being written."""
    return Tail(path).read()
