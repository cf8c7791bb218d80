"""How long raters worked on a subject, and what they did: kept in the study, sitting by sitting.

A sitting is a rater's work on one subject, from opening it to leaving it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from napari_pvs import json_files
from napari_pvs.errors import InputError
from napari_pvs.evaluation.tables import tsv
from napari_pvs.files import changing, explained, write_text
from napari_pvs.scans.derivative import SITTINGS
from napari_pvs.study.drafts import set_aside
from napari_pvs.study.paths import label_folder, label_folders, require

LONGEST_PAUSE_S = 60.0
"""A longer pause between two actions counts as long as this."""
Action = Literal["decision", "edit", "look"]
_REMEDY = "make room or allow writing there"


class Sitting(BaseModel):
    """What one rater did with one subject, from opening to leaving it."""

    model_config = ConfigDict(frozen=True)

    rater: str
    begun: AwareDatetime
    seconds: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Time at work; see `LONGEST_PAUSE_S`."""
    decisions: int = Field(default=0, ge=0)
    """PVS that were accepted, rejected or skipped in the review."""
    edits: int = Field(default=0, ge=0)
    """Strokes and clicks that changed the labels."""
    blind: bool = False
    """Other raters' labels and the prediction were hidden."""
    adjudication: bool = False
    """The rater decided between two others' labels."""


class _File(BaseModel):
    model_config = ConfigDict(frozen=True)

    format: Literal["napari-pvs-sittings/1"] = "napari-pvs-sittings/1"
    sittings: tuple[Sitting, ...] = ()


class Tally:
    """Counts one sitting while it lasts.

    Parameters
    ----------
    begun
        The sitting without any work.

    Examples
    --------
    >>> from datetime import UTC, timedelta
    >>> noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    >>> tally = Tally(Sitting(rater="ann", begun=noon))
    >>> for seconds, action in ((4, "decision"), (10, "edit"), (3610, "decision")):
    ...     tally.count(action, noon + timedelta(seconds=seconds))
    >>> tally.sitting.seconds, tally.sitting.decisions, tally.sitting.edits
    (70.0, 2, 1)
    """

    def __init__(self, begun: Sitting) -> None:
        self.sitting = begun
        self._last = begun.begun

    def count(self, action: Action, now: datetime) -> None:
        """Count an action; a ``look`` tells only that the rater is at work."""
        known = self.sitting
        gap = min(max((now - self._last).total_seconds(), 0.0), LONGEST_PAUSE_S)
        self._last = now
        self.sitting = known.model_copy(
            update={
                "seconds": known.seconds + gap,
                "decisions": known.decisions + (action == "decision"),
                "edits": known.edits + (action == "edit"),
            }
        )


@dataclass(frozen=True)
class Work:
    """Several sittings together."""

    sittings: int
    minutes: float
    decisions: int
    edits: int

    @classmethod
    def of(cls, sittings: Sequence[Sitting]) -> "Work":
        """Add up."""
        return cls(
            len(sittings),
            sum(one.seconds for one in sittings) / 60,
            sum(one.decisions for one in sittings),
            sum(one.edits for one in sittings),
        )


def read(study: Path, subject: str) -> tuple[Sitting, ...]:
    """Read the sittings of a subject, in the order in which they began.

    Raises
    ------
    InputError
        The file is damaged, or was written by a newer version.
    """
    try:
        path = _path(study, subject)
        found = json_files.read(path, _File, "move it away; a new one is begun").sittings
    except FileNotFoundError:
        return ()
    return tuple(sorted(found, key=lambda one: one.begun))


def keep(study: Path, subject: str, sitting: Sitting) -> None:
    """Save a sitting beside the others of its subject, or in place of its own earlier state.

    A file that cannot be parsed is renamed, not overwritten.

    Raises
    ------
    InputError
        The study is gone or cannot be written.
    """
    require(study)
    path = _path(study, subject)
    with explained(path, _REMEDY), changing(path):
        try:
            known = read(study, subject)
        except InputError as error:
            if isinstance(error.__cause__, OSError):
                raise
            set_aside(path, error)
            known = ()
        others = [one for one in known if (one.rater, one.begun) != (sitting.rater, sitting.begun)]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, _File(sittings=(*others, sitting)).model_dump_json(indent=1) + "\n")


def to_tsv(study: Path) -> str:
    """Return a table: per subject and rater, and apart if blind or adjudicating, the work done.

    Raises
    ------
    InputError
        A file is damaged, or there are no sittings.
    """
    require(study)
    rows = []
    for subject, _ in label_folders(study):
        for (rater, blind, adjudication), found in _grouped(read(study, subject)):
            work = Work.of(found)
            rows.append(
                {
                    "subject": subject,
                    "rater": rater,
                    "blind": "yes" if blind else "no",
                    "adjudication": "yes" if adjudication else "no",
                    "sittings": work.sittings,
                    "minutes": round(work.minutes, 2),
                    "decisions": work.decisions,
                    "edits": work.edits,
                    "first": found[0].begun.isoformat(timespec="seconds"),
                    "last": found[-1].begun.isoformat(timespec="seconds"),
                }
            )
    if not rows:
        raise InputError(f"{study} holds no sittings yet; review a subject in the Correct dock.")
    return tsv(list(rows[0]), rows)


def _grouped(
    sittings: Iterable[Sitting],
) -> list[tuple[tuple[str, bool, bool], list[Sitting]]]:
    groups: dict[tuple[str, bool, bool], list[Sitting]] = {}
    for one in sittings:
        groups.setdefault((one.rater, one.blind, one.adjudication), []).append(one)
    return sorted(groups.items())


def _path(study: Path, subject: str) -> Path:
    return label_folder(study, subject) / f"{subject}_{SITTINGS}"
