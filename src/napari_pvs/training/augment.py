"""Augmentation of a batch of patches, on the training device."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from napari_pvs.scans.intensity import CLIP
from napari_pvs.training.distributed.world import Share

GAIN = (0.6, 2.0)
"""How far contrast varies: brains with much fluid have less of it in units of their quartiles."""


def augment(
    images: Tensor,
    labels: Tensor,
    generator: torch.Generator,
    share: Share | None = None,
    *,
    alike: bool = False,
) -> tuple[Tensor, Tensor]:
    """Flip each patch, and vary contrast, noise and sharpness per channel.

    Parameters
    ----------
    images
        (N, 2, P, P, P) normalised; zeros outside the brain stay zeros.
    labels
        (N, 1, P, P, P).
    generator
        On the CPU; the same state gives the same batch.
    share
        Which part of the step's batch the patches are. Random numbers are drawn for the whole
        batch, so that a patch is changed in the same way in whichever process it is.
    alike
        Change all patches alike but for the flips, as patches of one scan are.
    """
    own = share or whole(images)
    n = 1 if alike else own.of

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        drawn = torch.empty((n, *shape)).uniform_(low, high, generator=generator)
        return drawn.expand(own.of, *shape)[own.slice].to(images.device)

    flips = (torch.rand((own.of, 3), generator=generator) < 0.5)[own.slice]
    for k in range(len(flips)):
        axes = [axis + 1 for axis in range(3) if flips[k, axis]]
        if axes:
            images[k], labels[k] = images[k].flip(axes), labels[k].flip(axes)
    inside = images != 0
    blur = torch.rand((n,), generator=generator) < 0.2
    if blur.any():
        sigma = float(torch.empty(1).uniform_(0.3, 0.8, generator=generator))
        blur = blur.expand(own.of)[own.slice]
        images[blur] = _blur(images[blur], sigma)
    gain = uniform(*np.log(GAIN), 2, 1, 1, 1).exp()
    images = (images * gain + uniform(-0.25, 0.25, 2, 1, 1, 1)).clamp(*CLIP)
    noisy = torch.rand((n, 1, 1, 1, 1), generator=generator) < 0.4
    noisy = noisy.expand(own.of, 1, 1, 1, 1)[own.slice].to(images.device)
    images = images + noise(images, generator, own) * noisy * uniform(0, 0.3, 2, 1, 1, 1)
    return images * inside, labels


def noise(images: Tensor, generator: torch.Generator, share: Share | None = None) -> Tensor:
    """Draw standard Gaussian noise in the shape of patches, on their device; see `augment`."""
    own = share or whole(images)
    return torch.randn((own.of, *images.shape[1:]), generator=generator)[own.slice].to(
        images.device
    )


def drop_modality(
    images: Tensor,
    probability: float,
    generator: torch.Generator,
    share: Share | None = None,
    *,
    alike: bool = False,
) -> Tensor:
    """Blank T1 or T2 in some of the patches, so that one network serves T1, T2 and both.

    A patch with a single modality keeps it. With ``alike``, all patches are shown alike.
    """
    own = share or whole(images)
    both = images.flatten(2).any(-1).all(1).cpu()
    draw = torch.rand((1 if alike else own.of,), generator=generator).expand(own.of)[own.slice]
    keep = torch.ones((images.shape[0], 2, 1, 1, 1))
    keep[both & (draw < probability / 2), 0] = 0
    keep[both & (draw >= probability / 2) & (draw < probability), 1] = 0
    return images * keep.to(images.device)


def whole(images: Tensor) -> Share:
    """Return the share that is a whole batch."""
    return Share(0, len(images), len(images))


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
