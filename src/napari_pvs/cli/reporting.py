"""The verb that reports: a page of each subject of a study, and one of all."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_pvs.cli.app import (
    NOBODY,
    LeftOut,
    Out,
    Overwrite,
    Processes,
    Quiet,
    Scheduler,
    app,
    examples,
    progress,
    say,
    workers_of,
)
from napari_pvs.errors import InputError
from napari_pvs.files import claimed

if TYPE_CHECKING:
    from napari_pvs.workers import Workers


@app.command(
    epilog=examples(
        "napari-pvs report study --out pages",
        "napari-pvs report study --out pages --regions desc-aseg_dseg",
    )
)
def report(
    study: Annotated[Path, typer.Argument(help="Study (a BIDS dataset), labelled or segmented.")],
    out: Out,
    regions: Annotated[
        str,
        typer.Option(
            help="template: register the ICBM152 template to each scan; none; or how the names of "
            "the subjects' label maps end, such as desc-aseg_dseg."
        ),
    ] = "template",
    names: Annotated[
        Path | None,
        typer.Option(
            help="TSV table that names the label maps' regions (columns index, name); by default "
            "FreeSurfer's numbers are used."
        ),
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    workers: Processes = 1,
    scheduler: Scheduler = None,
) -> None:
    """Write a page for each subject with a label or a prediction, and one for the cohort."""
    from napari_pvs.inference.outputs import check_folder
    from napari_pvs.report.files import INDEX

    if not study.is_dir():
        raise InputError(f"{study} is not a folder; give a BIDS dataset.")
    if names is not None and regions in ("template", "none"):
        raise InputError(f"{names} names regions, but there is no label map; add --regions.")
    with claimed(out):
        check_folder(out, overwrite, (INDEX,))
        _report(study, out, regions, names, workers_of(workers, scheduler))


def _report(study: Path, out: Path, regions: str, names: Path | None, workers: "Workers") -> None:
    from napari_pvs.burden.regions import read_names
    from napari_pvs.report.files import write_study

    left_out = LeftOut()
    with progress("Reporting") as said:
        written, _ = write_study(
            study,
            out,
            regions=regions,
            names=read_names(names),
            skipped=left_out.skip,
            failed=left_out.refuse,
            workers=workers,
            progress=said,
        )
    for path in written:
        say(f"  {path}")
    count = max(0, len(written) - 1)  # the cohort's page is the last
    left_out.tell(count, "reported", NOBODY.format(study))
