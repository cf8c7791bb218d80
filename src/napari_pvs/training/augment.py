"""Augmentation of a batch of patches, on the device it is trained on."""

import torch
from torch import Tensor
from torch.nn import functional


def augment(images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Flip, and change contrast, noise and sharpness of each patch and channel.

    Parameters
    ----------
    images
        (N, 2, P, P, P) normalised; zeros outside the brain stay zeros.
    labels
        (N, 1, P, P, P).
    generator
        On the CPU; the same state gives the same batch.
    """

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.empty(shape).uniform_(low, high, generator=generator).to(images.device)

    n = images.shape[0]
    flips = torch.rand((n, 3), generator=generator) < 0.5
    for k in range(n):
        axes = [axis + 1 for axis in range(3) if flips[k, axis]]
        if axes:
            images[k], labels[k] = images[k].flip(axes), labels[k].flip(axes)
    inside = images != 0
    blur = torch.rand((n,), generator=generator) < 0.2
    if blur.any():
        images[blur] = _blur(images[blur], float(uniform(0.3, 0.8, 1)))
    images = images * uniform(0.75, 1.3, n, 2, 1, 1, 1) + uniform(-0.25, 0.25, n, 2, 1, 1, 1)
    noisy = (torch.rand((n, 1, 1, 1, 1), generator=generator) < 0.4).to(images.device)
    noise = torch.randn(images.shape, generator=generator).to(images.device)
    images = images + noise * noisy * uniform(0, 0.3, n, 2, 1, 1, 1)
    return images * inside, labels


def drop_modality(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Blank T1 or T2 in a share of the patches, so that one network serves T1, T2 and both.

    A patch that has one modality only keeps it.
    """
    both = images.flatten(2).any(-1).all(1).cpu()
    draw = torch.rand((images.shape[0],), generator=generator)
    keep = torch.ones((images.shape[0], 2, 1, 1, 1))
    keep[both & (draw < share / 2), 0] = 0
    keep[both & (draw >= share / 2) & (draw < share), 1] = 0
    return images * keep.to(images.device)


def _blur(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur with a 3-voxel kernel."""
    kernel = torch.exp(-torch.tensor([1.0, 0.0, 1.0]) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).to(images)
    flat = images.flatten(0, 1)[:, None]
    for axis in range(3):
        shape = [1, 1, 1, 1, 1]
        shape[axis + 2] = 3
        padding = [0, 0, 0]
        padding[axis] = 1
        flat = functional.conv3d(flat, kernel.reshape(shape), padding=padding)
    return flat.reshape(images.shape)
