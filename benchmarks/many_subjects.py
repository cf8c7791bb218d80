"""What 100,000 scans cost besides computing: scheduling, listing the study, files and storage.

    python benchmarks/many_subjects.py [--tasks 1000 4000 16000] [--subjects 500 1000 2000 4000]

*Scheduling*: `workers.each`, as the commands use it, has a dask cluster of two workers do tasks
that do nothing; printed are tasks a second and how much memory scheduler and client gain.
*Listing*: `study.bids.survey` of studies with empty files (T1, T2, brain mask and label of each
subject), first just after they are written, then again. *Storage*: files and bytes that segmenting
one synthetic subject of 0.8 mm writes into a study. The first two are fitted by a power law,
a · N^b, over the sizes that were measured, and what it says of 100,000 is printed as what it is: an
extrapolation.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
import records

from napari_pvs.workers import Workers, each

WANTED = 100_000


def nothing(number: int) -> int:
    """Return a number."""
    return number


def main() -> None:
    """Measure, fit, print."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--tasks", type=int, nargs="+", default=[1000, 4000, 16_000])
    arguments.add_argument("--subjects", type=int, nargs="+", default=[500, 1000, 2000, 4000])
    given = arguments.parse_args()
    found = {
        "scheduling": scheduling(given.tasks),
        "listing": listing(given.subjects),
        "storage": storage(),
    }
    for what, key in (("scheduling", "seconds"), ("scheduling", "mb"), ("listing", "again")):
        rows = found[what]
        a, b = power([row["n"] for row in rows], [row[key] for row in rows])
        told = {"of": f"{what}, {key}", "a": a, "b": b, "at": WANTED, "says": a * WANTED**b}
        found.setdefault("extrapolated", []).append(told)
        print(f"{what}, {key}: {a:.2e} · N^{b:.2f}; extrapolated to {WANTED}: {told['says']:.0f}")
    print(records.keep("many-subjects", found))


def power(sizes: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Fit values = a · sizes^b."""
    b, a = np.polyfit(np.log(sizes), np.log(np.maximum(values, 1e-6)), 1)
    return float(np.exp(a)), float(b)


def scheduling(sizes: Sequence[int]) -> list[dict]:
    """Let a cluster do nothing, many times."""
    from distributed import LocalCluster

    rows = []
    for count in sizes:
        with LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster:
            list(each(nothing, range(50), Workers(scheduler=cluster)))  # workers have started
            before = psutil.Process().memory_info().rss
            start = time.perf_counter()
            made = sum(1 for one in each(nothing, range(count), Workers(scheduler=cluster)) if one)
            seconds = time.perf_counter() - start
            grown = psutil.Process().memory_info().rss - before
        assert made == count
        rows.append({"n": count, "seconds": seconds, "mb": grown / 2**20})
        print(
            f"{count} tasks: {seconds:.1f} s, {count / seconds:.0f} a second, "
            f"{grown / 2**20:.0f} MB more in scheduler and client",
            flush=True,
        )
    return rows


def listing(sizes: Sequence[int]) -> list[dict]:
    """List studies of empty files."""
    from napari_pvs.study.bids import survey

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        root, done = Path(folder), 0
        for count in sizes:
            for number in range(done, count):
                name = f"sub-{number:06d}"
                derivatives = root / "derivatives"
                for path in (
                    root / name / "anat" / f"{name}_T1w.nii.gz",
                    root / name / "anat" / f"{name}_T2w.nii.gz",
                    derivatives / "masks" / name / "anat" / f"{name}_desc-brain_mask.nii.gz",
                    derivatives / "labels" / name / "anat" / f"{name}_desc-pvs_mask.nii.gz",
                ):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(b"\0" * 16)
            done = count
            times = []
            for _ in range(2):
                start = time.perf_counter()
                seen = survey(root)
                times.append(time.perf_counter() - start)
            if len(seen.found) != count:
                raise AssertionError(f"{len(seen.found)} of {count}: {seen.refused[:1]}")
            rows.append({"n": count, "first": times[0], "again": times[1]})
            print(f"{count} subjects: listed in {times[0]:.2f} s, again in {times[1]:.2f} s")
    return rows


def storage() -> dict:
    """Segment one synthetic subject in a study, and see what is written."""
    from napari_pvs.inference.config import SegmentConfig
    from napari_pvs.phantom.cohort import write_cohort
    from napari_pvs.phantom.config import PhantomConfig
    from napari_pvs.study.predictions import segment_study

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "study"
        write_cohort(PhantomConfig(subjects=1, labelled=0, seed=7), root)
        scans = sum(path.stat().st_size for path in root.glob("sub-*/anat/*.nii.gz"))
        before = set(root.rglob("*"))
        start = time.perf_counter()
        (one,) = segment_study(root, SegmentConfig())
        seconds = time.perf_counter() - start
        made = [path for path in set(root.rglob("*")) - before if path.is_file()]
        told = {
            "scan_mb": scans / 1e6,
            "files": len(made),
            "kb": sum(path.stat().st_size for path in made) / 1e3,
            "seconds": seconds,
            "pvs": one.count,
        }
    print(
        f"one subject: scans {told['scan_mb']:.0f} MB; segmenting it writes {told['files']} files, "
        f"{told['kb']:.0f} kB, in {seconds:.1f} s with the weights' reading"
    )
    return told


if __name__ == "__main__":
    main()
