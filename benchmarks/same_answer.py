"""What is fast against the paper's grid in float32: the same answer, in less time.

    python benchmarks/same_answer.py --study STUDY [--repeats 1]   # every labelled subject
    python benchmarks/same_answer.py --subjects 4                  # synthetic, seeds 9100 and up
    python benchmarks/same_answer.py --t1 T1.nii.gz --t2 T2.nii.gz [--reference MASK]

Each scan is segmented with large windows in 16 bits (where the processor computes in them: the
default), with large windows in float32, and by the paper's grid in float32. Prints, per scan and as
mean ± SD, DSC, AVD and recall against the reference, DSC against the mask of the paper's grid and
the seconds after one warm-up; keeps the means in ``results/``.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import records
from numpy.typing import NDArray

from napari_pvs.evaluation.overlap import overlap
from napari_pvs.inference.config import SegmentConfig
from napari_pvs.inference.predictor import Predictor
from napari_pvs.inference.segment import components
from napari_pvs.phantom.cohort import make
from napari_pvs.phantom.config import PhantomConfig
from napari_pvs.scans.scan import Scan, load_scan
from napari_pvs.study.bids import subjects

WAYS: dict[str, dict[str, Any]] = {
    "paper's grid, float32": {"windows": "paper", "precision": "full"},
    "large windows, float32": {"precision": "full"},
    "large windows, default": {},
}
MEASURES = ("DSC", "AVD %", "recall", "DSC to paper's", "seconds")
Mask = NDArray[np.bool_]


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--t1", type=Path)
    arguments.add_argument("--t2", type=Path)
    arguments.add_argument("--reference", type=Path)
    arguments.add_argument("--study", type=Path)
    arguments.add_argument("--weights", type=Path)
    arguments.add_argument("--subjects", type=int, default=2)
    arguments.add_argument("--repeats", type=int, default=1)
    given = arguments.parse_args()
    rows: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    for name, scan, reference in scans(given):
        for way, row in measure(scan, reference, given.weights, given.repeats).items():
            rows[way].append(row)
            print(name, way, *(f"{v:.3f}" for v in row), sep="\t", flush=True)
    print("way", *MEASURES, "DSC minus paper's grid", sep="\t")
    paper = np.array(rows["paper's grid, float32"])
    kept: dict[str, Any] = {"subjects": len(paper)}
    for way, found in rows.items():
        table = np.array(found)
        gap = table[:, 0] - paper[:, 0]
        means = [f"{m:.3f} ± {s:.3f}" for m, s in zip(table.mean(0), table.std(0), strict=True)]
        print(way, *means, f"{gap.mean():+.4f} ± {gap.std():.4f}", sep="\t")
        kept[way] = dict(zip(MEASURES, table.mean(0).tolist(), strict=True))
        kept[way]["DSC minus paper's grid"] = gap.tolist()
    if given.study or not (given.t1 or given.t2):
        print(records.keep("same-answer", kept))


def scans(given: argparse.Namespace) -> Iterator[tuple[str, Scan, Mask | None]]:
    """Yield name, scan and reference."""
    if given.t1 or given.t2:
        reference = None
        if given.reference:
            image = nib.as_closest_canonical(nib.load(given.reference))
            reference = np.asanyarray(image.dataobj) > 0
        yield (given.t1 or given.t2).name, load_scan(given.t1, given.t2), reference
    elif given.study:
        for one in subjects(given.study):
            if one.label is not None:
                reference = np.asanyarray(nib.load(one.label).dataobj) > 0
                yield one.name, load_scan(one.t1, one.t2, one.brain), reference
    else:
        for seed in range(9100, 9100 + given.subjects):
            subject = make(PhantomConfig(subjects=1, labelled=0, seed=seed), 0)
            scan = Scan.from_arrays(subject.t1, subject.t2, subject.affine)
            yield f"phantom {seed}", scan, subject.instances > 0


def measure(
    scan: Scan, reference: Mask | None, weights: Path | None, repeats: int
) -> dict[str, list[float]]:
    """Segment one scan in each way; `MEASURES` of each."""
    found, paper = {}, None
    for way, settings in WAYS.items():
        predictor = Predictor(weights, **settings)
        score, seconds = timed(predictor, scan, repeats)
        threshold = predictor.card.threshold_for(scan.modalities)
        mask = components(score, threshold, scan.grid, SegmentConfig()) > 0
        paper = mask if paper is None else paper
        volume = scan.grid.voxel_volume
        truth = [float("nan")] * 3
        if reference is not None:
            one = overlap(mask, reference, volume, scan.brain)
            truth = [float(one.dsc), float(one.avd_percent or 0), float(one.recall or 0)]
        found[way] = [*truth, float(overlap(mask, paper, volume).dsc), seconds]
    return found


def timed(predictor: Predictor, scan: Scan, repeats: int) -> tuple[NDArray[np.float32], float]:
    """Return the probability and the median time; the first of several runs warms up."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        probability = predictor.predict(scan)
        times.append(time.perf_counter() - start)
    return probability, float(np.median(times[1:] or times))


if __name__ == "__main__":
    main()
