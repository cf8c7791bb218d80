"""Where the network runs: the one place that chooses a device and tunes the CPU."""

import ctypes
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from napari_pvs.errors import InputError

if TYPE_CHECKING:
    import torch

Device = Literal["auto", "cpu", "cuda", "mps"]
BackendName = Literal["auto", "torch", "openvino"]
Precision = Literal["auto", "full"]
Network = TypeVar("Network", bound="torch.nn.Module")


def pick(name: Device = "auto") -> "torch.device":
    """Choose a device: CUDA, else Apple's MPS, else the CPU.

    If torchrun started several processes on this machine, each gets its own GPU.

    Raises
    ------
    InputError
        This machine lacks the named device, or has more processes than GPUs.
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
    if name == "cpu":
        keep_freed_memory()
    if name == "cuda" and "LOCAL_RANK" in os.environ:
        own, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if own >= count:
            raise InputError(
                f"this machine has more processes than GPUs ({count}); start torchrun with "
                f"--nproc-per-node={count}, or choose --device cpu."
            )
        return torch.device(name, own)
    return torch.device(name)


def bfloat16_runs(device: "torch.device", precision: Precision = "auto") -> bool:
    """Tell whether to convolve in bfloat16, which is twice as fast if the hardware supports it.

    Elsewhere it would be emulated. Sums, losses and weights stay float32.
    """
    import torch

    if precision == "full":
        return False
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    # older releases of PyTorch cannot tell
    kinds = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, kind, bool)() for kind in kinds)


def gpu_likely() -> bool:
    """Tell whether it is worth importing PyTorch (1.6 s) to ask for a GPU.

    True wherever a driver is installed, so a GPU is never missed.
    """
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    if Path("/dev/kfd").exists():  # AMD
        return True
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def threads() -> int:
    """Return the number of threads that PyTorch uses here, or would use."""
    if "torch" in sys.modules:
        return int(sys.modules["torch"].get_num_threads())
    given = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if given.isdecimal() and int(given) > 0:
        return int(given)
    import psutil

    allowed = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return min(allowed, psutil.cpu_count(logical=False) or allowed)


def place(model: Network, device: "torch.device") -> Network:
    """Move a network to the device, in the memory layout with the fastest convolutions."""
    import torch

    model.to(device)
    if device.type != "mps":  # Metal has no such layout for volumes
        model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return model


def keep_freed_memory() -> None:
    """Have glibc keep freed memory; else page faults of new tensors take a third of a CPU run.

    Freed memory then stays with the process. Other C libraries are left alone.
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
