import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_pvs.errors import InputError
from napari_pvs.network.config import NetworkConfig
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.state import State, learning_rate

CPU = torch.device("cpu")


pytestmark = pytest.mark.usefixtures("small_network")


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


def test_steps_are_taken_at_the_rate_of_the_schedule():
    one = state(learning_rate=2.0e-3)
    for step in range(12):
        walk(one, 1)
        (rate,) = {group["lr"] for group in one.optimiser.param_groups}
        assert rate == learning_rate(step, 12, 2.0e-3)
    assert one.progress.step == 12


def test_a_run_may_start_from_weights():
    other = walk(state(seed=3), 2)
    config = TrainingConfig(study="x", seed=5)
    one = State(config, CPU, start=other.model)
    assert torch.equal(one.model.head.weight, other.model.head.weight)
    assert torch.equal(one.ema.head.weight, other.model.head.weight)


def test_a_digest_tells_states_apart():
    one, two = walk(state(), 2), walk(state(), 2)
    assert one.digest() == two.digest()
    with torch.no_grad():
        one.model.head.weight[0, 0] += 1e-6
    assert one.digest() != two.digest()
    one = walk(state(), 2)
    one.progress.labels["sub-01"] = "a@b"
    assert one.digest() != two.digest()


@pytest.mark.parametrize(
    ("patch", "half"), [((32,), True), ((24,), True), ((16,), False), ((32, 16), False)]
)
def test_small_patches_are_not_computed_in_half_precision_on_a_cpu(monkeypatch, patch, half):
    """Where the deepest of four levels has two voxels, torch gives garbage for gradients."""
    deep = property(lambda self: NetworkConfig(widths=(4, 4, 4, 4), scale_width=2))
    monkeypatch.setattr(TrainingConfig, "network", deep)
    monkeypatch.setattr("napari_pvs.training.state.bfloat16_runs", lambda *_: True)
    with state(patch=patch).autocast():
        assert torch.is_autocast_enabled("cpu") == half
    monkeypatch.setattr("napari_pvs.training.state.bfloat16_runs", lambda *_: False)
    with state(patch=patch).autocast():
        assert not torch.is_autocast_enabled("cpu")


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
    with pytest.raises(InputError, match="for another network than this run's config"):
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


def test_the_running_mean_forgets_the_random_start():
    """Decay (1 + step) / (10 + step) until that is the wanted one: Tarvainen and Valpola, 2017."""
    one = state(average=0.999)
    weight = one.model.head.weight
    expected = slow = weight.detach().clone()
    for step in range(6):
        walk(one, 1)
        slow = 0.999 * slow + 0.001 * weight.detach()
        decay = min(0.999, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight.detach()
    torch.testing.assert_close(one.ema.head.weight, expected)
    assert not torch.allclose(one.ema.head.weight, slow, rtol=0, atol=1e-4)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_gradients_are_clipped_to_a_norm_of_5(scale):
    one = state()
    images = torch.randn(2, 2, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    loss = scale * one.model(images).square().sum()
    (plain,) = torch.autograd.grad(loss, [one.model.head.weight], retain_graph=True)
    whole = torch.autograd.grad(loss, list(one.model.parameters()), retain_graph=True)
    norm = float(torch.sqrt(sum((part**2).sum() for part in whole)))
    one.update(loss)
    expected = plain * min(1.0, 5.0 / norm)
    torch.testing.assert_close(one.model.head.weight.grad, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("progress", "{"),
        ("progress", '{"step": "many"}'),
        ("progress", '{"step": -3}'),
        ("progress", '{"labels": [1]}'),
        ("progress", "[" * 100_000),
    ],
)
def test_progress_of_a_wrong_type(tmp_path, name, values):
    one = walk(state(), 1)
    one.save(tmp_path / "c.safetensors")
    saved = load_file(tmp_path / "c.safetensors")
    about = {"format": "napari-pvs-checkpoint/1", name: values}
    save_file(saved, tmp_path / "d.safetensors", metadata=about)
    with pytest.raises(InputError, match=r"d.safetensors is damaged \(.*\); start a new run\.$"):
        state().load(tmp_path / "d.safetensors")


@pytest.mark.parametrize("kind", ["gone", "shape", "unknown", "index"])
def test_moments_of_another_network(tmp_path, kind):
    import json

    one = walk(state(), 1)
    one.save(tmp_path / "c.safetensors")
    saved = load_file(tmp_path / "c.safetensors")
    if kind == "gone":
        del saved["optimiser.0.exp_avg"]
    elif kind == "shape":
        saved["optimiser.0.exp_avg"] = torch.zeros(3)
    elif kind == "unknown":
        saved["optimiser.0.other"] = torch.zeros(3)
    else:
        saved["optimiser.x.exp_avg"] = saved.pop("optimiser.0.exp_avg")
    about = {"format": "napari-pvs-checkpoint/1", "progress": json.dumps({"step": 1})}
    save_file(saved, tmp_path / "d.safetensors", metadata=about)
    with pytest.raises(InputError, match=r"d.safetensors is damaged \((optimiser|moments)"):
        state().load(tmp_path / "d.safetensors")
