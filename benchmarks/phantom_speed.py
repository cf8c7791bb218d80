"""Time one synthetic subject: seconds and peak memory, in one process.

Run it with ``python benchmarks/phantom_speed.py [--anatomy MAP ...] [--seeds 5]``. The first
subject of an anatomy also reads it and loads libraries; the others are what a cohort costs. CPU
seconds of the process are printed beside wall time, which a busy machine stretches. The
aim is 10 s.
"""

import argparse
import resource
import statistics
import sys
import time
from pathlib import Path

import torch

from napari_pvs.phantom.cohort import make
from napari_pvs.phantom.config import PhantomConfig


def measure(config: PhantomConfig) -> tuple[float, float, int, tuple[int, ...]]:
    """Return wall and CPU seconds, number of PVS and grid of the first subject of a cohort."""
    wall, cpu = time.perf_counter(), time.process_time()
    subject = make(config, 0)
    return (
        time.perf_counter() - wall,
        time.process_time() - cpu,
        len(subject.table),
        subject.t1.shape,
    )


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--anatomy", type=Path, nargs="*", default=[])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--site", default="A")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'anatomy':<24}{'grid':<16}{'first':>12}{'median wall':>14}{'median CPU (spread)':>26}")
    for path in options.anatomy or [None]:
        runs = []
        for seed in range(options.seeds + 1):
            config = PhantomConfig(
                seed=seed, sites=(options.site,), anatomy=(path,) if path else ()
            )
            runs.append(measure(config))
        later = runs[1:] or runs
        cpu = [run[1] for run in later]
        grid = "x".join(map(str, runs[0][3]))
        name = path.name.split(".")[0] if path else "icbm152"
        print(
            f"{name:<24}{grid:<16}{runs[0][1]:>8.1f} CPU"
            f"{statistics.median(run[0] for run in later):>12.1f} s"
            f"{statistics.median(cpu):>12.1f} s ({min(cpu):.1f}-{max(cpu):.1f})"
            f"   {min(r[2] for r in later)}-{max(r[2] for r in later)} PVS",
            flush=True,
        )
    # Linux counts in KiB, macOS in bytes
    unit = 2**30 if sys.platform == "darwin" else 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    print(f"peak memory of the process: {peak:.2f} GiB")


if __name__ == "__main__":
    main()
