"""Which subjects train, which validate and which are never touched."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from pydantic import ConfigDict

from napari_pvs.errors import InputError
from napari_pvs.study.bids import StudySubject

Role = Literal["train", "validation", "test", "unlabelled"]


@dataclass(frozen=True)
class Split:
    """Names of subjects by role; a person's labelled sessions share a role.

    ``unlabelled`` are the scans without a label of everybody who neither validates nor tests.
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
        Names of persons, or of all labelled sessions of a person. Where nobody validates, one in
        ten persons (at least one) is drawn for each role, and a test person only where five or
        more are there.
    seed
        Of the draw.
    known
        Roles that persons have had; they keep them, and newly labelled persons train. Who was
        learnt from unlabelled can only train.

    Raises
    ------
    InputError
        No labelled subject, too few persons, an unknown name, a person in two roles, or in
        another than the known one.
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
                "nobody with a label is left to validate on; label another person."
                if known
                else "training needs labels of two persons: one to learn, one to validate."
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
        raise InputError("no labelled subject is left to train on; name fewer for validation.")
    everybody = {**known, **roles}
    for subject in subjects:
        held_out = everybody.get(subject.person) in ("validation", "test")
        if subject.label is None and not held_out:
            by_role["unlabelled"].append(subject.name)
    return Split(**{role: tuple(names) for role, names in by_role.items()})


def _named(
    labelled: Mapping[str, str],
    validation: Sequence[str],
    test: Sequence[str],
    known: Mapping[str, Role],
) -> dict[str, Role]:
    """Return the roles of the persons that were named, by themselves or by their sessions."""
    sessions: dict[str, Role] = {}
    chosen: tuple[tuple[Role, Sequence[str]], ...] = (("validation", validation), ("test", test))
    for role, names in chosen:
        for name in names:
            meant = [session for session, person in labelled.items() if name in (session, person)]
            if not meant:
                raise InputError(f"{name} is no labelled subject of this study; check its name.")
            for session in meant:
                if sessions.setdefault(session, role) != role:
                    raise InputError(f"{session} is named for validation and for test; choose one.")
    roles: dict[str, Role] = {}
    for name, role in sessions.items():
        person = labelled[name]
        before = known.get(person, role)
        if before != role:
            was = "learnt from unlabelled" if before == "unlabelled" else f"in {before}"
            raise InputError(
                f"{person} was {was} in an earlier run of this study (see derivatives/napari-pvs/"
                f"roles.json) and cannot be in {role}; name another person."
            )
        roles[person] = role
    for name, person in labelled.items():
        role = sessions.get(name, "train")
        if person in roles and person not in known and roles[person] != role:
            raise InputError(f"{person} is in {roles[person]} and in {role}; keep a person whole.")
    return roles
