"""Roles that a study keeps: who once validated or was tested on is never learnt from."""

import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from napari_pvs.errors import InputError, InputWarning
from napari_pvs.files import write_text
from napari_pvs.study.bids import StudySubject
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
        return _Roles.model_validate_json(path.read_text(encoding="utf-8")).persons
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read as the roles of a study; restore it from a backup, or delete "
            "it to draw new roles (measures of earlier runs then no longer hold)."
        ) from error


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
    from filelock import FileLock, Timeout

    path = Path(root) / ROLES
    with ExitStack() as held:
        unwritable = ""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(FileLock(path.with_suffix(".lock"), timeout=_WAIT))
        except Timeout as error:
            raise InputError(
                f"{path} is locked by another process; end it, and start again."
            ) from error
        except OSError as error:
            unwritable = str(error)
        before = read(root)
        result = split(subjects, validation, test, seed, before)
        if not unlabelled:
            result = replace(result, unlabelled=())
        after = before | _persons(subjects, result, before)
        if after != before and not unwritable:
            try:
                write_text(path, _Roles(persons=after).model_dump_json(indent=2) + "\n")
            except (OSError, InputError) as error:
                unwritable = str(error).rstrip(".")
    if after != before and unwritable:
        warnings.warn(
            f"{path} cannot be written ({unwritable}), so the roles are kept for this run only.",
            InputWarning,
            stacklevel=2,
        )
    return result


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
