"""The network in PyTorch: the reference, on any device."""

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.network.backends.base import GpuMemoryError
from napari_pvs.network.device import Precision, bfloat16_runs, pick, place
from napari_pvs.scans.masks import Box

if TYPE_CHECKING:
    import torch

    from napari_pvs.network.m2ss import M2SS


_BYTES = 1000  # a voxel of a window in float32: twice what the CPU needs
_MOST = 30_000_000  # voxels of a window: times 32 channels below 2³¹, as 32-bit indices reach
_MOST_PATCHES = 256  # of a batch; more are not faster, and scans have about 1000


def fuse(model: "M2SS") -> "M2SS":
    """Return a copy with every batch norm folded into the convolution before it."""
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    from napari_pvs.network.m2ss import ConvBlock

    model = copy.deepcopy(model).eval()
    for block in model.modules():
        if isinstance(block, ConvBlock):
            block[0] = fuse_conv_bn_eval(block[0], block[1])  # type: ignore[type-var,arg-type]
            block[1] = nn.Identity()
    return model


def send(array: NDArray[Any], device: "torch.device") -> "torch.Tensor":
    """Bring an array to a device; to CUDA from pinned memory, while this process goes on."""
    import torch

    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


class TorchBackend:
    """A network in PyTorch; see `Backend`.

    Parameters
    ----------
    model
        It is copied, so that its training may go on meanwhile.
    device
        Where it runs. The network is brought there when it computes and is not there, because a
        call that ran out of memory may have left it on the CPU.
    precision
        ``auto``: 16 bits where the device computes in them; ``full``: float32.

    Attributes
    ----------
    limit, batch
        Most voxels of a window, and windows of 32³ that are computed together; on CUDA as many
        as its free memory allows.
    """

    name = "torch"
    limit, batch = 1_600_000, 16

    def __init__(self, model: "M2SS", device: "torch.device", precision: Precision = "auto"):
        self.model, self._asked = fuse(model), precision
        self._source = copy.deepcopy(model)
        self.adapts = model.config.statistics == "scan"
        self.precision = "float32"
        if precision == "auto" and device.type == "cuda":
            self.precision = "float16"  # every GPU has it, and more digits than bfloat16
        elif bfloat16_runs(device, precision):
            self.precision = "bfloat16"
        self.factor = model.factor
        self.device = device
        self._placed = False
        if device.type == "cuda":
            room = _free(device) // (_BYTES if self.precision == "float32" else _BYTES // 2)
            self.limit = min(max(room, self.limit), _MOST)
            self.batch = min(max(room // 32**3, self.batch), _MOST_PATCHES)

    def probability(
        self, images: NDArray[np.float32], keep: Box | None = None
    ) -> NDArray[np.float32]:
        """Compute the probability of PVS; see `Backend.probability`."""
        try:
            return self._compute(images, keep)
        except RuntimeError as error:
            if not self._full(error):
                raise
        # not in the handler, where the traceback still holds the tensors
        self._make_room()
        raise GpuMemoryError

    def prepare(self, shape: tuple[int, ...]) -> None:
        """Do nothing: nothing is compiled."""

    def with_statistics(self, images: NDArray[np.float32]) -> "TorchBackend":
        """Return the network with these patches' statistics; see `Backend.with_statistics`.

        They are measured on the CPU if the GPU has no room.
        """
        try:
            return TorchBackend(self._measured(images, self.device), self.device, self._asked)
        except RuntimeError as error:
            if not self._full(error):
                raise
        self._make_room()
        return TorchBackend(self._measured(images, pick("cpu")), self.device, self._asked)

    def on_cpu(self) -> "TorchBackend":
        """Return the same network on the CPU."""
        return TorchBackend(self._source, pick("cpu"), self._asked)

    def _measured(self, images: NDArray[np.float32], device: "torch.device") -> "M2SS":
        """Return a copy of the network on the CPU, its running statistics those of patches."""
        import torch
        from torch import nn

        model = place(copy.deepcopy(self._source), device).eval()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.reset_running_stats()
                module.momentum = 1.0  # all of this batch, nothing of before
                module.train()
        with torch.no_grad(), self._autocast(device):
            model(send(images, device))
        model.config = model.config.model_copy(update={"statistics": "fixed"})
        return model.eval().cpu()

    def _full(self, error: RuntimeError) -> bool:
        """Whether the GPU had no room; MPS has no exception of its own for that."""
        import torch

        if self.device.type == "cpu":
            return False
        return isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error).lower()

    def _make_room(self) -> None:
        import torch

        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _compute(self, images: NDArray[np.float32], keep: Box | None) -> NDArray[np.float32]:
        import torch

        device, cuda = self.device, self.device.type == "cuda"
        if not (self._placed and self._there()):
            place(self.model, device)
            self._placed = True
        with torch.inference_mode(), self._autocast(device):
            tensor = send(np.ascontiguousarray(images), device)
            if cuda:  # the layout of the network; the CPU's convolutions see to it themselves
                tensor = tensor.contiguous(memory_format=torch.channels_last_3d)
            logits = self.model(tensor)[:, 0]
            if keep is not None:
                logits = logits[(slice(None), *keep)]
            # from CUDA into pinned memory
            found = torch.sigmoid(logits.float()).to("cpu", non_blocking=cuda)
            if cuda:
                torch.cuda.current_stream(device).synchronize()
            return np.asarray(found.numpy())

    def _autocast(self, device: "torch.device") -> "torch.autocast":
        """Return the context in which the network computes in the backend's precision."""
        import torch

        # float16 is the GPU's
        kind = self.precision if device.type == self.device.type else "float32"
        return torch.autocast(device.type, getattr(torch, kind), enabled=kind != "float32")

    def _there(self) -> bool:
        now = next(self.model.parameters()).device
        return now.type == self.device.type and self.device.index in (None, now.index)


def _free(device: "torch.device") -> int:
    """Bytes of a GPU that are free, or that PyTorch holds without need."""
    import torch

    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + held
