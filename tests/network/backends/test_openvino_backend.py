import subprocess
import sys

import numpy as np
import pytest
import torch

from napari_pvs.network.backends.torch_backend import TorchBackend
from napari_pvs.network.config import NetworkConfig
from napari_pvs.network.m2ss import M2SS
from napari_pvs.network.weights import load, read, starter_path

pytest.importorskip("openvino")
from napari_pvs.network.backends.openvino_backend import OpenVinoBackend

CPU = torch.device("cpu")
CLOSE = 1e-3
"""Largest difference of probabilities that is allowed; measured are differences below 1e-5."""


NEAR = 0.1
"""The same where one of them computes in bfloat16; measured are differences below 0.05."""


def both(model, precision="full"):
    """The same network in PyTorch and in OpenVINO."""
    tensors = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    fast = OpenVinoBackend(tensors, model.config, precision)
    return TorchBackend(model, CPU, "full"), fast


def random_model(**shape):
    """A network with random weights and batch statistics."""
    torch.manual_seed(0)
    model = M2SS(NetworkConfig(**shape))
    torch.nn.init.normal_(model.head.weight)  # probabilities near 0 would agree anyway
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.momentum = 1.0
    with torch.no_grad():
        model(torch.randn(4, 2, 16, 16, 16))
    return model.eval()


def noise(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def agree(reference, found, what, close=CLOSE):
    difference = float(np.abs(reference - found).max())
    print(f"{what}: max difference {difference:.1e} of {reference.max():.2f}")  # noqa: T201
    assert found.dtype == np.float32
    assert found.shape == reference.shape
    assert difference < close
    assert np.ptp(reference) > 0.1


@pytest.mark.parametrize(
    "shape",
    [
        {"multiscale": True},
        {"multiscale": False},
        {"widths": (4, 8), "scale_width": 2},
        {"widths": (5, 7, 9), "scale_width": 3},
        {"widths": (6,), "scale_width": 2},
        {"widths": (6,), "multiscale": False},
    ],
)
@pytest.mark.parametrize("size", [(1, 2, 24, 32, 16), (1, 2, 19, 22, 33), (3, 2, 16, 9, 5)])
def test_as_pytorch(shape, size):
    reference, fast = both(random_model(**shape))
    assert fast.factor == reference.factor
    images = noise(*size)
    agree(reference.probability(images), fast.probability(images), f"{shape} {size}")


@pytest.mark.parametrize("multiscale", [True, False])
@pytest.mark.parametrize(
    "keep",
    [
        (slice(0, 40), slice(0, 33), slice(0, 37)),
        (slice(16, 24), slice(16, 17), slice(16, 21)),
        (slice(7, 40), slice(0, 18), slice(5, 36)),
        (slice(0, 1), slice(32, 33), slice(36, 37)),
    ],
)
def test_the_wanted_part_is_what_the_whole_gives(multiscale, keep):
    reference, fast = both(random_model(multiscale=multiscale))
    images = noise(2, 2, 40, 33, 37)
    whole = fast.probability(images).copy()
    np.testing.assert_array_equal(fast.probability(images, keep), whole[(slice(None), *keep)])
    assert len(fast._ready) == 1  # clicks ask for many parts of small windows
    fast.small = 0
    part = fast.probability(images, keep)
    np.testing.assert_allclose(part, whole[(slice(None), *keep)], atol=1e-5)
    slow = reference.probability(images, keep)
    np.testing.assert_allclose(slow, reference.probability(images)[(slice(None), *keep)], atol=1e-5)


def test_starter_weights_on_a_head(make_head):
    from napari_pvs.scans.intensity import normalise

    head = make_head((40, 44, 36), tubes=20)
    images = np.stack([normalise(image, head.brain) for image in (head.t1, head.t2)])[None]
    model, _ = load(starter_path())
    tensors, card = read(starter_path())
    reference = TorchBackend(model, CPU, "full").probability(images)
    for precision, close in (("full", CLOSE), ("auto", NEAR)):
        fast = OpenVinoBackend(tensors, card.network, precision)
        assert precision == "auto" or fast.precision == "float32"
        what = f"starter weights on a head in {fast.precision}"
        agree(reference, fast.probability(images), what, close)


def test_windows_need_not_be_contiguous():
    slow, fast = both(random_model(widths=(4, 8)))
    part = noise(1, 2, 12, 12, 12)[..., 2:10, 2:10, 2:10]
    whole = np.ascontiguousarray(part)
    for backend in (slow, fast):
        expected = backend.probability(whole).copy()
        np.testing.assert_array_equal(backend.probability(part), expected)


def test_compiled_networks_are_kept_within_the_limit(monkeypatch):
    _, fast = both(random_model(widths=(4, 8)))
    fast.limit = 2000
    for edge in (8, 10, 8, 12):  # 512, 1000, 1728 voxels
        fast.probability(noise(1, 2, edge, edge, edge))
    assert [shape[2] for shape, _ in fast._ready] == [12]
    large = fast.probability(noise(1, 2, 16, 16, 16))  # one that is larger runs alone
    assert large.shape == (1, 16, 16, 16)
    assert len(fast._ready) == 1


def test_signals_are_handled_after_networks_come_and_go():
    """A core that ends before a later one leaves a freed signal stack behind."""
    code = """
import faulthandler, os, signal
from napari_pvs.network.backends.openvino_backend import OpenVinoBackend
from napari_pvs.network.weights import read, starter_path
faulthandler.enable()
tensors, card = read(starter_path())
first = OpenVinoBackend(tensors, card.network)
second = OpenVinoBackend(tensors, card.network)
del first
del second
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGTERM)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


@pytest.mark.parametrize(
    "shape",
    [
        {"multiscale": True},
        {"multiscale": False},
        {"widths": (5, 7, 9), "scale_width": 3},
        {"widths": (6,), "scale_width": 2},
    ],
)
@pytest.mark.parametrize("size", [(4, 2, 32, 32, 32), (6, 2, 19, 32, 21)])
def test_statistics_of_patches_as_in_pytorch(shape, size):
    reference, fast = both(random_model(**shape))
    images = noise(1, 2, 24, 32, 16)
    before = fast.probability(images).copy()
    patches = 3 * noise(*size) + 1
    adapted = fast.with_statistics(patches)
    expected = reference.with_statistics(patches).probability(images)
    agree(expected, adapted.probability(images), f"statistics of {size}, {shape}", 3 * CLOSE)
    assert np.abs(expected - before).max() > 0.1
    np.testing.assert_array_equal(fast.probability(images), before)  # itself is unchanged
    assert (adapted.precision, adapted.limit) == (fast.precision, fast.limit)


def test_statistics_are_measured_as_often_as_asked_whatever_was_prepared(monkeypatch):
    _, fast = both(random_model())
    patches, images = 3 * noise(4, 2, 16, 16, 16) + 1, noise(1, 2, 16, 16, 16)
    fast.prepare(patches.shape)
    compiled, compile_ = [], OpenVinoBackend._compiled

    def counted(self, model):
        compiled.append(model)
        return compile_(self, model)

    monkeypatch.setattr(OpenVinoBackend, "_compiled", counted)
    first = fast.with_statistics(patches)
    assert not compiled
    others = fast.with_statistics(patches[:3, :, :8])
    again = fast.with_statistics(patches)
    assert len(compiled) == 2  # for another shape
    found = [one.probability(images).copy() for one in (first, others, again)]
    np.testing.assert_array_equal(found[0], found[2])
    assert np.abs(found[0] - found[1]).max() > 1e-4


def test_statistics_in_bfloat16_are_close():
    reference, fast = both(random_model(), "auto")
    patches, images = 3 * noise(4, 2, 32, 32, 32) + 1, noise(1, 2, 24, 32, 16)
    expected = reference.with_statistics(patches).probability(images)
    found = fast.with_statistics(patches).probability(images)
    agree(expected, found, f"statistics in {fast.precision}", 2 * NEAR)
