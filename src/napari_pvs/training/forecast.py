"""How much memory a run will need, before it starts."""

import logging
from bisect import bisect
from dataclasses import dataclass, replace
from functools import cache

import torch

from napari_pvs.errors import InputError
from napari_pvs.network.config import NetworkConfig
from napari_pvs.network.m2ss import M2SS
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.distributed import ALONE, World
from napari_pvs.training.sampling import patches_of

log = logging.getLogger(__name__)

_BYTES = 4  # float32
_KEPT = 1.3  # bytes held at the peak of a step, per byte of activations: benchmarks/memory.py
_BASE = 520 * 2**20  # interpreter, torch and its libraries


@dataclass(frozen=True)
class Forecast:
    """Memory of a run.

    Attributes
    ----------
    needed
        Bytes at the peak of a step.
    free
        Bytes that the device has left; None where it does not say.
    """

    needed: int
    free: int | None

    @property
    def fits(self) -> bool:
        """Whether nine tenths of the free memory suffice."""
        return self.free is None or self.needed <= 0.9 * self.free


def forecast(config: TrainingConfig, device: torch.device, world: World = ALONE) -> Forecast:
    """Estimate the memory of a step of a run, in each of its processes.

    The network is walked through on torch's ``meta`` device, which knows shapes and computes
    nothing; what it would keep for the backward pass is added up.
    """
    counts = [config.batch, *([config.unlabelled_batch] if config.semi_supervised else [])]
    kept = 0.0
    for step, edge in enumerate(config.patch):
        patches = sum(patches_of(config, step, count) for count in counts)
        of_this_process = -(-patches // world.size)
        kept = max(kept, of_this_process * _of_a_patch(config.network, edge))
    free = _free(device)
    if free is not None and device.type == "cpu":
        free //= world.here
    return Forecast(int(_BASE + _KEPT * kept), free)


def require_memory(config: TrainingConfig, device: torch.device, world: World = ALONE) -> Forecast:
    """Refuse a run that does not fit, and propose a batch that does.

    Raises
    ------
    InputError
        Too little memory is free.
    """
    whole = forecast(config, device, world)
    if whole.fits or whole.free is None:
        return whole
    least = 2 if min(config.patch) <= 8 else 1  # for batch norm, as the configuration checks

    def too_much(batch: int) -> bool:
        smaller = config.model_copy(update={"batch": batch})
        return not replace(forecast(smaller, device, world), free=whole.free).fits

    fitting = bisect(range(least, config.batch), False, key=too_much)
    batch = least + fitting - 1
    remedy = f"try a batch of {batch} (--batch)" if fitting else "choose a smaller --patch"
    raise InputError(
        f"a step needs about {whole.needed / 2**30:.1f} GB of memory and {device} has "
        f"{whole.free / 2**30:.1f} GB left; {remedy}."
    )


@cache  # of every batch that is tried
def _of_a_patch(network: NetworkConfig, edge: int) -> float:
    """Bytes of all layers' outputs for one patch of an edge."""
    total = 0

    def add(_module: torch.nn.Module, _inputs: object, output: object) -> None:
        nonlocal total
        if isinstance(output, torch.Tensor):
            total += output.numel() * _BYTES

    with torch.device("meta"):
        model = M2SS(network).eval()  # batch norm learns nothing from one voxel
        hooks = [m.register_forward_hook(add) for m in model.modules() if not list(m.children())]
        model(torch.empty(1, 2, edge, edge, edge))
    for hook in hooks:
        hook.remove()
    return float(total)


def _free(device: torch.device) -> int | None:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "cpu":
        import psutil

        return int(psutil.virtual_memory().available)
    return None
