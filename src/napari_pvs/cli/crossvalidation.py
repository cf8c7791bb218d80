"""The command crossval."""

from pathlib import Path
from typing import Annotated

import typer

from napari_pvs.cli.app import Quiet, app, examples, log_to_stderr, say, workers_of
from napari_pvs.cli.options import with_options
from napari_pvs.training.config import TrainingConfig


@app.command(
    epilog=examples(
        "napari-pvs crossval study --out cv",
        "napari-pvs crossval study --out cv --methods m2ss,semi-mono --folds 3",
    )
)
@with_options(
    TrainingConfig,
    arguments=("study",),
    without=("method", "validation", "test", "compare", "follow_labels"),
)
def crossval(
    *,
    config: TrainingConfig,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for all runs; resumed if it exists.")
    ],
    methods: Annotated[
        str, typer.Option(help="Methods to compare: all, or names separated by commas.")
    ] = "all",
    folds: Annotated[
        int, typer.Option(min=2, help="Number of folds to split the labelled persons into.")
    ] = 5,
    seeds: Annotated[int, typer.Option(min=1, help="Runs per method and fold.")] = 3,
    workers: Annotated[int, typer.Option(help="Runs at a time, each in a process of its own.")] = 1,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Address of a dask scheduler whose workers carry out the runs."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Compare methods by cross-validation: Table 1, scores per subject, paired differences."""
    from napari_pvs.training.crossval import report
    from napari_pvs.training.crossval.jobs import plan, run

    doing = workers_of(workers, scheduler)
    chosen = None if methods == "all" else methods.split(",")
    jobs = plan(config, out, chosen, folds, seeds)
    log_to_stderr()
    say(f"{len(jobs)} runs, {sum(job.done for job in jobs)} of them done")
    run(jobs, lambda job: say(f"{job.out.parent.name} {job.out.name}"), doing)
    rows = report.collect(jobs)
    paths = report.write(rows, out)
    say(report.report(rows))
    for path in paths:
        say(f"  {path}")
