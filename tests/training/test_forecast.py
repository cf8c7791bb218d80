import re
from types import SimpleNamespace

import psutil
import pytest
import torch

from napari_pvs.errors import InputError
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.distributed import World
from napari_pvs.training.forecast import Forecast, forecast, require_memory

CPU = torch.device("cpu")


def config(**values):
    return TrainingConfig(study="x", **values)


@pytest.fixture
def free(monkeypatch):
    """Function that sets the free memory, in GB."""

    def set_free(gigabytes):
        memory = SimpleNamespace(available=int(gigabytes * 2**30))
        monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)

    return set_free


def needed(**values):
    return forecast(config(**values), CPU).needed


def test_grows_with_what_is_computed():
    one, base = needed(batch=1, patch=(32,)), needed(batch=8, patch=(32,))
    assert needed(batch=15, patch=(32,)) - base == pytest.approx(base - one, rel=0.01)
    assert needed(patch=(64,), batch=8) > 4 * base
    assert needed(method="m2ss", batch=8) > 1.4 * base
    assert needed(method="supervised-mono") < base
    # larger patches of a mixture are fewer
    assert needed(patch=(32, 64)) == pytest.approx(needed(patch=(32,)), rel=0.05)


def test_fits():
    assert Forecast(9, 10).fits
    assert not Forecast(10, 10).fits
    assert Forecast(10, None).fits


def test_proposes_a_batch_that_fits(free):
    free(100)
    require_memory(config(batch=64), CPU)
    free(3)
    said = r"needs about .* GB.*cpu has 3.0 GB left; try a batch of (\d+) \(--batch\)"
    with pytest.raises(InputError, match=said) as refused:
        require_memory(config(batch=64), CPU)
    batch = int(re.search(said, str(refused.value))[1])
    assert 1 <= batch < 64
    require_memory(config(batch=batch), CPU)
    with pytest.raises(InputError, match=said):
        require_memory(config(batch=batch + 1), CPU)
    with pytest.raises(InputError, match=rf"try a batch of {batch} "):
        require_memory(config(batch=100_000), CPU)  # at once
    free(0.5)
    with pytest.raises(InputError, match="choose a smaller --patch"):
        require_memory(config(batch=64), CPU)
    free(0.1)  # one patch of 8 voxels is no batch
    with pytest.raises(InputError, match="choose a smaller --patch"):
        require_memory(config(batch=4, patch=(8,)), CPU)


def test_several_processes_share_a_step_and_the_memory_of_their_machine(free):
    two = World()
    two.size = two.here = 2
    free(8)
    one = forecast(config(batch=5, patch=(32,)), CPU)
    each = forecast(config(batch=5, patch=(32,)), CPU, two)
    base = 2.5 * each.needed - 1.5 * one.needed  # 3 of 5 patches each
    assert base == pytest.approx(520 * 2**20, rel=0.01)
    assert each.free == one.free // 2


def test_a_process_has_at_least_one_whole_patch():
    many = World()
    many.size = 16
    alone = forecast(config(batch=8, patch=(32, 64)), CPU)  # 8 patches of 32, or one of 64
    assert forecast(config(batch=8, patch=(32, 64)), CPU, many) == alone


@pytest.mark.parametrize("method", ["supervised-multi", "m2ss"])
def test_a_larger_batch_needs_no_less(method):
    sizes = [needed(method=method, batch=n, patch=(32, 48, 64)) for n in range(1, 40)]
    assert sizes == sorted(sizes)
