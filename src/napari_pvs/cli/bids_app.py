"""The command run, a BIDS app: from a dataset to a derivative, then to tables of the group."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperCommand

import napari_pvs
from napari_pvs.cli.app import (
    LeftOut,
    Overwrite,
    Quiet,
    app,
    examples,
    progress,
    say,
    show,
    workers_of,
)
from napari_pvs.cli.options import with_options
from napari_pvs.cli.segmentation import segment_study_and_say
from napari_pvs.errors import InputError
from napari_pvs.files import claimed
from napari_pvs.inference.config import SegmentConfig

if TYPE_CHECKING:
    from napari_pvs.study.bids import Selection
    from napari_pvs.workers import Workers

_LISTS = ("--participant-label", "--session-label")
_VALIDATOR = "bids-validator-deno"
_SUBJECTS, _BIDS = "Subjects", "BIDS app"


class _Command(TyperCommand):
    """Takes options as other BIDS apps do: ``--participant_label 01 02``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _spread(args))


def _spread(args: list[str]) -> list[str]:
    """Repeat the option before each further value of a list; take ``_`` in options for ``-``."""
    out: list[str] = []
    option = ""
    for word in args:
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            option = name.replace("_", "-")
            out.append(option + equals + value)
            continue
        if word.startswith("-"):
            option = ""
        elif option in _LISTS and out[-1] != option:
            out.append(option)
        out.append(word)
    return out


def _version(wanted: bool) -> None:
    if wanted:
        say(napari_pvs.__version__)
        raise typer.Exit


@app.command(
    cls=_Command,
    epilog=examples(
        "napari-pvs run bids out participant",
        "napari-pvs run bids out participant --participant-label 01 02 --n-cpus 2",
        "napari-pvs run bids out group",
    ),
)
@with_options(SegmentConfig, without=("t1", "t2", "brain_mask", "method"))
def run(
    *,
    config: SegmentConfig,
    bids_dir: Annotated[Path, typer.Argument(help="BIDS dataset, which is only read.")],
    out_dir: Annotated[Path, typer.Argument(help="Folder for the BIDS derivative.")],
    level: Annotated[
        Literal["participant", "group"],
        typer.Argument(
            metavar="participant|group",
            help="participant: segment each subject. group: tables and report of all that were.",
        ),
    ],
    participant_label: Annotated[
        list[str] | None,
        typer.Option(help="With or without sub-; all if none is named.", rich_help_panel=_SUBJECTS),
    ] = None,
    session_label: Annotated[
        list[str] | None,
        typer.Option(help="With or without ses-; all if none is named.", rich_help_panel=_SUBJECTS),
    ] = None,
    n_cpus: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes of one thread each; by default one process with all cores.",
            rich_help_panel=_BIDS,
        ),
    ] = None,
    work_dir: Annotated[
        Path | None,
        typer.Option("--work-dir", "-w", help="Folder for temporary files.", rich_help_panel=_BIDS),
    ] = None,
    skip_bids_validation: Annotated[
        bool,
        typer.Option(
            "--skip-bids-validation",
            help=f"Do not run {_VALIDATOR}, which is run if it is installed.",
            rich_help_panel=_BIDS,
        ),
    ] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """Segment a BIDS dataset into a BIDS derivative, and make tables and a report (a BIDS app)."""
    from napari_pvs.inference.outputs import check_folder
    from napari_pvs.study.bids import Selection

    _require_outside(bids_dir, out_dir)
    check_folder(out_dir, overwrite, ())
    _use(work_dir)
    if n_cpus is not None:
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything that computes is loaded
    workers = workers_of(n_cpus or 1, None)
    wanted = Selection(tuple(participant_label or ()), tuple(session_label or ()))
    if level == "group":
        with claimed(out_dir):
            _group(bids_dir, out_dir, wanted, workers, overwrite)
        return
    if not skip_bids_validation:
        _validate(bids_dir)
    from napari_pvs.report.files import of_segmentation
    from napari_pvs.study.predictions import Output

    output = Output(out_dir, of_segmentation if config.report else None)
    segment_study_and_say(bids_dir, config, overwrite, workers, wanted=wanted, output=output)


def _require_outside(bids: Path, out: Path) -> None:
    """Refuse to write among the scans."""
    if not bids.is_dir():
        raise InputError(f"{bids} is not a folder; give a BIDS dataset.")
    inside = out.resolve().is_relative_to(bids.resolve())
    if inside and not out.resolve().is_relative_to(bids.resolve() / "derivatives"):
        raise InputError(
            f"{out} is in the dataset {bids}, which is only read; name a folder elsewhere, or in "
            f"{bids / 'derivatives'}."
        )


def _use(work_dir: Path | None) -> None:
    """Keep temporary files in a folder, those of other processes too."""
    if work_dir is None:
        return
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=work_dir):
            pass
    except OSError as error:
        raise InputError(
            f"{work_dir} cannot be written ({error.strerror}); name another --work-dir."
        ) from error
    os.environ["TMPDIR"] = str(work_dir.absolute())
    tempfile.tempdir = None  # read again


def validator() -> str | None:
    """Return the official validator's program, if it is installed."""
    beside = str(Path(sys.executable).parent)  # of an environment that is not activated
    return shutil.which(_VALIDATOR) or shutil.which(_VALIDATOR, path=beside)


def _validate(bids: Path) -> None:
    """Refuse a dataset in which the official validator finds errors, if it is installed."""
    program = validator()
    if program is None:
        return
    command = [program, str(bids), "--format", "json", "--ignoreWarnings"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    try:
        issues = json.loads(done.stdout)["issues"]["issues"]
    except (ValueError, KeyError, TypeError) as error:
        said = " ".join(done.stderr.split())[-200:]
        raise InputError(
            f"{_VALIDATOR} could not check {bids} ({said}); add --skip-bids-validation."
        ) from error
    if issues:
        first = issues[0]
        more = f" and {len(issues) - 1} more" if len(issues) > 1 else ""
        raise InputError(
            f"{bids} is not valid BIDS: {first['code']} in {first.get('location', '/')}{more}; "
            "correct it, or add --skip-bids-validation."
        )


def _group(bids: Path, out: Path, wanted: "Selection", workers: "Workers", overwrite: bool) -> None:
    """Write the tables and pages of all masks in the derivative."""
    from napari_pvs.burden import tables
    from napari_pvs.burden.files import Source
    from napari_pvs.inference.outputs import check_folder
    from napari_pvs.report.files import INDEX, write_study
    from napari_pvs.study.derivatives import require_ours

    check_folder(out, overwrite, (*tables.FILES, INDEX))
    require_ours(out, bids, overwrite)
    left_out = LeftOut()
    with progress("Counting") as said:
        pages, counted = write_study(
            bids,
            out,
            skipped=left_out.skip,
            failed=left_out.refuse,
            workers=workers,
            progress=said,
            source=Source(wanted, out),
        )
    if counted:
        tables.write(counted, out)
        show(tables.table(counted))
        for path in (*(out / name for name in tables.FILES), *pages):
            say(f"  {path}")
    nobody = f"{out} holds no masks of {bids}; run the level participant first."
    left_out.tell(len(counted), "counted", nobody, "Not segmented yet")
