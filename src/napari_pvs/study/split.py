"""Which labelled subjects train, which validate and which are never touched."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_pvs.errors import InputError
from napari_pvs.study.bids import StudySubject


@dataclass(frozen=True)
class Split:
    """Names of subjects by role; a person's sessions share a role."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def split(
    subjects: Sequence[StudySubject],
    validation: Sequence[str] = (),
    test: Sequence[str] = (),
    seed: int = 0,
) -> Split:
    """Split the labelled subjects 8:1:1 by person, or as named.

    Parameters
    ----------
    subjects
        All subjects of the study.
    validation, test
        Names of subjects; where no validation is named, one in ten persons (at least one) is
        drawn for each role, and a test person only where five or more are there.
    seed
        Of the draw.

    Raises
    ------
    InputError
        No labelled subject, too few persons, an unknown name, or a person in two roles.
    """
    labelled = {s.name: s.person for s in subjects if s.label is not None}
    if not labelled:
        raise InputError("no subject has a label under derivatives/labels; label at least two.")
    unknown = [name for name in (*validation, *test) if name not in labelled]
    if unknown:
        raise InputError(f"{unknown[0]} is no labelled subject of this study; check its name.")
    if validation:
        roles = dict.fromkeys(validation, "validation") | dict.fromkeys(test, "test")
    else:
        named = {labelled[name] for name in test}
        persons = sorted(set(labelled.values()) - named)
        if len(persons) < 2:
            raise InputError("training needs labels of two persons: one to learn, one to validate.")
        np.random.default_rng([seed, 2]).shuffle(persons)
        tenth = max(1, round(len(persons) / 10))
        drawn = set(persons[:tenth])
        spare = set(persons[tenth : 2 * tenth]) if len(persons) >= 5 and not test else set()
        roles = {n: "validation" for n, p in labelled.items() if p in drawn}
        roles |= {n: "test" for n, p in labelled.items() if p in spare | named}
    train = tuple(name for name in labelled if name not in roles)
    if not train:
        raise InputError("no labelled subject is left to train on; name fewer for validation.")
    by_person: dict[str, str] = {}
    for name, person in labelled.items():
        role = roles.get(name, "train")
        if by_person.setdefault(person, role) != role:
            raise InputError(
                f"{person} is in {by_person[person]} and in {role}; keep a person whole."
            )
    return Split(
        train,
        tuple(n for n in labelled if roles.get(n) == "validation"),
        tuple(n for n in labelled if roles.get(n) == "test"),
    )
