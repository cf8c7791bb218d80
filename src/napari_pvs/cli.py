"""The command line: one thin command per verb."""

import json
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

import napari_pvs
from napari_pvs.errors import InputError, InputWarning
from napari_pvs.inference.config import SegmentConfig
from napari_pvs.options import build, with_options
from napari_pvs.phantom.config import PhantomConfig
from napari_pvs.training.config import TrainingConfig

app = typer.Typer(
    name="napari-pvs",
    help="Segment, learn and count perivascular spaces (PVS) on brain MRI.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Out = Annotated[Path, typer.Option("--out", help="Folder for the results.")]
Overwrite = Annotated[bool, typer.Option(help="Replace results that are there.")]


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(napari_pvs.__version__)
        raise typer.Exit


@app.command()
@with_options(SegmentConfig)
def segment(*, config: SegmentConfig, out: Out, overwrite: Overwrite = False) -> None:
    """Segment the PVS of one scan: mask, probability map, one row per PVS, overlay."""
    _segment(config, out, overwrite)


def _segment(config: SegmentConfig, out: Path, overwrite: bool) -> None:
    from napari_pvs.inference import outputs
    from napari_pvs.inference.segment import segment as run

    outputs.check_folder(out, overwrite)
    with _progress("Segmenting") as progress:
        result = run(config, progress)
    paths = outputs.write(result, out, config)
    found = outputs.summary(result, config)
    print(f"{found['count']} PVS, {found['volume_mm3']:.0f} mm³, threshold {result.threshold:.2f}")
    for path in paths.values():
        print(f"  {path}")


@app.command()
def evaluate(
    prediction: Annotated[Path, typer.Argument(help="Mask, or a folder of masks.")],
    reference: Annotated[Path, typer.Argument(help="Reference mask, or a folder of them.")],
    region: Annotated[
        Path | None, typer.Option(help="Mask or folder: only voxels inside count.")
    ] = None,
    probability: Annotated[
        Path | None, typer.Option(help="Probability map or folder, for the AUPRC.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the measures here.")
    ] = None,
    tsv_file: Annotated[Path | None, typer.Option("--tsv", help="Write one row a subject.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Measure masks against references: DSC, AVD, recall, and detection per PVS."""
    from rich.console import Console

    from napari_pvs.evaluation import tables
    from napari_pvs.evaluation.compare import Comparison, compare_files, compare_folders
    from napari_pvs.evaluation.summary import summarise
    from napari_pvs.files import write_text

    for path in (json_file, tsv_file):
        if path is not None and path.exists() and not overwrite:
            raise InputError(f"{path} exists; add --overwrite to replace it.")
    if prediction.is_dir() != reference.is_dir():
        raise InputError(
            f"{prediction} and {reference} are a file and a folder; give two of a kind."
        )
    if prediction.is_dir():
        comparison = compare_folders(prediction, reference, region, probability)
    else:
        comparison = Comparison((compare_files(prediction, reference, region, probability),))
    console = Console()
    console.print(tables.table(comparison))
    console.print(tables.size_table(summarise(comparison.scores)))
    for side, names in (
        ("prediction", comparison.only_predicted),
        ("reference", comparison.only_reference),
    ):
        if names:
            print(f"{len(names)} subjects have a {side} only: {', '.join(names)}")
    if json_file is not None:
        write_text(json_file, tables.to_json(comparison))
    if tsv_file is not None:
        write_text(tsv_file, tables.to_tsv(comparison))


@app.command()
@with_options(PhantomConfig)
def phantom(
    *, config: PhantomConfig, out: Annotated[Path, typer.Argument(help="A new or empty folder.")]
) -> None:
    """Make a synthetic cohort with known PVS, as a BIDS dataset."""
    from rich.progress import track

    from napari_pvs.phantom.cohort import write_cohort

    write_cohort(config, out, lambda rows, total: iter(track(rows, "Making subjects", total)))
    print(f"{config.subjects} subjects, {config.labelled} of them labelled, in {out}")


@app.command()
@with_options(TrainingConfig, arguments=("study",))
def train(
    *,
    config: TrainingConfig,
    out: Annotated[Path | None, typer.Option("--out", help="Run folder, new or empty.")] = None,
) -> None:
    """Train on the labelled subjects of a study, or from a run folder with a config.json."""
    from datetime import datetime

    from napari_pvs.training import trainer

    saved = config.study / trainer.CONFIG
    if saved.is_file() and "study" in (values := _read_json(saved)):
        out = config.study
        try:
            config = build(TrainingConfig, values)
        except InputError as error:
            raise InputError(f"{saved}: {error}") from error
    if out is None:
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        out = config.study / "derivatives" / "runs" / f"{stamp}-{config.method}"
    _log_to_stderr()
    best = trainer.train(config, out)
    print(f"Best weights: {best}")


@app.command()
def demo(
    out: Annotated[Path, typer.Argument(help="Folder for the results.")] = Path("demo-output"),
    seed: Annotated[int, typer.Option(min=0, help="Of the synthetic subject.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Make a synthetic subject, segment it with the starter weights, and measure the result."""
    from napari_pvs.inference import outputs
    from napari_pvs.phantom.cohort import TRUTH, remove_cohort, subject_name, write_cohort

    outputs.check_folder(out, overwrite)
    cohort = out / "subject"
    if cohort.exists():
        remove_cohort(cohort, overwrite)
    print("Making a synthetic subject: T1, T2 and the truth about every PVS …")
    write_cohort(build(PhantomConfig, {"subjects": 1, "labelled": 1, "seed": seed}), cohort)
    name = subject_name(0)
    scans = cohort / name / "anat" / name
    print("Segmenting it with the starter weights …")
    config = {"t1": f"{scans}_T1w.nii.gz", "t2": f"{scans}_T2w.nii.gz"}
    _segment(build(SegmentConfig, config), out, overwrite)
    print("Measuring it against the truth …")
    truth = cohort / "derivatives" / TRUTH / name / "anat" / f"{name}_desc-pvs_mask.nii.gz"
    evaluate(out / outputs.MASK, truth, json_file=out / "evaluation.json", overwrite=overwrite)
    print(f"Look at {out / outputs.OVERLAY}; everything is in {out}.")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line: wrong input ends in one sentence and exit code 2."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", InputWarning)
        warnings.showwarning = _show_warning
        try:
            app(arguments, prog_name="napari-pvs")
        except InputError as error:
            print(f"napari-pvs: {error}", file=sys.stderr)
            raise SystemExit(2) from None


def _show_warning(message: Any, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, InputWarning):
        print(f"napari-pvs: warning: {message}", file=sys.stderr)


@contextmanager
def _progress(title: str) -> Iterator[Any]:
    """A progress bar on stderr, fed with steps done and steps in all; None in a log."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    console = Console(stderr=True)
    if not console.is_terminal:  # rich would leave an empty line in a log
        yield None
        return
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not readable JSON ({error}); mend it or remove it.") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} is not a JSON object; write it with napari-pvs train.")
    return values
