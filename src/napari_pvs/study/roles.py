"""The roles of a study's persons: one used for validation or test is never trained on."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from napari_pvs import json_files
from napari_pvs.errors import InputError, InputWarning
from napari_pvs.files import abandoned, held, write_text
from napari_pvs.study.bids import StudySubject, person_of

Role = Literal["train", "validation", "test", "unlabelled"]
_UNLABELLED: Role = "unlabelled"


@dataclass(frozen=True)
class Split:
    """Names of subjects by role; a person's labelled sessions share a role.

    ``unlabelled`` lists the scans without a label, except those of validation and test persons.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    unlabelled: tuple[str, ...] = ()


def split(
    subjects: Sequence[StudySubject],
    validation: Sequence[str] = (),
    test: Sequence[str] = (),
    seed: int = 0,
    known: Mapping[str, Role] | None = None,
) -> Split:
    """Split the labelled subjects 8:1:1 by person, or as named.

    Parameters
    ----------
    subjects
        All subjects of the study.
    validation, test
        Names of persons, or of all labelled sessions of a person. If nobody is named for
        validation, one in ten persons (at least one) is drawn for each role, and a test person
        only if there are five or more.
    seed
        For the draw.
    known
        Roles that persons have had. They keep them, and newly labelled persons are trained on; so
        are those whose unlabelled scans were trained on.

    Raises
    ------
    InputError
        No labelled subject, too few persons, an unknown name, or a person who has two roles or
        another role than the known one.
    """
    known = known or {}
    labelled = {s.name: s.person for s in subjects if s.label is not None}
    if not labelled:
        raise InputError("no subject has a label under derivatives/labels; label at least two.")
    roles: dict[str, Role] = _named(labelled, validation, test, known)
    for person in labelled.values():
        if person in known:
            roles[person] = "train" if known[person] == "unlabelled" else known[person]
    if "validation" not in roles.values():
        free = sorted(set(labelled.values()) - roles.keys())
        if not free or (len(free) < 2 and "train" not in roles.values()):
            raise InputError(
                "no labelled person is left for validation; label another person."
                if known
                else "training needs labels of two persons, one to train on and one to validate on."
            )
        np.random.default_rng([seed, 2]).shuffle(free)
        tenth = max(1, round(len(free) / 10))
        spare = len(free) >= 5 and "test" not in roles.values()
        roles |= dict.fromkeys(free[:tenth], "validation")
        roles |= dict.fromkeys(free[tenth : 2 * tenth] if spare else (), "test")
    by_role: dict[Role, list[str]] = {"train": [], "validation": [], "test": [], "unlabelled": []}
    for name, person in labelled.items():
        by_role[roles.get(person, "train")].append(name)
    if not by_role["train"]:
        raise InputError("no labelled subject is left to train on; use fewer for validation.")
    everybody = {**known, **roles}
    for subject in subjects:
        held_out = everybody.get(subject.person) in ("validation", "test")
        if subject.label is None and not held_out:
            by_role["unlabelled"].append(subject.name)
    return Split(**{role: tuple(names) for role, names in by_role.items()})


def split_without_labels(
    subjects: Sequence[StudySubject], seed: int = 0, known: Mapping[str, Role] | None = None
) -> Split:
    """Split the subjects of a study of which no scan is labelled, by person.

    Most are ``unlabelled``, to be trained on. One in ten persons (of three or more, at least one)
    is kept aside as ``validation``, to see what becomes of scans that are not trained on.

    Parameters
    ----------
    subjects
        All subjects of the study.
    seed
        Of the draw.
    known
        Roles that persons have had: who once validated is kept aside, who was tested on is left
        out.

    Raises
    ------
    InputError
        Nobody is left to learn from.
    """
    known = known or {}
    persons = {subject.person for subject in subjects}
    aside = {person for person in persons if known.get(person) == "validation"}
    free = sorted(person for person in persons if known.get(person) not in ("validation", "test"))
    if not free:
        raise InputError("every person of the study validates or tests; add scans of others.")
    if not aside and len(free) > 2:
        np.random.default_rng([seed, 2]).shuffle(free)
        tenth = max(1, round(len(free) / 10))
        aside, free = set(free[:tenth]), free[tenth:]
    return Split(
        (),
        tuple(subject.name for subject in subjects if subject.person in aside),
        (),
        tuple(subject.name for subject in subjects if subject.person in set(free)),
    )


def _named(
    labelled: Mapping[str, str],
    validation: Sequence[str],
    test: Sequence[str],
    known: Mapping[str, Role],
) -> dict[str, Role]:
    """Return the roles of the persons named, directly or through their sessions."""
    sessions: dict[str, Role] = {}
    chosen: tuple[tuple[Role, Sequence[str]], ...] = (("validation", validation), ("test", test))
    for role, names in chosen:
        for name in names:
            meant = [session for session, person in labelled.items() if name in (session, person)]
            if not meant:
                raise InputError(f"{name} is not a labelled subject of this study; check its name.")
            for session in meant:
                if sessions.setdefault(session, role) != role:
                    raise InputError(
                        f"{session} is named for both validation and test; choose one."
                    )
    roles: dict[str, Role] = {}
    for name, role in sessions.items():
        person = labelled[name]
        before = known.get(person, role)
        if before != role:
            was = "trained on unlabelled" if before == "unlabelled" else f"in {before}"
            raise InputError(
                f"{person} was {was} in an earlier run of this study (see derivatives/napari-pvs/"
                f"roles.json) and cannot be in {role}; name another person."
            )
        roles[person] = role
    for name, person in labelled.items():
        role = sessions.get(name, "train")
        if person in roles and person not in known and roles[person] != role:
            raise InputError(
                f"{person} is in {roles[person]} and in {role}; give all sessions one role."
            )
    return roles


ROLES = Path("derivatives") / "napari-pvs" / "roles.json"
"""Where a study keeps the roles of its persons."""
_WAIT = 30.0  # seconds; the lock is normally held for milliseconds


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
        The file is damaged, or was written by a newer version.
    """
    path = Path(root) / ROLES
    try:
        return json_files.read(
            path,
            _Roles,
            "restore it from a backup, or delete it to draw new roles (scores of earlier runs are "
            "then no longer valid)",
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
    learned: Iterable[str] = (),
) -> Split:
    """Give all subjects their roles, and save them for all later runs of the study.

    If two runs start at once, the second sees the roles of the first. If the study cannot be
    written, it is split all the same, with an `InputWarning`, and only the run keeps the roles.

    Parameters
    ----------
    subjects, validation, test, seed
        As for `split`.
    root
        The study.
    unlabelled
        Whether unlabelled scans are trained on; if not, their persons remain free for any role.
    learned
        Persons on whose unlabelled scans the start weights were trained. Those without a role can
        only be trained on.

    Raises
    ------
    InputError
        As `split` and `read`; or another process has locked the roles.
    """
    with _held(root) as kept:
        before = dict.fromkeys(learned, _UNLABELLED) | kept.before
        result = split(subjects, validation, test, seed, before)
        if not unlabelled:
            result = replace(result, unlabelled=())
        kept.write(before | _persons(subjects, result, before))
    kept.warn()
    return result


def join(persons: Iterable[str], run: Split, *, root: Path) -> frozenset[str]:
    """Give the role train to persons who were first labelled during a run.

    Nothing is saved if the run's roles are not the study's own, as in a cross-validation or in a
    study that could not be written.

    Parameters
    ----------
    persons
        Persons with a new label.
    run
        The roles in the run.
    root
        The study.

    Returns
    -------
    Those who may be trained on: all except persons that another run of the study holds out.

    Raises
    ------
    InputError
        As `read`; or another process has locked the roles.
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
    """The roles while locked: what they were, and whether they could be written."""

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
                f"{self.path} cannot be written ({self.unwritable}), so the roles apply to this "
                "run only.",
                InputWarning,
                stacklevel=3,
            )


@contextmanager
def _held(root: Path) -> Iterator[_Kept]:
    """Lock the roles of a study, so that of two runs the second sees those of the first."""
    path = Path(root) / ROLES
    unwritable = ""
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(held(path.with_suffix(".lock"), _WAIT))
        except TimeoutError as error:
            raise InputError(
                f"{path} is locked by another process; end that process, and start again"
                f"{abandoned(error)}."
            ) from error
        except OSError as error:
            unwritable = str(error)
        yield _Kept(path, read(root), unwritable)


def _persons(
    subjects: Sequence[StudySubject], result: Split, before: dict[str, Role]
) -> dict[str, Role]:
    """Return the roles by person; a person who has a role does not become unlabelled."""
    person = {subject.name: subject.person for subject in subjects}
    roles: dict[str, Role] = {
        person[name]: "unlabelled" for name in result.unlabelled if person[name] not in before
    }
    roles |= {person[name]: "train" for name in result.train}
    roles |= {person[name]: "validation" for name in result.validation}
    return roles | {person[name]: "test" for name in result.test}
