"""What a run says: one JSON line per event, appended to ``events.jsonl``."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

VERSION = 1


class EventLog:
    """Append events to a file; a reader that follows it sees whole lines only.

    Parameters
    ----------
    path
        ``events.jsonl`` of the run; numbering goes on where the file ends.
    """

    def __init__(self, path: Path):
        self._path = Path(path)
        written = self._path.read_bytes() if self._path.exists() else b""
        whole = written[: written.rfind(b"\n") + 1]
        if whole != written:  # a run that was killed left half a line
            self._path.write_bytes(whole)
        self._sequence = whole.count(b"\n")

    def write(self, kind: str, **values: Any) -> None:
        """Append one event ``{v, seq, time, type, ...}``."""
        event = {"v": VERSION, "seq": self._sequence, "time": time.time(), "type": kind, **values}
        # only the first makes the file: a folder that was moved away must not come back half
        create = 0 if self._sequence else os.O_CREAT
        with open(self._path, "a", encoding="utf-8", opener=_opener(create)) as file:
            file.write(json.dumps(event) + "\n")
        self._sequence += 1


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

    def read(self, most: int = -1) -> list[dict[str, Any]]:
        """Return the events that came since, but for a line that is still being written.

        Parameters
        ----------
        most
            Bytes to read at most, all where negative; more than a line has.
        """
        try:
            with self._path.open("rb") as file:
                file.seek(self._at)
                new = file.read(most)
        except FileNotFoundError:
            new = b""
        self.behind = len(new) == most
        whole = new[: new.rfind(b"\n") + 1]
        self._at += len(whole)
        return [json.loads(line) for line in whole.decode("utf-8").split("\n")[:-1]]


def read(path: Path) -> list[dict[str, Any]]:
    """Read the events of a run, leaving out a last line that is still being written."""
    return Tail(path).read()
