"""The subjects, memory and time that a training run would need, before it is started."""

import time
from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel

from napari_pvs import json_files
from napari_pvs.errors import InputError
from napari_pvs.network.config import NetworkConfig
from napari_pvs.network.device import pick, place
from napari_pvs.network.m2ss import M2SS
from napari_pvs.study.bids import StudySubject, fingerprint, person_of, subjects
from napari_pvs.study.roles import Role, Split
from napari_pvs.study.roles import read as read_roles
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.data.cohort import require_unlabelled
from napari_pvs.training.data.roles import roles_of
from napari_pvs.training.data.sampling import patches_of
from napari_pvs.training.distributed.world import ALONE, World
from napari_pvs.training.effect import MOST
from napari_pvs.training.runs.folder import CHECKPOINT
from napari_pvs.training.runs.status import duration, runs
from napari_pvs.training.semi_supervised.teacher import teacher_class
from napari_pvs.training.weights import load_start

_BYTES = 4  # float32
_KEPT = 1.3  # peak bytes of a step per byte of activations: benchmarks/memory.py
_BASE = 520 * 2**20  # interpreter, torch and its libraries
_INSIDE = 0.5  # share of a scan's voxels in or near the brain
_SYNTHETIC = 6.0  # seconds that a synthetic subject of a whole brain takes


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes
    ----------
    use
        The subjects it would train on, in a sentence.
    cost
        Memory and time, in a sentence.
    refused
        Why the run would not start; empty if it would.
    """

    use: str
    cost: str
    refused: str = ""


def plan(config: TrainingConfig) -> Plan:
    """Examine the study, and forecast memory and time of a run.

    Raises
    ------
    InputError
        The study cannot be trained on, or weights or device are not available.
    """
    found = subjects(config.study)
    learned: dict[str, Role] = {
        person_of(name): "unlabelled" for name in load_start(config).learned
    }
    roles = roles_of(config, found, learned | read_roles(config.study))
    if roles.train:
        use = sentence(roles, corrected(config.study, found, roles), config.semi_supervised)
    else:
        config = config.without_labels()
        use = sentence_without_labels(roles, config.synthetic)
    device = pick(config.device)
    memory, refused = forecast(config, device), ""
    try:
        if config.semi_supervised and roles.train:
            require_unlabelled(config.study, roles.unlabelled)
        config.require_epochs()
        require_memory(config, device)
    except InputError as error:
        refused = str(error)
    seconds = "" if refused else f"; about {duration(_seconds(config, roles, found, device))}"
    free = "" if memory.free is None else f" of {memory.free / 2**30:.1f} GB free"
    cost = f"Needs about {memory.needed / 2**30:.1f} GB{free} on {device}{seconds}."
    return Plan(use, cost, refused)


def sentence(roles: Split, new: int | None, semi_supervised: bool) -> str:
    """Say which subjects a run trains on.

    Parameters
    ----------
    roles
        The subjects for training, validation and test.
    new
        Number of labels that the last run did not have; None before the first run.
    semi_supervised
        Whether the method trains on unlabelled scans.
    """
    parts = [f"Trains on {_count(len(roles.train), 'labelled scan')}"]
    if new is not None:
        parts[0] += f" ({new or 'none'} new or corrected since the last run)"
    if semi_supervised:
        parts[0] += f" and {len(roles.unlabelled)} unlabelled"
    parts.append(f"validates on {len(roles.validation)}")
    if roles.test:
        parts.append(f"keeps {len(roles.test)} for a test")
    if roles.unlabelled and not semi_supervised:
        parts.append(f"does not use {_count(len(roles.unlabelled), 'unlabelled scan')}")
    return f"{', '.join(parts)}."


def sentence_without_labels(roles: Split, synthetic: int) -> str:
    """Say what a run does where no scan is labelled."""
    aside = len(roles.validation)
    kept = f", and keeps {aside} aside" if aside else ""
    beside = f" and on {_count(synthetic, 'synthetic subject')}" if synthetic else ""
    return (
        f"No scan is labelled: adapts the start weights to {_count(len(roles.unlabelled), 'scan')}"
        f", training on voxels that they are sure of{beside}{kept}; without labels, the gain "
        "cannot be measured."
    )


def corrected(study: Path, found: Sequence[StudySubject], roles: Split) -> int | None:
    """Count the training labels that the last run did not have; None before the first run."""
    for run in reversed(runs(study)):
        known = _learnt(run / CHECKPOINT)
        if known is not None:
            training = [s for s in found if s.name in roles.train]
            now = {name: sha[:12] for name, (_, sha) in fingerprint(training).items()}
            return sum(known.get(name) != sha for name, sha in now.items())
    return None


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


class _Learnt(BaseModel):
    """The part of a checkpoint's progress that is read here."""

    labels: dict[str, str]


def _learnt(checkpoint: Path) -> Mapping[str, str] | None:
    """Return the first digits of the SHA-256 of each label that a run was trained on."""
    from safetensors import SafetensorError, safe_open

    if not checkpoint.is_file():
        return None
    try:
        with safe_open(checkpoint, framework="numpy") as file:
            labels = json_files.parse((file.metadata() or {})["progress"], _Learnt).labels
        return {name: label.rpartition("@")[2] for name, label in labels.items()}
    except (SafetensorError, OSError, ValueError, KeyError):
        return None  # a damaged run must not stop a new one


def _seconds(
    config: TrainingConfig, roles: Split, found: Sequence[StudySubject], device: torch.device
) -> float:
    """Estimate a run's duration in seconds, from its voxels and the measured time per voxel."""
    smallest = min(config.patch)
    edges = [(max(1, round((smallest / edge) ** 3 * config.batch)), edge) for edge in config.patch]
    labelled = sum(count * edge**3 for count, edge in edges) / len(edges)
    warm = min(config.warmup, config.epochs)
    teacher = teacher_class(config)
    epochs = (config.epochs - warm) * teacher.batch(config) / config.batch
    synthetic = 0 if roles.train else config.synthetic
    epochs += config.epochs if roles.train or synthetic else 0
    scan = _voxels(found) * _INSIDE
    last = (config.warmup, config.epochs)
    ends = range(1, config.epochs + 1)
    validated = {e for e in ends if e % config.validate_every == 0 or e in last}
    judged = len(roles.validation)
    more = max(0, config.threshold_scans - judged)  # for the threshold alone
    times = len(validated) + (not roles.train)  # without labels, by the start weights too
    scans = times * (judged + min(more, len(roles.train or roles.unlabelled)))
    if config.semi_supervised:
        scans += 2 * min(MOST, len(roles.unlabelled))
    predicted = (scans + teacher.predictions(config, len(roles.unlabelled), validated)) * scan
    learn, predict = _pace(config, device)
    seconds = epochs * config.steps * labelled * learn + predicted * predict
    seconds += synthetic * _SYNTHETIC
    if config.compare and config.semi_supervised:
        seconds += _seconds(config.twin(), roles, found, device)
    return seconds


def _voxels(found: Sequence[StudySubject]) -> float:
    import nibabel as nib

    first = found[0]
    path = first.t1 or first.t2
    assert path is not None  # a subject has at least one scan
    image: Any = nib.load(path)
    return float(np.prod(image.shape[:3]))


def _pace(config: TrainingConfig, device: torch.device) -> tuple[float, float]:
    """Measure the seconds per voxel of training and of prediction, on patches of noise."""
    model = place(M2SS(config.network), device).train()
    edge = min(config.patch)
    images = torch.randn(max(2, min(config.batch, 2 * 32**3 // edge**3)), 2, edge, edge, edge)
    images = images.to(device)
    voxels = images.shape[0] * edge**3
    taken: list[tuple[float, float]] = []
    for _ in range(3):  # the first is slow
        began = _now(device)
        loss = model(images).float().mean()
        predicted = _now(device)
        loss.backward()
        taken.append((_now(device) - began, predicted - began))
    learn, predict = (min(times) for times in zip(*taken[1:], strict=True))
    return learn / voxels, predict / voxels


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


@dataclass(frozen=True)
class Forecast:
    """Memory of a run.

    Attributes
    ----------
    needed
        Bytes at the peak of a step.
    free
        Free bytes of the device; None if unknown.
    """

    needed: int
    free: int | None

    @property
    def fits(self) -> bool:
        """Whether nine tenths of the free memory are enough."""
        return self.free is None or self.needed <= 0.9 * self.free


def forecast(config: TrainingConfig, device: torch.device, world: World = ALONE) -> Forecast:
    """Estimate the memory that a step needs in each process.

    The network is run on torch's ``meta`` device, which computes shapes only, to add up the outputs
    that it would keep for the backward pass.
    """
    counts = [count for count in (config.batch, teacher_class(config).batch(config)) if count]
    kept = 0.0
    for step, edge in enumerate(config.patch):
        patches = sum(patches_of(config, step, count) for count in counts)
        of_this_process = -(-patches // world.size)
        kept = max(kept, of_this_process * _of_a_patch(config.network, edge))
    free = _free(device)
    if free is not None and device.type == "cpu":
        free //= world.here
    return Forecast(int(_BASE + _KEPT * kept), free)


def require_memory(config: TrainingConfig, device: torch.device, world: World = ALONE) -> Forecast:
    """Refuse a run that does not fit into memory, and suggest a batch size that does.

    Raises
    ------
    InputError
        There is not enough free memory.
    """
    whole = forecast(config, device, world)
    if whole.fits or whole.free is None:
        return whole
    least = 2 if min(config.patch) <= 8 else 1  # for batch norm, as the configuration checks

    def too_much(batch: int) -> bool:
        smaller = config.model_copy(update={"batch": batch})
        return not replace(forecast(smaller, device, world), free=whole.free).fits

    fitting = bisect(range(least, config.batch), False, key=too_much)
    batch = least + fitting - 1
    remedy = f"try a batch of {batch} (--batch)" if fitting else "choose a smaller --patch"
    raise InputError(
        f"a step needs about {whole.needed / 2**30:.1f} GB of memory, but {device} has "
        f"{whole.free / 2**30:.1f} GB free; {remedy}."
    )


@cache  # it is called for every batch size tried
def _of_a_patch(network: NetworkConfig, edge: int) -> float:
    """Return the bytes of all layers' outputs for a patch with an edge of ``edge`` voxels."""
    total = 0

    def add(_module: torch.nn.Module, _inputs: object, output: object) -> None:
        nonlocal total
        if isinstance(output, torch.Tensor):
            total += output.numel() * _BYTES

    with torch.device("meta"):
        model = M2SS(network).eval()  # batch norm cannot train on one voxel
        hooks = [m.register_forward_hook(add) for m in model.modules() if not list(m.children())]
        model(torch.empty(1, 2, edge, edge, edge))
    for hook in hooks:
        hook.remove()
    return float(total)


def _free(device: torch.device) -> int | None:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "cpu":
        import psutil

        return int(psutil.virtual_memory().available)
    return None
