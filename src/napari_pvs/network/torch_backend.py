"""The network in PyTorch: the reference, on any device."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_pvs.network.backend import GpuMemoryError
from napari_pvs.network.device import Precision, bfloat16_runs, pick, place
from napari_pvs.scans.masks import Box

if TYPE_CHECKING:
    import torch

    from napari_pvs.network.m2ss import M2SS


def fuse(model: "M2SS") -> "M2SS":
    """Return a copy with every batch norm folded into the convolution before it."""
    import copy

    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    from napari_pvs.network.m2ss import ConvBlock

    model = copy.deepcopy(model).eval()
    for block in model.modules():
        if isinstance(block, ConvBlock):
            block[0] = fuse_conv_bn_eval(block[0], block[1])  # type: ignore[type-var,arg-type]
            block[1] = nn.Identity()
    return model


class TorchBackend:
    """A network in PyTorch; see `Backend`.

    Parameters
    ----------
    model
        Best fused.
    device
        Where it runs. The network is brought there whenever it computes, because a call that
        ran out of memory may have left it on the CPU.
    precision
        ``auto``: 16 bits where the device computes in them; ``full``: float32.
    """

    name = "torch"
    limit = 1_600_000

    def __init__(self, model: "M2SS", device: "torch.device", precision: Precision = "auto"):
        self.model, self._asked = model, precision
        self.precision = "float32"
        if precision == "auto" and device.type == "cuda":
            self.precision = "float16"  # every GPU has it, and more digits than bfloat16
        elif bfloat16_runs(device, precision):
            self.precision = "bfloat16"
        self.factor = model.factor
        self.device = device

    def probability(
        self, images: NDArray[np.float32], keep: Box | None = None
    ) -> NDArray[np.float32]:
        """Compute the probability of PVS; see `Backend.probability`."""
        import torch

        try:
            return self._compute(images, keep)
        except RuntimeError as error:  # MPS has no exception of its own
            full = (
                isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error).lower()
            )
            if self.device.type == "cpu" or not full:
                raise
        # not in the handler, where the traceback still holds the tensors
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        raise GpuMemoryError

    def on_cpu(self) -> "TorchBackend":
        """Return the same network on the CPU."""
        return TorchBackend(self.model, pick("cpu"), self._asked)

    def _compute(self, images: NDArray[np.float32], keep: Box | None) -> NDArray[np.float32]:
        import torch

        model, device = place(self.model, self.device), self.device
        kind = getattr(torch, self.precision)
        fewer = torch.autocast(device.type, kind, enabled=self.precision != "float32")
        with torch.inference_mode(), fewer:
            tensor = torch.from_numpy(np.ascontiguousarray(images)).to(device)
            logits = model(tensor)[:, 0]
            if keep is not None:
                logits = logits[(slice(None), *keep)]
            return np.asarray(torch.sigmoid(logits.float()).cpu().numpy())
