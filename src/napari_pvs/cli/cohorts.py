"""Commands that make synthetic subjects: phantom, demo."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_pvs.cli import segmentation
from napari_pvs.cli.app import Overwrite, Quiet, app, examples, progress, say
from napari_pvs.cli.options import with_options
from napari_pvs.errors import command
from napari_pvs.files import claimed
from napari_pvs.inference.config import SegmentConfig
from napari_pvs.options import build
from napari_pvs.phantom.config import PhantomConfig


@app.command(
    epilog=examples(
        "napari-pvs phantom cohort --subjects 33 --labelled 12",
        "napari-pvs phantom cohort --subjects 4 --sites A --sites B --jobs 2",
    )
)
@with_options(PhantomConfig)
def phantom(
    *,
    config: PhantomConfig,
    out: Annotated[Path, typer.Argument(help="A new or empty folder.")],
    quiet: Quiet = False,
) -> None:
    """Make a synthetic cohort with known PVS, as a BIDS dataset."""
    from napari_pvs.phantom.cohort import write_cohort

    with claimed(out):
        write_cohort(config, out, _each("Making subjects"))
    say(f"{config.subjects} subjects, {config.labelled} of them labelled, in {out}")


def _each(title: str) -> Callable[[Iterator[Any], int], Iterator[Any]]:
    """Return what shows how far an iteration has got."""

    def follow(rows: Iterator[Any], total: int) -> Iterator[Any]:
        with progress(title) as said:
            for done, row in enumerate(rows):
                if said is not None:
                    said(done, total)
                yield row

    return follow


@app.command(epilog=examples("napari-pvs demo", "napari-pvs demo elsewhere --seed 7"))
def demo(
    out: Annotated[Path, typer.Argument(help="Folder for the results.")] = Path("demo-output"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the synthetic subject.")] = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Make a synthetic subject, segment it with the starter weights, and score the result."""
    with claimed(out):
        _demo(out, seed, overwrite)


def _demo(out: Path, seed: int, overwrite: bool) -> None:
    from napari_pvs.inference import outputs
    from napari_pvs.phantom.cohort import remove_cohort, subject_name, write_cohort
    from napari_pvs.scans import derivative
    from napari_pvs.study.paths import truth_folder

    outputs.check_folder(out, overwrite)
    cohort = out / "subject"
    if cohort.exists():
        remove_cohort(cohort, overwrite)
    say("Making a synthetic subject: T1, T2 and the true PVS …")
    write_cohort(build(PhantomConfig, {"subjects": 1, "labelled": 1, "seed": seed}), cohort)
    name = subject_name(0)
    scans = cohort / name / "anat" / name
    say("Segmenting it with the starter weights …")
    config = {"t1": f"{scans}_T1w.nii.gz", "t2": f"{scans}_T2w.nii.gz"}
    segmentation.segment_and_say(build(SegmentConfig, config), out, overwrite)
    say("Comparing the result with the truth …")
    truth = truth_folder(cohort, name) / derivative.image(name, derivative.MASK)
    segmentation.evaluate(
        out / outputs.MASK, truth, json_file=out / "evaluation.json", overwrite=overwrite
    )
    say(
        "",
        f"Look at {out / outputs.OVERLAY}: axial slices, and below them the same with PVS in red.",
        f"Open it in napari: {command('open', out)}",
    )
