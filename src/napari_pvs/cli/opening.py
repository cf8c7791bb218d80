"""The command open: results or a study in napari, whose own process it starts."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from napari_pvs.cli.app import app, examples
from napari_pvs.errors import InputError
from napari_pvs.files import require_there

_WINDOW = "napari_pvs.widgets.launch"  # never imported here: it needs Qt
_BINDINGS = ("PyQt6", "PySide6", "PyQt5")


@app.command(
    "open",
    epilog=examples("napari-pvs open results", "napari-pvs open study"),
    no_args_is_help=True,
)
def open_in_napari(
    what: Annotated[
        Path, typer.Argument(help="Results folder written by segment, or a study (a BIDS dataset).")
    ],
    t1: Annotated[
        Path | None, typer.Option(help="T1 of the results, if it was moved or renamed.")
    ] = None,
    t2: Annotated[
        Path | None, typer.Option(help="T2 of the results, if it was moved or renamed.")
    ] = None,
    brain_mask: Annotated[
        Path | None, typer.Option(help="Brain mask of the scan, if it was moved or renamed.")
    ] = None,
) -> None:
    """Open results with their scan, or a study, in napari's workspace."""
    from napari_pvs.inference.outputs import SUMMARY
    from napari_pvs.inference.results import scan_files
    from napari_pvs.study.bids import survey

    require_there(what)
    if not what.is_dir():
        raise InputError(f"{what} is a file; name the folder of results that it lies in.")
    moved = {"t1": t1, "t2": t2, "brain_mask": brain_mask}
    named = [path for path in moved.values() if path is not None]
    require_there(*named)
    if (what / SUMMARY).exists():
        files = scan_files(what, **moved)
        arguments = ["--results", what.absolute()]
        for option, path in (("--t1", files.t1), ("--t2", files.t2), ("--brain", files.brain_mask)):
            arguments += [] if path is None else [option, path]
    elif any(what.glob("sub-*")):
        if named:
            raise InputError(f"{what} is a study, which has its own scans; leave {named[0]} out.")
        survey(what)  # refuses a folder without a usable subject
        arguments = ["--study", what.absolute()]
    else:
        raise InputError(
            f"{what} holds neither {SUMMARY} nor the subjects of a study (sub-…); name a folder "
            "that napari-pvs segment wrote, or a BIDS folder."
        )
    _require_napari()
    ended = subprocess.run([sys.executable, "-m", _WINDOW, *map(str, arguments)], check=False)
    if ended.returncode:
        raise typer.Exit(1)


def _require_napari() -> None:
    """Refuse if there is no napari, or no Qt for its window.

    Raises
    ------
    InputError
        One of them is not installed.
    """
    if find_spec("napari") is None or not any(map(find_spec, _BINDINGS)):
        raise InputError('napari is not installed with Qt; run pip install "napari-pvs[all]".')
