"""Who segments a volume in ``speed.py``: ours and peers, with the same network and weights.

    python benchmarks/contenders.py NAME VOLUME.npz REPEATS

Prints one line of JSON: seconds of each repeat after a warm-up, peak memory, DSC where the truth
is known. Peers get what they run best with here: batch norms folded, the fastest of three batch
sizes. Needs ``pip install monai torchio jaxtyping`` for them.
"""

import contextlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import processes
from numpy.typing import NDArray

OURS: dict[str, dict[str, Any]] = {
    "ours, OpenVINO": {"backend": "openvino"},
    "ours, OpenVINO, full precision": {"backend": "openvino", "precision": "full"},
    "ours, PyTorch": {"backend": "torch"},
    "ours, PyTorch, full precision": {"backend": "torch", "precision": "full"},
    "ours, paper's grid": {"windows": "paper"},
    "ours, paper's grid, full precision": {"windows": "paper", "precision": "full"},
}
"""What `Predictor` is made with; a row each."""
PEERS = ("MONAI", "MONAI, bfloat16", "MONAI, compiled", "MONAI, brain box", "TorchIO")
BATCHES = (1, 4, 16)
Run = Callable[[], NDArray[np.float32]]


def main() -> None:
    name, path, repeats = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    data = np.load(path)
    images, brain = data["images"], data["brain"]
    run, note = ours(name, images, brain) if name in OURS else peer(name, images, brain)
    processes.forget_peak()  # of other batch sizes
    probability = run()
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        probability = run()
        seconds.append(time.perf_counter() - begun)
    found: dict[str, Any] = {"seconds": seconds, "peak_mb": processes.peak_mb(), "note": note}
    if data["truth"].any():
        found["dsc"] = dsc(probability * brain, data["truth"], data["voxel_size"])
    print(json.dumps(found))


def ours(name: str, images: NDArray[np.float32], brain: NDArray[np.bool_]) -> tuple[Run, str]:
    """Return what computes the probability, and a word on it."""
    from napari_pvs.inference.predictor import Predictor

    predictor = Predictor(**OURS[name])
    return lambda: predictor.predict_array(images, brain), predictor.backend.precision


def peer(name: str, images: NDArray[np.float32], brain: NDArray[np.bool_]) -> tuple[Run, str]:
    """Return what computes the probability, and a word on it."""
    import torch

    from napari_pvs.network.backends.torch_backend import fuse
    from napari_pvs.network.weights import load, starter_path

    model = fuse(load(starter_path())[0])
    if "compiled" in name:
        model = torch.compile(model)
    where: tuple[slice, ...] = (slice(None),) * 3
    if "box" in name:
        from napari_pvs.scans.masks import bounding_box

        where = bounding_box(brain)
    shown = torch.from_numpy(np.ascontiguousarray(images[(slice(None), *where)]))
    run = torchio if name == "TorchIO" else monai

    def probability(part: Any, batch: int) -> Any:
        fewer = torch.autocast("cpu", torch.bfloat16, enabled="bfloat16" in name)
        with torch.inference_mode(), fewer:
            return run(model, part, batch)

    batch = fastest(lambda size: probability(shown[:, :96, :96, :96], size))

    def whole() -> NDArray[np.float32]:
        out = np.zeros(brain.shape, np.float32)
        out[where] = probability(shown, batch)
        return out

    return whole, f"batches of {batch}"


def fastest(run: Callable[[int], Any]) -> int:
    """Batch size that is the fastest on a corner of the volume, after a warm-up each."""
    timed = {}
    for batch in BATCHES:
        run(batch)
        begun = time.perf_counter()
        run(batch)
        timed[batch] = time.perf_counter() - begun
    return min(timed, key=lambda batch: timed[batch])


def monai(model: Any, images: Any, batch: int) -> NDArray[np.float32]:
    """Run a network by MONAI's sliding window."""
    import torch
    from monai.inferers import sliding_window_inference

    found = sliding_window_inference(images[None], (32,) * 3, batch, model, 0.5, "gaussian")
    return torch.sigmoid(found.float())[0, 0].numpy()


def torchio(model: Any, images: Any, batch: int) -> NDArray[np.float32]:
    """Run a network by TorchIO's sampler and aggregator."""
    with contextlib.redirect_stdout(sys.stderr):
        import torchio as tio

        subject = tio.Subject(image=tio.ScalarImage(tensor=images))
        sampler = tio.inference.GridSampler(subject, 32, 16)
        aggregator = tio.inference.GridAggregator(sampler, overlap_mode="hann")
        for part in tio.SubjectsLoader(sampler, batch_size=batch):
            found = model(part["image"][tio.DATA]).float().sigmoid()
            aggregator.add_batch(found, part[tio.LOCATION])
        return aggregator.get_output_tensor()[0].numpy()


def dsc(
    probability: NDArray[np.float32], truth: NDArray[np.bool_], size: NDArray[np.float64]
) -> float:
    """DSC at the weights' threshold."""
    from napari_pvs.evaluation.overlap import overlap
    from napari_pvs.network.weights import read, starter_path

    threshold = read(starter_path())[1].threshold_for(("T1", "T2"))
    return float(overlap(probability >= threshold, truth, float(np.prod(size))).dsc)


if __name__ == "__main__":
    main()
