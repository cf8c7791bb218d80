"""Cross-validation: every method on every fold with every seed, resumable, in any order."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from napari_pvs import json_files
from napari_pvs.errors import InputError, words_of
from napari_pvs.files import write_text
from napari_pvs.study.bids import person_of, survey
from napari_pvs.study.revision import stamp
from napari_pvs.study.split import Split
from napari_pvs.training.cohort import require_unlabelled
from napari_pvs.training.config import METHODS, Method, TrainingConfig
from napari_pvs.training.folder import migrated
from napari_pvs.training.job import Job, label_of, run_job

_KEPT = ("labels", "unlabelled")  # what a plan holds; all else must be given again
PLAN = "crossval.json"


class _Plan(BaseModel):
    """Content of the file."""

    model_config = ConfigDict(extra="forbid")

    config: dict[str, Any]
    methods: list[str]
    folds: int
    seeds: int
    labels: dict[str, str]
    unlabelled: list[str]


def plan(
    config: TrainingConfig,
    out: Path,
    methods: Sequence[Method] = METHODS,
    folds: int = 5,
    seeds: int = 3,
) -> list[Job]:
    """List all runs of a cross-validation.

    The persons are dealt into folds by ``config.seed``; in each fold, one in ten of the others
    (at least one) validates. The roles that the study keeps for its own runs play no part. Labels
    that come or change after the first plan play none either.

    Parameters
    ----------
    config
        What all runs share; its method is not looked at.
    out
        Folder for all runs. One that holds another cross-validation is refused, one that holds
        this one is continued.
    methods
        To be compared.
    folds
        Each labelled person is tested on in one of them.
    seeds
        Runs of each method and fold, with seeds from ``config.seed`` on.

    Raises
    ------
    InputError
        Too few labelled persons, an unknown method, the folder is in use, or a label of the first
        plan is nowhere any more.
    """
    unknown = [name for name in methods if name not in METHODS]
    if unknown or not methods:
        raise InputError(f"{unknown or 'no method'}: choose from {', '.join(METHODS)}.")
    config = config.absolute()
    seen = survey(config.study)
    if seen.refused:  # methods are compared on the same subjects, or not at all
        raise InputError(seen.refused[0][1])
    everybody = seen.found
    about = {
        "config": json.loads(config.model_dump_json(exclude={"method"})),
        "methods": list(methods),
        "folds": folds,
        "seeds": seeds,
    }
    begun = _begun(Path(out), about)
    if begun is None:
        stamps = {s.name: stamp(s.label, config.study) for s in everybody if s.label is not None}
        known = {person_of(name) for name in stamps}
        unlabelled = [s.name for s in everybody if s.person not in known]
    else:
        stamps, unlabelled = begun["labels"], begun["unlabelled"]
        gone = sorted(stamps.keys() - {s.name for s in everybody})
        if gone:
            raise InputError(f"{gone[0]} is no longer in {config.study}; put its scans back.")
        for name, was in stamps.items():
            label_of(config.study, name, was)
    if any(config.model_copy(update={"method": name}).semi_supervised for name in methods):
        require_unlabelled(config.study, unlabelled)
    persons = sorted({person_of(name) for name in stamps})
    tested = -(-len(persons) // folds)  # in the largest fold; two more learn and validate
    if folds < 2 or len(persons) < max(folds, tested + 2):
        raise InputError(
            f"{folds} folds need as many labelled persons, and two beside those of a fold; "
            f"{config.study} has {len(persons)}: label more or, from three on, take as many folds."
        )
    np.random.default_rng([config.seed, 5]).shuffle(persons)
    jobs = []
    # fold by fold, so that an interrupted one can be compared as far as it came
    for seed in range(config.seed, config.seed + seeds):
        for fold in range(folds):
            roles = _roles(stamps, unlabelled, persons, fold, folds)
            for method in methods:
                changes = {"method": method, "seed": seed, "follow_labels": False}
                own = config.model_copy(update=changes)
                folder = Path(out) / method / f"fold-{fold + 1}_seed-{seed}"
                jobs.append(Job(own, roles, fold + 1, folder, stamps))
    if begun is None:
        whole = about | {"labels": stamps, "unlabelled": unlabelled}
        write_text(Path(out) / PLAN, json.dumps(whole, indent=2) + "\n")
    return jobs


def run(jobs: Iterable[Job], said: Callable[[Job], None] = lambda _: None) -> None:
    """Do jobs one after the other; what is done is left, what was begun is resumed.

    Parameters
    ----------
    jobs
        From `plan`.
    said
        Called before each.
    """
    for job in jobs:
        if not job.done:
            said(job)
            run_job(job)


def _roles(
    labelled: Iterable[str],
    unlabelled: Sequence[str],
    persons: Sequence[str],
    fold: int,
    folds: int,
) -> Split:
    tested = set(persons[fold::folds])
    others = [p for p in persons if p not in tested]
    # other persons validate in other folds
    turn = fold * max(1, round(len(others) / 10)) % len(others)
    count = max(1, round(len(others) / 10))
    validating = {others[(turn + i) % len(others)] for i in range(count)}

    def of(wanted: set[str]) -> tuple[str, ...]:
        return tuple(name for name in labelled if person_of(name) in wanted)

    return Split(
        train=of(set(others) - validating),
        validation=of(validating),
        test=of(tested),
        unlabelled=tuple(unlabelled),
    )


def _begun(out: Path, about: dict[str, object]) -> dict[str, Any] | None:
    """Return what the folder's plan holds; None where there is none yet."""
    path = out / PLAN
    if path.is_file():
        held = json_files.read(path, _Plan, "name a new folder").model_dump()
        try:
            was = TrainingConfig.model_validate(migrated(held["config"])).absolute()
        except ValidationError as error:
            first = error.errors()[0]
            reason = words_of(first, ".".join(("config", *map(str, first["loc"]))))
            raise InputError(f"{path} is damaged ({reason}); name a new folder.") from error
        held["config"] = json.loads(was.model_dump_json(exclude={"method"}))
        same = {k: held[k] for k in held if k not in _KEPT} == about
        if not same:
            raise InputError(
                f"{out} holds another cross-validation; name a new folder, or give the same "
                "options to go on with it."
            )
        return held
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is no cross-validation; name a new folder.")
    return None
