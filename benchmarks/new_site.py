"""What a few corrected scans of another scanner give the starter weights.

    python benchmarks/new_site.py --work WORK [--seeds 3]

A site outside all that the starter weights saw, whose rater outlines PVS generously. Starter
weights against those same weights trained on (``--recipe adapt``) with 3 corrected whole scans of
that site, tested on 8 others.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import records
from small import MEASURES, mean, measure

from napari_pvs.phantom.cohort import write_cohort
from napari_pvs.phantom.config import PhantomConfig
from napari_pvs.phantom.sites import SITES, Site
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.crossval.report import interval
from napari_pvs.training.run import train
from napari_pvs.training.runs.folder import BEST

TESTED = 8
ELSEWHERE = Site(
    name="elsewhere",
    voxel_size=((0.9, 0.9),) * 3,
    t1_cortex=(0.44, 0.48),
    t1_csf=(0.04, 0.08),
    t2_cortex=(1.6, 1.75),
    t2_deep_grey=(1.2, 1.3),
    t2_csf=(4.2, 4.8),
    t1_snr=(10, 13),
    t2_snr=(10, 13),
    smoothing=(1.3, 1.6),
)
SITES[ELSEWHERE.name] = ELSEWHERE  # here, so that processes that make subjects know it
RULE = 0.15  # share of a voxel from which that site's rater marks it; 0.4 elsewhere


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--work", type=Path, required=True)
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--epochs", type=int, default=20)
    given = arguments.parse_args()
    found = corrected(given.work, given.seeds, given.epochs)
    names = list(found)
    for name, scores in found.items():
        figures = ", ".join(f"{m} {scores[m]:.3f}" for m in MEASURES)
        print(f"{name}: {figures}, {scores['minutes']:.1f} min a run")
    gaps = np.array(found[names[1]]["subjects"]) - np.array(found[names[0]]["subjects"])
    low, high = interval(gaps)
    print(f"DSC {names[1]} minus {names[0]}: {gaps.mean():+.3f}, 95 % interval {low} to {high}")
    gain = {"mean": float(gaps.mean()), "low": low, "high": high, "subjects": len(gaps)}
    print(records.keep("new-site", found | {"gain": gain}))


def corrected(work: Path, seeds: int, epochs: int) -> dict[str, Any]:
    """Aim: a few corrected scans make the starter weights fit for a new site."""
    for name, count, seed in (("study", 3, 300), ("test", TESTED, 400)):
        if not (work / name / "participants.tsv").exists():
            config = PhantomConfig(
                subjects=count, sites=(ELSEWHERE.name,), seed=seed, label_fraction=RULE
            )
            write_cohort(config, work / name)
    scores = measure(None, work / "test")
    before: dict[str, Any] = {name: mean(scores, name) for name in MEASURES}
    before |= {"subjects": [one.dsc for one in scores], "minutes": 0.0}
    configs = [
        TrainingConfig(
            study=work / "study",
            recipe="adapt",
            seed=seed,
            epochs=epochs,
            validation=("sub-03",),
        )
        for seed in range(seeds)
    ]
    return {"starter": before, "trained on": runs(work / "runs", configs, work / "test")}


def runs(out: Path, configs: list[TrainingConfig], test: Path) -> dict[str, Any]:
    """Train with each seed and test; means over seeds, DSC of each subject over seeds."""
    minutes, all_scores = [], []
    for config in configs:
        folder = out / f"seed-{config.seed}"
        begun = time.monotonic()
        if not (folder / "measured").exists():
            train(config, folder)
            (folder / "measured").write_text(f"{(time.monotonic() - begun) / 60}")
        minutes.append(float((folder / "measured").read_text()))
        all_scores.append(measure(folder / BEST, test))
        print(f"{out.name} seed {config.seed}: DSC {mean(all_scores[-1], 'dsc'):.3f}", flush=True)
    found: dict[str, Any] = {
        name: float(np.mean([mean(s, name) for s in all_scores])) for name in MEASURES
    }
    found["subjects"] = np.mean([[one.dsc for one in s] for s in all_scores], axis=0).tolist()
    found["seeds"] = [mean(s, "dsc") for s in all_scores]
    found["minutes"] = float(np.mean(minutes))
    return found


if __name__ == "__main__":
    main()
