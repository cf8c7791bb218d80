"""Whether a process that was noted by its number and its beginning still lives."""

from typing import Any

_SAME_S = 3.0  # two times of one process lie no further apart


def living(number: int, begun: float) -> Any:
    """Return psutil's process of a number and a time of creation; None where it is gone.

    Numbers of processes are given again, so that the number alone tells nothing.

    Raises
    ------
    psutil.Error
        The system does not tell.
    """
    import psutil

    try:
        process = psutil.Process(number)
        same = abs(process.create_time() - begun) < _SAME_S
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def explain_death(code: int, crashed: bool, errors: str) -> str:
    """Say in a sentence why a process ended without an answer.

    Parameters
    ----------
    code
        Its exit code or, where it crashed, the signal that ended it.
    crashed
        Whether it was ended by a signal.
    errors
        The end of its stderr.
    """
    if crashed and code == 9:
        return (
            "The system ended the process, probably because memory ran out; close other programs "
            "and try again."
        )
    last = next((line for line in reversed(errors.splitlines()) if line.strip()), "no message")
    how = f"signal {code}" if crashed else f"exit code {code}"
    return f"The process ended unexpectedly ({how}: {last.strip()}); try again, or report this."
