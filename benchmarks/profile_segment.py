"""Where the time of `napari-pvs segment` goes.

    python benchmarks/profile_segment.py --t1 T1.nii.gz --t2 T2.nii.gz [--backend torch|openvino]
        [--precision full]

Prints, for one run in this process, seconds of wall clock and of the processor by stage, then what
the network computed: windows, voxels beside those of the brain's interior and of the box around it,
GFLOP, and GFLOP/s beside the peak of a matrix product in the same precision on as many threads,
measured just after. Give ``--again N`` for more runs in the same process; the first one compiles.

On a machine that does other work read the processor's seconds: they count all threads, also those
that wait spinning for another.
"""

import argparse
import gc
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

STARTED = time.perf_counter(), time.process_time()

import numpy as np  # noqa: E402
import processes  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from stages import watch  # noqa: E402

from napari_pvs.inference import outputs, predictor, segment  # noqa: E402
from napari_pvs.inference.config import SegmentConfig  # noqa: E402
from napari_pvs.network.config import NetworkConfig  # noqa: E402
from napari_pvs.network.device import threads  # noqa: E402
from napari_pvs.scans import scan as scans  # noqa: E402
from napari_pvs.scans.masks import Box, bounding_box  # noqa: E402

PEAK = 2048
"""Edge of the matrices whose product is the measure of the machine."""


class Clock:
    """Wall and processor seconds by stage, and what the network was asked for."""

    def __init__(self) -> None:
        self.spent: dict[str, tuple[float, float]] = {}
        self.calls: list[tuple[tuple[int, ...], Box | None]] = []
        self.interior = self.box = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add what the body takes."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.add(name, time.perf_counter() - wall, time.process_time() - cpu)

    def add(self, name: str, wall: float, cpu: float) -> None:
        """Add seconds to a stage."""
        before = self.spent.get(name, (0.0, 0.0))
        self.spent[name] = before[0] + wall, before[1] + cpu


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--t1", type=Path)
    parser.add_argument("--t2", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--windows", default="fast")
    parser.add_argument("--again", type=int, default=0)
    given = parser.parse_args()
    imported = time.perf_counter() - STARTED[0], time.process_time() - STARTED[1]
    config = SegmentConfig(
        t1=given.t1,
        t2=given.t2,
        weights=given.weights,
        backend=given.backend,
        precision=given.precision,
        windows=given.windows,
    )
    for number in range(given.again + 1):
        clock = Clock()
        clock.add("imports", *(imported if number == 0 else (0.0, 0.0)))
        report(clock, *one(config, clock))
        gc.collect()  # what watches a backend refers to it, and it to that
        print(flush=True)


def one(config: SegmentConfig, clock: Clock) -> tuple[NetworkConfig, str, str]:
    """Segment, and tell which network ran in which backend and precision."""
    chosen = config.device, config.windows, config.backend, config.precision
    with clock.stage("weights, backend"):
        made = predictor.Predictor(config.weights, *chosen)
    watched(made.backend, clock)
    with watching(clock), tempfile.TemporaryDirectory() as folder:
        with clock.stage("load"):
            scan = scans.load_scan(config.t1, config.t2)
        with clock.stage("segment"):
            result = segment.segment_scan(scan, config, made)
        with clock.stage("writing"):
            outputs.write(result, Path(folder), config)
    return made.card.network, made.backend.name, made.backend.precision


def watched(backend: Any, clock: Clock) -> None:
    """Count a backend's time, and apart the first window of each shape."""
    compute, adapt, seen = backend.probability, backend.with_statistics, set()

    def probability(images: NDArray[np.float32], keep: Box | None = None) -> Any:
        clock.calls.append((images.shape, keep))
        key = str((images.shape, keep))
        if key not in seen and hasattr(backend, "_request"):
            seen.add(key)
            with clock.stage("  compile"):
                backend._request(images.shape, keep)
        with clock.stage("  network"):
            return compute(images, keep)

    def with_statistics(images: NDArray[np.float32]) -> Any:
        with clock.stage("  statistics"):
            made = adapt(images)
        watched(made, clock)
        return made

    backend.probability, backend.with_statistics = probability, with_statistics


@contextmanager
def watching(clock: Clock) -> Iterator[None]:
    """Count the parts of load and segment while this lasts."""
    places: list[tuple[Any, str, str]] = [
        (scans, "read_image", "  read"),
        (scans, "find_brain", "  brain"),
        (scans, "find", "  T2 to T1"),
        (scans.Scan, "normalised", "  normalise"),
        (predictor, "interior", "  interior"),
        (segment, "plausible", "  where (beside)"),
        (segment, "within", "  within"),
        (segment, "components", "  components"),
        (segment, "table", "  table"),
    ]
    before = [getattr(owner, name) for owner, name, _ in places]
    for place in places:
        watch(clock.stage, *place)
    inner: Callable[..., Any] = predictor.interior

    def counted(*arguments: Any) -> Any:
        found = inner(*arguments)
        clock.interior, clock.box = int(found.sum()), found[bounding_box(found)].size
        return found

    predictor.interior = counted
    try:
        yield
    finally:
        for (owner, name, _), function in zip(places, before, strict=True):
            setattr(owner, name, function)


def report(clock: Clock, network: NetworkConfig, backend: str, precision: str) -> None:
    """Print one run."""
    print(f"{'stage':18} {'wall s':>8} {'cpu s':>8}")
    for name, (wall, cpu) in clock.spent.items():
        print(f"{name:18} {wall:8.2f} {cpu:8.2f}")
    total = [sum(v[i] for n, v in clock.spent.items() if n[0] != " ") for i in (0, 1)]
    print(f"{'whole':18} {total[0]:8.2f} {total[1]:8.2f}")
    print(f"peak memory {processes.peak_mb() / 1024:.2f} GB")
    voxels = sum(int(shape[0] * np.prod(shape[2:])) for shape, _ in clock.calls)
    work = sum(operations(network, *call, backend == "openvino") for call in clock.calls) / 1e9
    seconds = clock.spent["  network"][0]
    print(
        f"{len(clock.calls)} windows, {voxels / 1e6:.2f} M voxels: "
        f"{voxels / clock.interior:.2f} of the interior, {voxels / clock.box:.2f} of its box"
    )
    limit = operations(network, (1, 2, clock.box, 1, 1), None, False) / 1e9
    rate = matmul_peak(precision)
    print(
        f"{backend}, {precision}: {work:.0f} GFLOP at {work / seconds:.0f} GFLOP/s; matrix product "
        f"{rate:.0f} GFLOP/s; one pass over the box {limit:.0f} GFLOP, {limit / rate:.2f} s, "
        f"the network took {seconds * rate / limit:.1f} of it"
    )


def operations(
    network: NetworkConfig, shape: tuple[int, ...], keep: Box | None, crops: bool
) -> float:
    """Additions and multiplications of the convolutions over a window."""
    window = [float(n) for n in shape[2:]]
    wanted = [float(s.stop - s.start) for s in keep] if keep and crops else window
    widths, paths = network.widths, network.scale_width
    extra = 2 * paths if network.multiscale else 0
    total = 2 * 27 * 2 * paths * len(widths) * np.prod(window) if network.multiscale else 0.0
    for level, (before, width) in enumerate(pairwise((2, *widths))):
        voxels = np.prod(window) / 8**level
        kernels = (before + extra) * width + width * width + (2 * paths if extra else 0)
        total += 2 * 27 * kernels * voxels
    for level, (fine, coarse) in enumerate(pairwise(widths)):
        wanted = [min(n + 4, m / 2**level) for n, m in zip(wanted, window, strict=True)]
        voxels = np.prod(wanted)
        total += 2 * voxels * (27 * 2 * fine * fine + fine * coarse / 8)
        wanted = [n / 2 for n in wanted]
    return float(total)


def matmul_peak(precision: str) -> float:
    """GFLOP/s of a matrix product, best of several."""
    import torch  # which OpenVINO does without: not before the run

    torch.set_num_threads(threads())
    left, right = torch.randn(2, PEAK, PEAK).to(getattr(torch, precision))
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - start)
    return 2 * PEAK**3 / best / 1e9


if __name__ == "__main__":
    main()
