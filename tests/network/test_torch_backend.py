import numpy as np
import pytest
import torch

from napari_pvs.network.backend import GpuMemoryError
from napari_pvs.network.torch_backend import TorchBackend


class FakeGpu(TorchBackend):
    """PyTorch on a device without memory."""

    def __init__(self, device, error):
        self.device, self.error = torch.device(device), error

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
