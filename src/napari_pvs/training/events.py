"""What a run says: one JSON line per event, appended to ``events.jsonl``."""

import json
import time
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
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")
        self._sequence += 1


def read(path: Path) -> list[dict[str, Any]]:
    """Read the events of a run, leaving out a last line that is still being written."""
    lines = Path(path).read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1]]
