"""Processes of ours: whether one still lives, and why one died."""

from typing import Any

_SAME_S = 3.0  # two times of one process lie no further apart
_KILLED = 9  # SIGKILL: what the system ends a process with when memory runs out
_END = 60  # lines at the end of a log in which a traceback counts
_OURS = "napari-pvs: "


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


def explain_death(
    code: int | None,
    crashed: bool,
    errors: str,
    *,
    what: str = "The process",
    remedy: str = "try again, or report this",
    memory: str = "close other programs and try again",
) -> str:
    """Say in a sentence why a process ended before its time.

    Parameters
    ----------
    code
        Its exit code or, where it crashed, the signal that ended it; None where nobody knows,
        since it was not this process's child.
    crashed
        Whether it was ended by a signal.
    errors
        The end of its stderr, or of its log.
    what
        The first words of the sentence.
    remedy
        What to do about a crash.
    memory
        What to do where memory may have run out.
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
        f"{what} ended without a word: the system killed it, probably for memory, or the machine "
        f"was switched off; {memory}."
    )


def refusal(errors: str) -> str | None:
    """Return the sentence that our command line refused its input with, of the end of its stderr.

    None where it did not.
    """
    last = errors.rstrip().rpartition("\n")[2]
    sentence = last.removeprefix(_OURS)
    return None if sentence == last or sentence.startswith("warning: ") else sentence
