"""What a training run would use, and what it would cost: counted and tried before it starts."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from napari_pvs import json_files
from napari_pvs.errors import InputError
from napari_pvs.study.bids import StudySubject, fingerprint, subjects
from napari_pvs.study.roles import read as read_roles
from napari_pvs.study.split import Split, split
from napari_pvs.training import runs
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.folder import CHECKPOINT

_INSIDE = 0.5  # share of a scan's voxels that lie in or near the brain


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes
    ----------
    use
        Who is learnt from, in a sentence.
    cost
        Memory and time, in a sentence.
    refused
        Why the run would not start; empty where it would.
    """

    use: str
    cost: str
    refused: str = ""


def plan(config: TrainingConfig) -> Plan:
    """Look into the study, forecast the memory and time a step.

    Raises
    ------
    InputError
        The study cannot be trained on, or weights or device are not to be had.
    """
    from napari_pvs.network.device import pick
    from napari_pvs.training.forecast import forecast, require_memory
    from napari_pvs.training.validation import start

    found = subjects(config.study)
    roles = split(found, config.validation, config.test, config.seed, read_roles(config.study))
    use = sentence(roles, corrected(config.study, found, roles), config.semi_supervised)
    start(config)
    device = pick(config.device)
    memory, refused = forecast(config, device), ""
    try:
        require_memory(config, device)
    except InputError as error:
        refused = str(error)
    seconds = "" if refused else f"; about {duration(_seconds(config, roles, found, device))}"
    free = "" if memory.free is None else f" of the {memory.free / 2**30:.1f} GB that are free"
    cost = f"Needs about {memory.needed / 2**30:.1f} GB{free} on {device}{seconds}."
    return Plan(use, cost, refused)


def sentence(roles: Split, new: int | None, semi_supervised: bool) -> str:
    """Say who is learnt from.

    Parameters
    ----------
    roles
        Who trains, validates, is not to be touched.
    new
        Labels to learn from that the last run did not know; None before the first run.
    semi_supervised
        Whether unlabelled scans are learnt from.
    """
    parts = [f"Learns from {_count(len(roles.train), 'labelled scan')}"]
    if new is not None:
        parts[0] += f" ({new or 'none'} new or corrected since the last run)"
    if semi_supervised:
        parts[0] += f" and {len(roles.unlabelled)} unlabelled"
    parts.append(f"validates on {len(roles.validation)}")
    if roles.test:
        parts.append(f"leaves {len(roles.test)} for a test")
    if roles.unlabelled and not semi_supervised:
        parts.append(f"does not use {_count(len(roles.unlabelled), 'unlabelled scan')}")
    return f"{', '.join(parts)}."


def corrected(study: Path, found: Sequence[StudySubject], roles: Split) -> int | None:
    """Count the labels to learn from that the newest run did not know; None without a run."""
    for run in reversed(runs.runs(study)):
        known = _learnt(run / CHECKPOINT)
        if known is not None:
            training = [s for s in found if s.name in roles.train]
            now = {name: sha[:12] for name, (_, sha) in fingerprint(training).items()}
            return sum(known.get(name) != sha for name, sha in now.items())
    return None


def duration(seconds: float) -> str:
    """Say a time in words, as exactly as it is known.

    Examples
    --------
    >>> duration(40), duration(310), duration(3 * 3600 + 1000), duration(4 * 86400)
    ('1 min', '5 min', '3 h 15 min', '4 days')
    """
    minutes = max(1, round(seconds / 60))
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(5 * round(minutes / 5), 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{round(hours / 24)} days"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


class _Learnt(BaseModel):
    """What is read of a checkpoint's progress."""

    labels: dict[str, str]


def _learnt(checkpoint: Path) -> Mapping[str, str] | None:
    """Start of the SHA-256 of each label that a run has learnt from."""
    from safetensors import SafetensorError, safe_open

    if not checkpoint.is_file():
        return None
    try:
        with safe_open(checkpoint, framework="numpy") as file:
            labels = json_files.parse((file.metadata() or {})["progress"], _Learnt).labels
        return {name: label.rpartition("@")[2] for name, label in labels.items()}
    except (SafetensorError, OSError, ValueError, KeyError):
        return None  # a damaged run is no reason not to start another


def _seconds(
    config: TrainingConfig, roles: Split, found: Sequence[StudySubject], device: Any
) -> float:
    """Seconds of a run: voxels of its patches, validations and pseudo-labels, at a tried pace."""
    smallest = min(config.patch)
    edges = [(max(1, round((smallest / edge) ** 3 * config.batch)), edge) for edge in config.patch]
    labelled = sum(count * edge**3 for count, edge in edges) / len(edges)
    warm = min(config.warmup, config.epochs)
    epochs = float(config.epochs)
    if config.semi_supervised:
        epochs += (config.epochs - warm) * config.unlabelled_batch / config.batch
    scan = _voxels(found) * _INSIDE
    ends = range(1, config.epochs + 1)
    last = (config.warmup, config.epochs)
    validated = {e for e in ends if e % config.validate_every == 0 or e in last}
    judged = len(roles.validation)
    more = max(0, config.threshold_scans - judged)  # for the threshold alone
    predicted = len(validated) * (judged + min(more, len(roles.train))) * scan
    if config.semi_supervised:
        seen = validated if config.align else set()  # once for the threshold and pseudo-labels
        if config.teacher == "mean":
            seen = seen | set(range(config.warmup, config.epochs, config.refresh))
        predicted += len(seen) * min(config.refresh_scans, len(roles.unlabelled)) * scan
    learn, predict = _pace(config, device)
    return epochs * config.steps * labelled * learn + predicted * predict


def _voxels(found: Sequence[StudySubject]) -> float:
    import nibabel as nib

    shape = nib.load(found[0].t1 or found[0].t2).shape
    return float(shape[0] * shape[1] * shape[2])


def _pace(config: TrainingConfig, device: Any) -> tuple[float, float]:
    """Seconds per voxel to learn from it, and to predict it, tried on few patches of noise."""
    import torch

    from napari_pvs.network.device import place
    from napari_pvs.network.m2ss import M2SS

    model = place(M2SS(config.network), device).train()
    edge = min(config.patch)
    images = torch.randn(max(2, min(config.batch, 2 * 32**3 // edge**3)), 2, edge, edge, edge)
    images = images.to(device)
    voxels = images.shape[0] * edge**3
    taken: list[tuple[float, float]] = []
    for _ in range(3):  # the first one is slow
        began = _now(device)
        loss = model(images).float().mean()
        predicted = _now(device)
        loss.backward()
        taken.append((_now(device) - began, predicted - began))
    learn, predict = (min(times) for times in zip(*taken[1:], strict=True))
    return learn / voxels, predict / voxels


def _now(device: Any) -> float:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
