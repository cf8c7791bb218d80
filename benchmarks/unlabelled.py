"""What unlabelled scans are worth, and what they could be worth at most.

    python benchmarks/unlabelled.py SCENARIO --work WORK [--seeds 3] [--epochs 160]

33 scans, cropped (`small.py`), some of them labelled, two of these for validation; tested on 8
others of the unlabelled scans' site. Three trainings of the same length: on the labelled scans
alone (``supervised-multi``), on these and the unlabelled ones (``m2ss``), and on all 33 with their
labels, which no use of the unlabelled scans can be expected to beat. Scenarios:

- same: 12 labelled, all of site A, as in the paper;
- few: 4 labelled, all of site A;
- mixed: 4 labelled, every scan of another scanner;
- B: 12 labelled of site A, the others and the tested ones of site B (1 mm, other contrast);
- elsewhere: the same with a site beyond all published contrasts, noisy and smoothed.

Labels beyond the first few are worth something only in runs long enough to use them, so --epochs
matters. Prints DSC, AVD, recall and paired differences over subjects; keeps them in ``results/``.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import records
from new_site import ELSEWHERE, runs
from small import MEASURES, SHORT, cohort, part, short

from napari_pvs.training.crossval.report import interval

SUBJECTS, TESTED = 33, 8
LONG = {"warmup": 16, "ramp_up": 40, "refresh": 16, "validate_every": 20}
"""What is stretched in runs of more than 80 epochs."""
VALIDATION = ("sub-11", "sub-12")


@dataclass(frozen=True)
class Scenario:
    """Site of the labelled scans and of the others, how many are labelled, seeds of the cohorts."""

    labelled_site: str
    site: str
    labelled: int
    seed: int
    test_seed: int


SCENARIOS = {
    "same": Scenario("A", "A", 12, 0, 50),
    "few": Scenario("A", "A", 4, 0, 50),
    "mixed": Scenario("random", "random", 4, 1100, 1150),
    "B": Scenario("A", "B", 12, 100, 150),
    "elsewhere": Scenario("A", ELSEWHERE.name, 12, 1300, 1360),
}


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("scenario", choices=list(SCENARIOS))
    arguments.add_argument("--work", type=Path, required=True)
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--epochs", type=int, default=SHORT["epochs"], help="of 10 steps")
    arguments.add_argument("--no-bound", action="store_true", help="not with all their labels")
    given = arguments.parse_args()
    scenario, work = SCENARIOS[given.scenario], given.work / given.scenario
    sites = (scenario.labelled_site,) * 12 + (scenario.site,) * (SUBJECTS - 12)
    whole = cohort(work / "all", SUBJECTS, SUBJECTS, scenario.seed, sites)
    part = with_labels(whole, work / "part", scenario.labelled)
    test = cohort(work / "test", TESTED, TESTED, scenario.test_seed, (scenario.site,))
    rows = {
        "labelled scans alone": (part, "supervised-multi"),
        "with unlabelled ones (m2ss)": (part, "m2ss"),
        "all labelled": (whole, "supervised-multi"),
    }
    more = LONG if given.epochs > 80 else {}
    if given.no_bound:
        del rows["all labelled"]
    begun, found = time.monotonic(), {}
    for name, (study, method) in rows.items():
        configs = [
            short(study, method=method, seed=s, validation=VALIDATION, epochs=given.epochs, **more)
            for s in range(given.seeds)
        ]
        found[name] = runs(work / f"{study.name}-{method}-{given.epochs}", configs, test)
    report(f"{given.scenario}-{given.epochs}", found, (time.monotonic() - begun) / 60)


def report(scenario: str, found: dict[str, Any], minutes: float) -> None:
    """Print the rows and their differences to the first, and keep them."""
    first = next(iter(found.values()))
    for name, row in found.items():
        figures = ", ".join(f"{m} {row[m]:.3f}" for m in MEASURES)
        gaps = np.array(row["subjects"]) - np.array(first["subjects"])
        low, high = interval(gaps)
        row["gain"] = {"mean": float(gaps.mean()), "low": low, "high": high}
        seeds = ", ".join(f"{v:.3f}" for v in row["seeds"])
        print(f"{name}: {figures}; DSC by seed {seeds}; {row['minutes']:.1f} min a run")
        print(f"    DSC minus the first row's: {gaps.mean():+.3f}, 95 % interval {low} to {high}")
    print(records.keep(f"unlabelled-{scenario}", found | {"minutes in all": minutes}))


def with_labels(whole: Path, out: Path, count: int) -> Path:
    """Copy a cohort, with the labels of the first subjects and of the validation's only."""
    first = {f"sub-{n + 1:02d}" for n in range(count - len(VALIDATION))}
    return part(whole, out, first | set(VALIDATION))


if __name__ == "__main__":
    main()
