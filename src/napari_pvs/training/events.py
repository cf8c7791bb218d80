"""What a run says: one JSON line per event, appended to ``events.jsonl``."""

import errno
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from napari_pvs import json_files
from napari_pvs.errors import InputError, command

VERSION = 1
_OFTEN = re.compile(rb'"type": ?"(step|heartbeat)"')
_CHUNK = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)


class EventLog:
    """Append events to a file; a reader that follows it sees whole lines only.

    Parameters
    ----------
    path
        ``events.jsonl`` of the run; numbering goes on where the file ends.
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
            if whole != size:  # a run that was killed left half a line
                file.truncate(whole)

    def write(self, kind: str, **values: Any) -> None:
        """Append one event ``{v, seq, time, type, ...}``."""
        event = {"v": VERSION, "seq": self._sequence, "time": time.time(), "type": kind, **values}
        # only the first makes the file: a folder that was moved away must not come back half
        create = 0 if self._sequence else os.O_CREAT
        with open(self._path, "a", encoding="utf-8", opener=_opener(create)) as file:
            file.write(json.dumps(event) + "\n")
        self._sequence += 1


class Silence(EventLog):
    """What the processes beside the first have to say."""

    def __init__(self) -> None:
        pass

    def write(self, kind: str, **values: object) -> None:
        """Say nothing."""


@contextmanager
def explained(out: Path, events: EventLog) -> Iterator[None]:
    """Turn a full disk, or a file that is gone, into one sentence; the events get the last word.

    Parameters
    ----------
    out
        The run's folder.
    events
        Of the run; a full disk takes none.

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
        then = f"then go on with {command('train', '--resume', out)}."
        if path is None or number in _FULL or Path(str(path)).is_relative_to(out):
            raise InputError(f"{out} cannot be written ({reason}); make room, {then}") from error
        words = f"{path} cannot be used any more ({reason}); put it back, {then}"
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
    """Reads a file of events as it grows, each line once.

    Parameters
    ----------
    path
        ``events.jsonl`` of a run; it need not exist yet.

    Attributes
    ----------
    behind
        Whether the last `read` left whole lines for the next one.
    """

    def __init__(self, path: Path):
        self._path, self._at = Path(path), 0
        self.behind = False

    def read(self, most: int = -1, steps: int = -1) -> list[dict[str, Any]]:
        """Return the events that came since, but for a line that is still being written.

        Parameters
        ----------
        most
            Bytes to read at most, all where negative; more than a line has.
        steps
            Of consecutive ``step`` and ``heartbeat`` events only so many of the last, all where
            negative: of a long run nearly all lines are such, and take long to decode.

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
            lines = _without_old(lines, steps)
        return [_event(line) for line in lines]


def _without_old(lines: list[bytes], steps: int) -> list[bytes]:
    """Leave out all but the last lines of the kinds that a run writes several of in a second."""
    often = [at for at, line in enumerate(lines) if _OFTEN.search(line)]
    old = set(often[: max(0, len(often) - steps)])
    return [line for at, line in enumerate(lines) if at not in old]


def _event(line: bytes) -> dict[str, Any]:
    event = json_files.parse(line, dict[str, Any])
    if not isinstance(event.get("type"), str):
        raise ValueError("a line is no event")
    return event


def read(path: Path) -> list[dict[str, Any]]:
    """Read the events of a run, leaving out a last line that is still being written."""
    return Tail(path).read()
