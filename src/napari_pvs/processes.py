"""Our own processes: whether one is still alive, and why one died."""

from typing import Any

_SAME_S = 3.0  # creation times of the same process differ by less
_KILLED = 9  # SIGKILL, which the system sends when memory runs out
_END = 60  # lines at the end of a log in which to look for a traceback
_OURS = "napari-pvs: "


def living(number: int, begun: float) -> Any:
    """Return psutil's process for an id and creation time; None if it is gone.

    The id alone is not enough, because the system reuses them.

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


def explain_death(
    code: int | None,
    crashed: bool,
    errors: str,
    *,
    what: str = "The process",
    remedy: str = "try again, or report this",
    memory: str = "close other programs and try again",
) -> str:
    """Say in a sentence why a process ended unexpectedly.

    Parameters
    ----------
    code
        Its exit code or, if it crashed, the signal that ended it; None if unknown, because it was
        not a child of this process.
    crashed
        Whether a signal ended it.
    errors
        The end of its stderr or log.
    what
        Subject of the sentence.
    remedy
        What to do about a crash.
    memory
        What to do if memory may have run out.
    """
    if crashed and code == _KILLED:
        return (
            f"The system killed {what[:1].lower()}{what[1:]} (signal {code}), probably because "
            f"memory ran out; {memory}."
        )
    if (sentence := refusal(errors)) is not None:
        return sentence
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    last = lines[-1] if lines else "no message"
    if code is not None:
        how = f"signal {code}" if crashed else f"exit code {code}"
        return f"{what} ended unexpectedly ({how}: {last}); {remedy}."
    if any(line.startswith("Traceback") for line in lines[-_END:]):
        return f"{what} crashed: {last}; {remedy}."
    return (
        f"{what} ended without a message: the system killed it, probably because memory ran out, "
        f"or the machine was switched off; {memory}."
    )


def refusal(errors: str) -> str | None:
    """Return the sentence with which our command line refused its input, from its stderr's end.

    None if it did not refuse it.
    """
    last = errors.rstrip().rpartition("\n")[2]
    sentence = last.removeprefix(_OURS)
    return None if sentence == last or sentence.startswith("warning: ") else sentence
