"""Verbs that learn, and look after it: train, runs."""

from pathlib import Path
from typing import Annotated, Any

import typer

from napari_pvs.cli.app import Overwrite, app, log_to_stderr, refuse_some, require_new, say, show
from napari_pvs.cli.options import with_options
from napari_pvs.errors import InputError, plain
from napari_pvs.errors import command as shell
from napari_pvs.training.config import TrainingConfig


@app.command()
@with_options(TrainingConfig, arguments=("study",))
def train(
    *,
    config: TrainingConfig,
    given: dict[str, Any],
    out: Annotated[Path | None, typer.Option("--out", help="Run folder, new or empty.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="STUDY is a run folder: go on with it.")
    ] = False,
) -> None:
    """Train on a study, or from a run folder with a config.json, or go on with a run."""
    from datetime import datetime

    from napari_pvs.training import distributed, folder, runs, trainer

    place = config.study
    of_run = resume or (place / folder.CONFIG).is_file()
    beside = sorted(given.keys() - ({"study", "epochs"} if resume else {"study"}))
    if of_run and (beside or out is not None):
        option = beside[0].replace("_", "-") if beside else "out"
        raise InputError(
            f"--{option} does not go with the run folder {place}, whose {folder.CONFIG} says what "
            "to do; change it there, or start a new run from the study."
        )
    if of_run:
        out, config = place, folder.read_config(place)
    if out is None:
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        out = place / folder.RUNS / f"{stamp}-{config.method}"
    log_to_stderr()
    best = trainer.resume(out, given.get("epochs")) if resume else trainer.train(config, out)
    if distributed.environment()[0] == 0:
        if best.exists():
            say(f"Best weights: {best}")
        seen = runs.seen(best.parent)
        if seen.status().state == "stopped":
            say(f"Stopped; go on with {shell('train', '--resume', best.parent)}")
        refuse_some(list(seen.left_out.items()), seen.everybody, "learnt from")


runs_app = typer.Typer(help="Training runs: list, follow, control, compare.", no_args_is_help=True)
app.add_typer(runs_app, name="runs")
Run = Annotated[Path, typer.Argument(help="Folder of a run.")]


@runs_app.command("list")
def list_runs(
    study: Annotated[Path, typer.Argument(help="BIDS dataset.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List the runs of a study: state, epochs, loss, best DSC."""
    from napari_pvs.study.bids import survey
    from napari_pvs.training import curves, runs

    found = runs.runs(study)
    if not found and not as_json:
        survey(study)  # refuses what is no study
        say(f"{study} has no runs yet; start one with {shell('train', study)}")
        return
    seen: list[runs.Watch] = []
    refused: list[tuple[str, str]] = []
    for path in found:
        try:
            seen.append(runs.seen(path))
        except InputError as error:
            refused.append((path.name, str(error)))
    if as_json:
        say(*(runs.as_json(watch.status()) for watch in seen))
    else:
        _print_table(curves.HEADER, [curves.row(watch) for watch in seen])
        for watch in seen:
            if why := watch.status().why:
                say(f"{watch.path.name}: {why}")
    refuse_some(refused, len(found), "read", "runs")


@runs_app.command()
def follow(run: Run) -> None:
    """Show a run as it goes on, until it ends."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from napari_pvs.training import runs

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns) as bars:
        task = bars.add_task("starting", total=None)
        for event in runs.follow(run):
            kind = event["type"]
            if kind == "step":
                about = f"loss {event['loss']:.3f}"
                bars.update(task, completed=event["step"] + 1, total=event["of"], description=about)
            elif kind == "phase":
                bars.update(task, description=plain(event["name"]))
            elif text := _sentence(event):
                bars.print(plain(text), markup=False)
    last = runs.status(run)
    say(f"{run}: {last.state}" + (f": {last.why}" if last.why else ""))


@runs_app.command()
def tell(
    run: Run,
    command: Annotated[str, typer.Argument(help="pause, resume, stop, checkpoint or reload.")],
) -> None:
    """Tell a run to pause, resume, stop (it saves first), checkpoint, or reload labels."""
    from typing import cast, get_args

    from napari_pvs.training import control, folder

    if command not in get_args(control.Command):
        known = ", ".join(get_args(control.Command))
        raise InputError(f"{command} is no command; choose from {known}.")
    folder.require(run)
    if not folder.is_running(run):
        raise InputError(f"{run} is not running; go on with {shell('train', '--resume', run)}.")
    control.tell(run, cast("control.Command", command))


@runs_app.command()
def compare(
    run: Annotated[list[Path], typer.Argument(help="Folders of runs.")],
    out: Annotated[Path | None, typer.Option("--out", help="Curves, .png or .html.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Compare runs: a table, and their curves as a picture or a page."""
    from napari_pvs.training import curves

    require_new(out, overwrite)
    _print_table(curves.HEADER, curves.rows(run))
    if out is not None:
        curves.draw(run, out)
        say(f"Curves: {out}")


def _print_table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for title in header:
        table.add_column(title, overflow="fold")  # a name that is cut is of no use
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    show(table)


def _sentence(event: dict[str, Any]) -> str:
    """Say an event in words; nothing for those that a bar shows."""
    kind = event["type"]
    if kind == "epoch":
        return f"epoch {event['epoch']} of {event['of']}: loss {event['loss']:.4f}"
    if kind == "validation":
        avd, recall = (
            "-" if event[key] is None else f"{event[key]:.{digits}f}"
            for key, digits in (("avd_percent", 1), ("recall", 3))
        )
        return (
            f"epoch {event['epoch']}: validation DSC {event['dsc']:.3f}, AVD {avd} %, "
            f"recall {recall}"
        )
    if kind == "data_added":
        news = (f"{len(event[k])} {k}" for k in ("added", "changed", "removed") if event[k])
        return "labels: " + ", ".join(news)
    said = {
        "hello": "started",
        "resumed": "resumed",
        "paused": "paused",
        "stopped": "stopped",
        "done": "done",
    }
    return said.get(kind, "") or (event["message"] if kind in ("error", "warning") else "")
