"""Verbs on single scans and masks: segment, evaluate."""

from pathlib import Path
from typing import Annotated

import typer

from napari_pvs.cli.app import Out, Overwrite, app, progress, require_new, show
from napari_pvs.cli.options import with_options
from napari_pvs.errors import InputError
from napari_pvs.inference.config import SegmentConfig


@app.command()
@with_options(SegmentConfig)
def segment(*, config: SegmentConfig, out: Out, overwrite: Overwrite = False) -> None:
    """Segment the PVS of one scan: mask, probability map, one row per PVS, overlay."""
    segment_and_say(config, out, overwrite)


def segment_and_say(config: SegmentConfig, out: Path, overwrite: bool) -> None:
    """Segment, write, and print what was found and where it is."""
    from napari_pvs.inference import outputs
    from napari_pvs.inference.segment import segment as run

    outputs.check_folder(out, overwrite)
    with progress("Segmenting") as said:
        result = run(config, said)
    found = outputs.write(result, out, config)
    print(f"{found['count']} PVS, {found['volume_mm3']:.0f} mm³, threshold {result.threshold:.2f}")
    for name in outputs.FILES:
        print(f"  {out / name}")


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
    from napari_pvs.evaluation import tables
    from napari_pvs.evaluation.compare import Comparison, compare_files, compare_folders
    from napari_pvs.evaluation.summary import summarise
    from napari_pvs.files import write_text

    for path in (json_file, tsv_file):
        require_new(path, overwrite)
    for path in (prediction, reference):
        if not path.exists():
            raise InputError(f"{path} does not exist; check the path.")
    if prediction.is_dir() != reference.is_dir():
        raise InputError(
            f"{prediction} and {reference} are a file and a folder; give two of a kind."
        )
    if prediction.is_dir():
        comparison = compare_folders(prediction, reference, region, probability)
    else:
        comparison = Comparison((compare_files(prediction, reference, region, probability),))
    show(tables.table(comparison))
    show(tables.size_table(summarise(comparison.scores)))
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
