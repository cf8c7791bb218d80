import copy
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from napari_pvs.network.backends import torch_backend
from napari_pvs.network.backends.base import GpuMemoryError
from napari_pvs.network.backends.torch_backend import TorchBackend, send
from napari_pvs.network.config import NetworkConfig
from napari_pvs.network.m2ss import M2SS


class FakeGpu(TorchBackend):
    """PyTorch on a device without memory."""

    def __init__(self, device, error):
        self.device, self.error = torch.device(device), error
        self.precision = self._asked = "float32"

    def _compute(self, images, keep):
        raise self.error

    def _measured(self, images, device):
        if device.type != "cpu":
            raise self.error
        return M2SS(NetworkConfig(widths=(4, 8), scale_width=2))


IMAGES = np.zeros((1, 2, 8, 8, 8), np.float32)


@pytest.mark.parametrize(
    ("device", "error"),
    [
        ("cuda", torch.OutOfMemoryError("CUDA out of memory")),
        ("mps", RuntimeError("MPS backend out of memory")),
    ],
)
def test_a_gpu_without_memory_is_told_apart(device, error):
    with pytest.raises(GpuMemoryError) as caught:
        FakeGpu(device, error).probability(IMAGES)
    assert caught.value.__context__ is None  # nothing holds the tensors


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_other_errors_are_not_hidden(device):
    with pytest.raises(RuntimeError, match="another"):
        FakeGpu(device, RuntimeError("another")).probability(IMAGES)


def test_out_of_memory_of_the_cpu_is_not_hidden():
    with pytest.raises(torch.OutOfMemoryError):
        FakeGpu("cpu", torch.OutOfMemoryError("no room")).probability(IMAGES)


def test_on_cpu(tiny_model):
    here = TorchBackend(tiny_model, torch.device("cpu"))
    there = here.on_cpu()
    assert there.device.type == "cpu"
    np.testing.assert_array_equal(there.probability(IMAGES), here.probability(IMAGES))


@pytest.mark.parametrize("native", [True, False])
def test_sixteen_bits_only_where_the_processor_has_them(native, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    torch.manual_seed(0)
    model = M2SS(NetworkConfig(widths=(4, 8), scale_width=2)).eval()
    torch.nn.init.normal_(model.head.weight)
    images = np.random.default_rng(0).standard_normal((1, 2, 16, 16, 16)).astype(np.float32)
    cpu = torch.device("cpu")
    full, auto = TorchBackend(model, cpu, "full"), TorchBackend(model, cpu)
    assert full.precision == "float32"
    assert auto.precision == ("bfloat16" if native else "float32")
    assert auto.on_cpu().precision == auto.precision
    assert full.on_cpu().precision == "float32"
    expected, found = full.probability(images), auto.probability(images)
    assert found.dtype == np.float32
    assert np.array_equal(expected, found) != native
    assert np.abs(expected - found).max() < 0.1


CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def cuda(monkeypatch):
    """A GPU that is a CPU: function of its free memory in GB; returns what was asked of it."""
    asked = []

    moved = torch.Tensor.to

    def to(tensor, device=None, *more, non_blocking=False, **other):
        if device is None:  # folding a batch norm changes types
            return moved(tensor, **other)
        asked.append(("to", torch.device(device).type, non_blocking))
        return tensor

    def make(free, reserved=0, allocated=0):
        bytes_ = [int(n * 1e9) for n in (free, reserved, allocated)]
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (bytes_[0], 80 * 10**9))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: bytes_[1])
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: bytes_[2])
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
        monkeypatch.setattr(
            torch.cuda,
            "current_stream",
            lambda device: SimpleNamespace(synchronize=lambda: asked.append("synchronize")),
        )
        monkeypatch.setattr(torch.Tensor, "to", to)
        monkeypatch.setattr(torch.Tensor, "pin_memory", lambda t: asked.append("pin") or t)
        monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
        monkeypatch.setattr(
            torch_backend, "place", lambda model, device: asked.append(("place", device.type))
        )
        return asked

    return make


@pytest.mark.parametrize(
    ("memory", "precision", "limit", "batch"),
    [
        ((8,), "full", 8_000_000, 244),
        ((4,), "auto", 8_000_000, 244),
        ((1, 5, 3), "full", 3_000_000, 91),  # what PyTorch holds and does not use is free
        ((0.5,), "full", 1_600_000, 16),
        ((80,), "auto", 30_000_000, 256),
    ],
)
def test_windows_are_as_large_as_a_gpu_has_room_for(
    cuda, tiny_model, memory, precision, limit, batch
):
    cuda(*memory)
    backend = TorchBackend(tiny_model, CUDA, precision)
    assert (backend.limit, backend.batch) == (limit, batch)
    assert (backend.on_cpu().limit, backend.on_cpu().batch) == (1_600_000, 16)


def test_copies_to_and_from_a_gpu_are_pinned_and_waited_for(cuda, tiny_model):
    images = np.random.default_rng(0).standard_normal((2, 2, 16, 16, 16)).astype(np.float32)
    keep = (slice(2, 14), slice(0, 16), slice(5, 9))
    expected = TorchBackend(tiny_model, CPU, "full").probability(images, keep)
    seen = []
    with tiny_model.register_forward_pre_hook(lambda _, args: seen.append(args[0])):
        asked = cuda(8)
        found = TorchBackend(tiny_model, CUDA, "full").probability(images, keep)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert seen[0].is_contiguous(memory_format=torch.channels_last_3d)
    assert not seen[0].is_contiguous()
    assert asked == [
        ("place", "cuda"),
        "pin",
        ("to", "cuda", True),
        ("to", "cpu", True),
        "synchronize",
    ]


def test_nothing_is_pinned_elsewhere(cuda):
    asked = cuda(8)
    send(IMAGES, CPU)
    send(IMAGES, torch.device("mps"))
    assert asked == [("to", "cpu", False), ("to", "mps", False)]


def test_a_network_is_placed_only_where_it_is_not_there(tiny_model, monkeypatch):
    placed, place = [], torch_backend.place

    def count(model, device):
        placed.append(device.type)
        return place(model, device)

    monkeypatch.setattr(torch_backend, "place", count)
    backend = TorchBackend(tiny_model, CPU)
    first = backend.probability(IMAGES)
    np.testing.assert_array_equal(backend.probability(IMAGES), first)
    assert placed == ["cpu"]
    # a fall back to the CPU moved it: here, it is not where the backend wants it
    monkeypatch.setattr(backend, "device", CUDA)
    assert not backend._there()
    monkeypatch.setattr(backend, "device", CPU)
    assert backend._there()


def test_statistics_of_patches_are_those_of_training_on_them(tiny_model):
    patches = 3 * torch.randn((4, 2, 16, 16, 16), generator=torch.Generator().manual_seed(1)) + 1
    images = np.random.default_rng(0).standard_normal((1, 2, 16, 16, 16)).astype(np.float32)
    before = {name: tensor.clone() for name, tensor in tiny_model.state_dict().items()}
    backend = TorchBackend(tiny_model, CPU, "full")
    first = backend.probability(images).copy()
    adapted = backend.with_statistics(patches.numpy())
    with torch.no_grad():
        expected = torch.sigmoid(copy.deepcopy(tiny_model).train()(patches))
    torch.testing.assert_close(
        adapted.probability(patches.numpy()), expected[:, 0].numpy(), atol=1e-3, rtol=0
    )
    assert np.abs(adapted.probability(images) - first).max() > 0.01
    np.testing.assert_array_equal(backend.probability(images), first)
    for name, tensor in tiny_model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_training_goes_on_without_changing_a_backend(tiny_model):
    model = copy.deepcopy(tiny_model)
    backend = TorchBackend(model, CPU, "full")
    torch.nn.init.normal_(model.head.weight)
    again = TorchBackend(tiny_model, CPU, "full")
    for made in (backend, backend.with_statistics(IMAGES + 1)):
        other = again if made is backend else again.with_statistics(IMAGES + 1)
        np.testing.assert_array_equal(made.probability(IMAGES), other.probability(IMAGES))


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("MPS backend out of memory")],
)
def test_statistics_are_measured_on_the_cpu_if_the_gpu_has_no_room(error, monkeypatch):
    made = []
    monkeypatch.setattr(
        torch_backend, "TorchBackend", lambda *given: made.append(given) or "adapted"
    )
    assert FakeGpu("mps", error).with_statistics(IMAGES) == "adapted"
    ((_, device, _),) = made
    assert device.type == "mps"
    with pytest.raises(RuntimeError, match="another"):
        FakeGpu("mps", RuntimeError("another")).with_statistics(IMAGES)
