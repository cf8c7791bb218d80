"""Make the starter weights: phantoms on many anatomies, training, evaluation, model card.

    python benchmarks/starter.py --anatomy ../shared/data/anatomy --work WORK

Anatomies are FreeSurfer-coded label maps named ``*_NN.nii.gz``. Maps 18 and 20 are kept for the
test, map 17 for validation, the others are trained on. Every step is skipped where its result is
in ``--work``, so that an interrupted run goes on. ``--evaluate-only`` measures weights that exist.
"""

import argparse
import json
import platform
import time
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from napari_pvs.evaluation.ceiling import ceiling
from napari_pvs.evaluation.compare import Comparison, SubjectScore, score
from napari_pvs.evaluation.summary import summarise
from napari_pvs.inference.components import label
from napari_pvs.inference.config import SegmentConfig
from napari_pvs.inference.predictor import Predictor
from napari_pvs.inference.segment import baseline
from napari_pvs.network.weights import load, save, starter_path
from napari_pvs.phantom.cohort import TRUTH, subject_name, write_cohort
from napari_pvs.phantom.config import PhantomConfig
from napari_pvs.scans.scan import load_scan
from napari_pvs.training import trainer
from napari_pvs.training.config import TrainingConfig

SEED, TEST_SEED = 1000, 9000
TEST, VALIDATION = ("18", "20"), ("17",)
SITES = ("random", "A", "random", "B", "random", "C", "random")
TEST_SITES = ("A", "A", "B", "B", "C", "C", "random", "random")
MODALITIES = {"T1+T2": ("t1", "t2"), "T2": ("t2",), "T1": ("t1",)}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--anatomy", type=Path, required=True, help="folder of label maps")
    arguments.add_argument("--work", type=Path, required=True, help="folder for cohorts and run")
    arguments.add_argument("--subjects", type=int, default=44)
    arguments.add_argument("--epochs", type=int, default=80)
    arguments.add_argument("--jobs", type=int, default=2)
    arguments.add_argument("--evaluate-only", type=Path, help="weights to measure")
    given = arguments.parse_args()
    maps = {path.name.split("_")[-1].split(".")[0]: path for path in given.anatomy.glob("*.nii.gz")}
    seen = [maps[key] for key in sorted(maps) if key not in TEST + VALIDATION]
    seen += [maps[key] for key in VALIDATION]
    started = time.time()
    study, run = given.work / "study", given.work / "run"
    weights = given.evaluate_only
    if weights is None:
        if not study.exists():
            cohort = PhantomConfig(
                subjects=given.subjects,
                labelled=given.subjects,
                anatomy=tuple(seen),
                sites=SITES,
                seed=SEED,
                jobs=given.jobs,
            )
            write_cohort(cohort, study)
        held_out = [i for i in range(given.subjects) if i % len(seen) == len(seen) - 1]
        weights = run / trainer.BEST
        if not weights.exists():
            config = TrainingConfig(
                study=study,
                epochs=given.epochs,
                warmup=10,
                validation=tuple(subject_name(i) for i in held_out),
                validate_every=8,
            )
            trainer.train(config, run)
    test = given.work / "test"
    if not test.exists():
        cohort = PhantomConfig(
            subjects=len(TEST_SITES),
            labelled=0,
            anatomy=tuple(maps[key] for key in TEST),
            sites=TEST_SITES,
            seed=TEST_SEED,
            jobs=given.jobs,
        )
        write_cohort(cohort, test)
    accuracy = {name: evaluate(test, used, weights) for name, used in MODALITIES.items()}
    print(json.dumps(accuracy, indent=2))
    model, card = load(weights)
    about = card.training | {
        "data": f"{given.subjects} phantoms, seed {SEED}, on label maps {', '.join(sorted(maps))} "
        f"less {', '.join(TEST)} (SynthSeg training maps, Billot et al., Apache-2.0); "
        f"{', '.join(VALIDATION)} for validation; sites {', '.join(sorted(set(SITES)))}",
        "command": "python benchmarks/starter.py --anatomy ANATOMY --work WORK",
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "hours": round((time.time() - started) / 3600, 2) if given.evaluate_only is None else None,
    }
    about["config"] = about["config"] | {"study": "WORK/study"}
    measured = card.accuracy | {
        "test": f"{len(TEST_SITES)} phantoms, seed {TEST_SEED}, on maps {' and '.join(TEST)}, "
        f"sites {', '.join(TEST_SITES)}; never trained on",
        **accuracy,
    }
    card = card.model_copy(
        update={"name": "starter", "training": about, "accuracy": measured}
    )
    save(starter_path(), model, card)


def evaluate(test: Path, used: tuple[str, ...], weights: Path) -> dict[str, dict[str, float | None]]:
    """Measure network and baselines on the test cohort with some modalities."""
    predictor = Predictor(weights)
    methods: dict[str, list[SubjectScore]] = {"network": [], "frangi": [], "threshold": []}
    smallest = SegmentConfig().min_volume
    for folder in sorted(test.glob("sub-*")):
        name = folder.name
        files = {key: folder / "anat" / f"{name}_{key.upper()}w.nii.gz" for key in used}
        scan = load_scan(files.get("t1"), files.get("t2"))
        truth = test / "derivatives" / TRUTH / name / "anat"
        reference = np.asanyarray(nib.load(truth / f"{name}_desc-pvs_mask.nii.gz").dataobj) > 0
        fraction = nib.load(truth / f"{name}_desc-pvs_probseg.nii.gz").get_fdata(dtype=np.float32)
        best = ceiling(fraction, PhantomConfig().label_fraction).dsc
        for method, scores in methods.items():
            if method == "network":
                found, threshold = predictor.predict(scan), predictor.card.threshold
            else:
                found, threshold = baseline(scan, method)
            mask = label(found, threshold, smallest, scan.grid.voxel_volume) > 0
            one = score(mask, reference, scan.grid.voxel_size, subject=name, region=scan.brain)
            scores.append(replace(one, ceiling_dsc=best))
            print(f"{'+'.join(used)} {name} {method}: DSC {one.dsc:.3f}", flush=True)
    return {method: _summary(scores) for method, scores in methods.items()}


def _summary(scores: list[SubjectScore]) -> dict[str, float | None]:
    moments = summarise(Comparison(tuple(scores)).scores).moments
    keys = ("dsc", "avd_percent", "recall", "precision", "lenient_f1", "ceiling_dsc")
    out: dict[str, float | None] = {}
    for key in keys:
        if key in moments and moments[key].mean is not None:
            out[key] = round(float(moments[key].mean), 3)
            out[f"{key}_sd"] = round(float(moments[key].sd or 0), 3)
    return out


if __name__ == "__main__":
    main()
