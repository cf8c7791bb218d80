"""Large windows against the paper's grid: same answer, less time.

    python benchmarks/windows.py --t1 T1.nii.gz --t2 T2.nii.gz [--reference MASK]
    python benchmarks/windows.py --study STUDY        # every labelled subject of a study
    python benchmarks/windows.py                      # synthetic subjects, seeds 9100 and up

Prints, per scan: DSC between the two masks, DSC of each against the reference, the largest
difference of probabilities, seconds of each (after one warm-up) and their ratio, peak memory.
"""

import argparse
import resource
import time
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from napari_pvs.evaluation.overlap import overlap
from napari_pvs.inference.predictor import Predictor
from napari_pvs.phantom.cohort import make
from napari_pvs.phantom.config import PhantomConfig
from napari_pvs.scans.scan import Scan, load_scan
from napari_pvs.study.bids import subjects


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
    arguments.add_argument("--repeats", type=int, default=3)
    given = arguments.parse_args()
    print("scan\tDSC fast:paper\tDSC fast\tDSC paper\tmax diff\tfast s\tpaper s\tratio")
    if given.t1 or given.t2:
        scan = load_scan(given.t1, given.t2)
        reference = None
        if given.reference:
            image = nib.as_closest_canonical(nib.load(given.reference))
            reference = np.asanyarray(image.dataobj) > 0
        compare((given.t1 or given.t2).name, scan, reference, given)
        return
    if given.study:
        for one in subjects(given.study):
            if one.label is not None:
                reference = np.asanyarray(nib.load(one.label).dataobj) > 0
                compare(one.name, load_scan(one.t1, one.t2), reference, given)
        return
    for index in range(given.subjects):
        seed = 9100 + index
        subject = make(PhantomConfig(subjects=1, labelled=0, seed=seed), 0)
        scan = Scan.from_arrays(subject.t1, subject.t2, subject.affine)
        compare(f"phantom {seed}", scan, subject.instances > 0, given)


def compare(
    name: str, scan: Scan, reference: NDArray[np.bool_] | None, given: argparse.Namespace
) -> None:
    """Print one row of the table."""
    maps, seconds = {}, {}
    for windows in ("fast", "paper"):
        predictor = Predictor(given.weights, windows=windows)
        maps[windows], seconds[windows] = timed(predictor, scan, given.repeats)
    threshold = predictor.card.threshold_for(scan.modalities)
    masks = {key: value >= threshold for key, value in maps.items()}
    volume = scan.grid.voxel_volume
    agreement = overlap(masks["fast"], masks["paper"], volume).dsc
    scores = [
        f"{overlap(masks[key], reference, volume).dsc:.4f}" if reference is not None else "-"
        for key in ("fast", "paper")
    ]
    largest = float(np.abs(maps["fast"] - maps["paper"]).max())
    print(
        name,
        f"{agreement:.4f}",
        *scores,
        f"{largest:.3f}",
        f"{seconds['fast']:.1f}",
        f"{seconds['paper']:.1f}",
        f"{seconds['paper'] / seconds['fast']:.1f}",
        sep="\t",
        flush=True,
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"peak memory so far: {peak:.2f} GB")


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
