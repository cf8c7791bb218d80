"""Seconds and memory to segment a volume, ours beside the field's, and beside the machine's limit.

    python benchmarks/speed.py --work WORK [--repeats 3] [--nnunet PYTHON] [--t1 T1 --t2 T2]

Volumes: a phantom of 176x192x240 voxels at 0.8 mm, the same head with half and with twice as many
voxels and, where given, a real scan. Contenders run one after the other, each in a process of its
own, on the same normalised images with the same network and weights (nnU-Net: its own planned
network), and with as many threads:

- ours: ``fast`` windows by each backend that is installed, and the ``paper``'s grid;
- MONAI's sliding_window_inference (32³, overlap .5, Gaussian, the best of three batch sizes), on
  the whole volume as it is used, on the brain's box only, and compiled;
- TorchIO's GridSampler and GridAggregator, with the same patches;
- nnU-Net v2's predictor without mirroring (``--nnunet``: the Python of an environment that has it).

The limit is one pass over the brain's voxels at the measured peak of matrix products. Prints
median, range, ratio to ours, peak memory and DSC; keeps them in ``results/``.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import records
from numpy.typing import NDArray

OURS = ("ours, openvino", "ours, torch", "ours, paper's grid")
PEERS = ("MONAI", "MONAI, brain box", "MONAI, compiled", "TorchIO")
EDGES = {"half": 1.008, "whole": 0.8, "double": 0.635}
Run = Callable[[], NDArray[np.float32]]


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--work", type=Path)
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--volumes", nargs="+", default=list(EDGES))
    arguments.add_argument("--contenders", nargs="+", default=[*OURS, *PEERS])
    arguments.add_argument("--nnunet", type=Path, help="Python of an environment with nnunetv2")
    arguments.add_argument("--t1", type=Path)
    arguments.add_argument("--t2", type=Path)
    arguments.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.one:
        contend(given.one[0], Path(given.one[1]), given.repeats)
        return
    given.work.mkdir(parents=True, exist_ok=True)
    peak = matmul_peak()
    print(f"matmul peak {peak / 1e9:.0f} GFLOP/s; network {flop_per_voxel() / 1e3:.0f} kFLOP/voxel")
    volumes = {name: phantom(given.work / f"{name}.npz", EDGES[name]) for name in given.volumes}
    if given.t1 or given.t2:
        volumes[(given.t1 or given.t2).name.split(".")[0]] = real(given)
    kept: dict[str, Any] = {"matmul_peak": peak, "flop_per_voxel": flop_per_voxel()}
    for name, path in volumes.items():
        kept[name] = compare(name, path, given, peak)
    print(records.keep("speed", kept))


def compare(name: str, path: Path, given: argparse.Namespace, peak: float) -> dict[str, Any]:
    """Let all contenders segment one volume, and print the table."""
    data = np.load(path)
    inside = int(data["brain"].sum())
    limit = inside * flop_per_voxel() / peak
    shape = "x".join(map(str, data["brain"].shape))
    print(f"\n{name}: {shape}, {inside / 1e6:.2f} M voxels of brain, limit {limit:.2f} s")
    rows: dict[str, Any] = {}
    for contender in given.contenders:
        rows[contender] = ask([sys.executable, __file__, "--one", contender, str(path)], given)
    if given.nnunet:
        helper = Path(__file__).with_name("nnunet_predictor.py")
        work = given.work / f"nnunet-{name}"
        rows["nnU-Net"] = ask([str(given.nnunet), str(helper), str(path), str(work)], given)
    medians = {k: statistics.median(row["seconds"]) for k, row in rows.items() if "seconds" in row}
    ours = min(medians[k] for k in OURS if k in medians)
    print("contender\tmedian s\trange\tratio to ours\tpeak MB\tDSC\tnote")
    for contender, row in rows.items():
        if contender not in medians:
            print(contender, row["failed"], sep="\t")
            continue
        seconds = row["seconds"]
        print(
            contender,
            f"{medians[contender]:.2f}",
            f"{min(seconds):.2f}-{max(seconds):.2f}",
            f"{medians[contender] / ours:.2f}",
            f"{row['peak_mb']:.0f}",
            f"{row['dsc']:.4f}" if row.get("dsc") is not None else "-",
            row.get("note", ""),
            sep="\t",
            flush=True,
        )
    print(f"ours / limit {ours / limit:.2f}")
    return {"limit": limit, "brain_voxels": inside, "shape": shape, "rows": rows}


def ask(command: list[str], given: argparse.Namespace) -> dict[str, Any]:
    """Run a contender as a process of its own; its last line is what it measured."""
    repeats = ["--repeats", str(given.repeats)] if "--one" in command else [str(given.repeats)]
    done = subprocess.run([*command, *repeats], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no word"])[-1]
        return {"failed": f"exit code {done.returncode}: {reason}"}
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def contend(name: str, path: Path, repeats: int) -> None:
    """Measure one contender: a warm-up, then repeats."""
    data = np.load(path)
    images, brain = data["images"], data["brain"]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run, note = contender(name, images, brain)
    probability = run()
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        probability = run()
        seconds.append(time.perf_counter() - begun)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {"seconds": seconds, "peak_mb": peak / 1024, "before_mb": before / 1024, "note": note}
    if data["truth"].any():
        found["dsc"] = dsc(probability * brain, data["truth"], data["voxel_size"])
    print(json.dumps(found))


def contender(name: str, images: NDArray[np.float32], brain: NDArray[np.bool_]) -> tuple[Run, str]:
    """Return what computes the probability, and a word on it."""
    from napari_pvs.inference.predictor import Predictor

    if name.startswith("ours"):
        backend, windows = ("auto", "paper") if "paper" in name else (name.split(", ")[1], "fast")
        predictor = Predictor(windows=windows, backend=backend)
        return lambda: predictor.predict_array(images, brain), ""
    import torch

    from napari_pvs.network.torch_backend import fuse
    from napari_pvs.network.weights import load, starter_path

    model = fuse(load(starter_path())[0])
    if "compiled" in name:
        model = torch.compile(model)
    where: tuple[slice, ...] = (slice(None),) * 3
    if "box" in name:
        from napari_pvs.scans.masks import bounding_box

        where = bounding_box(brain)
    shown = torch.from_numpy(np.ascontiguousarray(images[(slice(None), *where)]))

    def whole(part: Any) -> NDArray[np.float32]:
        out = np.zeros(brain.shape, np.float32)
        out[where] = part
        return out

    if name == "TorchIO":
        return lambda: whole(torchio(model, shown)), "batches of 8"
    from monai.inferers import sliding_window_inference

    def slide(batch: int, part: Any = shown) -> Any:
        with torch.inference_mode():
            found = sliding_window_inference(part[None], (32,) * 3, batch, model, 0.5, "gaussian")
            return torch.sigmoid(found)[0, 0].numpy()

    corner = shown[:, :96, :96, :96]
    timed = {}
    for batch in (1, 4, 16):
        slide(batch, corner)
        begun = time.perf_counter()
        slide(batch, corner)
        timed[batch] = time.perf_counter() - begun
    best = min(timed, key=lambda batch: timed[batch])
    return lambda: whole(slide(best)), f"batches of {best}"


def torchio(model: Any, images: Any) -> Any:
    """Run a network by TorchIO's sampler and aggregator."""
    import torch
    import torchio as tio

    subject = tio.Subject(image=tio.ScalarImage(tensor=images))
    sampler = tio.inference.GridSampler(subject, 32, 16)
    aggregator = tio.inference.GridAggregator(sampler, overlap_mode="hann")
    loader = tio.SubjectsLoader(sampler, batch_size=8)
    with torch.inference_mode():
        for batch in loader:
            found = torch.sigmoid(model(batch["image"][tio.DATA]))
            aggregator.add_batch(found, batch[tio.LOCATION])
        return aggregator.get_output_tensor()[0].numpy()


def dsc(
    probability: NDArray[np.float32], truth: NDArray[np.bool_], size: NDArray[np.float64]
) -> float:
    """DSC at the weights' threshold."""
    from napari_pvs.evaluation.overlap import overlap
    from napari_pvs.network.weights import read, starter_path

    threshold = read(starter_path())[1].threshold_for(("T1", "T2"))
    return float(overlap(probability >= threshold, truth, float(np.prod(size))).dsc)


def phantom(path: Path, edge: float) -> Path:
    """Make the head of seed 9300 with voxels of an edge in mm, unless it is there."""
    from napari_pvs.phantom.cohort import make
    from napari_pvs.phantom.config import PhantomConfig
    from napari_pvs.phantom.sites import SITES
    from napari_pvs.scans.scan import Scan

    if not path.exists():
        SITES["benchmark"] = SITES["A"].model_copy(update={"voxel_size": ((edge, edge),) * 3})
        config = PhantomConfig(subjects=1, labelled=0, seed=9300, sites=("benchmark",))
        subject = make(config, 0)
        scan = Scan.from_arrays(subject.t1, subject.t2, subject.affine, brain=subject.brain)
        save(path, scan, subject.instances > 0)
    return path


def real(given: argparse.Namespace) -> Path:
    """Prepare a real scan; there is no truth."""
    from napari_pvs.scans.scan import load_scan

    scan = load_scan(given.t1, given.t2)
    path = given.work / "real.npz"
    save(path, scan, np.zeros(scan.brain.shape, bool))
    return path


def save(path: Path, scan: Any, truth: NDArray[np.bool_]) -> None:
    """Keep what contenders read."""
    from napari_pvs.inference.predictor import interior

    size = np.array(scan.grid.voxel_size)
    brain = interior(scan.brain, scan.grid.voxel_size)
    np.savez(path, images=scan.normalised(), brain=brain, truth=truth, voxel_size=size)


def matmul_peak() -> float:
    """Operations a second of float32 matrix products, the best of ten."""
    import torch

    size, best = 2048, 0.0
    one, two = torch.randn(size, size), torch.randn(size, size)
    for _ in range(10):
        begun = time.perf_counter()
        torch.mm(one, two)
        best = max(best, 2 * size**3 / (time.perf_counter() - begun))
    return best


def flop_per_voxel() -> float:
    """Operations of one pass, counted by torch."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from napari_pvs.network.weights import load, starter_path

    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        load(starter_path())[0].eval()(torch.zeros(1, 2, 64, 64, 64))
    return counter.get_total_flops() / 64**3


if __name__ == "__main__":
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    main()
