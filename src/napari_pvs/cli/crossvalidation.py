"""The verb crossval."""

from pathlib import Path
from typing import Annotated, Any

import typer

from napari_pvs.cli.app import app, log_to_stderr, say
from napari_pvs.cli.options import with_options
from napari_pvs.errors import InputError
from napari_pvs.training.config import TrainingConfig


@app.command()
@with_options(TrainingConfig, arguments=("study",))
def crossval(
    *,
    config: TrainingConfig,
    given: dict[str, Any],
    out: Annotated[Path, typer.Option("--out", help="Folder for all runs; goes on where it was.")],
    methods: Annotated[str, typer.Option(help="all, or names with commas between.")] = "all",
    folds: Annotated[int, typer.Option(min=2, help="Parts of the labelled persons.")] = 5,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each method and fold.")] = 3,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a dask scheduler: runs go to its workers.")
    ] = None,
) -> None:
    """Compare methods by cross-validation: Table 1, subjects, paired differences."""
    from typing import cast

    from napari_pvs.training import crossval as cv
    from napari_pvs.training import table1
    from napari_pvs.training.config import METHODS, Method

    for name in ("method", "validation", "test"):
        if name in given:
            instead = "--methods" if name == "method" else "--folds"
            raise InputError(f"--{name} does not go with crossval; choose by {instead}.")
    chosen = METHODS if methods == "all" else tuple(cast("list[Method]", methods.split(",")))
    jobs = cv.plan(config, out, chosen, folds, seeds)
    log_to_stderr()
    if scheduler is None:
        left = [job for job in jobs if not job.done]
        say(f"{len(jobs)} runs, {len(jobs) - len(left)} of them done")
        cv.run(jobs, lambda job: say(f"{job.out.parent.name} {job.out.name}"))
    else:
        from napari_pvs.training import cluster

        cluster.run(jobs, scheduler)
    rows = table1.collect(jobs)
    paths = table1.write(rows, out)
    say(table1.report(rows))
    for path in paths:
        say(f"  {path}")
