"""Ours beside nnU-Net's and MONAI's networks, trained for the same time on the same patches.

    python benchmarks/training_peers.py --work WORK [--seeds 3]

Cropped cohort of ``table1.py``: 10 labelled scans to learn from, 2 to choose threshold and weights,
8 others for the test. First ours (``supervised-multi`` and ``m2ss``, recipe default) for a set
number of steps. Then, for as long as m2ss took, on patches drawn and augmented in the same way:

- DynUNet, nnU-Net's planned network in MONAI, with deep supervision, Dice + cross-entropy, SGD with
  Nesterov momentum .99 and the polynomial schedule, as nnU-Net v2 trains;
- SegResNet with Dice + cross-entropy, AdamW and a cosine schedule, as MONAI's tutorials train.

The peers are shown both modalities always, compute in the same precision as ours, and their
volumes are put together by MONAI's sliding_window_inference with Gaussian weights. Their threshold
is chosen as ours: on six labelled scans, those of the validation and four trained on. Needs
``pip install monai``.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import records
import torch
from numpy.typing import NDArray
from small import MEASURES, cohort, mean, measure, short

from napari_pvs.evaluation.compare import SubjectScore, score
from napari_pvs.evaluation.overlap import overlap
from napari_pvs.inference.config import SegmentConfig
from napari_pvs.inference.predictor import interior
from napari_pvs.inference.segment import components
from napari_pvs.network.device import bfloat16_runs
from napari_pvs.scans.grid import Grid
from napari_pvs.study.bids import subjects
from napari_pvs.training.augment import augment
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.crossval.report import interval
from napari_pvs.training.data.prepared import CACHE, PreparedSubject, load
from napari_pvs.training.data.sampling import draw
from napari_pvs.training.run import train
from napari_pvs.training.runs.folder import BEST
from napari_pvs.training.validation import THRESHOLDS

TESTED = 8
VALIDATION = ("sub-11", "sub-12")
ROI = (32, 32, 32)


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--work", type=Path, required=True)
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--epochs", type=int, default=None, help="of ours; sets the time of all")
    given = arguments.parse_args()
    study = cohort(given.work / "study", 33, 12, 0, ("A",))
    test = cohort(given.work / "test", TESTED, TESTED, 500, ("A",))
    names = ("supervised-multi", "m2ss", "DynUNet", "SegResNet")
    scores: dict[str, list[list[SubjectScore]]] = {name: [] for name in names}
    minutes: dict[str, list[float]] = {name: [] for name in names}
    more = {"epochs": given.epochs} if given.epochs else {}
    for seed in range(given.seeds):
        for name in names:
            begun = time.monotonic()
            if name in ("supervised-multi", "m2ss"):
                config = short(study, method=name, seed=seed, validation=VALIDATION, **more)
                folder = given.work / name / f"seed-{seed}"
                train(config, folder)
                minutes[name].append((time.monotonic() - begun) / 60)
                found = measure(folder / BEST, test)
            else:
                seconds = 60 * minutes["m2ss"][-1]
                peer = Peer(name, study, short(study, seed=seed))
                steps = peer.train(seconds)
                minutes[name].append(seconds / 60)
                found = peer.test(test)
                print(f"{name}: {steps} steps")
            scores[name].append(found)
            print(f"seed {seed} {name}: DSC {mean(found, 'dsc'):.3f}", flush=True)
    report(scores, minutes)


def report(scores: dict[str, list[list[SubjectScore]]], minutes: dict[str, list[float]]) -> None:
    """Print means over subjects and seeds, and m2ss minus each peer over subjects."""
    table: dict[str, Any] = {}
    by_subject = {}
    for name, runs in scores.items():
        by_subject[name] = np.mean([[one.dsc for one in run] for run in runs], axis=0)
        table[name] = {m: float(np.mean([mean(run, m) for run in runs])) for m in MEASURES}
        table[name] |= {
            "dsc_sd_over_subjects": float(by_subject[name].std(ddof=1)),
            "dsc_by_seed": [mean(run, "dsc") for run in runs],
            "minutes": float(np.mean(minutes[name])),
        }
        figures = ", ".join(f"{m} {table[name][m]:.3f}" for m in MEASURES)
        print(f"{name}: {figures}, {table[name]['minutes']:.1f} min")
    for name in ("supervised-multi", "DynUNet", "SegResNet"):
        gaps = by_subject["m2ss"] - by_subject[name]
        low, high = interval(gaps)
        table[name]["m2ss_ahead_by"] = [float(gaps.mean()), low, high]
        print(f"m2ss minus {name}: {gaps.mean():+.3f}, 95 % interval {low} to {high}")
    print(records.keep("training-peers", table))


class Peer:
    """A network of MONAI's, trained its own way on our patches."""

    def __init__(self, name: str, study: Path, config: TrainingConfig):
        from monai.losses import DeepSupervisionLoss, DiceCELoss
        from monai.networks.nets import DynUNet, SegResNet

        torch.manual_seed(config.seed)
        self.name = name
        self.config = config.model_copy(update={"patch": ROI[:1]})
        labelled = [s for s in subjects(study) if s.label is not None]
        loaded = {s.name: load(s, study / CACHE) for s in labelled}
        self.validation = [loaded[n] for n in VALIDATION]
        self.learnt = [one for n, one in loaded.items() if n not in VALIDATION]
        self.half = bfloat16_runs(torch.device("cpu"))
        loss = DiceCELoss(sigmoid=True, batch=True)
        if name == "DynUNet":
            self.model: torch.nn.Module = DynUNet(
                3, 2, 1, [3] * 4, [1, 2, 2, 2], [2] * 3, [32, 64, 128, 256],
                deep_supervision=True, deep_supr_num=2,
            )  # fmt: skip
            self.optimiser: torch.optim.Optimizer = torch.optim.SGD(
                self.model.parameters(), 1e-2, 0.99, nesterov=True, weight_decay=3e-5
            )
            self.loss: torch.nn.Module = DeepSupervisionLoss(loss)
        else:
            self.model = SegResNet(3, 16, 2, 1)
            self.optimiser = torch.optim.AdamW(self.model.parameters(), 1e-3)
            self.loss = loss
        self.peak = self.optimiser.param_groups[0]["lr"]
        self.threshold = 0.5

    def train(self, seconds: float) -> int:
        """Train for a time, validation at the end aside; return the number of steps."""
        begun, step = time.monotonic(), 0
        generator = torch.Generator().manual_seed(self.config.seed)
        self.model.train()
        while (share := (time.monotonic() - begun) / seconds) < 1:
            cosine = (1 + np.cos(np.pi * share)) / 2
            decay = (1 - share) ** 0.9 if self.name == "DynUNet" else cosine
            for group in self.optimiser.param_groups:
                group["lr"] = self.peak * decay
            patches = draw(
                self.learnt, self.config, step, stream=1, count=self.config.batch,
                on_pvs_only=False, target=lambda subject: subject.label,
            )  # fmt: skip
            images, labels = torch.from_numpy(patches.images), torch.from_numpy(patches.target)
            images, labels = augment(images, labels, generator)
            with self.autocast():
                answer = self.model(images).float()
            if self.name == "DynUNet":  # (N, heads, 1, X, Y, Z) in training
                answer = list(answer.unbind(1))
            loss = self.loss(answer, labels)
            self.optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 12)
            self.optimiser.step()
            step += 1
        self.model.eval()
        self.calibrate()
        return step

    def calibrate(self) -> None:
        """Choose the threshold on as many labelled scans as ours, of the same thresholds."""
        rows = []
        more = self.learnt[: self.config.threshold_scans - len(self.validation)]
        for one in (*self.validation, *more):
            found, volume = self.predict(one), float(np.prod(one.voxel_size))
            rows.append([overlap(found >= t, one.label, volume, one.brain).dsc for t in THRESHOLDS])
        self.threshold = float(THRESHOLDS[np.mean(rows, axis=0).argmax()])

    def autocast(self) -> torch.autocast:
        """Compute in bfloat16 where ours does."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.half)

    def predict(self, subject: PreparedSubject) -> NDArray[np.float32]:
        """Probability in the inside of the brain, as ours."""
        from monai.inferers import sliding_window_inference

        with torch.inference_mode(), self.autocast():
            images = torch.from_numpy(subject.images.astype(np.float32))[None]
            found = sliding_window_inference(images, ROI, 8, self.model, 0.5, "gaussian")
            probability = torch.sigmoid(found.float())[0, 0].numpy()
        return np.asarray(probability * interior(subject.brain, subject.voxel_size), np.float32)

    def test(self, study: Path) -> list[SubjectScore]:
        """Score on a cohort whose every subject is labelled with the truth."""
        out = []
        for found in subjects(study):
            assert found.label is not None
            one = load(found, study / CACHE)
            grid = Grid(one.brain.shape, np.diag([*one.voxel_size, 1.0]))
            mask = components(self.predict(one), self.threshold, grid, SegmentConfig()) > 0
            region = np.array(one.brain)
            out.append(score(mask, one.label, one.voxel_size, subject=one.name, region=region))
        return out


if __name__ == "__main__":
    main()
