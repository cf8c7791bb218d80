"""Where the network runs: the one place that chooses a device and tunes the CPU."""

import ctypes
import os
import sys
from typing import TYPE_CHECKING, Literal, TypeVar

from napari_pvs.errors import InputError

if TYPE_CHECKING:
    import torch

Device = Literal["auto", "cpu", "cuda", "mps"]
Network = TypeVar("Network", bound="torch.nn.Module")


def pick(name: Device = "auto") -> "torch.device":
    """Choose a device: CUDA, else Apple's MPS, else the CPU.

    Raises
    ------
    InputError
        The named device is not there.
    """
    import torch

    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if available[kind])
    if not available.get(name, False):
        raise InputError(f"device {name} is not available here; choose auto or cpu.")
    if name == "mps":
        # operations that Metal lacks run on the CPU instead of failing
        os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    if name == "cpu":
        keep_freed_memory()
    return torch.device(name)


def place(model: Network, device: "torch.device") -> Network:
    """Move a network to the device, in the memory layout that its convolutions run fastest in."""
    import torch

    model.to(device)
    if device.type != "mps":  # Metal has no such layout for volumes
        model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return model


def keep_freed_memory() -> None:
    """Have glibc keep freed memory: page faults of fresh tensors cost a CPU run a third.

    Freed memory then stays with the process. A no-op where the C library is another.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(mmap_threshold, 2**31 - 1)
