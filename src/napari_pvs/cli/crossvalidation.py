"""The command crossval."""

from pathlib import Path
from typing import Annotated, Any

import typer

from napari_pvs.cli.app import Quiet, app, examples, log_to_stderr, say
from napari_pvs.cli.options import with_options
from napari_pvs.errors import InputError
from napari_pvs.training.config import TrainingConfig


@app.command(
    epilog=examples(
        "napari-pvs crossval study --out cv",
        "napari-pvs crossval study --out cv --methods m2ss,semi-mono --folds 3",
    )
)
@with_options(TrainingConfig, arguments=("study",))
def crossval(
    *,
    config: TrainingConfig,
    given: dict[str, Any],
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
    scheduler: Annotated[
        str | None,
        typer.Option(help="Address of a dask scheduler whose workers carry out the runs."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Compare methods by cross-validation: Table 1, scores per subject, paired differences."""
    from napari_pvs.training.crossval import report
    from napari_pvs.training.crossval.jobs import plan, run

    for name in ("method", "validation", "test"):
        if name in given:
            instead = "--methods" if name == "method" else "--folds"
            raise InputError(f"--{name} does not go with crossval; use {instead}.")
    chosen = None if methods == "all" else methods.split(",")
    jobs = plan(config, out, chosen, folds, seeds)
    log_to_stderr()
    if scheduler is None:
        left = [job for job in jobs if not job.done]
        say(f"{len(jobs)} runs, {len(jobs) - len(left)} of them done")
        run(jobs, lambda job: say(f"{job.out.parent.name} {job.out.name}"))
    else:
        from napari_pvs.training.crossval import cluster

        cluster.run(jobs, scheduler)
    rows = report.collect(jobs)
    paths = report.write(rows, out)
    say(report.report(rows))
    for path in paths:
        say(f"  {path}")
