"""Commands to a run (pause, resume, stop, checkpoint, reload): ``control.json`` in its folder."""

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from napari_pvs import json_files
from napari_pvs.errors import InputError
from napari_pvs.files import write_text
from napari_pvs.training.distributed.world import ALONE, World
from napari_pvs.training.runs.folder import locked, require

Command = Literal["pause", "resume", "stop", "checkpoint", "reload"]
FILE = "control.json"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Told(BaseModel):
    """Content of the file."""

    command: Command


def tell(run: Path, command: Command) -> None:
    """Send a command to a run, which obeys it after the current (or first) step.

    Raises
    ------
    InputError
        Not a run folder.
    """
    require(run)
    write_text(Path(run) / FILE, json.dumps({"command": command}) + "\n")


@contextmanager
def taken_over(run: Path) -> Iterator[None]:
    """Lock a run for a new process, and drop commands sent to an earlier one.

    Any later command is for this process, even if it is still reading scans.

    Raises
    ------
    InputError
        As `locked`.
    """
    with locked(run):
        (Path(run) / FILE).unlink(missing_ok=True)
        yield


class Control:
    """Receives the commands to a run, each once.

    Parameters
    ----------
    run
        Its folder. A command already in it was sent after the run was `taken_over`.
    world
        The processes of the run: only the first reads the folder, but all obey.
    """

    def __init__(self, run: Path, world: World = ALONE):
        self._path, self._world = Path(run) / FILE, world
        self._signalled = False

    @contextmanager
    def stopped_by_signals(self) -> Iterator[None]:
        """Treat Ctrl-C and SIGTERM (a queue's time limit) as ``stop``; a second signal kills.

        If there are several processes, each gets the signal twice, from the queue and from
        torchrun, so a second one does not kill them; torchrun does that after half a minute.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, _: Any) -> None:
            self._signalled = True
            if self._world.size == 1:
                signal.signal(number, old[signal.Signals(number)])

        old = {n: signal.signal(n, stop) for n in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    def take(self) -> Command | None:
        """Return a new command, or None; an unknown command is ignored.

        All processes call it together and get the same answer.
        """
        said = self._world.gather(self._heard())
        return "stop" if "stop" in said else said[0]

    def _heard(self) -> Command | None:
        if self._signalled:
            return "stop"
        if self._world.rank:
            return None
        taken = self._path.with_suffix(".taken")
        try:
            self._path.replace(taken)  # so that a command sent meanwhile is not lost
        except OSError:
            return None
        try:
            command = json_files.read(taken, _Told, "").command
        except (OSError, InputError):
            return None
        finally:
            taken.unlink(missing_ok=True)
        return command
