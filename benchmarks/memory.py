"""Memory of training steps, forecast and measured.

    python benchmarks/memory.py

Each row is a process of its own. Prints the forecast before the run and the peak of the resident
memory after three steps, and their ratio.
"""

import argparse
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np

from napari_pvs.network.device import pick
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.data.sampling import Patches
from napari_pvs.training.plan import forecast
from napari_pvs.training.semi_supervised.teacher import make_teacher
from napari_pvs.training.state import State
from napari_pvs.training.step import compute

CASES = (
    ("supervised-multi", 8, 32),
    ("supervised-multi", 16, 32),
    ("supervised-multi", 2, 48),
    ("supervised-mono", 8, 32),
    ("m2ss", 8, 32),
    ("supervised-multi", 1, 64),
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--case", type=int)
    given = parser.parse_args()
    if given.case is not None:
        one(*CASES[given.case])
        return
    print("method\tbatch\tpatch\tforecast GB\tmeasured GB\tratio", flush=True)
    for case in range(len(CASES)):
        subprocess.run([sys.executable, __file__, "--case", str(case)], check=True)


def one(method: str, batch: int, edge: int) -> None:
    """Print one row."""
    config = TrainingConfig(
        study="x", method=method, batch=batch, unlabelled_batch=batch, patch=(edge,)
    )
    device = pick("cpu")
    expected = forecast(config, device).needed / 2**30
    state = State(config, device)
    teacher = make_teacher(state, Path("unused"))
    rng = np.random.default_rng(0)
    shape = (batch, 2, edge, edge, edge)

    def patches() -> Patches:
        images = rng.standard_normal(shape).astype(np.float32)
        target = (images[:, :1] > 2).astype(np.float32)
        return Patches(images, target, (("a", (0, 0, 0)),) * batch)

    for _ in range(3):
        unlabelled = patches() if config.semi_supervised else None
        state.update(compute(state, teacher, patches(), unlabelled).total)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    row = (method, batch, edge, f"{expected:.2f}", f"{peak:.2f}", f"{expected / peak:.2f}")
    print(*row, sep="\t", flush=True)


if __name__ == "__main__":
    main()
