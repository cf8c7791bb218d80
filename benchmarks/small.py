"""Cohorts and runs small enough for comparing methods of training on two cores.

Heads are cropped to a cube of 76.8 mm around their centre (basal ganglia, ventricles and the white
matter about them) that holds 60 to 400 PVS, more than such a part of a real head, so that short
runs learn something. What is compared is the same for all.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from napari_pvs.evaluation.compare import SubjectScore, score
from napari_pvs.inference.config import SegmentConfig
from napari_pvs.inference.predictor import Predictor
from napari_pvs.inference.segment import components
from napari_pvs.phantom.cohort import write_cohort
from napari_pvs.phantom.config import PhantomConfig
from napari_pvs.scans.scan import load_scan
from napari_pvs.study.bids import subjects
from napari_pvs.training.config import PAPER, TrainingConfig
from napari_pvs.training.run import resume, train
from napari_pvs.training.runs.folder import SPLIT

EDGE_MM = 76.8
PVS = (60, 400)
MEASURES = ("dsc", "avd_percent", "recall", "precision", "lenient_f1")
SHORT: dict[str, Any] = {
    "epochs": 40,
    "steps": 10,
    "warmup": 8,
    "ramp_up": 16,
    "refresh": 8,
    "validate_every": 10,
    "average": 0.98,
    "modality_dropout": 0.0,
}
"""400 steps of 8 patches: what a run has that is to be compared with others."""


def cohort(out: Path, subjects: int, labelled: int, seed: int, sites: tuple[str, ...]) -> Path:
    """Write a cropped cohort unless it is there."""
    if not (out / "participants.tsv").exists():
        config = PhantomConfig(
            subjects=subjects,
            labelled=labelled,
            seed=seed,
            sites=sites,
            field_of_view=(EDGE_MM,) * 3,
            pvs=PVS,
            jobs=2,
        )
        write_cohort(config, out)
    return out


def short(study: Path, **changes: Any) -> TrainingConfig:
    """Configure a short run; of the paper's recipe, the warm-up alone is shortened."""
    settings = dict(SHORT)
    if changes.get("recipe") == "paper":
        settings = {k: v for k, v in SHORT.items() if k == "warmup" or k not in PAPER}
    return TrainingConfig(study=study, **(settings | changes))


def part(whole: Path, out: Path, labelled: set[str]) -> Path:
    """Copy a cohort with the labels of some subjects only, by links, unless the copy is there."""
    if not out.exists():
        building = out.with_name(f"building-{out.name}")
        shutil.rmtree(building, ignore_errors=True)
        skipped = shutil.ignore_patterns("cache", "runs", "roles.json")
        shutil.copytree(whole, building, copy_function=os.link, ignore=skipped)
        for folder in (building / "derivatives" / "labels").glob("sub-*"):
            if folder.name not in labelled:
                shutil.rmtree(folder)
        building.rename(out)
    return out


def go_on(config: TrainingConfig, out: Path) -> None:
    """Train, or resume what an interrupted benchmark has begun."""
    resume(out) if (out / SPLIT).exists() else train(config, out)


def measure(
    weights: Path | None, study: Path, modalities: tuple[str, ...] = ("T1", "T2")
) -> list[SubjectScore]:
    """Score weights on a cohort whose every subject is labelled with the truth.

    They see those ``modalities`` of each scan.
    """
    predictor = Predictor(weights)
    out = []
    for subject in subjects(study):
        assert subject.label is not None
        t1, t2 = (
            path if name in modalities else None
            for name, path in (("T1", subject.t1), ("T2", subject.t2))
        )
        scan = load_scan(t1, t2, subject.brain)
        reference = np.asanyarray(nib.load(subject.label).dataobj) > 0
        found = predictor.predict(scan)
        threshold = predictor.card.threshold_for(scan.modalities)
        mask = components(found, threshold, scan.grid, SegmentConfig()) > 0
        size = scan.grid.voxel_size
        out.append(score(mask, reference, size, subject=subject.name, region=scan.brain))
    return out


def mean(scores: list[SubjectScore], measure: str) -> float:
    """Mean over subjects in whom a measure is defined."""
    values = [getattr(one, measure) for one in scores]
    return float(np.mean([v for v in values if v is not None]))
