"""What unlabelled pairs are worth to T1 alone and T2 alone, beside five labelled scans.

    python benchmarks/pairs.py --work WORK [--teachers inserted-privileged] [--seeds 3] [--jobs 2]
        [--cohort 1900]

A cohort like that of Table 1: 27 subjects of site A, cropped (`small.py`), five of them labelled
for training and one for validation, tested on 8 others. The one of seed 900 is for development: on
it the teacher was chosen. Labels alone (``supervised-multi``) and ``m2ss`` with each teacher, as
many labelled steps, T1 or T2 blanked in 35 % of the patches. Prints the DSC with T1, T2 and both,
and what the pairs add, with 95 % intervals by bootstrap over the tested subjects; keeps them in
``results/``. Resumable.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import records
from headroom import SEEN, joined, tested
from small import cohort, go_on, part, short

from napari_pvs.training.crossval.report import interval
from napari_pvs.training.runs.folder import BEST, SPLIT
from napari_pvs.training.runs.status import status
from napari_pvs.workers import Workers, each

LABELS = "labels alone"


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--work", type=Path, required=True)
    arguments.add_argument("--teachers", nargs="+", default=["inserted-privileged"])
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--cohort", type=int, default=1900, help="its seed")
    arguments.add_argument("--jobs", type=int, default=2, help="runs at a time, a core each")
    given = arguments.parse_args()
    whole = cohort(given.work / "whole", 27, 27, given.cohort, ("A",))
    cohort(given.work / "test", 8, 8, given.cohort + 50, ("A",))
    part(whole, given.work / "part", {f"sub-{n:02d}" for n in range(1, 7)})
    runs = [(row, seed) for seed in range(given.seeds) for row in (LABELS, *given.teachers)]
    made = each(partial(scored, given.work.absolute()), runs, Workers(given.jobs))
    found: dict[str, list[dict[str, Any]]] = {}
    for (row, _), outcome in zip(runs, made, strict=True):
        found.setdefault(row, []).append(outcome.required())
    table: dict[str, dict[str, Any]] = {}
    for row, seeds in found.items():
        for seen in SEEN:
            own, alone = (joined(each_, seen) for each_ in (seeds, found[LABELS]))
            more = np.array(own["subjects"]) - np.array(alone["subjects"])
            gain = [float(more.mean()), *interval(more)]
            table.setdefault(row, {})[seen] = own | {"more": gain}
            print(row, seen, np.mean(own["subjects"]).round(3), own["avd_percent"], gain)
    print(records.keep("pairs", {"cohort": given.cohort, "seeds": given.seeds, "rows": table}))


def scored(work: Path, run: tuple[str, int]) -> dict[str, Any]:
    """Train a run, unless that is done, and test its best weights."""
    row, seed = run
    out = work / f"{row.replace(' ', '-')}-{seed}"
    how = {"method": "supervised-multi"} if row == LABELS else {"method": "m2ss", "teacher": row}
    if not (out / SPLIT).exists() or status(out).state != "done":
        study = work / "part"
        go_on(short(study, modality_dropout=0.35, validation=("sub-06",), seed=seed, **how), out)
    return tested(out / BEST, work / "test")


if __name__ == "__main__":
    main()
