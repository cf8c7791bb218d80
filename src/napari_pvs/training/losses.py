"""Losses of supervised training."""

import torch
from torch import Tensor
from torch.nn import functional


def focal(logits: Tensor, target: Tensor, gamma: float = 2.0, alpha: float = 0.75) -> Tensor:
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
    """
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    true = torch.exp(-cross_entropy)  # probability of the true class
    weight = alpha * target + (1 - alpha) * (1 - target)
    return (weight * (1 - true) ** gamma * cross_entropy).mean()


def soft_dice(logits: Tensor, target: Tensor) -> Tensor:
    """One minus the soft Dice coefficient over the whole batch.

    Over the batch, because a patch without PVS has no Dice of its own. Source: Milletari et al.,
    "V-Net", 3DV 2016 (without the squares).
    """
    probability = torch.sigmoid(logits)
    common = (probability * target).sum()
    total = probability.sum() + target.sum()
    return 1 - (2 * common + 1) / (total + 1)
