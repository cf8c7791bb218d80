"""The command count: the PVS of a mask or a study, by region."""

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
    require_study,
    say,
    show,
    workers_of,
)
from napari_pvs.errors import InputError
from napari_pvs.files import claimed, require_there

if TYPE_CHECKING:
    from napari_pvs.burden.count import Counted
    from napari_pvs.workers import Workers


@app.command(
    epilog=examples(
        "napari-pvs count results/pvs_mask.nii.gz --regions aseg.mgz --out counted",
        "napari-pvs count study --out counted",
    )
)
def count(
    what: Annotated[Path, typer.Argument(help="Mask of PVS, or a study (a BIDS dataset).")],
    out: Out,
    regions: Annotated[
        str | None,
        typer.Option(
            help="A label map of the brain (for a study, how the names of its maps end, such as "
            "desc-aseg_dseg); template: register the ICBM152 template to each scan (the default "
            "for a study, and with --t1 or --t2); or none."
        ),
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option(
            help="TSV table that names the label map's regions (columns index, name); by default "
            "FreeSurfer's numbers are used."
        ),
    ] = None,
    t1: Annotated[Path | None, typer.Option(help="T1 of the mask, for the template.")] = None,
    t2: Annotated[Path | None, typer.Option(help="T2 of the mask, for the template.")] = None,
    brain_mask: Annotated[
        Path | None,
        typer.Option(help="Brain mask of the scan; all PVS are also given as a share of it."),
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    workers: Processes = 1,
    scheduler: Scheduler = None,
) -> None:
    """Count the PVS of a mask or a study: number, volume, length and diameter by region."""
    from napari_pvs.burden import tables
    from napari_pvs.burden.regions import NONE, TEMPLATE
    from napari_pvs.inference.outputs import check_folder

    require_there(what)
    if names is not None and regions in (None, TEMPLATE, NONE):
        raise InputError(f"{names} names regions, but there is no label map; add --regions.")
    scan = tuple(path for path in (t1, t2) if path is not None)
    for path in (*scan, brain_mask):
        if path is not None and what.is_dir():
            kind = "brain masks" if path == brain_mask else "scans"
            raise InputError(f"{what} is a study, which has its own {kind}; leave {path} out.")
    if scan and regions not in (None, TEMPLATE):
        raise InputError(f"{scan[0]} is for the template, not for {regions}; leave one out.")
    if regions == TEMPLATE and not scan and not what.is_dir():
        raise InputError(f"the template needs the scan of {what}; name it with --t1 or --t2.")
    if not what.is_dir():
        require_study(workers, scheduler)
    left_out = LeftOut()
    with claimed(out):
        check_folder(out, overwrite, tables.FILES)
        if what.is_dir():
            crew = workers_of(workers, scheduler)
            found = _count_study(what, regions or TEMPLATE, names, crew, left_out)
        else:
            found = [_count_one(what, regions, names, t1, t2, brain_mask)]
        if found:
            tables.write(found, out)
            show(tables.table(found))
            for name in tables.FILES:
                say(f"  {out / name}")
        left_out.tell(len(found), "counted", NOBODY.format(what))


def _count_study(
    study: Path, regions: str, names: Path | None, workers: "Workers", left_out: LeftOut
) -> "list[Counted]":
    from napari_pvs.burden.files import count_study
    from napari_pvs.burden.regions import read_names

    with progress("Counting") as said:
        return list(
            count_study(
                study,
                regions=regions,
                names=read_names(names),
                skipped=left_out.skip,
                failed=left_out.refuse,
                workers=workers,
                progress=said,
            )
        )


def _count_one(
    mask: Path,
    regions: str | None,
    names: Path | None,
    t1: Path | None,
    t2: Path | None,
    brain_mask: Path | None,
) -> "Counted":
    from napari_pvs.burden.files import count_mask, count_on_scan
    from napari_pvs.burden.regions import NONE, read_names
    from napari_pvs.scans.scan import load_scan

    if t1 is not None or t2 is not None:
        scan = load_scan(t1, t2, brain_mask)
        with progress("Finding regions") as said:
            return count_on_scan(mask, scan, progress=said)
    path = None if regions in (None, NONE) else Path(regions)
    return count_mask(mask, regions=path, names=read_names(names), brain=brain_mask)
