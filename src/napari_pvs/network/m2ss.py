"""The M2SS-PVS network and its mono-scale twin.

Source: Chai et al., "Semi-supervised learning in perivascular space segmentation using MRI
images". The paper gives: two input channels (T1, T2); a 3D encoder-decoder; beside the encoder,
at each of four scales, two paths from the input images (convolution then pooling, and pooling
then convolution) that are fed into the encoder level of that scale.

The paper leaves open, and here is chosen:

- Scales 1, 1/2, 1/4 and 1/8: those of the four encoder levels. At scale 1 pooling is the identity.
- Widths 16, 32, 64, 128 and 8 channels per path.
- Max pooling: a PVS is one or two voxels wide, and an average would dilute it.
- Batch normalisation. Instance and group norm tie a voxel's answer to the window it is computed
  in; batch norm folds into the convolutions, so that any window, up to the whole brain, gives one
  answer.
- Skips are added, not concatenated: half the operations of the finest decoder level.
- One logit per voxel; a sigmoid makes it a probability.
"""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_pvs.network.config import CHANNELS, NetworkConfig


class ConvBlock(nn.Sequential):
    """3x3x3 convolution, batch norm, ReLU."""

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__(
            nn.Conv3d(channels_in, channels_out, 3, padding=1, bias=False),
            nn.BatchNorm3d(channels_out),
            nn.ReLU(inplace=True),
        )


class _MultiScale(nn.Module):
    """Two paths per scale from the input images to the encoder levels."""

    def __init__(self, levels: int, width: int):
        super().__init__()
        self.width = width
        # the first paths of all scales work at full resolution: one convolution makes them all
        self.convolve_then_pool = ConvBlock(CHANNELS, levels * width)
        self.pool_then_convolve = nn.ModuleList(ConvBlock(CHANNELS, width) for _ in range(levels))

    def forward(self, images: Tensor) -> list[Tensor]:
        fine = self.convolve_then_pool(images).split(self.width, dim=1)
        out = []
        for level, (path, convolve) in enumerate(zip(fine, self.pool_then_convolve, strict=True)):
            factor = 2**level
            pooled = images if level == 0 else functional.max_pool3d(images, factor)
            path = path if level == 0 else functional.max_pool3d(path, factor)
            out.append(torch.cat([path, convolve(pooled)], dim=1))
        return out


class M2SS(nn.Module):
    """Multi-scale 3D encoder-decoder; mono-scale if ``config.multiscale`` is false.

    Parameters
    ----------
    config
        Shape of the network.

    Examples
    --------
    >>> M2SS(NetworkConfig())(torch.zeros(1, 2, 33, 40, 17)).shape
    torch.Size([1, 1, 33, 40, 17])
    """

    def __init__(self, config: NetworkConfig | None = None):
        super().__init__()
        self.config = config or NetworkConfig()
        widths = self.config.widths
        extra = 2 * self.config.scale_width if self.config.multiscale else 0
        self.scales = (
            _MultiScale(len(widths), self.config.scale_width) if self.config.multiscale else None
        )
        self.encoder = nn.ModuleList()
        self.reduce = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for level, width in enumerate(widths):
            before = widths[level - 1] if level else CHANNELS
            self.encoder.append(
                nn.Sequential(ConvBlock(before + extra, width), ConvBlock(width, width))
            )
        for fine, coarse in itertools.pairwise(widths):
            self.reduce.append(nn.Conv3d(coarse, fine, 1))
            self.decoder.append(nn.Sequential(ConvBlock(fine, fine), ConvBlock(fine, fine)))
        self.head = nn.Conv3d(widths[0], 1, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.constant_(self.head.bias, -3.0)  # type: ignore[arg-type]  # PVS are rare

    @property
    def factor(self) -> int:
        """Sizes are padded to a multiple of this."""
        return self.config.factor

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits.

        Parameters
        ----------
        images
            (N, 2, X, Y, Z) normalised T1 and T2, any size.

        Returns
        -------
        (N, 1, X, Y, Z) logits.
        """
        size = images.shape[2:]
        pad = [(-n) % self.factor for n in size]
        if any(pad):
            images = functional.pad(images, (0, pad[2], 0, pad[1], 0, pad[0]))
        extras = self.scales(images) if self.scales is not None else None
        features = images
        skips = []
        for level, encode in enumerate(self.encoder):
            if level:
                features = functional.max_pool3d(features, 2)
            if extras is not None:
                features = torch.cat([features, extras[level]], dim=1)
            features = encode(features)
            skips.append(features)
        for level in reversed(range(len(self.decoder))):
            up = functional.interpolate(
                self.reduce[level](features), scale_factor=2, mode="nearest"
            )
            features = self.decoder[level](up + skips[level])
        logits: Tensor = self.head(features)
        return logits[..., : size[0], : size[1], : size[2]]
