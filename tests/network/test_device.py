import ctypes
import os
import sys

import pytest
import torch

from napari_pvs.errors import InputError
from napari_pvs.network.device import keep_freed_memory, pick


def only(monkeypatch, *kinds):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in kinds)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in kinds)


@pytest.mark.parametrize("name", ["cuda", "mps", "tpu"])
def test_a_device_that_is_not_there(monkeypatch, name):
    only(monkeypatch)
    with pytest.raises(InputError, match=f"{name} is not available.*auto or cpu") as error:
        pick(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kinds", "chosen"),
    [((), "cpu"), (("mps",), "mps"), (("cuda",), "cuda"), (("cuda", "mps"), "cuda")],
)
def test_auto_prefers_a_gpu(monkeypatch, kinds, chosen):
    only(monkeypatch, *kinds)
    monkeypatch.setenv("PYTORCH_ENABLE_MPS_FALLBACK", "0")
    assert pick().type == chosen
    assert pick("cpu").type == "cpu"


def test_metal_falls_back_to_the_cpu_for_what_it_lacks(monkeypatch):
    only(monkeypatch, "mps")
    monkeypatch.setenv("PYTORCH_ENABLE_MPS_FALLBACK", "x")  # restored after the test
    monkeypatch.delenv("PYTORCH_ENABLE_MPS_FALLBACK")
    pick("mps")
    assert os.environ["PYTORCH_ENABLE_MPS_FALLBACK"] == "1"


def test_tuning_memory_is_harmless_elsewhere(monkeypatch):
    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    monkeypatch.setattr(sys, "platform", "linux")
    keep_freed_memory()  # musl
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: pytest.fail("not on a Mac"))
    keep_freed_memory()


def test_each_of_several_processes_gets_its_gpu(monkeypatch):
    only(monkeypatch, "cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert pick() == torch.device("cuda", 1)
    assert pick("cpu") == torch.device("cpu")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(InputError, match=r"has 2 GPUs and more processes.*--nproc-per-node=2"):
        pick("cuda")
