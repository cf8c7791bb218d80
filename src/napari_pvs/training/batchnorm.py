"""Batch norm over the patches of all processes."""

import torch
from torch import Tensor, nn

from napari_pvs.network.m2ss import M2SS
from napari_pvs.training.distributed import World


class SharedBatchNorm(nn.BatchNorm3d):
    """Batch norm over the patches of all processes; one of them may have none.

    torch's own ``SyncBatchNorm`` works on CUDA only.
    """

    world: World

    def forward(self, features: Tensor) -> Tensor:
        """Normalise (N, C, X, Y, Z) by mean and variance over all processes' N, X, Y, Z."""
        if not self.training:
            return super().forward(features)
        kind, features = features.dtype, features.float()  # sums need the digits
        axes = (0, 2, 3, 4)
        here = features.new_tensor([features.numel() / features.shape[1]])
        sums = self.world.sum(torch.cat([features.sum(axes), here]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = features - mean[:, None, None, None]
        variance = self.world.sum(centred.square().sum(axes)) / count
        self._follow(mean.detach(), variance.detach() * count / (count - 1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None, None] + self.bias[:, None, None, None]).to(kind)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics, as torch's own batch norm does."""
        if self.running_mean is None or self.running_var is None or self.momentum is None:
            raise ValueError("a batch norm without running statistics")
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked.add_(1)  # type: ignore[union-attr]


def synchronise(model: M2SS, world: World) -> M2SS:
    """Replace every batch norm by one over all processes; names of tensors stay."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.BatchNorm3d:
                shared = SharedBatchNorm(child.num_features, child.eps, child.momentum)
                shared.load_state_dict(child.state_dict())
                shared.world = world
                setattr(module, name, shared)
    return model
