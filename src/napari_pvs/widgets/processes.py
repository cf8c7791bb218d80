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
