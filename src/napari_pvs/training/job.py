"""One run of a cross-validation, and its scores on the subjects that it never saw."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from napari_pvs.errors import InputError
from napari_pvs.evaluation.compare import SubjectScore
from napari_pvs.files import write_text
from napari_pvs.study.bids import subjects
from napari_pvs.study.labels import LabelStore
from napari_pvs.study.paths import one, truth_folder
from napari_pvs.study.roles import Split
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.data import CACHE, Loaded, load

SCORES = "scores.json"


@dataclass(frozen=True)
class Job:
    """One training run of a cross-validation, and the subjects it is tested on.

    Attributes
    ----------
    config
        Of the run; its seed is the job's.
    roles
        Who trains, validates and tests; the rest of the labelled subjects are nobody's.
    fold
        From 1.
    out
        The run's folder.
    labels
        Stamps of the labels that count, by subject: newer ones wait for the next
        cross-validation.
    """

    config: TrainingConfig
    roles: Split
    fold: int
    out: Path
    labels: dict[str, str]

    @property
    def done(self) -> bool:
        """Whether its scores are written."""
        return (self.out / SCORES).is_file()


def run_job(job: Job) -> Path:
    """Train one run, or go on with it, and score its test subjects.

    Returns
    -------
    The file of the scores, which is written last.
    """
    from napari_pvs.training import trainer
    from napari_pvs.training.distributed import environment
    from napari_pvs.training.folder import CHECKPOINT
    from napari_pvs.training.runs import status

    if environment()[1] > 1:
        raise InputError(
            "a cross-validation spreads whole runs, not one over processes; start it without "
            "torchrun, and with --scheduler for many machines."
        )
    if job.done:
        return job.out / SCORES
    for name, known in job.labels.items():
        label_of(job.config.study, name, known)
    if (job.out / CHECKPOINT).is_file():
        trainer.resume(job.out, labels=job.labels)
    else:
        if job.out.exists():  # killed before the first checkpoint
            _clear(job.out)
        trainer.train(job.config, job.out, job.roles, job.labels)
    if status(job.out).state != "done":
        raise InputError(f"{job.out} was stopped; run the cross-validation again to go on.")
    scores = _score(job)
    write_text(job.out / SCORES, json.dumps([asdict(one) for one in scores], indent=1) + "\n")
    return job.out / SCORES


def _clear(out: Path) -> None:
    """Remove a run that has no checkpoint: nothing was learnt."""
    import shutil

    from napari_pvs.training.folder import locked

    with locked(out):
        pass  # refuses one that is alive
    shutil.rmtree(out)


def label_of(study: Path, name: str, known: str) -> Path:
    """Return the file of a label by its stamp.

    Raises
    ------
    InputError
        It is nowhere any more.
    """
    path = LabelStore(study, name).stamped(known)
    if path is None:
        raise InputError(
            f"the label of {name} ({known.rpartition('@')[0]}) is not what it was when the "
            "cross-validation began; put it back, or begin another in a new folder."
        )
    return path


def _score(job: Job) -> list[SubjectScore]:
    """Measure the best weights (by the labelled validation) on the test subjects."""
    from napari_pvs.evaluation.compare import score
    from napari_pvs.inference.config import SegmentConfig
    from napari_pvs.inference.segment import components
    from napari_pvs.network.device import pick
    from napari_pvs.network.weights import load as load_weights
    from napari_pvs.scans.grid import Grid
    from napari_pvs.training.folder import BEST
    from napari_pvs.training.wholescan import reader

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


def _ceiling(study: Path, subject: Loaded) -> float | None:
    """Oracle ceiling of the DSC, where the study knows how much of each voxel is PVS."""
    from napari_pvs.evaluation.ceiling import ceiling_of
    from napari_pvs.scans.grid import to_ras
    from napari_pvs.scans.nifti import read_volume

    path = one(truth_folder(study, subject.name), "*_desc-pvs_probseg")
    if path is None or subject.label is None:
        return None
    volume = read_volume(path)
    sides = zip(subject.corner, subject.brain.shape, strict=True)
    fraction = to_ras(volume.data, volume.affine)[0][tuple(slice(c, c + n) for c, n in sides)]
    if fraction.shape != subject.label.shape:
        return None
    found = ceiling_of(subject.label, fraction)
    return found.dsc if found else None
