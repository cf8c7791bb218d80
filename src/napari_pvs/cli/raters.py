"""The command agree: two raters of a study."""

from pathlib import Path
from typing import Annotated

import typer

from napari_pvs.cli.app import (
    JsonFile,
    MeasureFiles,
    Overwrite,
    Quiet,
    TsvFile,
    app,
    examples,
    refuse_some,
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
    study: Annotated[Path, typer.Argument(help="Study (a BIDS dataset) that both labelled.")],
    raters: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="FIRST SECOND",
            help="The two raters, as the Correct dock names them. Needed if there are more.",
        ),
    ] = None,
    json_file: JsonFile = None,
    tsv_file: TsvFile = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Compare the final labels of two raters: kappa per PVS, DSC, ICC of counts and volumes."""
    from napari_pvs.evaluation import rater_tables
    from napari_pvs.study.raters import agree as compare

    files = MeasureFiles(json_file, tsv_file, overwrite)
    found = compare(study, raters)
    files.write(rater_tables.to_json(found), rater_tables.to_tsv(found))
    if not files.printed:
        show(rater_tables.table(found))
        if found.missing:
            say(f"Labelled by one of them only: {', '.join(found.missing)}.")
    refuse_some(found.left_out, len(found.left_out) + len(found.scores), "compared")
