"""One training run: config in, run folder out."""

import json
import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from napari_pvs.errors import InputError
from napari_pvs.evaluation.overlap import Overlap, overlap
from napari_pvs.files import write_text
from napari_pvs.inference.predictor import fuse, interior
from napari_pvs.inference.predictor import run as predict
from napari_pvs.network.device import pick, place
from napari_pvs.network.weights import ModelCard, fingerprint, save
from napari_pvs.network.weights import load as load_weights
from napari_pvs.study.bids import subjects as find_subjects
from napari_pvs.study.split import split
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.data import Loaded, batches, load
from napari_pvs.training.events import EventLog
from napari_pvs.training.losses import focal, soft_dice

if TYPE_CHECKING:
    import torch

    from napari_pvs.network.m2ss import M2SS

log = logging.getLogger(__name__)

CONFIG, SPLIT, EVENTS, BEST, LAST = (
    "config.json",
    "split.json",
    "events.jsonl",
    "best.safetensors",
    "last.safetensors",
)
_STEP_EVENTS = 0.2  # seconds between step events: five a second at most
_THRESHOLDS = tuple(np.arange(0.2, 0.96, 0.05).round(2))


def train(config: TrainingConfig, out: Path) -> Path:
    """Train a network and write it to a new run folder.

    The folder holds ``config.json``, ``split.json``, ``events.jsonl``, the weights of the last
    epoch (``last.safetensors``) and those with the best mean DSC on the validation subjects
    (``best.safetensors``), each with its model card.

    Parameters
    ----------
    config
        What to do.
    out
        A new or empty folder; it may hold the ``config.json`` of this run.

    Returns
    -------
    Path of the best weights.

    Raises
    ------
    InputError
        The folder is in use, or the study cannot be trained on.
    FloatingPointError
        The loss became NaN or infinite.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(p.name != CONFIG for p in out.iterdir())):
        raise InputError(f"{out} exists and is not an empty folder; name a new one.")
    study = {s.name: s for s in find_subjects(config.study)}
    roles = split([*study.values()], config.validation, config.test, config.seed)
    start = load_weights(config.weights)[0] if config.weights else None
    if start is not None and start.config.multiscale != config.network.multiscale:
        raise InputError(
            f"weights {config.weights} are of another network than method {config.method}; "
            "choose the method they were trained with."
        )
    device = pick(config.device)
    training = [load(study[name]) for name in roles.train]
    if not any(len(s.foreground) for s in training):
        raise InputError(f"no label of {config.study} holds a PVS voxel; draw some first.")
    held_out = [load(study[name]) for name in roles.validation]
    # wrong input leaves no folder behind
    write_text(out / CONFIG, config.model_dump_json(indent=2) + "\n")
    write_text(out / SPLIT, json.dumps(asdict(roles), indent=2) + "\n")
    events = EventLog(out / EVENTS)
    events.write("hello", device=str(device), **{k: len(v) for k, v in asdict(roles).items()})
    return _Run(config, out, events, device, start).go(training, held_out)


class _Run:
    """The state of a run between its steps."""

    def __init__(
        self,
        config: TrainingConfig,
        out: Path,
        events: EventLog,
        device: "torch.device",
        start: "M2SS | None",
    ):
        import torch
        from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

        from napari_pvs.network.m2ss import M2SS

        self.config, self.out, self.events, self.device = config, out, events, device
        torch.manual_seed(config.seed)
        self.model = start or M2SS(config.network)
        place(self.model, device).train()
        self.mean = AveragedModel(
            self.model, multi_avg_fn=get_ema_multi_avg_fn(config.average), use_buffers=True
        )
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, config.learning_rate, config.epochs * config.steps, pct_start=0.1
        )
        self.best = -1.0

    def go(self, training: list[Loaded], held_out: list[Loaded]) -> Path:
        """Train through all epochs; return the path of the best weights."""
        config = self.config
        self.events.write("phase", name="train")
        last_event = 0.0
        total = config.epochs * config.steps
        losses: list[float] = []
        for step, (images, labels) in enumerate(batches(training, config, 0, total)):
            losses.append(self._step(step, images, labels))
            if time.monotonic() - last_event > _STEP_EVENTS:
                last_event = time.monotonic()
                self.events.write("step", step=step, of=total, loss=losses[-1])
            if (step + 1) % config.steps:
                continue
            epoch = (step + 1) // config.steps
            self.events.write("epoch", epoch=epoch, of=config.epochs, loss=float(np.mean(losses)))
            log.info("epoch %d of %d: loss %.4f", epoch, config.epochs, np.mean(losses))
            losses = []
            if epoch % config.validate_every == 0 or epoch == config.epochs:
                self._validate(epoch, held_out)
        self.events.write("done", weights=BEST, dsc=self.best)
        return self.out / BEST

    def _step(self, step: int, images: Any, labels: Any) -> float:
        import torch

        from napari_pvs.training.augment import augment, drop_modality

        config = self.config
        generator = torch.Generator().manual_seed(hash((config.seed, step)) % 2**63)
        x = torch.from_numpy(images).to(self.device, non_blocking=True)
        y = torch.from_numpy(labels).to(self.device, non_blocking=True)
        if config.augment:
            x, y = augment(x, y, generator)
        x = drop_modality(x, config.modality_dropout, generator)
        logits = self.model(x)
        loss = config.focal_weight * focal(logits, y, config.focal_gamma, config.focal_alpha)
        if config.dice_weight:
            loss = loss + config.dice_weight * soft_dice(logits, y)
        value = float(loss.detach())
        if not np.isfinite(value):
            self.events.write("error", message=f"the loss is {value} at step {step}")
            raise FloatingPointError(f"the loss is {value} at step {step}")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimiser.step()
        self.schedule.step()
        # a running mean over the whole past would keep the first, random weights for long
        decay = min(config.average, (1 + step) / (10 + step))
        self.mean.multi_avg_fn = _decay(decay)
        self.mean.update_parameters(self.model)
        return value

    def _validate(self, epoch: int, held_out: list[Loaded]) -> None:
        """Measure DSC, AVD and recall per subject; publish the weights when they are the best."""
        network = cast("M2SS", self.mean.module)
        model = place(fuse(network), self.device)
        dsc = np.zeros((len(_THRESHOLDS), len(held_out)))
        rows = []
        for column, subject in enumerate(held_out):
            images = subject.images.astype(np.float32)
            # as Predictor does, so that the threshold is right for it
            inside = interior(subject.brain, subject.voxel_size)
            probability = predict(model, images, inside, self.device)
            volume = float(np.prod(subject.voxel_size))
            found: list[Overlap] = [
                overlap(probability >= t, subject.label, volume, subject.brain) for t in _THRESHOLDS
            ]
            dsc[:, column] = [one.dsc for one in found]
            rows.append(found)
        best = int(dsc.mean(1).argmax())
        threshold = float(_THRESHOLDS[best])
        chosen = [row[best] for row in rows]
        result = {
            "dsc": float(dsc[best].mean()),
            "avd_percent": _mean([one.avd_percent for one in chosen]),
            "recall": _mean([one.recall for one in chosen]),
        }
        subjects = {s.name: round(float(d), 4) for s, d in zip(held_out, dsc[best], strict=True)}
        self.events.write(
            "validation", epoch=epoch, threshold=threshold, subjects=subjects, **result
        )
        log.info("epoch %d: validation %s", epoch, result)
        sizes = [edge for subject in held_out for edge in subject.voxel_size]
        card = ModelCard(
            name=self.out.name,
            voxel_size_mm=(min(0.65, *sizes), max(1.1, *sizes)),
            threshold=threshold,
            training={
                "config": json.loads(self.config.model_dump_json()),
                "epoch": epoch,
                "from": fingerprint(self.config.weights) if self.config.weights else None,
            },
            accuracy={"validation": result | {"subjects": len(held_out)}},
        )
        save(self.out / LAST, network, card)
        if result["dsc"] is not None and result["dsc"] > self.best:
            self.best = float(result["dsc"])
            save(self.out / BEST, network, card)
            self.events.write("checkpoint", weights=BEST, epoch=epoch)


def _decay(value: float) -> Any:
    from torch.optim.swa_utils import get_ema_multi_avg_fn

    return get_ema_multi_avg_fn(value)


def _mean(values: list[float | None]) -> float | None:
    kept = [v for v in values if v is not None]
    return float(np.mean(kept)) if kept else None
