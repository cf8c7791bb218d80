"""Cross-validation: a training run per method, fold and seed, in any order and resumable."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from napari_pvs import json_files
from napari_pvs.errors import InputError, words_of
from napari_pvs.evaluation.compare import SubjectScore
from napari_pvs.files import write_text
from napari_pvs.scans.derivative import FORMER_PROBABILITY, PROBABILITY
from napari_pvs.study.bids import person_of, subjects, survey
from napari_pvs.study.labels import LabelStore, stamp
from napari_pvs.study.paths import one, truth_folder
from napari_pvs.study.registrations import CACHE
from napari_pvs.study.roles import Split
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.data.cohort import require_unlabelled
from napari_pvs.training.data.prepared import PreparedSubject, load
from napari_pvs.training.methods import METHODS
from napari_pvs.training.runs.folder import migrated
from napari_pvs.training.weights import learned_in
from napari_pvs.workers import HERE, Workers, each

PLAN = "crossval.json"
SCORES = "scores.json"


@dataclass(frozen=True)
class Job:
    """One training run of a cross-validation, and the subjects that it is tested on.

    Attributes
    ----------
    config
        The run's configuration, with its method and seed.
    roles
        The subjects for training, validation and test.
    fold
        Counted from 1.
    out
        The run's folder.
    labels
        Stamps of the labels to use, by subject; newer labels wait for the next cross-validation.
    """

    config: TrainingConfig
    roles: Split
    fold: int
    out: Path
    labels: dict[str, str]

    @property
    def done(self) -> bool:
        """Whether its scores have been written."""
        return (self.out / SCORES).is_file()


class _Plan(BaseModel):
    """The content of ``crossval.json``: the options, and what the first plan has fixed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: dict[str, JsonValue]
    methods: list[str]
    folds: int
    seeds: int
    labels: dict[str, str] = {}
    unlabelled: list[str] = []


def plan(
    config: TrainingConfig,
    out: Path,
    methods: Sequence[str] | None = None,
    folds: int = 5,
    seeds: int = 3,
) -> list[Job]:
    """Plan a cross-validation.

    ``config.seed`` decides how the labelled persons are dealt into folds; in each fold, one in ten
    of the others (at least one) is used for validation. The roles recorded in the study are
    ignored, and so are labels that are added or changed after the first plan.

    Parameters
    ----------
    config
        Shared by all runs, except the method, which is ignored.
    out
        Folder for all runs. If it contains this cross-validation, that is resumed; methods and
        seeds may have been added since.
    methods
        Methods to compare; None for all.
    folds
        Number of folds; each labelled person is tested in one.
    seeds
        Runs per method and fold; their seeds start at ``config.seed``.

    Raises
    ------
    InputError
        Too few labelled persons, an unknown method, a folder with other content, or a label of the
        first plan that no longer exists.
    """
    methods = list(METHODS) if methods is None else list(methods)
    unknown = [name for name in methods if name not in METHODS]
    if unknown or not methods:
        raise InputError(f"{unknown or 'no method'}: choose from {', '.join(METHODS)}.")
    config, out = config.absolute(), Path(out).absolute()
    seen = survey(config.study)
    if seen.refused:  # methods are compared on the same subjects, or not at all
        raise InputError(seen.refused[0][1])
    everybody = seen.found
    asked = _Plan(config=_shared(config), methods=methods, folds=folds, seeds=seeds)
    begun = _begun(out, asked)
    if begun is None:
        stamps = {s.name: stamp(s.label, config.study) for s in everybody if s.label is not None}
        known = {person_of(name) for name in stamps}
        unlabelled = [s.name for s in everybody if s.person not in known]
    else:
        stamps, unlabelled = begun.labels, begun.unlabelled
        gone = sorted(stamps.keys() - {s.name for s in everybody})
        if gone:
            raise InputError(f"{gone[0]} is no longer in {config.study}; put its scans back.")
        for name, was in stamps.items():
            label_of(config.study, name, was)
    persons = sorted({person_of(name) for name in stamps})
    tested = -(-len(persons) // folds)  # in the largest fold; two more train and validate
    if folds < 2 or len(persons) < max(folds, tested + 2):
        fitting = f", or use {len(persons)} folds" if len(persons) > 2 else ""
        raise InputError(
            f"{folds} folds need at least as many labelled persons, and two more than are tested "
            f"in one; {config.study} has {len(persons)}: label more{fitting}."
        )
    _require_fair(config, methods, persons, unlabelled)
    np.random.default_rng([config.seed, 5]).shuffle(persons)
    jobs = []
    # fold by fold, so that methods can be compared even if the cross-validation is interrupted
    for seed in range(config.seed, config.seed + seeds):
        for fold in range(folds):
            roles = _roles(stamps, unlabelled, persons, fold, folds)
            for method in methods:
                changes = {"method": method, "seed": seed, "follow_labels": False}
                own = config.model_copy(update=changes)
                folder = out / method / f"fold-{fold + 1}_seed-{seed}"
                jobs.append(Job(own, roles, fold + 1, folder, stamps))
    whole = asked.model_copy(update={"labels": stamps, "unlabelled": unlabelled})
    if whole != begun:
        write_text(out / PLAN, json.dumps(whole.model_dump(), indent=2) + "\n")
    return jobs


def run(
    jobs: Iterable[Job], said: Callable[[Job], None] = lambda _: None, workers: Workers = HERE
) -> None:
    """Run jobs, skipping finished ones and resuming those begun; a lost one is resumed elsewhere.

    Parameters
    ----------
    jobs
        From `plan`. All workers must see their folders and the study.
    said
        Called before each job or, if others do them, when it is done.
    workers
        Who does them: one after another here, or several at a time elsewhere.

    Raises
    ------
    InputError
        One has failed or was stopped; or as `each`.
    """
    left = [job for job in jobs if not job.done]
    if workers == HERE:
        for job in left:
            said(job)
            run_job(job)
        return
    for job, outcome in zip(left, each(run_job, left, workers), strict=True):
        outcome.required()
        said(job)


def _roles(
    labelled: Iterable[str],
    unlabelled: Sequence[str],
    persons: Sequence[str],
    fold: int,
    folds: int,
) -> Split:
    tested = set(persons[fold::folds])
    others = [p for p in persons if p not in tested]
    # so that every fold validates on different persons
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


def _require_fair(
    config: TrainingConfig, methods: Iterable[str], persons: Sequence[str], unlabelled: list[str]
) -> None:
    """Refuse methods that could not use unlabelled scans, and weights that know who is tested."""
    for name in methods:
        if METHODS[name].semi_supervised:
            require_unlabelled(config.study, unlabelled)
            config.model_copy(update={"method": name}).require_epochs()
    for name, path in learned_in(config).items():
        if person_of(name) in persons:
            raise InputError(
                f"{path} has been trained on {name} of {config.study}, whom the cross-validation "
                "tests; give weights that have not seen the study, such as the starter weights."
            )


def _shared(config: TrainingConfig) -> dict[str, JsonValue]:
    """Return the part of a configuration that all runs share, as JSON values."""
    return config.model_dump(mode="json", exclude={"method"})


def _begun(out: Path, asked: _Plan) -> _Plan | None:
    """Return the plan in the folder; None if there is none yet."""
    path = out / PLAN
    if path.is_file():
        held = json_files.read(path, _Plan, "name a new folder")
        try:
            was = _shared(TrainingConfig.model_validate(migrated(held.config)).absolute())
        except ValidationError as error:
            first = error.errors()[0]
            reason = words_of(first, ".".join(("config", *map(str, first["loc"]))))
            raise InputError(f"{path} is damaged ({reason}); name a new folder.") from error
        whole = {"labels", "unlabelled"} <= held.model_fields_set
        same = (was, held.folds) == (asked.config, asked.folds)
        more = set(held.methods) <= set(asked.methods) and held.seeds <= asked.seeds
        if not (whole and same and more):
            raise InputError(
                f"{out} contains another cross-validation; name a new folder, or give the same "
                "options to continue it (methods and seeds may be added)."
            )
        return held
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is not a cross-validation; name a new folder.")
    return None


def run_job(job: Job) -> Path:
    """Train or resume a run, and score its test subjects.

    Returns
    -------
    The file of the scores, which is written last.
    """
    from napari_pvs.training.distributed.world import environment
    from napari_pvs.training.run import resume, train
    from napari_pvs.training.runs.folder import CHECKPOINT
    from napari_pvs.training.runs.status import status

    if environment()[1] > 1:
        raise InputError(
            "a cross-validation distributes whole runs, not the processes of one; start it without "
            "torchrun, and with --scheduler for several machines."
        )
    if job.done:
        return job.out / SCORES
    for name, known in job.labels.items():
        label_of(job.config.study, name, known)
    if (job.out / CHECKPOINT).is_file():
        resume(job.out, labels=job.labels)
    else:
        if job.out.exists():  # killed before its first checkpoint
            _clear(job.out)
        train(job.config, job.out, job.roles, job.labels)
    if status(job.out).state != "done":
        raise InputError(f"{job.out} was stopped; run the cross-validation again to continue.")
    scores = _score(job)
    write_text(job.out / SCORES, json.dumps([asdict(one) for one in scores], indent=1) + "\n")
    return job.out / SCORES


def _clear(out: Path) -> None:
    """Remove a run without a checkpoint."""
    import shutil

    from napari_pvs.training.runs.folder import locked

    with locked(out):
        pass  # refuses a run that is running
    shutil.rmtree(out)


def label_of(study: Path, name: str, known: str) -> Path:
    """Return the file of a label with a given stamp.

    Raises
    ------
    InputError
        No such file exists any more.
    """
    path = LabelStore(study, name).stamped(known)
    if path is None:
        raise InputError(
            f"the label of {name} ({known.rpartition('@')[0]}) has changed since the "
            "cross-validation began; put it back, or start another in a new folder."
        )
    return path


def _score(job: Job) -> list[SubjectScore]:
    """Score the best weights, as chosen by validation, on the test subjects."""
    from napari_pvs.evaluation.compare import score
    from napari_pvs.inference.config import SegmentConfig
    from napari_pvs.inference.segment import components
    from napari_pvs.network.device import pick
    from napari_pvs.network.weights import load as load_weights
    from napari_pvs.scans.grid import Grid
    from napari_pvs.training.runs.folder import BEST
    from napari_pvs.training.whole_scan import reader

    network, card = load_weights(job.out / BEST)
    probability = reader(network, pick(job.config.device), precision=job.config.precision)
    config = SegmentConfig()
    found = {s.name: s for s in subjects(job.config.study)}
    scores = []
    for name in job.roles.test:
        label = label_of(job.config.study, name, job.labels[name])
        subject = load(replace(found[name], label=label), job.config.study / CACHE)
        assert subject.label is not None
        grid = Grid(subject.brain.shape, np.diag([*subject.voxel_size, 1.0]))
        mask = components(probability(subject), card.threshold, grid, config) > 0
        measured = score(
            mask, subject.label, subject.voxel_size, subject=name, region=np.array(subject.brain)
        )
        scores.append(replace(measured, ceiling_dsc=_ceiling(job.config.study, subject)))
    return scores


def _ceiling(study: Path, subject: PreparedSubject) -> float | None:
    """Return the oracle ceiling of the DSC, if the study has the PVS fraction of each voxel."""
    from napari_pvs.evaluation.ceiling import ceiling_of
    from napari_pvs.scans.grid import to_ras
    from napari_pvs.scans.nifti import read_volume

    folder = truth_folder(study, subject.name)
    stems = (f"*_{ending}" for ending in (PROBABILITY, FORMER_PROBABILITY))
    path = next(filter(None, (one(folder, stem) for stem in stems)), None)
    if path is None or subject.label is None:
        return None
    volume = read_volume(path)
    sides = zip(subject.corner, subject.brain.shape, strict=True)
    fraction = to_ras(volume.data, volume.affine)[0][tuple(slice(c, c + n) for c, n in sides)]
    if fraction.shape != subject.label.shape:
        return None
    found = ceiling_of(subject.label, fraction)
    return found.dsc if found else None
