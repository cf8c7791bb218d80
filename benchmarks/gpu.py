"""Throughput and memory on a CUDA GPU: segmenting, beside MONAI, and training.

    python benchmarks/gpu.py [--repeats 5]

Prints ``no GPU`` where there is none. Segmenting: a volume of 176x192x240 voxels a third of which
is brain, from and to the computer's memory, by the default windows and by the paper's grid, in full
and in half precision (autocast), and MONAI's sliding_window_inference (32³, overlap .5, Gaussian,
the best of four batch sizes) with the same network, batch norms folded, in both. Training: patches
of 32³ a second, drawn one step ahead as in a run. The limit is one pass over the brain's voxels at
the measured peak of matrix products. Memory is the peak that PyTorch allocated on the GPU. Needs
``pip install monai``. ``--device cpu --edge 64`` checks the command without a GPU.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import records
import torch
from numpy.typing import NDArray
from profile_training import drawn, made
from speed import flop_per_voxel

from napari_pvs.inference.predictor import Predictor
from napari_pvs.network.backends.torch_backend import fuse
from napari_pvs.network.weights import load, starter_path
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.data.sampling import Patches, ahead
from napari_pvs.training.semi_supervised.teacher import make_teacher
from napari_pvs.training.state import State
from napari_pvs.training.step import compute

SHAPE = (176, 192, 240)
BATCHES = (4, 16, 64, 256)
PRECISIONS = {"full": "full precision", "auto": "autocast"}
HALF = {"cuda": torch.float16, "cpu": torch.bfloat16}


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--steps", type=int, default=40, help="of training, in a repeat")
    arguments.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    arguments.add_argument("--edge", type=int, help="of a small volume, to check the command")
    given = arguments.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        print("no GPU")
        return
    name = torch.cuda.get_device_name() if given.device == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, CUDA {torch.version.cuda}")
    found = {"device": name, "segment": segmenting(given), "train": training(given)}
    if given.device == "cuda":
        print(records.keep("gpu", found))


def segmenting(given: argparse.Namespace) -> dict[str, Any]:
    """Print and return the rows of segmenting."""
    images, brain = scene((given.edge,) * 3 if given.edge else SHAPE)
    inside = int(brain.sum())
    limits = {kind: inside * flop_per_voxel() / peak(kind, given.device) for kind in PRECISIONS}
    said = ", ".join(f"{limits[kind]:.3f} s ({title})" for kind, title in PRECISIONS.items())
    print(f"\n{inside / 1e6:.2f} M voxels of brain; limit {said}")
    print("segmenting\tmedian s\trange\tM voxels/s\tto limit\ttimes MONAI's speed\tpeak MB\tnote")
    rows: dict[str, Any] = {}
    for kind, title in PRECISIONS.items():
        rows[f"MONAI, {title}"] = monai(images, given, kind)
        for windows in ("fast", "paper"):
            own = Predictor(None, given.device, windows, "torch", kind)
            run = repeated(lambda own=own: own.predict_array(images, brain), given)
            rows[f"ours, {windows}, {title}"] = run | {"note": own.backend.precision}
        theirs = statistics.median(rows[f"MONAI, {title}"]["seconds"])
        for row_name in (n for n in rows if n.endswith(title)):
            row = rows[row_name]
            middle = statistics.median(row["seconds"])
            row |= {"voxels_per_second": inside / middle, "ratio": theirs / middle}
            span = f"{min(row['seconds']):.3f}-{max(row['seconds']):.3f}"
            speed = f"{inside / middle / 1e6:.2f}\t{middle / limits[kind]:.1f}"
            said = f"{row['ratio']:.1f}\t{row['peak_mb']:.0f}\t{row['note']}"
            print(row_name, f"{middle:.3f}", span, speed, said, sep="\t", flush=True)
    return {"limits": limits, "brain_voxels": inside, "rows": rows}


def monai(images: NDArray[np.float32], given: argparse.Namespace, kind: str) -> dict[str, Any]:
    """MONAI's sliding window with its best batch size."""
    from monai.inferers import sliding_window_inference

    device = torch.device(given.device)
    model = fuse(load(starter_path())[0]).to(device)
    whole = torch.from_numpy(images)

    def slide(batch: int, part: Any = whole) -> Any:
        half = torch.autocast(device.type, HALF[device.type], enabled=kind == "auto")
        with torch.inference_mode(), half:
            put = part[None].to(device)
            found = sliding_window_inference(put, (32,) * 3, batch, model, 0.5, "gaussian")
            return torch.sigmoid(found.float())[0, 0].cpu().numpy()

    timed = {}
    for batch in BATCHES:
        corner = whole[:, :96, :96, :96]
        slide(batch, corner)
        begun = time.perf_counter()
        slide(batch, corner)
        timed[batch] = time.perf_counter() - begun
    best = min(timed, key=lambda batch: timed[batch])
    return repeated(lambda: slide(best), given) | {"note": f"batches of {best}"}


def training(given: argparse.Namespace) -> dict[str, Any]:
    """Print and return patches a second."""
    print("\ntraining\tpatches/s\trange\tpeak MB")
    scans, rows = [made(n) for n in range(4)], {}
    for method in ("supervised-multi", "m2ss"):
        for kind, title in PRECISIONS.items():
            config = TrainingConfig(
                study="x", method=method, warmup=0, patch=(32,), device=given.device, precision=kind
            )
            taking = steps(State(config, torch.device(given.device)), scans)
            run = repeated(lambda t=taking: [next(t) for _ in range(given.steps)], given)
            count = config.batch + config.unlabelled_batch * config.semi_supervised
            rates = [given.steps * count / seconds for seconds in run["seconds"]]
            rows[f"{method}, {title}"] = run | {"patches_per_second": rates}
            middle, span = statistics.median(rates), f"{min(rates):.1f}-{max(rates):.1f}"
            print(f"{method}, {title}\t{middle:.1f}\t{span}\t{run['peak_mb']:.0f}", flush=True)
            taking.close()
    return rows


def steps(state: State, scans: list[Any]) -> Any:
    """Take steps as a run takes them, with pseudo-labels that are there."""
    config, teacher = state.config, make_teacher(state, Path("unused"))

    def both(step: int) -> tuple[Patches, Patches | None]:
        labelled = drawn(scans, config, step, 1, config.batch, lambda s: s.label)
        if not config.semi_supervised:
            return labelled, None
        count = config.unlabelled_batch
        return labelled, drawn(scans, config, step, 2, count, lambda s: s.label * 0.9)

    for patches in ahead(both, 0, 10**9):
        state.update(compute(state, teacher, *patches).total)
        yield


def repeated(run: Callable[[], Any], given: argparse.Namespace) -> dict[str, Any]:
    """Seconds of repeats after two runs, and the peak of the GPU's memory in them."""
    seconds = []
    for n in range(given.repeats + 2):
        if n == 2 and given.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        wait(given.device)
        begun = time.perf_counter()
        run()
        wait(given.device)
        seconds.append(time.perf_counter() - begun)
    used = torch.cuda.max_memory_allocated() / 2**20 if given.device == "cuda" else float("nan")
    return {"seconds": seconds[2:], "peak_mb": used}


def wait(device: str) -> None:
    """Wait until the GPU has done all it was asked."""
    if device == "cuda":
        torch.cuda.synchronize()


def peak(kind: str, device: str) -> float:
    """Operations a second of matrix products, the best of ten."""
    number = HALF[device] if kind == "auto" else torch.float32
    torch.backends.cuda.matmul.allow_tf32 = True  # as cuDNN convolves where nothing is said
    size, best = (8192 if device == "cuda" else 1024), 0.0
    one, two = (torch.randn(size, size, device=device, dtype=number) for _ in range(2))
    for _ in range(10):
        wait(device)
        begun = time.perf_counter()
        torch.mm(one, two)
        wait(device)
        best = max(best, 2 * size**3 / (time.perf_counter() - begun))
    return best


def scene(shape: tuple[int, ...]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Noise, and an ellipsoid of brain: what is in it does not change the time."""
    rng = np.random.default_rng(0)
    x, y, z = np.ogrid[tuple(slice(-1, 1, n * 1j) for n in shape)]
    return rng.standard_normal((2, *shape), np.float32), x**2 + y**2 + z**2 < 0.74


if __name__ == "__main__":
    main()
