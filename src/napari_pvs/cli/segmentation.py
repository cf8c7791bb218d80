"""Commands for scans and masks: segment, evaluate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_pvs.cli.app import (
    JsonFile,
    MeasureFiles,
    Overwrite,
    Processes,
    Quiet,
    Scheduler,
    TsvFile,
    app,
    examples,
    progress,
    refuse_some,
    require_study,
    say,
    show,
    workers_of,
)
from napari_pvs.cli.options import with_options
from napari_pvs.errors import InputError
from napari_pvs.files import claimed
from napari_pvs.inference.config import SegmentConfig

if TYPE_CHECKING:
    from napari_pvs.evaluation.compare import Comparison
    from napari_pvs.workers import Workers


@app.command(
    epilog=examples(
        "napari-pvs segment --t1 T1w.nii.gz --t2 T2w.nii.gz --out results",
        "napari-pvs segment study",
    )
)
@with_options(SegmentConfig)
def segment(
    *,
    config: SegmentConfig,
    study: Annotated[
        Path | None, typer.Argument(help="Study (a BIDS dataset); segments all its subjects.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for a scan's results.")
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    workers: Processes = 1,
    scheduler: Scheduler = None,
) -> None:
    """Segment the PVS of a scan, or of each subject of a study."""
    scans = [path for path in (config.t1, config.t2, config.brain_mask, out) if path is not None]
    if study is not None:
        if study.is_file():
            raise InputError(f"{study} is not a study; name a scan with --t1 or --t2.")
        if scans:
            raise InputError(
                f"{scans[0]} does not go with the study {study}; leave one of them out."
            )
        if config.report or config.regions:
            option, verb = ("report", "report") if config.report else ("regions", "count")
            raise InputError(
                f"--{option} is for one scan; segment {study} without it, then run napari-pvs "
                f"{verb}."
            )
        segment_study_and_say(study, config, overwrite, workers_of(workers, scheduler))
        return
    require_study(workers, scheduler)
    if out is None:
        raise InputError("no results folder was given; name one with --out, or name a study.")
    with claimed(out):
        segment_and_say(config, out, overwrite)


def segment_study_and_say(
    study: Path, config: SegmentConfig, again: bool, workers: "Workers", **more: Any
) -> None:
    """Segment all subjects not yet segmented with these weights, and print what was found.

    Parameters
    ----------
    study, config, again, workers
        As for `study.predictions.segment_study`.
    **more
        Its other parameters.
    """
    from napari_pvs.study.predictions import Predicted, segment_study

    def tell(one: Predicted) -> None:
        if one.count is not None:
            say(f"{one.name}: {one.count} PVS, {one.volume_mm3:.0f} mm³")

    told = []
    with progress("Segmenting") as said:
        for one in segment_study(study, config, again, workers, **more):
            told.append(one)
            if said is None:
                tell(one)  # in a log, at once
            else:
                said(len(told), one.total)
    if said is not None:
        for one in told:
            tell(one)
    known = sum(one.count is None and not one.why for one in told)
    if known:
        say(f"Already segmented with these weights: {known}; add --overwrite to repeat them.")
    refuse_some([(one.name, one.why) for one in told if one.why], len(told), "segmented")


def segment_and_say(config: SegmentConfig, out: Path, overwrite: bool) -> None:
    """Segment, write, and print what was found and where it is."""
    from napari_pvs.inference import outputs
    from napari_pvs.inference.segment import segment as run

    names = outputs.names(config)
    outputs.check_folder(out, overwrite, names)
    config = outputs.convert_dicom(config, out)
    with progress("Segmenting") as said:
        result = run(config, said, said and said.then("Finding regions"))
    page = None
    if config.report:
        from napari_pvs.report.files import of_segmentation

        page = of_segmentation(result, config)
    found = outputs.write(result, out, config, page)
    say(f"{found['count']} PVS, {found['volume_mm3']:.0f} mm³, threshold {result.threshold:.2f}")
    for reason, option in (("shape", "--max-width"), ("place", "--within tissue")):
        count, volume = (found[f"excluded_by_{reason}{unit}"] for unit in ("", "_mm3"))
        if count:
            say(
                f"Components excluded by {reason} ({option}): {count} ({volume:.0f} mm³), in "
                f"{outputs.TABLE}."
            )
    if result.scan.movement is not None:
        names = (*names, outputs.MOVEMENT)
    for name in names:
        say(f"  {out / name}")


@app.command(
    epilog=examples(
        "napari-pvs evaluate results/pvs_mask.nii.gz reference.nii.gz",
        "napari-pvs evaluate masks references --json measures.json",
    )
)
def evaluate(
    prediction: Annotated[Path, typer.Argument(help="Mask, or a folder of masks.")],
    reference: Annotated[Path, typer.Argument(help="Reference mask, or a folder of them.")],
    region: Annotated[
        Path | None, typer.Option(help="Mask or folder of masks; only voxels inside count.")
    ] = None,
    probability: Annotated[
        Path | None, typer.Option(help="Probability map or folder of maps, for the AUPRC.")
    ] = None,
    json_file: JsonFile = None,
    tsv_file: TsvFile = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Score masks against references: DSC, AVD, recall, and detection per PVS."""
    from napari_pvs.evaluation import tables
    from napari_pvs.evaluation.compare import compare

    files = MeasureFiles(json_file, tsv_file, overwrite)
    comparison = compare(prediction, reference, region, probability)
    files.write(tables.to_json(comparison), tables.to_tsv(comparison))
    if not files.printed:
        _show(comparison, of_folders=prediction.is_dir())
    refuse_some(comparison.refused, len(comparison.refused) + len(comparison.scores), "compared")


def _show(comparison: "Comparison", of_folders: bool) -> None:
    from napari_pvs.evaluation import tables
    from napari_pvs.evaluation.summary import summarise

    show(tables.table(comparison))
    show(tables.size_table(summarise(comparison.scores)))
    for side, names in (
        ("prediction", comparison.only_predicted),
        ("reference", comparison.only_reference),
    ):
        if names:
            say(f"{len(names)} subjects have a {side} only: {', '.join(names)}")
    if comparison.identical:
        same = ", ".join(comparison.identical)
        say(f"Left out, because prediction and reference are the same mask: {same}.")
    elif not of_folders and comparison.scores[0].identical:
        say("Prediction and reference are the same mask: these scores say nothing.")
