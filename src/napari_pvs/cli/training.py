"""The commands train and runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_pvs.cli.app import (
    JsonFile,
    MeasureFiles,
    Overwrite,
    Quiet,
    app,
    columns,
    examples,
    log_to_stderr,
    refuse_some,
    require_new,
    say,
    show,
)
from napari_pvs.cli.options import with_options
from napari_pvs.errors import InputError, plain
from napari_pvs.errors import command as shell
from napari_pvs.files import sentence
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.runs.events import Event

if TYPE_CHECKING:
    from napari_pvs.training.runs.status import Watch


@app.command(
    epilog=examples(
        "napari-pvs train study",
        "napari-pvs train study --recipe adapt --weights starter",
        "napari-pvs train unlabelled --recipe adapt --method m2ss",
        "napari-pvs train study/derivatives/runs/RUN --resume",
    )
)
@with_options(TrainingConfig, arguments=("study",))
def train(
    *,
    config: TrainingConfig,
    given: dict[str, Any],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run folder, new or empty.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume the run whose folder is STUDY.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Train on a study, start the run in a folder with a config.json, or resume a run."""
    from datetime import datetime

    from napari_pvs.training import run as training
    from napari_pvs.training.distributed.world import environment
    from napari_pvs.training.runs import folder, status

    place = config.study
    of_run = resume or (place / folder.CONFIG).is_file()
    beside = sorted(given.keys() - ({"study", "epochs"} if resume else {"study"}))
    if of_run and (beside or out is not None):
        option = beside[0].replace("_", "-") if beside else "out"
        raise InputError(
            f"--{option} does not go with the run folder {place}, because its {folder.CONFIG} "
            "sets it; change it there, or start a new run from the study."
        )
    for name in TrainingConfig.GROUPS["Unlabelled scans"]:
        if name in given and not config.semi_supervised:
            raise InputError(
                f"--{name.replace('_', '-')} is for methods that use unlabelled scans; add "
                "--method m2ss, or leave it out."
            )
    if of_run:
        out, config = place, folder.read_config(place)
    if out is None:
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        out = place / folder.RUNS / f"{stamp}-{config.method}"
    log_to_stderr()
    best = training.resume(out, given.get("epochs")) if resume else training.train(config, out)
    if environment()[0] == 0:
        if best.exists():
            say(f"Best weights: {best}")
        seen = status.seen(best.parent)
        if seen.status().state == "stopped":
            say(f"Stopped; continue with {shell('train', '--resume', best.parent)}")
        refuse_some(list(seen.left_out.items()), seen.everybody, "trained on")


runs_app = typer.Typer(help="Training runs: list, follow, control, compare.", no_args_is_help=True)
app.add_typer(runs_app, name="runs")
Run = Annotated[Path, typer.Argument(help="Folder of a run.")]


@runs_app.command(
    "list", epilog=examples("napari-pvs runs list study", "napari-pvs runs list study --json -")
)
def list_runs(
    study: Annotated[Path, typer.Argument(help="BIDS dataset.")],
    json_file: JsonFile = None,
    overwrite: Overwrite = False,
) -> None:
    """List the runs of a study: state, epochs, loss, best DSC."""
    from napari_pvs.study.bids import survey
    from napari_pvs.training.runs import status
    from napari_pvs.training.runs.compare import HEADER, row

    files = MeasureFiles(json_file, None, overwrite)
    found = status.runs(study)
    if not found:
        survey(study)  # refuses a folder that is not a study
    seen, refused = _seen(found)
    files.write(status.to_json(watch.status() for watch in seen))
    if not found and not files.printed:
        say(f"{study} has no runs yet; start one with {shell('train', study)}")
    elif not files.printed:
        _print_table(HEADER, [row(watch) for watch in seen])
        for watch in seen:
            if why := watch.status().why:
                say(f"{watch.path.name}: {why}")
    refuse_some(refused, len(found), "read", "runs")


@runs_app.command(epilog=examples("napari-pvs runs follow study/derivatives/runs/RUN"))
def follow(run: Run) -> None:
    """Follow a run until it ends."""
    from rich.progress import MofNCompleteColumn, Progress

    from napari_pvs.training.runs import status
    from napari_pvs.training.runs.compare import cell

    with Progress(*columns(), MofNCompleteColumn()) as bars:
        task = bars.add_task("starting", total=None)
        for event in status.follow(run):
            kind = event["type"]
            if kind == "step":
                about = f"loss {cell(event.get('loss'), 3)}"
                total = event.get("of")
                bars.update(task, completed=event["step"] + 1, total=total, description=about)
            elif kind == "phase":
                bars.update(task, description=plain(event["name"]))
            elif text := _sentence(event):
                bars.print(plain(text), markup=False)
    last = status.status(run)
    say(f"{run}: {last.state}" + (f": {last.why}" if last.why else ""))


@runs_app.command(epilog=examples("napari-pvs runs tell study/derivatives/runs/RUN pause"))
def tell(
    run: Run,
    command: Annotated[str, typer.Argument(help="pause, resume, stop, checkpoint or reload.")],
) -> None:
    """Tell a run to pause, resume, stop (after saving), checkpoint, or reload labels."""
    from typing import cast, get_args

    from napari_pvs.training.runs import control, folder

    if command not in get_args(control.Command):
        known = ", ".join(get_args(control.Command))
        raise InputError(f"{command} is not a command; choose from {known}.")
    folder.require(run)
    if not folder.is_running(run):
        raise InputError(f"{run} is not running; continue with {shell('train', '--resume', run)}.")
    control.tell(run, cast("control.Command", command))


@runs_app.command(epilog=examples("napari-pvs runs compare RUN1 RUN2 --out curves.html"))
def compare(
    run: Annotated[list[Path], typer.Argument(help="Folders of runs.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File for the curves, .png or .html.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Compare runs in a table, and draw their curves as a picture or a web page."""
    from napari_pvs.training.runs.compare import HEADER, draw, row

    require_new(out, overwrite)
    seen, refused = _seen(run)
    if seen:
        if out is not None:
            draw([watch.path for watch in seen], out)
        _print_table(HEADER, [row(watch) for watch in seen])
        if out is not None:
            say(f"Curves: {out}")
    refuse_some(refused, len(run), "read", "runs")


def _seen(runs: Sequence[Path]) -> tuple["list[Watch]", list[tuple[str, str]]]:
    """Read runs; return those that can be read, and the others with the sentence that says why."""
    from napari_pvs.training.runs import status

    seen: list[Watch] = []
    refused: list[tuple[str, str]] = []
    for path in runs:
        try:
            seen.append(status.seen(path))
        except (InputError, OSError) as error:
            refused.append((path.name, sentence(error)))
    return seen, refused


def _print_table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for title in header:
        table.add_column(title, overflow="fold")  # never cut a name
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    show(table)


def _sentence(event: Event) -> str:
    """Describe an event; empty for those that the progress bar shows."""
    from napari_pvs.training.data.cohort import News
    from napari_pvs.training.runs.compare import cell
    from napari_pvs.training.runs.words import sentence

    kind = event["type"]
    if kind in ("agreement", "unlabelled", "compared", "pseudo_labels"):
        return sentence(kind, event)
    if kind == "epoch":
        return f"epoch {event['epoch']} of {event['of']}: loss {event['loss']:.4f}"
    if kind == "validation":
        avd, recall = cell(event["avd_percent"], 1), cell(event["recall"], 3)
        return (
            f"epoch {event['epoch']}: validation DSC {cell(event['dsc'], 3)}, AVD {avd} %, "
            f"recall {recall}"
        )
    if kind == "data_added":
        return f"labels: {News(event['added'], event['changed'], event['removed'])}"
    said = {
        "hello": "started",
        "resumed": "resumed",
        "paused": "paused",
        "stopped": "stopped",
        "done": "done",
    }
    return said.get(kind, "") or (event["message"] if kind in ("error", "warning") else "")
