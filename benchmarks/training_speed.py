"""Patches a second in training, beside MONAI's loop on the same network, patches and optimiser.

    python benchmarks/training_speed.py --work WORK [--steps 40] [--repeats 3]

Ours: a step of ``supervised-multi`` as a run takes it, drawing, augmentation, running mean of the
weights and all. MONAI: CacheDataset (scans in memory), RandCropByPosNegLabeld, flips, intensity and
noise augmentation, DataLoader, the same network, DiceFocalLoss, AdamW. Both on 8 patches of 32³ a
step, in alternating turns, in one precision: all float32, then (where the processor computes in it)
convolutions in bfloat16, MONAI's by autocast. Prints median, spread and ratio, and keeps them in
``results/``. Needs ``pip install monai``.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import records
import torch
from small import cohort, short

from napari_pvs.network.device import bfloat16_runs, pick
from napari_pvs.network.m2ss import M2SS
from napari_pvs.study.bids import subjects
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.data.prepared import CACHE, PreparedSubject, load
from napari_pvs.training.data.sampling import ahead, draw
from napari_pvs.training.semi_supervised.teacher import make_teacher
from napari_pvs.training.state import State
from napari_pvs.training.step import compute

BATCH, EDGE = 8, 32


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--work", type=Path, required=True)
    arguments.add_argument("--steps", type=int, default=40)
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--device", default="auto")
    given = arguments.parse_args()
    study = cohort(given.work / "study", 33, 12, 0, ("A",))
    loaded = [load(s, study / CACHE) for s in subjects(study) if s.label is not None]
    config = short(study, patch=(EDGE,), batch=BATCH, warmup=0, device=given.device)
    kept = {}
    for precision in ("full", "auto"):
        same = config.model_copy(update={"precision": precision})
        half = bfloat16_runs(pick(same.device), same.precision)
        said = "bfloat16" if half else "float32"
        if said in kept:  # the processor does not compute in it
            continue
        print(f"{said}:", flush=True)
        kept[said] = compared(loaded, same, half, given)
    print(records.keep("training-speed", kept))


def compared(
    loaded: list[PreparedSubject], config: TrainingConfig, half: bool, given: argparse.Namespace
) -> dict[str, Any]:
    """Let both take turns."""
    loops = {"napari-pvs": ours(loaded, config), "MONAI": monai(loaded, config, half)}
    rates: dict[str, list[float]] = {name: [] for name in loops}
    for loop in loops.values():
        for _ in range(5):  # warm-up
            next(loop)
    for _ in range(given.repeats):
        for name, loop in loops.items():
            begun = time.perf_counter()
            for _ in range(given.steps):
                next(loop)
            rates[name].append(given.steps * BATCH / (time.perf_counter() - begun))
            print(f"{name}: {rates[name][-1]:.1f} patches/s", flush=True)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    ratio = medians["napari-pvs"] / medians["MONAI"]
    for name, values in rates.items():
        print(f"{name}: median {medians[name]:.1f} ({min(values):.1f} to {max(values):.1f})")
    print(f"ratio {ratio:.2f}")
    return {"patches_per_second": rates, "ratio": ratio}


def ours(loaded: list[PreparedSubject], config: TrainingConfig) -> Iterator[None]:
    """Steps of a run."""
    state = State(config, pick(config.device))
    teacher = make_teacher(state, Path("unused"))

    def drawn(step: int):
        return draw(
            loaded, config, step, stream=1, count=config.batch, on_pvs_only=False,
            target=lambda subject: subject.label,
        )  # fmt: skip

    for patches in ahead(drawn, 0, config.epochs * config.steps):
        state.update(compute(state, teacher, patches, None).total)
        yield


def monai(loaded: list[PreparedSubject], config: TrainingConfig, half: bool) -> Iterator[None]:
    """Steps of a training loop as MONAI's tutorials have it."""
    from monai.data import CacheDataset, DataLoader
    from monai.losses import DiceFocalLoss
    from monai.transforms import (
        Compose,
        RandCropByPosNegLabeld,
        RandFlipd,
        RandGaussianNoised,
        RandGaussianSmoothd,
        RandScaleIntensityd,
        RandShiftIntensityd,
    )

    device = pick(config.device)
    keys = ["image", "label"]
    transforms = Compose(
        [
            RandCropByPosNegLabeld(keys, "label", (EDGE,) * 3, pos=3, neg=2, num_samples=BATCH),
            *(RandFlipd(keys, 0.5, axis) for axis in range(3)),
            RandScaleIntensityd("image", 0.25, 1.0),
            RandShiftIntensityd("image", 0.25, prob=1.0),
            RandGaussianNoised("image", 0.4, std=0.3),
            RandGaussianSmoothd("image", prob=0.2),
        ]
    )
    data = [
        {"image": one.images.astype(np.float32), "label": one.label[None].astype(np.float32)}
        for one in loaded
    ]
    loader = DataLoader(CacheDataset(data, transforms, progress=False), 1, shuffle=True)
    model = M2SS(config.network).to(device).train()
    optimiser = torch.optim.AdamW(model.parameters(), config.learning_rate)
    loss = DiceFocalLoss(sigmoid=True)
    while True:
        for batch in loader:
            optimiser.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                answer = model(batch["image"].to(device)).float()
            loss(answer, batch["label"].to(device)).backward()
            optimiser.step()
            yield


if __name__ == "__main__":
    main()
