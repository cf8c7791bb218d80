"""Training runs as separate processes, which continue when napari is closed.

Each process is the command line's ``train`` on a run folder. Until it has begun, its log and
process id are kept beside the folder, because a new run needs an empty one.
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
from napari_pvs.files import held, unwritable, write_text
from napari_pvs.processes import explain_death, living, refusal
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.runs.folder import CONFIG, EVENTS, LOG, RUNS, SPLIT, busy, is_running
from napari_pvs.training.runs.status import log_end, runs

children: dict[Path, "subprocess.Popen[bytes]"] = {}
"""Runs started by this process, by folder; only a parent can get the exit code."""
_KILLED = -9
_LOCK = ".start.lock"
_STARTING_S = 1.0
_COPY = "allow writing there, or copy it to a folder of your own"


def start(config: TrainingConfig) -> Path:
    """Start a new run of a study, and return its folder.

    Raises
    ------
    InputError
        A run of the study is running, or the study cannot be written.
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
        raise unwritable(f"the study {study}", error, _COPY) from error
    try:
        _launch(run, [str(run)])
    except InputError:
        discard(run)
        raise
    return run


def resume(run: Path, epochs: int | None = None) -> None:
    """Resume a run that was stopped or died, or extend one that has finished.

    Parameters
    ----------
    run
        Its folder.
    epochs
        New length of the run; unchanged if None.

    Raises
    ------
    InputError
        A run of the study is running, or the folder cannot be written.
    """
    run = run.absolute()
    begun = (run / SPLIT).is_file()  # otherwise it died before it had read the study
    longer = [] if epochs is None else ["--epochs", str(epochs)]
    command = ["--resume", str(run), *longer] if begun else [str(run)]
    if run.parent.parts[-len(RUNS.parts) :] != RUNS.parts:  # not inside a study
        _launch(run, command)
        return
    study = run.parents[len(RUNS.parts)]
    with _alone(study):
        refuse_second(study)
        _launch(run, command)


def refuse_second(study: Path) -> None:
    """Refuse to start a second run of a study.

    Raises
    ------
    InputError
        One of its runs is in progress, or the study is not a folder.
    """
    for run in runs(study):
        if alive(run):
            raise busy(run)


def alive(run: Path) -> bool:
    """Tell whether a run is in progress, even if it is still reading its scans."""
    run = run.absolute()
    # the lock comes last: testing takes it for a moment, during which the run could not start
    return _child_lives(run) or _recorded(run) is not None or is_running(run)


def began(run: Path) -> bool:
    """Tell whether a run has written any event."""
    return (run / EVENTS).is_file()


def started_at(run: Path) -> float | None:
    """Return when a run's process was started; None if it was not started here."""
    run = run.absolute()
    if _recorded(run) is None:
        return None
    try:
        return float(_record(run).read_text(encoding="utf-8").split()[0])
    except (OSError, ValueError, IndexError):
        return None


def end_code(run: Path) -> int | None:
    """Return the exit code of a run; None if it is alive or not a child of this process."""
    child = children.get(run.absolute())
    return None if child is None else child.poll()


def kill(run: Path) -> None:
    """Terminate a run that has not begun, and so has nothing to save."""
    run = run.absolute()
    child = children.get(run)
    if child is not None and child.poll() is None:
        child.terminate()
        return
    process = _recorded(run)
    if process is not None:
        import psutil

        with contextlib.suppress(psutil.Error):
            process.terminate()


def discard(run: Path) -> None:
    """Remove the folder made by `start` if the run never began."""
    run = run.absolute()
    with contextlib.suppress(OSError):
        if [path.name for path in run.iterdir()] == [CONFIG]:
            (run / CONFIG).unlink()
            run.rmdir()
            for path in (_early_log(run), _record(run)):
                path.unlink(missing_ok=True)


def log_of(run: Path) -> Path:
    """Return the path of a run's log, which moves into its folder once the run has begun."""
    early, log = _early_log(run), run / LOG
    if began(run) and not log.exists():
        with contextlib.suppress(OSError):  # Windows cannot move an open file: it stays
            early.rename(log)
    return early if early.exists() and not log.exists() else log


def explain(run: Path, why: str = "") -> str:
    """Say in a sentence why a run's process ended early.

    Parameters
    ----------
    run
        Its folder.
    why
        The reason in its `RunStatus`, if any.
    """
    code, log = end_code(run), log_of(run)
    errors = log_end(log)
    if why and code != _KILLED and refusal(errors) is None:
        text = why
    elif code in (None, 0) and refusal(errors) is None:
        text = "it ended before it began; start it again."
    else:
        text = explain_death(
            None if code is None else abs(code),
            code is not None and code < 0,
            errors,
            what="it",
            remedy=f"see {log}",
            memory="close other programs and resume it, or start a run with a smaller batch",
        )
    return text[0].upper() + text[1:]


@contextlib.contextmanager
def _alone(study: Path) -> Iterator[None]:
    """Keep other processes from starting a run of the study at the same time."""
    with contextlib.ExitStack() as stack:
        try:
            (study / RUNS).mkdir(parents=True, exist_ok=True)
            stack.enter_context(held(study / RUNS / _LOCK, _STARTING_S))
        except TimeoutError as error:
            raise InputError(
                f"another napari is just starting a run of {study}; try again in a moment."
            ) from error
        except OSError as error:
            raise unwritable(f"the study {study}", error, _COPY) from error
        yield


def _launch(run: Path, arguments: list[str]) -> None:
    log = log_of(run) if began(run) else _early_log(run)
    command = [sys.executable, "-P", "-m", "napari_pvs", "train", *arguments]
    # its own session, so that closing napari's terminal does not end it
    detached: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        flags = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
        detached = {"creationflags": flags}
    try:
        with log.open("ab") as file:
            # so that the last line of an earlier process is not mistaken for this one's
            file.write(f"{datetime.now():%F %T} napari-pvs {' '.join(command[4:])}\n".encode())
            file.flush()
            now = time.time()
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, **detached
            )
        children[run] = child
        _step_back(child.pid)
        record = f"{now} {child.pid} {_create_time(child.pid)} {platform.node()}"
        _record(run).write_text(record, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{run} cannot be trained ({error}); make room, or allow writing there."
        ) from error


def _step_back(pid: int) -> None:
    """Lower the priority of a process, so that the viewer stays responsive for hours."""
    import psutil

    with contextlib.suppress(psutil.Error):
        process, windows = psutil.Process(pid), sys.platform == "win32"
        lower = psutil.BELOW_NORMAL_PRIORITY_CLASS if windows else min(19, process.nice() + 10)
        process.nice(lower)
        with contextlib.suppress(OSError):
            # Linux shares the processor between sessions first, regardless of niceness
            Path(f"/proc/{pid}/autogroup").write_text(str(lower), encoding="ascii")


def _early_log(run: Path) -> Path:
    return run.with_name(f".{run.name}.log")


def _record(run: Path) -> Path:
    return run.with_name(f".{run.name}.pid")


def _create_time(pid: int) -> float:
    """Return when a process was created, to within a second or two."""
    import psutil

    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return 0.0


def _recorded(run: Path) -> Any:
    """Return the living process that was started for a run on this machine, if any."""
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
    child = children.get(run)
    return child is not None and child.poll() is None
