"""One of several processes that train together: a `World` over torch.distributed."""

import logging
import os
import socket
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch

# importing it later, as optimisers do, would bind its defaults to the current group
import torch.distributed.nn.functional
from torch import Tensor, distributed, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from napari_pvs.errors import InputError, InputWarning
from napari_pvs.network.m2ss import M2SS
from napari_pvs.training.distributed.world import Elsewhere, World, environment

T = TypeVar("T")
_PATIENCE = timedelta(days=1)  # the others wait while the first prepares a large study
_FAILED = "failed"
_LOST = (
    "another process of the run ended without a message ({}); the system may have killed it for "
    "using too much memory, or its machine is down."
)


class _Sum(torch.autograd.Function):
    """A sum over processes; its gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, group: "Group") -> Tensor:
        ctx.group = group
        return group.reduced(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.group.reduced(gradients[0]), None


class Group(World):
    """One of several processes that torchrun has started.

    Parameters
    ----------
    device
        This process's device. Tensors are sent by NCCL on ``cuda``, otherwise by gloo.
    """

    _joined = 0

    def __init__(self, device: torch.device):
        if device.type == "mps":
            raise InputError("several processes train on cuda or cpu; choose --device cpu.")
        self.rank, self.size = environment()
        self.here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        self.device = device
        self._store, *_ = next(rendezvous("env://", self.rank, self.size))
        self._store.set_timeout(_PATIENCE)
        # a process may train twice; the second group must not read what the first one left behind
        Group._joined += 1
        own = PrefixStore(f"napari-pvs-{Group._joined}", self._store)
        distributed.init_process_group(
            "gloo", store=own, rank=self.rank, world_size=self.size, timeout=_PATIENCE
        )
        self._notes = PrefixStore("notes", own)
        self.same(device.type, "kind of device")
        self.tensors: Any = distributed.group.WORLD
        if device.type == "cuda":
            torch.cuda.set_device(device)
            self.tensors = distributed.new_group(backend="nccl")

    def sum(self, values: Tensor) -> Tensor:
        """As `World.sum`; gradients are those of the sum of the losses of all processes."""
        total: Tensor = _Sum.apply(values, self)  # type: ignore[no-untyped-call]
        return total

    def mean(self, values: Tensor) -> Tensor:
        """As `World.mean`."""
        total, count = self.sum(
            torch.stack([values.sum(), values.new_tensor(float(values.numel()))])
        )
        mean: Tensor = total / count
        return mean

    def synchronised(self, model: M2SS) -> M2SS:
        """As `World.synchronised`."""
        if self.device.type == "cuda":
            found: M2SS = nn.SyncBatchNorm.convert_sync_batchnorm(model, self.tensors)
            return found
        return synchronise(model, self)

    def average(self, parameters: Iterable[Tensor]) -> None:
        """As `World.average`: all processes have the same loss, so its gradient is the mean."""
        given = [p.grad for p in parameters if p.grad is not None]
        flat = self.reduced(torch.cat([gradient.reshape(-1) for gradient in given])) / self.size
        parts = flat.split([gradient.numel() for gradient in given])
        for gradient, part in zip(given, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))

    def reduced(self, values: Tensor) -> Tensor:
        """Return the sum over all processes, without a gradient."""
        total = values.detach().clone(memory_format=torch.contiguous_format)
        with self._lost():
            distributed.all_reduce(total, group=self.tensors)
        return total

    def gather(self, value: T) -> list[T]:
        """As `World.gather`."""
        found: list[Any] = [None] * self.size
        with self._lost():
            distributed.all_gather_object(found, value)
        return found

    def together(self, work: Callable[[], T]) -> list[T]:
        """As `World.together`; if one process fails, the others raise `Elsewhere`."""
        result: T | None = None
        failed: Exception | None = None
        try:
            result = work()
        except Exception as error:
            failed = error
        told = self.gather((result, self._words(failed) if failed else None))
        if failed:
            raise failed
        for _, words in told:
            if words:
                raise Elsewhere(words)
        return [one for one, _ in told]  # type: ignore[misc]

    def fail(self, error: BaseException) -> None:
        """Leave a note for processes that are waiting for this one."""
        if not isinstance(error, Elsewhere | SystemExit):
            with suppress(RuntimeError):  # the store may be gone with another process
                self._notes.set(_FAILED, self._words(error))

    def leave(self) -> None:
        """Close the connections, so that waiting processes notice that this one is gone."""
        # gloo's thread frees the tensors of its last work, for which it needs the interpreter, and
        # torch up to 2.6 at least waits for that thread with the interpreter held: let it go first
        time.sleep(0.1)
        # this ends its threads, which might otherwise abort the process at exit
        self.tensors = None
        distributed.destroy_process_group()

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Let only the first process log and warn."""
        log = logging.getLogger("napari_pvs")
        level = log.level
        with warnings.catch_warnings():
            if self.rank:
                log.setLevel(logging.ERROR)
                warnings.simplefilter("ignore", InputWarning)
            try:
                yield
            finally:
                log.setLevel(level)

    @contextmanager
    def _lost(self) -> Iterator[None]:
        """Explain a broken connection by the error of the process that ended."""
        try:
            yield
        except RuntimeError as error:
            words = _LOST.format(str(error).split("\n")[0])
            with suppress(RuntimeError):
                if self._notes.check([_FAILED]):
                    words = self._notes.get(_FAILED).decode()
            raise Elsewhere(words) from error

    def _words(self, error: BaseException) -> str:
        if isinstance(error, InputError):
            return str(error)
        what = str(error).split("\n")[0]
        return f"process {self.rank} on {socket.gethostname()}: {type(error).__name__}: {what}"


class SharedBatchNorm(nn.BatchNorm3d):
    """Batch norm over the patches of all processes, some of which may have no patch.

    torch's own ``SyncBatchNorm`` needs CUDA.
    """

    world: World

    def forward(self, features: Tensor) -> Tensor:
        """Normalise (N, C, X, Y, Z) by mean and variance over all processes' N, X, Y, Z."""
        if not self.training:
            return super().forward(features)
        kind, features = features.dtype, features.float()  # for the precision of the sums
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
        """Update the running statistics like torch's own batch norm."""
        if self.running_mean is None or self.running_var is None or self.momentum is None:
            raise ValueError("a batch norm without running statistics")
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked.add_(1)  # type: ignore[union-attr]


def synchronise(model: M2SS, world: World) -> M2SS:
    """Replace every batch norm by one over all processes, keeping the names of the tensors."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.BatchNorm3d:
                shared = SharedBatchNorm(child.num_features, child.eps, child.momentum)
                shared.load_state_dict(child.state_dict())
                shared.world = world
                setattr(module, name, shared)
    return model
