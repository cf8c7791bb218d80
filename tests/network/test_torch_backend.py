import numpy as np
import pytest
import torch

from napari_pvs.network.backend import GpuMemoryError
from napari_pvs.network.config import NetworkConfig
from napari_pvs.network.m2ss import M2SS
from napari_pvs.network.torch_backend import TorchBackend, fuse


class FakeGpu(TorchBackend):
    """PyTorch on a device without memory."""

    def __init__(self, device, error):
        self.device, self.error = torch.device(device), error
        self.precision = "float32"

    def _compute(self, images, keep):
        raise self.error


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
    assert there.model is here.model
    np.testing.assert_array_equal(there.probability(IMAGES), here.probability(IMAGES))


@pytest.mark.parametrize("native", [True, False])
def test_sixteen_bits_only_where_the_processor_has_them(native, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    torch.manual_seed(0)
    model = fuse(M2SS(NetworkConfig(widths=(4, 8), scale_width=2)))
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
