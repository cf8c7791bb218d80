"""Events of a run: one JSON object per line, appended to ``events.jsonl``."""

import errno
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Literal, Required, TypedDict, Unpack, cast, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model

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
    """The keys of all events; each type of event has some of them."""

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
    """Appends events to a file; a reader that follows it sees only complete lines.

    Parameters
    ----------
    path
        The run's ``events.jsonl``; numbering continues from its last event.

    Attributes
    ----------
    phase
        Name of the last phase that was written.
    """

    def __init__(self, path: Path):
        self._path = Path(path)
        self._sequence = 0
        self.phase = "train"
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
        # only the first event creates the file, so that a folder that was moved does not reappear
        create = 0 if self._sequence else os.O_CREAT
        with open(self._path, "a", encoding="utf-8", opener=_opener(create)) as file:
            file.write(json.dumps(event | values | dict(more or {})) + "\n")
        self._sequence += 1
        if kind == "phase":
            self.phase = values["name"]


class NullEventLog(EventLog):
    """Writes nothing; only the first process of a run writes events."""

    phase = "train"

    def __init__(self) -> None:
        pass

    def write(
        self, kind: Kind, /, more: Mapping[str, float] | None = None, **values: Unpack[Values]
    ) -> None:
        """Write nothing."""


@contextmanager
def reported(out: Path, events: EventLog) -> Iterator[None]:
    """Turn a full disk or a missing file into an `InputError`, and log errors as events.

    Parameters
    ----------
    out
        The run's folder.
    events
        The run's event log; not written to if the disk is full.

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
        then = f"then continue with {command('train', '--resume', out)}"
        if not out.is_dir():
            raise InputError(f"{out} is no longer there; put it back, {then}.") from error
        if path is None or number in _FULL or Path(str(path)).is_relative_to(out):
            raise unwritable(out, error, f"make room, {then}") from error
        words = f"{path} can no longer be used ({reason}); put it back, {then}."
        events.write("error", message=words)
        raise InputError(words) from error
    except InputError as error:
        with suppress(OSError):  # the run may lie in the study that went away
            events.write("error", message=str(error))
        raise
    except (MemoryError, RuntimeError) as error:
        if not _of_memory(error):
            raise
        words = f"memory ran out; resume {out} with a smaller batch in its config.json."
        events.write("error", message=words)
        raise InputError(words) from error


def _of_memory(error: Exception) -> bool:
    """Tell whether memory ran out; PyTorch says so in words, by device."""
    said = str(error).lower()
    words = ("out of memory", "can't allocate memory")
    return isinstance(error, MemoryError) or any(each in said for each in words)


def _opener(create: int) -> Callable[[str, int], int]:
    return lambda path, flags: os.open(path, flags & ~os.O_CREAT | create, 0o666)


class Tail:
    """Reads a growing file of events, each line once.

    Parameters
    ----------
    path
        A run's ``events.jsonl``; it need not exist yet.

    Attributes
    ----------
    behind
        Whether the last `read` left complete lines unread.
    """

    def __init__(self, path: Path):
        self._path, self._at = Path(path), 0
        self.behind = False

    def read(self, most: int = -1, steps: int = -1) -> list[Event]:
        """Return the new events, without a line that is still being written.

        Parameters
        ----------
        most
            Maximum number of bytes to read, at least a line; no limit if negative.
        steps
            Limits ``step`` and ``heartbeat`` events to this many of the latest, and as many spread
            over the earlier ones; no limit if negative. They are nearly all lines of a long run,
            and take long to decode.

        Raises
        ------
        ValueError
            A line is not an event, or lacks a key that its type has.
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
            raise ValueError("a line does not end")
        self._at += len(whole)
        lines = whole.split(b"\n")[:-1]
        if steps >= 0:
            lines = _thinned(lines, steps)
        return [_event(line) for line in lines]


def _thinned(lines: list[bytes], steps: int) -> list[bytes]:
    """Drop most lines of the kinds that a run writes several times a second."""
    often = [at for at, line in enumerate(lines) if _OFTEN.search(line)]
    early = often[: max(0, len(often) - steps)]
    kept = early[:: -(-len(early) // steps)] if early and steps else []
    old = set(early) - set(kept)
    return [line for at, line in enumerate(lines) if at not in old]


def _line() -> type[BaseModel]:
    """Make the schema of a line; newer versions may write other types and keys."""
    number = Annotated[int, Field(ge=-(2**53), le=2**53)]
    optional: dict[str, Any] = {
        name: (number if kind is int else kind, None)
        for name, kind in get_type_hints(Values).items()
    }
    return create_model(
        "Line",
        __config__=ConfigDict(extra="allow", allow_inf_nan=False),
        v=(number, ...),
        seq=(number, ...),
        time=(Annotated[float, Field(ge=0, le=1e11)], ...),
        type=(str, ...),
        **optional,
    )


_Line = _line()
_NEEDED: dict[str, tuple[str, ...]] = {
    "resumed": ("step",),
    "left_out": ("name", "why"),
    "phase": ("name",),
    "step": ("step",),
    "epoch": ("epoch", "of", "loss"),
    "validation": ("epoch", "dsc", "avd_percent", "recall"),
    "weights": ("epoch", "dsc"),
    "checkpoint": ("step",),
    "data_added": ("added", "changed", "removed"),
    "stopped": ("step",),
    "warning": ("message",),
    "error": ("message",),
}
"""Keys that every reader relies on, by type of event."""


def _event(line: bytes) -> Event:
    event = json_files.parse(line, _Line).model_dump(exclude_unset=True)
    missing = [key for key in _NEEDED.get(event["type"], ()) if key not in event]
    if missing:
        raise ValueError(f"{event['type']} lacks its {missing[0]}")
    return cast(Event, event)


def read(path: Path) -> list[Event]:
    """Read the events of a run, without a last line that is still being written."""
    return Tail(path).read()
