"""What ``scaling.py`` measures: seconds and memory by subjects, by PVS and by voxels.

    python benchmarks/scaling_curves.py loop FOLDER MOST
    python benchmarks/scaling_curves.py volume FOLDER EDGE

are the measurements that need a process of their own; each prints one line of JSON.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import processes
from numpy.typing import NDArray

SHAPE, SIZE = (176, 192, 240), 0.8
PITCH = 8  # voxels between tubes: room for 15,840
Curve = dict[str, Any]


def subjects(work: Path, sizes: list[int]) -> Curve:
    """Seconds until so many subjects are segmented: by one process, and by a command each."""
    most, folder = max(sizes), crops(work / "subjects", max(sizes))
    marks = processes.ask([sys.executable, __file__, "loop", str(folder), str(most)])
    stop("the loop", marks)
    begun, ended = time.perf_counter(), []
    for n in range(most):
        command = [sys.executable, "-m", "napari_pvs", "segment", "--overwrite"]
        for key, path in files(folder, n).items():
            command += [f"--{key.replace('_', '-')}", str(path)]
        stop("a command", processes.timed([*command, "--out", str(folder / f"out-{n}")]))
        ended.append(time.perf_counter() - begun)
    seconds = {"in one process": marks["seconds"], "a command each": ended}
    return {
        "x": sizes,
        "seconds": {name: [line[n - 1] for n in sizes] for name, line in seconds.items()},
        "mb": {"in one process": [marks["peak_mb"][n - 1] for n in sizes]},
    }


def loop(folder: Path, most: int) -> None:
    """Segment one subject after another in this process, start-up included."""
    begun = time.perf_counter()
    from napari_pvs.inference import outputs, predictor, segment
    from napari_pvs.inference.config import SegmentConfig
    from napari_pvs.scans.scan import load_scan

    ready, ended, peaks = predictor.Predictor(), [], []
    for n in range(most):
        config = SegmentConfig(**files(folder, n))
        scan = load_scan(config.t1, config.t2, config.brain_mask)
        result = segment.segment_scan(scan, config, ready)
        outputs.write(result, folder / f"out-{n}", config)
        ended.append(time.perf_counter() - begun)
        peaks.append(processes.peak_mb())
    print(json.dumps({"seconds": ended, "peak_mb": peaks}))


def crops(folder: Path, most: int) -> Path:
    """Cut one phantom into scans of about 90³ voxels, no two the same, unless they are there."""
    from napari_pvs.phantom.cohort import make
    from napari_pvs.phantom.config import PhantomConfig

    if files(folder, most - 1)["t1"].exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    config = PhantomConfig(subjects=1, labelled=0, seed=9400, field_of_view=(83.2,) * 3)
    subject, rng = make(config, 0), np.random.default_rng(0)
    arrays = {"t1": subject.t1, "t2": subject.t2, "brain_mask": subject.brain}
    for n in range(most):
        low = rng.integers(0, 9, 3)
        box = tuple(slice(a, a + b) for a, b in zip(low, rng.integers(84, 96, 3), strict=True))
        for key, path in files(folder, n).items():
            kind = np.uint8 if key == "brain_mask" else np.float32
            nib.save(nib.Nifti1Image(arrays[key][box].astype(kind), subject.affine), path)
    return folder


def files(folder: Path, n: int) -> dict[str, Path]:
    """The files of a subject."""
    return {key: folder / f"{n}_{key}.nii.gz" for key in ("t1", "t2", "brain_mask")}


def pvs(work: Path, sizes: list[int]) -> Curve:
    """Seconds of what is done with PVS, in a volume of 176x192x240 voxels."""
    lines: dict[str, list[float]] = {}
    for count in sizes:
        for name, job in jobs(count).items():
            lines.setdefault(name, []).append(seconds_of(job))
    return {"x": sizes, "seconds": lines}


def jobs(count: int) -> dict[str, Callable[[], Any]]:
    """What is done with so many PVS."""
    from scipy import ndimage

    from napari_pvs.correction.candidates import Scale, candidates
    from napari_pvs.correction.component_index import ComponentIndex
    from napari_pvs.correction.items import Review
    from napari_pvs.correction.review import Queue
    from napari_pvs.evaluation.compare import score
    from napari_pvs.inference.components import drop_round, label, table
    from napari_pvs.inference.outputs import _tsv
    from napari_pvs.scans.grid import Grid

    grid = Grid(SHAPE, np.diag([SIZE, SIZE, SIZE, 1]))
    room, rng = grid.voxel_volume, np.random.default_rng(0)
    soft = ndimage.gaussian_filter(tubes(SHAPE, count, rng).astype(np.float32), 0.6)
    probability = np.clip(1.1 * soft, 0, 1)
    labels = label(probability, 0.5, 1.0, room)
    mask = labels > 0
    reference = np.roll(mask, 1, 0)

    def cut() -> NDArray[np.bool_]:
        return drop_round(label(probability, 0.4, 1.0, room), grid.voxel_size, 2.4) > 0

    def queue() -> Any:
        entries, scale = ComponentIndex(mask).entries, Scale(probability, 0.5, room)
        return Queue(candidates(mask, scale), Review(), mask, entries, scale).pending

    def measures() -> Any:
        return score(mask, reference, grid.voxel_size, subject="", probability=probability)

    return {
        "components": lambda: label(probability, 0.5, 1.0, room),
        "re-threshold": cut,
        "pvs.tsv": lambda: _tsv(table(labels, probability, grid)),
        "table of the dock": lambda: ComponentIndex(mask),
        "metrics": measures,
        "review queue": queue,
    }


def tubes(shape: tuple[int, ...], count: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Tubes of 2x2x3 to 2x2x6 voxels, so many, or all there is room for."""
    out = np.zeros(shape, bool)
    axes = [np.arange(1, n - PITCH + 1, PITCH) for n in shape]
    corners = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    for a, b, c in corners[rng.permutation(len(corners))[:count]].tolist():
        out[a : a + 2, b : b + 2, c : c + int(rng.integers(3, 7))] = True
    return out


def seconds_of(job: Callable[[], Any]) -> float:
    """Median of five runs after a warm-up, of two where they take long."""
    job()
    spent: list[float] = []
    while len(spent) < 5 and (len(spent) < 2 or sum(spent) < 5):
        begun = time.perf_counter()
        job()
        spent.append(time.perf_counter() - begun)
    return statistics.median(spent)


def voxels(work: Path, sizes: list[int]) -> Curve:
    """Seconds and memory to segment cubes that a brain fills, 0.8 mm, from files to files."""
    lines: dict[str, list[float]] = {}
    memory: dict[str, list[float]] = {}
    for edge in sizes:
        with tempfile.TemporaryDirectory(dir=work) as folder:
            found = processes.ask([sys.executable, __file__, "volume", folder, str(edge)])
        stop(f"{edge}³ voxels", found)
        for name, value in found["seconds"].items():
            lines.setdefault(name, []).append(value)
        for name, value in found["mb"].items():
            memory.setdefault(name, []).append(value)
        print(f"  {edge}³: {found}", file=sys.stderr, flush=True)
    return {"x": [edge**3 for edge in sizes], "seconds": lines, "mb": memory}


def volume(folder: Path, edge: int) -> None:
    """Segment a cube, and tell what each stage took."""
    from napari_pvs.inference import outputs, predictor, segment
    from napari_pvs.inference.config import SegmentConfig
    from napari_pvs.scans.scan import load_scan

    config = SegmentConfig(**cube(folder, edge))
    ready = predictor.Predictor()
    ready.predict_array(np.zeros((2, 32, 32, 32), np.float32), np.ones((32,) * 3, bool))
    processes.forget_peak()
    marks, held = [time.perf_counter()], processes.now_mb()
    scan = load_scan(config.t1, config.t2, config.brain_mask)
    marks.append(time.perf_counter())
    result = segment.segment_scan(scan, config, ready)
    marks.append(time.perf_counter())
    outputs.write(result, folder / "out", config)
    marks.append(time.perf_counter())
    peak = processes.peak_mb()
    images = [part for part in (scan.t1, scan.t2, scan.brain) if part is not None]
    own = sum(part.nbytes for part in images) / 2**20
    stages = zip(("read", "segment", "write"), marks, marks[1:], strict=False)
    seconds = {name: end - start for name, start, end in stages}
    seconds["all"] = marks[-1] - marks[0]
    mb = {"peak": peak, "scan": own, "peak without the scan": peak - own, "idle": held}
    print(json.dumps({"seconds": seconds, "mb": mb}))


def cube(folder: Path, edge: int) -> dict[str, Path]:
    """Write T1 and T2 of a ball of white matter that is full of tubes."""
    rng = np.random.default_rng(0)
    fluid = tubes((edge,) * 3, edge**3 // 10_000, rng)
    x, y, z = np.ogrid[(slice(-1, 1, edge * 1j),) * 3]
    ball = x**2 + y**2 + z**2 < 0.85
    affine = np.diag([SIZE, SIZE, SIZE, 1])
    # not compressed, which would be most of the time; a mask, as no head is that large
    paths = {key: folder / f"{key}.nii" for key in ("t1", "t2", "brain_mask")}
    nib.save(nib.Nifti1Image(ball.astype(np.uint8), affine), paths["brain_mask"])
    for name, base, step in (("t1", 1000, -400), ("t2", 1000, 900)):
        image = rng.standard_normal((edge,) * 3, np.float32)
        image *= 40
        image += base
        image[fluid] += step
        image[~ball] = 0
        nib.save(nib.Nifti1Image(image.astype(np.int16), affine), paths[name])
    return paths


def stop(what: str, found: dict[str, Any]) -> None:
    """End where a process failed."""
    if "failed" in found:
        raise SystemExit(f"{what}: {found['failed']}")


if __name__ == "__main__":
    {"loop": loop, "volume": volume}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
