"""The command agree: two raters of a study."""

from pathlib import Path
from typing import Annotated

import typer

from napari_pvs.cli.app import (
    Overwrite,
    app,
    examples,
    refuse_some,
    require_different,
    require_new,
    say,
    show,
)


@app.command(
    epilog=examples(
        "napari-pvs agree study",
        "napari-pvs agree study --raters alice bob --tsv agreement.tsv",
    )
)
def agree(
    study: Annotated[Path, typer.Argument(help="Study (a BIDS folder) that both have labelled.")],
    raters: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="FIRST SECOND",
            help="The two raters, as the Correct dock names them. Needed if there are more.",
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="File for all measures, as JSON.")
    ] = None,
    tsv_file: Annotated[
        Path | None, typer.Option("--tsv", help="File for a table with one row per subject.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Compare the final labels of two raters: kappa per PVS, DSC, ICC of counts and volumes."""
    from napari_pvs.evaluation import rater_tables
    from napari_pvs.files import write_text
    from napari_pvs.study.raters import agree as compare

    require_different(json=json_file, tsv=tsv_file)
    for path in (json_file, tsv_file):
        require_new(path, overwrite)
    found = compare(study, raters)
    if json_file is not None:
        write_text(json_file, rater_tables.to_json(found))
    if tsv_file is not None:
        write_text(tsv_file, rater_tables.to_tsv(found))
    show(rater_tables.table(found))
    if found.missing:
        say(f"Labelled by one of them only: {', '.join(found.missing)}.")
    refuse_some(found.left_out, len(found.left_out) + len(found.scores), "compared")
