"""What one step computes: the loss of its labelled and unlabelled patches."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_pvs.network.backends.torch_backend import send
from napari_pvs.training.augment import augment, drop_modality, noise
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.data.sampling import Patches
from napari_pvs.training.losses import supervised
from napari_pvs.training.semi_supervised.consistency import ramp, unsupervised
from napari_pvs.training.state import State


def compute(
    state: State, labelled: Patches, unlabelled: Patches | None
) -> tuple[Tensor, dict[str, Any]]:
    """Compute the loss of one step.

    Labelled and unlabelled patches go through the network together, so that batch norm sees both.
    Of several processes, each has its share of the patches, and all get the loss of all patches.

    Parameters
    ----------
    state
        Network, configuration and number of the step, which seeds all that is random.
    labelled, unlabelled
        Patches with their labels, and with the teacher's probability or none.

    Returns
    -------
    The loss, and what there is to say: ``loss``, ``supervised``, and of unlabelled patches
    ``unsupervised``, ``selected``, ``selected_pvs``; ``where``, when the loss is not finite.
    """
    config, device, step = state.config, state.device, state.progress.step
    world = state.world
    generator = torch.Generator().manual_seed(hash((config.seed, step)) % 2**63)
    images, label = _to(device, labelled.images), _to(device, labelled.target)
    if config.augment:
        images, label = augment(images, label, generator, labelled.share)
    images = drop_modality(images, config.modality_dropout, generator, labelled.share)
    pseudo = None
    if unlabelled is not None:
        extra, pseudo = _to(device, unlabelled.images), _pseudo(state, unlabelled)
        if config.view == "noise":
            extra = extra + noise(extra, generator, unlabelled.share)
        else:
            extra, pseudo = augment(extra, pseudo, generator, unlabelled.share)
            extra = drop_modality(extra, config.modality_dropout, generator, unlabelled.share)
        images = torch.cat([images, extra])
    with state.autocast():
        logits = state.model(images).float()
    loss = supervised(logits[: len(label)], label, config, world=world)
    said: dict[str, Any] = {"supervised": float(loss.detach())}
    if pseudo is not None:
        epochs = step / config.steps - config.warmup
        weight = config.consistency_weight * ramp(epochs, config.ramp_up)
        more, shares = unsupervised(logits[len(label) :], pseudo, config, world)
        said |= {"unsupervised": float(more.detach()), **shares}
        loss = loss + weight * more
    said["loss"] = float(loss.detach())
    if not np.isfinite(said["loss"]):
        where = _culprit(logits, label, config, labelled, unlabelled)
        said["where"] = next(filter(None, world.gather(where)), "")
    return loss, said


@torch.no_grad()
def _pseudo(state: State, unlabelled: Patches) -> Tensor:
    """Return the teacher's probability: what came with the patches, or the network's own."""
    if unlabelled.target is not None:
        return _to(state.device, unlabelled.target)
    model = state.model.eval()  # as it will be used, and without touching batch statistics
    with state.autocast():
        logits = model(_to(state.device, unlabelled.images))
    probability = torch.sigmoid(logits.float())
    model.train()
    return probability


def _culprit(
    logits: Tensor,
    label: Tensor,
    config: TrainingConfig,
    labelled: Patches,
    unlabelled: Patches | None,
) -> str:
    """Name the first patch whose answer or loss is not finite."""
    for n, (name, start) in enumerate(labelled.origin):
        if not torch.isfinite(supervised(logits[n : n + 1], label[n : n + 1], config)):
            return f" on the patch of {name} that starts at voxel {start}"
    for n, (name, start) in enumerate(unlabelled.origin if unlabelled else ()):
        if not torch.isfinite(logits[len(label) + n]).all():
            return f" on the unlabelled patch of {name} that starts at voxel {start}"
    return ""


def _to(device: torch.device, array: Any) -> Tensor:
    return send(array, device)
