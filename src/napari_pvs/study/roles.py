"""Roles that a study keeps: who once validated or was tested on is never learnt from."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from napari_pvs import json_files
from napari_pvs.errors import InputError, InputWarning
from napari_pvs.files import held, write_text
from napari_pvs.study.bids import StudySubject, person_of
from napari_pvs.study.split import Role, Split, split

ROLES = Path("derivatives") / "napari-pvs" / "roles.json"
"""Where a study keeps the roles of its persons."""
_WAIT = 30.0  # seconds; roles are held for milliseconds


class _Roles(BaseModel):
    """Content of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    persons: dict[str, Role] = {}


def read(root: Path) -> dict[str, Role]:
    """Read the roles that the persons of a study have had.

    Raises
    ------
    InputError
        The file is damaged or of a newer version.
    """
    path = Path(root) / ROLES
    try:
        return json_files.read(
            path,
            _Roles,
            "restore it from a backup, or delete it to draw new roles (measures of earlier runs "
            "then no longer hold)",
            "cannot be read as the roles of a study",
        ).persons
    except FileNotFoundError:
        return {}


def assign(
    subjects: Sequence[StudySubject],
    validation: Sequence[str] = (),
    test: Sequence[str] = (),
    seed: int = 0,
    *,
    root: Path,
    unlabelled: bool = True,
) -> Split:
    """Give all subjects their roles, and keep them for all later runs of the study.

    Of two runs that start at once, the second sees the roles of the first. A study that cannot be
    written is split all the same, with an `InputWarning`: then the run has to keep the roles.

    Parameters
    ----------
    subjects, validation, test, seed
        As for `split`.
    root
        The study.
    unlabelled
        Whether scans without a label are learnt from; where they are not, they stay free for any
        role.

    Raises
    ------
    InputError
        As `split` and `read`; or another process holds the roles.
    """
    with _held(root) as kept:
        result = split(subjects, validation, test, seed, kept.before)
        if not unlabelled:
            result = replace(result, unlabelled=())
        kept.write(kept.before | _persons(subjects, result, kept.before))
    kept.warn()
    return result


def join(persons: Iterable[str], run: Split, *, root: Path) -> frozenset[str]:
    """Freeze persons who got their first label while a run goes on, as ones to train on.

    The roles of a run that are not the study's own (those of a cross-validation, or of a study
    that could not be written) freeze nobody.

    Parameters
    ----------
    persons
        Whose label has come.
    run
        Who validates and who tests in the run.
    root
        The study.

    Returns
    -------
    Those who may be trained on: all but the ones that another run of the study has held out.

    Raises
    ------
    InputError
        As `read`; or another process holds the roles.
    """
    wanted = frozenset(persons)
    with _held(root) as kept:
        before = kept.before
        own = {person_of(name): "validation" for name in run.validation}
        own |= {person_of(name): "test" for name in run.test}
        if any(before.get(person) != role for person, role in own.items()):
            return wanted
        free = frozenset(p for p in wanted if before.get(p) not in ("validation", "test"))
        kept.write(before | dict.fromkeys(free, "train"))
    kept.warn()
    return free


class _Kept:
    """The roles while they are held: what they were, and whether they could be written."""

    def __init__(self, path: Path, before: dict[str, Role], unwritable: str):
        self.path, self.before, self.unwritable = path, before, unwritable
        self.changed = False

    def write(self, after: dict[str, Role]) -> None:
        self.changed = after != self.before
        if not self.changed or self.unwritable:
            return
        try:
            write_text(self.path, _Roles(persons=after).model_dump_json(indent=2) + "\n")
        except (OSError, InputError) as error:
            self.unwritable = str(error).rstrip(".")

    def warn(self) -> None:
        if self.changed and self.unwritable:
            warnings.warn(
                f"{self.path} cannot be written ({self.unwritable}), so the roles are kept for "
                "this run only.",
                InputWarning,
                stacklevel=3,
            )


@contextmanager
def _held(root: Path) -> Iterator[_Kept]:
    """Hold the roles of a study, so that of two runs the second sees those of the first."""
    path = Path(root) / ROLES
    unwritable = ""
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(held(path.with_suffix(".lock"), _WAIT))
        except TimeoutError as error:
            raise InputError(
                f"{path} is locked by another process; end it, and start again "
                f"({error.filename} is its lock)."
            ) from error
        except OSError as error:
            unwritable = str(error)
        yield _Kept(path, read(root), unwritable)


def _persons(
    subjects: Sequence[StudySubject], result: Split, before: dict[str, Role]
) -> dict[str, Role]:
    """Return the roles by person; whoever has one does not become unlabelled."""
    person = {subject.name: subject.person for subject in subjects}
    roles: dict[str, Role] = {
        person[name]: "unlabelled" for name in result.unlabelled if person[name] not in before
    }
    roles |= {person[name]: "train" for name in result.train}
    roles |= {person[name]: "validation" for name in result.validation}
    return roles | {person[name]: "test" for name in result.test}
