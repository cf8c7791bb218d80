"""The paper's Table 1 on the synthetic cohort: four methods, cross-validated, either recipe.

    python benchmarks/table1.py --work WORK [--recipe paper] [--folds 3] [--seeds 3] [--jobs 2]

33 subjects of site A, 12 of them labelled, cropped (`small.py`); every method sees the same number
of labelled patches; the best weights by the labelled validation subjects are tested. Prints Table 1
and the paired differences, and keeps them in ``results/``. It goes on where it was interrupted.
"""

import argparse
import time
from dataclasses import asdict
from pathlib import Path

import records
from small import cohort, short

from napari_pvs.training.crossval import report
from napari_pvs.training.crossval.jobs import Job, plan, run
from napari_pvs.training.methods import METHODS
from napari_pvs.workers import Workers


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--work", type=Path, required=True)
    arguments.add_argument("--recipe", choices=("default", "paper"), default="default")
    arguments.add_argument("--methods", nargs="+", default=list(METHODS))
    arguments.add_argument("--folds", type=int, default=3)
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--teacher", help="of the semi-supervised methods; the recipe's own")
    arguments.add_argument("--jobs", type=int, default=2, help="runs at a time, a core each")
    given = arguments.parse_args()
    study = cohort(given.work / "study", 33, 12, 0, ("A",))
    chosen = {"teacher": given.teacher} if given.teacher else {}
    config = short(study, recipe=given.recipe, **chosen)
    out = given.work / given.recipe
    jobs = plan(config, out, given.methods, given.folds, given.seeds)
    begun = time.monotonic()

    def done(job: Job) -> None:
        minutes = (time.monotonic() - begun) / 60
        print(f"{minutes:5.1f} min: {job.config.method} {job.out.name}", flush=True)

    run(jobs, done, Workers(given.jobs))
    rows = report.collect(jobs)
    report.write(rows, out)
    print(report.report(rows))
    measured = {
        "table": report.report(rows).splitlines(),
        "differences": [asdict(gap) for gap in report.differences(rows)],
        "config": config.model_dump(mode="json", exclude={"study", "method"}),
    }
    print(records.keep(f"table1-{given.recipe}", measured))


if __name__ == "__main__":
    main()
