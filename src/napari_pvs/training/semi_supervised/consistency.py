"""The loss on unlabelled patches: consistency with confident pseudo-labels."""

import torch
from torch import Tensor
from torch.nn import functional

from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.distributed.world import ALONE, World
from napari_pvs.training.losses import supervised


def confident(pseudo: Tensor, logits: Tensor, config: TrainingConfig) -> Tensor:
    """Return which voxels of unlabelled patches to train on.

    Parameters
    ----------
    pseudo
        The teacher's probability of PVS; negative if there is none.
    logits
        The network's output on the altered patch.
    config
        Minimum probabilities of background and PVS, and whether that of the pseudo-label or of
        the prediction counts.

    Returns
    -------
    1.0 or 0.0 per voxel.
    """
    source = pseudo if config.indicator == "pseudo-label" else torch.sigmoid(logits.detach())
    sure = (source > config.confidence_pvs) | (source < 1 - config.confidence)
    return (sure & (pseudo >= 0)).to(logits.dtype)


def unsupervised(
    logits: Tensor, pseudo: Tensor, config: TrainingConfig, world: World = ALONE
) -> tuple[Tensor, dict[str, float]]:
    """Return the loss on unlabelled patches, and the share of voxels that contribute to it.

    In the paper, the loss is the cross-entropy between the pseudo-label (the teacher's
    probability) and the prediction on the altered patch, summed over confident voxels and divided
    by the number of all voxels. The alternative is the loss for labelled patches, with the
    pseudo-label thresholded at one half as the label.

    Returns
    -------
    The loss; ``selected``, the share of voxels that are confident, and ``selected_pvs``, the share
    of voxels that are confident PVS.
    """
    counted = confident(pseudo, logits, config)
    hard = (pseudo > 0.5).to(logits.dtype)
    if config.consistency == "cross-entropy":
        soft = pseudo.clamp(0, 1)
        entropy = functional.binary_cross_entropy_with_logits(logits, soft, reduction="none")
        loss = world.mean(entropy * counted)
    else:
        loss = supervised(logits, hard, config, counted, world)
    shares = {
        "selected": float(world.mean(counted)),
        "selected_pvs": float(world.mean(counted * hard)),
    }
    return loss, shares


def ramp(epochs_since_warmup: float, length: int) -> float:
    """Return the share of the consistency weight: ``exp(-5 (1 - t)²)``, 1 after ``length`` epochs.

    Source: Laine and Aila, "Temporal ensembling", ICLR 2017.
    """
    from math import exp

    if length <= 0:
        return 1.0
    t = min(1.0, max(0.0, epochs_since_warmup / length))
    return exp(-5 * (1 - t) ** 2)
