"""Training runs as processes of their own, which live on when napari is closed.

Each is the command line's ``train`` in a run folder. Until the run has opened its folder, its log
and the number of its process lie beside it, because a new run wants its folder empty.
"""

import contextlib
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from napari_pvs.errors import InputError
from napari_pvs.files import held, write_text
from napari_pvs.training import runs
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.folder import CONFIG, EVENTS, LOG, RUNS, SPLIT, busy, is_running
from napari_pvs.widgets.processes import living

_children: dict[Path, "subprocess.Popen[bytes]"] = {}
"""Runs that this napari has started: only their parent learns how they ended."""
_KILLED = -9
_LOCK = ".start.lock"
_STARTING_S = 1.0


def start(config: TrainingConfig) -> Path:
    """Start a new run of a study and return its folder.

    Raises
    ------
    InputError
        The study is being trained already, or cannot be written.
    """
    study = config.study.absolute()
    refuse_second(study)  # before anything is written
    with _alone(study):
        return _begin(config, study)


def _begin(config: TrainingConfig, study: Path) -> Path:
    refuse_second(study)
    stamp = f"{datetime.now():%Y%m%d-%H%M%S}"
    run = study / RUNS / f"{stamp}-{config.method}"
    try:
        write_text(run / CONFIG, config.model_dump_json(indent=2) + "\n")
    except (InputError, OSError) as error:
        raise _unwritable(study, error) from error
    try:
        _launch(run, [str(run)])
    except InputError:
        discard(run)
        raise
    return run


def resume(run: Path, epochs: int | None = None) -> None:
    """Go on with a run that was stopped or died, or with one that is done.

    Parameters
    ----------
    run
        Its folder.
    epochs
        How long it is to be in all; as it was to be where None.

    Raises
    ------
    InputError
        A run of the study is going on, or the folder cannot be written.
    """
    run = run.absolute()
    begun = (run / SPLIT).is_file()  # else it died before it had read the study
    longer = [] if epochs is None else ["--epochs", str(epochs)]
    command = ["--resume", str(run), *longer] if begun else [str(run)]
    if run.parent.parts[-len(RUNS.parts) :] != RUNS.parts:  # of no study
        _launch(run, command)
        return
    study = run.parents[len(RUNS.parts)]
    with _alone(study):
        refuse_second(study)
        _launch(run, command)


def refuse_second(study: Path) -> None:
    """Refuse to train a study twice at a time.

    Raises
    ------
    InputError
        One of its runs is going on; or it is not a folder.
    """
    for run in runs.runs(study):
        if alive(run):
            raise busy(run)


def alive(run: Path) -> bool:
    """Tell whether a run is going on, be it that it still reads its scans."""
    run = run.absolute()
    # the lock is asked last: to ask takes it for a moment, in which a run could not start
    return _child_lives(run) or _recorded(run) is not None or is_running(run)


def began(run: Path) -> bool:
    """Tell whether a run has ever said anything."""
    return (run / EVENTS).is_file()


def started_at(run: Path) -> float | None:
    """When the living process of a run was started, if it was from a dock."""
    run = run.absolute()
    if _recorded(run) is None:
        return None
    try:
        return float(_record(run).read_text(encoding="utf-8").split()[0])
    except (OSError, ValueError, IndexError):
        return None


def end_code(run: Path) -> int | None:
    """How a process that this napari has started ended; None where it lives, or is another's."""
    child = _children.get(run.absolute())
    return None if child is None else child.poll()


def kill(run: Path) -> None:
    """End a run that has not begun: there is nothing yet that it could save."""
    run = run.absolute()
    child = _children.get(run)
    if child is not None and child.poll() is None:
        child.terminate()
        return
    process = _recorded(run)
    if process is not None:
        import psutil

        with contextlib.suppress(psutil.Error):
            process.terminate()


def discard(run: Path) -> None:
    """Remove what `start` has made, of a run that has never begun; another is left alone."""
    run = run.absolute()
    with contextlib.suppress(OSError):
        if [path.name for path in run.iterdir()] == [CONFIG]:
            (run / CONFIG).unlink()
            run.rmdir()
            for path in (_early_log(run), _record(run)):
                path.unlink(missing_ok=True)


def log_of(run: Path) -> Path:
    """Path of a run's log; it moves into the folder once the run has begun."""
    early, log = _early_log(run), run / LOG
    if began(run) and not log.exists():
        with contextlib.suppress(OSError):  # Windows moves no open file: then it stays
            early.rename(log)
    return early if early.exists() and not log.exists() else log


def explain(run: Path, why: str = "") -> str:
    """Say in a sentence why a process ended before its time.

    Parameters
    ----------
    run
        Its folder.
    why
        What its events and its log tell; see `runs.status`.
    """
    code, lines = end_code(run), runs.log_end(log_of(run))
    refused = runs.refusal(lines)
    if code == _KILLED:
        text = (
            f"the system killed it (signal {-code}), probably because memory ran out; close other "
            "programs and resume it, or start a run with a smaller batch."
        )
    elif refused is not None:
        text = refused
    elif why:
        text = why
    elif code in (None, 0):
        text = "it ended before it began; start it again."
    else:
        last = lines[-1] if lines else "no message"
        text = f"it ended unexpectedly (exit code {code}: {last}); see {log_of(run)}."
    return text[0].upper() + text[1:]


@contextlib.contextmanager
def _alone(study: Path) -> Iterator[None]:
    """Let no other napari start a run of a study at the same moment."""
    with contextlib.ExitStack() as stack:
        try:
            (study / RUNS).mkdir(parents=True, exist_ok=True)
            stack.enter_context(held(study / RUNS / _LOCK, _STARTING_S))
        except TimeoutError as error:
            raise InputError(
                f"another napari starts a run of {study} right now; try again in a moment."
            ) from error
        except OSError as error:
            raise _unwritable(study, error) from error
        yield


def _unwritable(study: Path, error: Exception) -> InputError:
    why = getattr(error, "strerror", None) or error.__cause__ or error
    remedy = "allow writing there, or copy it to a folder of yours."
    return InputError(f"the study {study} cannot be written ({why}); {remedy}")


def _launch(run: Path, arguments: list[str]) -> None:
    log = log_of(run) if began(run) else _early_log(run)
    command = [sys.executable, "-P", "-m", "napari_pvs", "train", *arguments]
    # its own session: what ends napari's, a closed terminal say, does not end it
    detached: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        flags = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
        detached = {"creationflags": flags}
    try:
        with log.open("ab") as file:
            # so that what an earlier life said last is not taken for this one's
            file.write(f"{datetime.now():%F %T} napari-pvs {' '.join(command[4:])}\n".encode())
            file.flush()
            now = time.time()
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, **detached
            )
        _children[run] = child
        _step_back(child.pid)
        record = f"{now} {child.pid} {_create_time(child.pid)} {platform.node()}"
        _record(run).write_text(record, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{run} cannot be trained ({error}); make room, or allow it.") from error


def _step_back(pid: int) -> None:
    """Let a process give way: it computes for hours, and whoever corrects meanwhile waits."""
    import psutil

    with contextlib.suppress(psutil.Error):
        process, windows = psutil.Process(pid), sys.platform == "win32"
        lower = psutil.BELOW_NORMAL_PRIORITY_CLASS if windows else min(19, process.nice() + 10)
        process.nice(lower)
        with contextlib.suppress(OSError):
            # Linux shares the processor between sessions first, whatever the processes in them say
            Path(f"/proc/{pid}/autogroup").write_text(str(lower), encoding="ascii")


def _early_log(run: Path) -> Path:
    return run.with_name(f".{run.name}.log")


def _record(run: Path) -> Path:
    return run.with_name(f".{run.name}.pid")


def _create_time(pid: int) -> float:
    """When the system began a process, in seconds that may be one or two off."""
    import psutil

    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return 0.0


def _recorded(run: Path) -> Any:
    """Return the process that some napari on this machine has started for a run, if it lives."""
    import psutil

    try:
        _, number, created, node = _record(run).read_text(encoding="utf-8").split(" ", 3)
        if node != platform.node():
            return None
        process = living(int(number), float(created))
    except (OSError, ValueError, psutil.Error):
        return None
    if process is None:
        with contextlib.suppress(OSError):
            _record(run).unlink()
    return process


def _child_lives(run: Path) -> bool:
    child = _children.get(run)
    return child is not None and child.poll() is None
