"""The loss of one step, on its labelled and unlabelled patches."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from napari_pvs.network.backends.torch_backend import send
from napari_pvs.training.augment import augment, drop_modality
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.data.sampling import Patches
from napari_pvs.training.losses import supervised
from napari_pvs.training.semi_supervised.teacher import Teacher
from napari_pvs.training.state import State


class StepLoss(NamedTuple):
    """The loss of a step.

    Attributes
    ----------
    total
        A scalar with a gradient.
    said
        Values of the event ``step``: ``loss``, ``supervised``, and the teacher's own about
        unlabelled patches.
    where
        The patch to blame if the loss is not finite; otherwise empty.
    """

    total: Tensor
    said: dict[str, float]
    where: str = ""


def compute(
    state: State, teacher: Teacher, labelled: Patches | None, unlabelled: Patches | None
) -> StepLoss:
    """Compute the loss of one step.

    Labelled and unlabelled patches go through the network together, so that batch norm sees both,
    unless it takes the statistics of each scan.
    If there are several processes, each has its share of the patches, and all get the total loss.

    Parameters
    ----------
    state
        Network, configuration and number of the step, which seeds everything random.
    teacher
        Turns unlabelled patches into what the network sees, and its output into a loss.
    labelled, unlabelled
        Patches with their labels, and with the pseudo-labels of the teacher's ``target``; either
        may be None.
    """
    config, device, world = state.config, state.device, state.world
    alike = config.one_scan
    generator = torch.Generator().manual_seed(hash((config.seed, state.progress.step)) % 2**63)
    images: list[Tensor] = []
    label = pseudo = None
    if labelled is not None:
        if labelled.target is None:
            raise ValueError("the labelled patches have no labels")
        seen, label = send(labelled.images, device), send(labelled.target, device)
        if config.augment:
            seen, label = augment(seen, label, generator, labelled.share, alike=alike)
        drop = config.modality_dropout
        images.append(drop_modality(seen, drop, generator, labelled.share, alike=alike))
    if unlabelled is not None:
        extra, pseudo = teacher.view(unlabelled, generator)
        images.append(extra)
    with state.autocast():
        batches = images if alike else [torch.cat(images)]
        logits = torch.cat([state.model(batch) for batch in batches]).float()
    loss, said = logits.new_zeros(()), {}
    if label is not None:
        loss = supervised(logits[: len(label)], label, config, world=world)
        said = {"supervised": float(loss.detach())}
    if pseudo is not None:
        more, about = teacher.loss(logits[len(logits) - len(pseudo) :], pseudo)
        said |= about
        loss = loss + more
    said["loss"] = float(loss.detach())
    if np.isfinite(said["loss"]):
        return StepLoss(loss, said)
    where = world.gather(_culprit(logits, label, config, labelled, unlabelled))
    return StepLoss(loss, said, next(filter(None, where), ""))


def _culprit(
    logits: Tensor,
    label: Tensor | None,
    config: TrainingConfig,
    labelled: Patches | None,
    unlabelled: Patches | None,
) -> str:
    """Name the first patch whose output or loss is not finite."""
    if labelled is not None and label is not None:
        for n, (name, start) in enumerate(labelled.origin):
            if not torch.isfinite(supervised(logits[n : n + 1], label[n : n + 1], config)):
                return f" on the patch of {name} that starts at voxel {start}"
    before = 0 if label is None else len(label)
    for n, (name, start) in enumerate(unlabelled.origin if unlabelled else ()):
        if not torch.isfinite(logits[before + n]).all():
            return f" on the unlabelled patch of {name} that starts at voxel {start}"
    return ""
