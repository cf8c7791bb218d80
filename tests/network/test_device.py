import ctypes
import importlib
import os
import sys

import pytest
import torch

import napari_pvs
from napari_pvs.errors import InputError
from napari_pvs.network.device import bfloat16_runs, keep_freed_memory, pick


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
    monkeypatch.setenv("PYTORCH_ENABLE_MPS_FALLBACK", "x")  # restored after the test
    monkeypatch.delenv("PYTORCH_ENABLE_MPS_FALLBACK")
    monkeypatch.setattr(sys, "platform", "darwin")
    importlib.reload(napari_pvs)  # comes before PyTorch, which reads it while it is imported
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
    with pytest.raises(InputError, match=r"has more processes than GPUs \(2\).*--nproc-per-node=2"):
        pick("cuda")


@pytest.mark.parametrize("capable", [(True, False), (False, True), (False, False)])
def test_bfloat16_where_the_processor_computes_in_it(monkeypatch, capable):
    for name, value in zip(("avx512_bf16", "amx_tile"), capable, strict=True):
        monkeypatch.setattr(torch.cpu, f"_is_{name}_supported", lambda v=value: v, raising=False)
    assert bfloat16_runs(torch.device("cpu")) == any(capable)
    assert not bfloat16_runs(torch.device("cpu"), "full")
    assert not bfloat16_runs(torch.device("mps"))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: capable[0])
    assert bfloat16_runs(torch.device("cuda")) == capable[0]


def test_a_pytorch_that_cannot_tell_computes_in_float32(monkeypatch):
    for name in ("avx512_bf16", "amx_tile"):
        monkeypatch.delattr(torch.cpu, f"_is_{name}_supported", raising=False)
    assert not bfloat16_runs(torch.device("cpu"))
