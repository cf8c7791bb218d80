import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_pvs.errors import InputError
from napari_pvs.network.config import NetworkConfig
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.state import State, learning_rate

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def small_network(monkeypatch):
    tiny = property(lambda self: NetworkConfig(widths=(4, 8), scale_width=2))
    monkeypatch.setattr(TrainingConfig, "network", tiny)


def state(**values):
    return State(TrainingConfig(study="x", epochs=4, steps=3, **values), CPU)


def walk(one, steps):
    for _ in range(steps):
        generator = torch.Generator().manual_seed(one.progress.step)
        images = torch.randn(2, 2, 8, 8, 8, generator=generator)
        one.update(one.model(images).square().mean())
    return one


def tensors(one):
    return {**one.model.state_dict(), **{f"mean.{k}": v for k, v in one.ema.state_dict().items()}}


def equal(one, two):
    a, b = tensors(one), tensors(two)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_saved_state_goes_on_as_if_never_interrupted(tmp_path):
    whole = walk(state(), 7)
    first = walk(state(), 4)
    first.progress.best, first.progress.threshold = 0.5, 0.65
    first.progress.labels = {"sub-01": "a@b"}
    first.save(tmp_path / "c.safetensors")
    second = state(seed=9)  # other weights, until it has loaded
    assert not equal(second, first)
    second.load(tmp_path / "c.safetensors")
    assert equal(second, first)
    assert second.progress == first.progress
    for weight, moments in second.optimiser.state.items():  # fused AdamW insists on it
        assert moments["exp_avg"].stride() == weight.stride()
        assert moments["exp_avg_sq"].stride() == weight.stride()
    assert equal(walk(second, 3), whole)


def test_the_running_mean_follows_and_is_kept_apart():
    one = walk(state(average=0.9), 6)
    assert not torch.equal(one.ema.head.weight, one.model.head.weight)
    literal = walk(state(average=0.0), 6)
    assert torch.equal(literal.ema.head.weight, literal.model.head.weight)
    assert literal.ema.head.weight.data_ptr() != literal.model.head.weight.data_ptr()


def test_learning_rate():
    rates = [learning_rate(step, 100, 2.0) for step in range(100)]
    assert rates[0] == pytest.approx(0.08)
    assert max(rates) == rates[10] == 2.0
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.001
    assert [learning_rate(0, 1, 1.0)] == [0.04]
    # an extended run goes on along the longer curve
    assert learning_rate(50, 200, 2.0) > rates[50]


def test_refuses_what_is_no_checkpoint(tmp_path):
    one, path = state(), tmp_path / "c.safetensors"
    with pytest.raises(InputError, match=r"c.safetensors does not exist.*start a new run"):
        one.load(path)
    path.write_bytes(b"no")
    with pytest.raises(InputError, match=r"c.safetensors is damaged"):
        one.load(path)
    save_file({"a": torch.zeros(1)}, path, metadata={"format": "other/9"})
    with pytest.raises(InputError, match="format other/9"):
        one.load(path)


def test_refuses_another_network(tmp_path, monkeypatch):
    path = tmp_path / "c.safetensors"
    state().save(path)
    wide = property(lambda self: NetworkConfig(widths=(4, 16), scale_width=2))
    monkeypatch.setattr(TrainingConfig, "network", wide)
    with pytest.raises(InputError, match="of another network than this run's config"):
        state().load(path)


def test_a_save_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "c.safetensors"
    one = state()
    one.save(path)
    before = path.read_bytes()

    def full(tensors, file, metadata):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        walk(one, 1).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]
    assert load_file(path)


def test_a_gradient_that_is_not_finite_changes_nothing():
    one, two = walk(state(), 3), walk(state(), 3)
    weight = one.model.head.weight
    assert not one.update((weight - weight.detach()).abs().sqrt().sum())  # 0, and infinitely steep
    assert one.progress.step == 3
    assert equal(one, two)
