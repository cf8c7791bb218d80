import importlib.util
import subprocess
import sys

import pytest
import torch

from napari_pvs.errors import InputError
from napari_pvs.network.backends import choose as module
from napari_pvs.network.backends.choose import choose, open_backend
from napari_pvs.network.weights import starter_path


@pytest.fixture
def installed(monkeypatch):
    """Function that pretends that OpenVINO is installed or not, and a GPU there or not."""

    def pretend(openvino, gpu=False):
        found = {"openvino": object() if openvino else None}
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: found.get(name, object()))
        monkeypatch.setattr(module, "gpu_likely", lambda: gpu)
        monkeypatch.setattr(module, "pick", lambda _: torch.device("cuda" if gpu else "cpu"))

    return pretend


@pytest.mark.parametrize(
    ("openvino", "gpu", "device", "expected"),
    [
        (True, False, "auto", "openvino"),
        (True, True, "auto", "torch"),
        (True, True, "cpu", "openvino"),
        (True, True, "cuda", "torch"),
        (True, False, "mps", "torch"),
        (False, False, "auto", "torch"),
        (False, True, "cpu", "torch"),
    ],
)
def test_openvino_is_chosen_where_it_is_installed_and_no_gpu_is_used(
    installed, openvino, gpu, device, expected
):
    installed(openvino, gpu)
    assert choose("auto", device) == expected
    assert choose("torch", device) == "torch"


def test_a_driver_without_a_gpu(installed, monkeypatch):
    installed(True)
    monkeypatch.setattr(module, "gpu_likely", lambda: True)
    assert choose("auto", "auto") == "openvino"


def test_openvino_that_is_named_runs_on_the_cpu_even_beside_a_gpu(installed):
    installed(True, gpu=True)
    assert choose("openvino", "auto") == "openvino"
    with pytest.raises(InputError, match="on the CPU, not on cuda"):
        choose("openvino", "cuda")


def test_openvino_that_is_named_must_be_installed(installed):
    installed(False)
    with pytest.raises(InputError, match=r'pip install "napari-pvs\[fast\]"') as error:
        choose("openvino", "auto")
    assert "\n" not in str(error.value)


def test_pytorch_where_openvino_does_not_run(monkeypatch, tiny_weights, caplog):
    pytest.importorskip("openvino")
    from napari_pvs.network.backends import openvino_backend

    def broken():
        raise RuntimeError("no plugin\nfor this CPU")

    monkeypatch.setattr(openvino_backend, "_core", broken)  # another test may have loaded it
    made, card = open_backend(tiny_weights, "cpu")
    assert (made.name, made.device.type, card.name) == ("torch", "cpu", "tiny")
    assert [r.getMessage() for r in caplog.records] == [
        "OpenVINO does not run here (no plugin); using PyTorch."
    ]
    with pytest.raises(InputError, match=r"does not run here \(no plugin\)"):
        open_backend(tiny_weights, "cpu", "openvino")


@pytest.mark.parametrize("name", ["torch", "openvino"])
def test_weights_are_refused_alike(name, tmp_path):
    if name == "openvino":
        pytest.importorskip("openvino")
    with pytest.raises(InputError, match="do not exist"):
        open_backend(tmp_path / "none.safetensors", "cpu", name)


def test_a_cpu_is_used_without_pytorch():
    """PyTorch's import would be the longest step of a segmentation but the network."""
    pytest.importorskip("openvino")
    code = f"""
import sys
import numpy as np
from pathlib import Path
from napari_pvs.inference.predictor import Predictor
predictor = Predictor(Path({str(starter_path())!r}), "cpu")
assert predictor.backend.name == "openvino"
images, brain = np.zeros((2, 16, 16, 16), np.float32), np.ones((16, 16, 16), bool)
assert predictor.predict_array(images, brain).shape == brain.shape
assert "torch" not in sys.modules
"""
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
