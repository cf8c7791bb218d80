"""What raters decided about single PVS, in a file that several sessions may write."""

import logging
from collections.abc import Collection, Iterable
from pathlib import Path

from napari_pvs import json_files
from napari_pvs.errors import InputError
from napari_pvs.files import write_text
from napari_pvs.inference.review import Decision, Review

log = logging.getLogger(__name__)


def read(path: Path) -> tuple[Decision, ...]:
    """Read what was decided; nothing where there is no file.

    Raises
    ------
    OSError
        It cannot be read.
    ValueError
        It is damaged, or of a newer version.
    """
    try:
        return json_files.read(path, Review, "it is set aside").decisions
    except FileNotFoundError:
        return ()
    except InputError as error:
        raise ValueError(str(error)) from error


def keep(path: Path, review: Review, known: Collection[Decision]) -> None:
    """Write what was decided here, beside what others have decided since.

    A file that cannot be understood is set aside.

    Parameters
    ----------
    path
        The file.
    review
        What counts here.
    known
        What was known here at any time: in the file alone, it was taken back.

    Raises
    ------
    InputError, OSError
        It cannot be read or written.
    """
    try:
        others = [one for one in read(path) if one not in known]
    except ValueError as error:  # pydantic's and Unicode's errors are such
        aside = next(p for n in range(1, 10_000) if not (p := _aside(path, n)).exists())
        path.rename(aside)
        log.warning("%s cannot be understood; it is %s now: %s", path, aside.name, error)
        others = []
    write_text(path, latest((*others, *review.decisions)).model_dump_json(indent=1) + "\n")


def latest(decisions: Iterable[Decision]) -> Review:
    """Return the last decision about each PVS, in the order of their times."""
    found = sorted(decisions, key=lambda one: one.time)
    last = {one.point: one for one in found}
    return Review(decisions=tuple(one for one in found if last[one.point] is one))


def _aside(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}.unread-{number}{path.suffix}")
