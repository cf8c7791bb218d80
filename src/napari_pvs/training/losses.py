"""Losses on labelled patches."""

import torch
from torch import Tensor
from torch.nn import functional

from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.distributed.world import ALONE, World


def focal(
    logits: Tensor,
    target: Tensor,
    gamma: float = 2.0,
    alpha: float = 0.75,
    counted: Tensor | None = None,
    world: World = ALONE,
) -> Tensor:
    """Focal loss, mean over voxels.

    Source: Lin et al., "Focal loss for dense object detection", ICCV 2017, equation 5.

    Parameters
    ----------
    logits, target
        Same shape; the target is 0 or 1.
    gamma
        0 gives the alpha-weighted cross-entropy.
    alpha
        Weight of the voxels of class 1; those of class 0 weigh 1 - alpha.
    counted
        1 for voxels whose loss counts, 0 for the others; the mean is over all voxels.
    world
        The processes over whose voxels to average.
    """
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    true = torch.exp(-cross_entropy)  # probability of the true class
    weight = alpha * target + (1 - alpha) * (1 - target)
    wrong = 1 - true
    if gamma < 1:  # such a power has an infinite slope at 0
        wrong = wrong.clamp_min(1e-6)
    loss = weight * wrong**gamma * cross_entropy
    return world.mean(loss if counted is None else loss * counted)


def soft_dice(
    logits: Tensor, target: Tensor, counted: Tensor | None = None, world: World = ALONE
) -> Tensor:
    """One minus the soft Dice coefficient over the whole batch.

    Over the batch, because a patch without PVS has no Dice of its own. Source: Milletari et al.,
    "V-Net", 3DV 2016 (without the squares).
    """
    probability = torch.sigmoid(logits)
    if counted is not None:
        probability, target = probability * counted, target * counted
    sums = ((probability * target).sum(), probability.sum(), target.sum())
    common, predicted, wanted = world.sum(torch.stack(sums))
    loss: Tensor = 1 - (2 * common + 1) / (predicted + wanted + 1)
    return loss


def supervised(
    logits: Tensor,
    target: Tensor,
    config: TrainingConfig,
    counted: Tensor | None = None,
    world: World = ALONE,
) -> Tensor:
    """Return the loss on labelled patches: focal loss plus, if it has a weight, soft Dice."""
    gamma, alpha = config.focal_gamma, config.focal_alpha
    loss = config.focal_weight * focal(logits, target, gamma, alpha, counted, world)
    if config.dice_weight:
        loss = loss + config.dice_weight * soft_dice(logits, target, counted, world)
    return loss
