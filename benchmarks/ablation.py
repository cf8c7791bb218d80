"""Every difference between the recipes default and paper, one at a time: its effect on the DSC.

    python benchmarks/ablation.py --work WORK [--seeds 2] [--method m2ss]

Cropped cohort of ``table1.py`` (10 labelled scans to learn from, 2 to validate, 21 unlabelled),
tested on 8 others. Each row is the default of short runs (`small.py`: no modality dropout, as in
the paper) with one setting as in the paper; the last is the paper whole. Prints the DSC and its
paired difference to the default over subjects. It goes on where it was interrupted.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import records
from small import cohort, mean, measure, short

from napari_pvs.training.config import PAPER
from napari_pvs.training.crossval.report import interval
from napari_pvs.training.run import resume, train
from napari_pvs.training.runs.folder import BEST

TESTED = 8
VALIDATION = ("sub-11", "sub-12")
TOGETHER = (
    ("patch",),
    ("foreground",),
    ("focal_weight", "dice_weight"),
    ("augment",),
    ("average",),
    ("teacher",),
    ("view",),
    ("consistency",),
    ("confidence", "confidence_pvs"),
    ("align",),
    ("consistency_weight", "ramp_up"),
)
SUPERVISED = TOGETHER[:5]


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--work", type=Path, required=True)
    arguments.add_argument("--method", default="m2ss")
    arguments.add_argument("--seeds", type=int, default=2)
    given = arguments.parse_args()
    study = cohort(given.work / "study", 33, 12, 0, ("A",))
    test = cohort(given.work / "test", TESTED, TESTED, 500, ("A",))
    semi = not given.method.startswith("supervised")
    rows: dict[str, dict[str, Any]] = {"default": {}}
    for names in TOGETHER if semi else SUPERVISED:
        changes = {name: PAPER[name] for name in names}
        rows[", ".join(f"{k} {plain(v)}" for k, v in changes.items())] = changes
    rows["recipe paper"] = {"recipe": "paper"}
    found: dict[str, Any] = {}
    reference = np.zeros(TESTED)
    for number, (title, changes) in enumerate(rows.items()):
        folder = given.work / f"{given.method}-ablation" / f"{number:02d}"
        runs = [
            one(folder / str(s), study, test, given.method, s, changes) for s in range(given.seeds)
        ]
        by_subject = np.mean(runs, axis=0)
        if title == "default":
            reference = by_subject
        gaps = by_subject - reference
        low, high = interval(gaps)
        found[title] = {
            "dsc": float(by_subject.mean()),
            "by_seed": [float(np.mean(run)) for run in runs],
            "difference": [float(gaps.mean()), low, high],
        }
        print(title, json.dumps(found[title]), flush=True)
    print(records.keep(f"ablation-{given.method}", found))


def one(
    folder: Path, study: Path, test: Path, method: str, seed: int, changes: dict[str, Any]
) -> list[float]:
    """DSC of every test subject after one run."""
    kept = folder / "dsc.json"
    if not kept.exists():
        config = short(study, method=method, seed=seed, validation=VALIDATION, **changes)
        if folder.exists():
            resume(folder)
        else:
            train(config, folder)
        scores = measure(folder / BEST, test)
        kept.write_text(json.dumps([score.dsc for score in scores]))
        print(f"{folder.name}: {mean(scores, 'dsc'):.3f}", flush=True)
    return list(json.loads(kept.read_text()))


def plain(value: Any) -> str:
    """Write a setting as one reads it."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


if __name__ == "__main__":
    main()
