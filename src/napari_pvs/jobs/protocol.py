"""How napari and its processes talk: a request in a folder, JSON lines as the answer."""

import json
import os
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from napari_pvs.errors import InputError

REQUEST = "request.json"
Say = Callable[..., None]


def answer(folder: Path, do: Callable[[dict[str, Any], Say], None]) -> int:
    """Do what the request in a folder asks, say what goes wrong, and return the exit code.

    Parameters
    ----------
    folder
        With the request.
    do
        Gets the request, and what says a line: its type and values; ``raw`` are bytes that follow.
    """
    # libraries that print must not disturb the lines of JSON
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")  # those for the user travel with the scan

    def say(kind: str, raw: bytes = b"", **values: Any) -> None:
        size = {"bytes": len(raw)} if raw else {}
        out.write(json.dumps({"type": kind, **size, **values}).encode() + b"\n" + raw)
        out.flush()

    try:
        do(json.loads((folder / REQUEST).read_text(encoding="utf-8")), say)
    except InputError as error:
        say("error", text=str(error))
        return 2
    except OSError as error:
        traceback.print_exc()
        where = error.filename or folder
        say("error", text=f"{where} cannot be used ({error.strerror}); make room or allow access.")
        return 2
    return 0


def _end_with_parent() -> None:
    while os.read(0, 1024):  # sys.stdin's lock would be held at the end
        pass
    os._exit(3)
