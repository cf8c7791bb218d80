"""The command count: the PVS of a mask or a study, by region."""

from pathlib import Path
from typing import Annotated

import typer

from napari_pvs.cli.app import Out, Overwrite, app, examples, refuse_some, say, show
from napari_pvs.errors import InputError
from napari_pvs.files import claimed, require_there


@app.command(
    epilog=examples(
        "napari-pvs count results/pvs_mask.nii.gz --regions aseg.mgz --out counted",
        "napari-pvs count study --out counted",
    )
)
def count(
    what: Annotated[Path, typer.Argument(help="Mask of PVS, or a study (a BIDS folder).")],
    out: Out,
    regions: Annotated[
        str | None,
        typer.Option(
            help="Label map of the brain; for a study, the end of its maps' names: desc-aseg_dseg."
        ),
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option(
            help="Table (TSV) of its regions: index, name. By default FreeSurfer's numbers."
        ),
    ] = None,
    brain_mask: Annotated[
        Path | None, typer.Option(help="Brain mask of the scan, for the share of all PVS.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Count the PVS of a mask or a study: number, volume, length and diameter by region."""
    from napari_pvs.burden import tables
    from napari_pvs.inference.outputs import check_folder

    require_there(what)
    if names is not None and regions is None:
        raise InputError(f"{names} names regions, but there is no label map; add --regions.")
    with claimed(out):
        check_folder(out, overwrite, tables.FILES)
        _count(what, out, regions, names, brain_mask)


def _count(
    what: Path, out: Path, regions: str | None, names: Path | None, brain_mask: Path | None
) -> None:
    from napari_pvs.burden import tables
    from napari_pvs.burden.files import count_mask, count_study
    from napari_pvs.burden.regions import FREESURFER, read_names

    known = FREESURFER if names is None else read_names(names)
    skipped: list[str] = []
    refused: list[tuple[str, str]] = []
    if what.is_dir():
        if brain_mask is not None:
            raise InputError(f"{what} is a study, which has its own brain masks; leave it out.")
        found = list(
            count_study(
                what,
                regions=regions,
                names=known,
                skipped=skipped.append,
                failed=lambda *told: refused.append(told),
            )
        )
        if not found and not refused:
            raise InputError(f"{what} holds no label and no prediction; segment its subjects.")
    else:
        path = None if regions is None else Path(regions)
        found = [count_mask(what, regions=path, names=known, brain=brain_mask)]
    if found:
        tables.write(found, out)
        show(tables.table(found))
        for name in tables.FILES:
            say(f"  {out / name}")
    if skipped:
        say(f"No label and no prediction yet: {', '.join(skipped)}")
    refuse_some(refused, len(refused) + len(found), "counted")
