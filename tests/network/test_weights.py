import copy
import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from napari_pvs.errors import InputError
from napari_pvs.network.config import NetworkConfig
from napari_pvs.network.m2ss import M2SS
from napari_pvs.network.weights import ModelCard, content_of, fingerprint, load, save, starter_path


@pytest.fixture
def stored(tiny_weights):
    """Tensors and card of a good file."""
    with safe_open(tiny_weights, framework="pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return state, json.loads(file.metadata()["card"])


def refused(path, pattern):
    with pytest.raises(InputError, match=pattern) as error:
        load(path)
    message = str(error.value)
    assert str(path) in message
    assert "\n" not in message
    assert message.endswith(".")


def refused_when_written(tmp_path, state, metadata, pattern):
    path = tmp_path / "bad.safetensors"
    save_file(state, path, metadata=metadata)
    refused(path, pattern)


def test_round_trip(tmp_path, tiny_model):
    path = tmp_path / "new" / "weights.safetensors"
    given = ModelCard(name="mine", threshold=0.35, accuracy={"dsc": 0.7})
    save(path, tiny_model, given)
    model, card = load(path)
    assert not model.training
    assert card == given.model_copy(update={"network": tiny_model.config})
    for name, tensor in tiny_model.state_dict().items():
        found = model.state_dict()[name]
        assert found.dtype == tensor.dtype
        torch.testing.assert_close(found, tensor, rtol=1e-3, atol=1e-6)
    images = torch.randn(1, 2, 12, 12, 12)
    torch.testing.assert_close(model(images), tiny_model(images), rtol=0.02, atol=0.02)
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "weights.json",
        "weights.safetensors",
    ]


def test_calibration_moves_the_logit_by_modality():
    card = ModelCard(calibration={"T1": (0.5, 1.0)})
    raw = np.array([0.0, 0.0005, 0.02, 0.2, 0.5, 0.9, 1.0], np.float32)
    found = raw.copy()
    card.calibrate(found, ("T1",))
    expected = 1 / (1 + np.exp(-(0.5 * np.log(0.2 / 0.8) + 1)))
    assert found[3] == pytest.approx(expected, rel=1e-5)
    np.testing.assert_array_equal(found[:2], raw[:2])
    assert (np.diff(found) >= 0).all()  # a lower threshold never loses a voxel
    assert found[-1] <= 1
    other = raw.copy()
    card.calibrate(other, ("T1", "T2"))
    np.testing.assert_array_equal(other, raw)


@pytest.mark.parametrize("pair", [[0, 0], [-1, 0], [1, "nan"], [1]])
def test_calibration_that_is_none_is_refused(tmp_path, stored, pair):
    state, card = stored
    metadata = {"card": json.dumps(card | {"calibration": {"T1": pair}})}
    refused_when_written(tmp_path, state, metadata, "card")


def test_thresholds_by_modality():
    card = ModelCard(threshold=0.6, thresholds={"T1": 0.3})
    assert card.threshold_for(("T1",)) == 0.3
    assert card.threshold_for(("T1", "T2")) == 0.6


def test_values_beyond_half_precision_survive(tmp_path, tiny_model):
    model = copy.deepcopy(tiny_model)  # the fixture is shared
    variance = next(b for n, b in model.named_buffers() if n.endswith("running_var"))
    variance.fill_(1e6)
    save(tmp_path / "w.safetensors", model, ModelCard())
    found = dict(load(tmp_path / "w.safetensors")[0].named_buffers())
    name = next(n for n in found if n.endswith("running_var"))
    assert found[name].amax() == 1e6


def test_stored_in_half_precision_with_its_card(tiny_weights, stored):
    state, card = stored
    kinds = {t.dtype for n, t in state.items() if not n.endswith("num_batches_tracked")}
    assert kinds == {torch.float16}
    assert card == json.loads(tiny_weights.with_suffix(".json").read_text())
    assert card["network"]["widths"] == [4, 8]
    assert card["format"] == "napari-pvs/1"


def test_full_precision_is_read_too(tmp_path, stored):
    state, card = stored
    state = {n: t.float() if t.is_floating_point() else t for n, t in state.items()}
    save_file(state, tmp_path / "full.safetensors", metadata={"card": json.dumps(card)})
    model, _ = load(tmp_path / "full.safetensors")
    torch.testing.assert_close(model.head.weight, state["head.weight"])


def test_missing(tmp_path):
    refused(tmp_path / "none.safetensors", "do not exist")
    refused(tmp_path, "is a folder; name the weights file in it")


@pytest.mark.parametrize("content", [b"", b"not weights", bytes(range(256)) * 8])
def test_random_bytes(tmp_path, content):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    refused(path, "not a readable safetensors")


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.999])
def test_truncated(tmp_path, tiny_weights, keep):
    whole = tiny_weights.read_bytes()
    path = tmp_path / "bad.safetensors"
    path.write_bytes(whole[: int(len(whole) * keep)])
    refused(path, "not a readable safetensors")


def test_no_or_damaged_card(tmp_path, stored):
    state, card = stored
    for metadata in (
        None,
        {"other": "x"},
        {"card": "{"},
        {"card": "[]"},
        {"card": "{}{}"},
        {"card": json.dumps(card | {"threshold": 2})},
        {"card": json.dumps(card | {"network": {"widths": []}})},
    ):
        refused_when_written(tmp_path, state, metadata, "no napari-pvs model card")


def test_newer_format_even_with_an_unknown_card(tmp_path, stored):
    state, card = stored
    for newer in (card | {"format": "napari-pvs/2"}, {"format": "napari-pvs/2", "kind": "x"}):
        refused_when_written(
            tmp_path, state, {"card": json.dumps(newer)}, "napari-pvs/2.*update napari-pvs"
        )


def test_tensors_of_another_network(tmp_path, stored):
    state, card = stored
    metadata = {"card": json.dumps(card)}
    missing = {n: t for n, t in state.items() if n != "head.bias"}
    refused_when_written(tmp_path, missing, metadata, "lack head.bias")
    extra = state | {"head.more": torch.zeros(1)}
    refused_when_written(tmp_path, extra, metadata, "unknown head.more")
    shape = state | {"head.bias": torch.zeros(2).half()}
    refused_when_written(tmp_path, shape, metadata, r"head.bias is \(2,\)")
    dtype = state | {"head.bias": torch.zeros(1, dtype=torch.int32)}
    refused_when_written(tmp_path, dtype, metadata, "head.bias is .*int32")
    for value in (float("nan"), float("inf")):
        broken = state | {"head.bias": torch.full((1,), value).half()}
        refused_when_written(tmp_path, broken, metadata, "head.bias has values.*not finite")
    other = card | {"network": card["network"] | {"multiscale": False}}
    refused_when_written(tmp_path, state, {"card": json.dumps(other)}, "of another network")


def test_failed_save_leaves_the_old_file(tmp_path, tiny_model, monkeypatch):
    import safetensors.torch

    path = tmp_path / "weights.safetensors"
    save(path, tiny_model, ModelCard(name="old"))

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(safetensors.torch, "save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        save(path, tiny_model, ModelCard(name="new"))
    assert load(path)[1].name == "old"
    assert len(list(tmp_path.iterdir())) == 2


def test_fingerprint_follows_the_file(tmp_path, tiny_weights):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(tiny_weights.read_bytes())
    first = fingerprint(path)
    assert first == fingerprint(tiny_weights)
    assert len(first) == 12
    save(path, M2SS(NetworkConfig(widths=(4,), scale_width=1)), ModelCard())
    assert fingerprint(path) != first
    path.unlink()
    with pytest.raises(InputError, match=f"weights {path} do not exist"):
        fingerprint(path)


def test_weights_are_read_from_what_was_read_before(tmp_path, tiny_weights):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(tiny_weights.read_bytes())
    content = content_of(path)
    path.unlink()
    again, before = load(path, content)[0].state_dict(), load(tiny_weights)[0].state_dict()
    assert all(torch.equal(again[name], before[name]) for name in before)
    assert fingerprint(path, content) == fingerprint(tiny_weights)


def test_a_file_larger_than_any_weights_is_not_read(tmp_path):
    path = tmp_path / "language-model.safetensors"
    with path.open("wb") as file:
        file.truncate(3 * 2**30)  # sparse: it takes no room
    with pytest.raises(InputError, match="has 3 GB, too much for weights; give weights made by"):
        load(path)


def test_starter_weights():
    path = starter_path()
    assert path.stat().st_size <= 8e6
    model, card = load(path)
    assert card.accuracy
    assert card.training
    assert card.licence
    low, high = card.voxel_size_mm
    assert 0.4 < low < high < 2
    assert model.config.multiscale


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"voxel_size_mm": [0, 1]}, "voxel_size_mm.0 must be at least 0.05"),
        ({"voxel_size_mm": [0.001, 0.001]}, "voxel_size_mm.0 must be at least"),
        ({"voxel_size_mm": [-1, 1]}, "voxel_size_mm.0 must be at least"),
        ({"voxel_size_mm": [0.5, 1e9]}, "voxel_size_mm.1 must be at most 20"),
        ({"voxel_size_mm": [1.0, 0.5]}, "the smallest voxel is larger than the largest"),
        ({"voxel_size_mm": [float("nan"), 1]}, "voxel_size_mm.0 must be a finite number"),
        ({"threshold": float("nan")}, "threshold"),
        ({"network": {"widths": [4] * 200_000}}, "network.widths"),
        ({"network": {"widths": [4, 2**40]}}, "network.widths.1 must be at most 1024"),
        ({"network": {"widths": [4, 8], "scale_width": 10**9}}, "network.scale_width must be"),
        ({"network": 3}, "network"),
        ({"training": [1]}, "training"),
    ],
)
def test_a_card_out_of_bounds(tmp_path, stored, changes, reason):
    state, card = stored
    pattern = rf"has no napari-pvs model card that fits \({reason}.*\); give"
    refused_when_written(tmp_path, state, {"card": json.dumps(card | changes)}, pattern)


def test_a_card_that_is_nested_without_end(tmp_path, stored):
    state, _ = stored
    for text in ("[" * 100_000, '{"training": ' * 50_000):
        refused_when_written(tmp_path, state, {"card": text}, "has no napari-pvs model card")


def test_variances_are_not_negative(tmp_path, stored):
    state, card = stored
    name = next(name for name in state if name.endswith("running_var"))
    state = state | {name: -state[name] - 1}
    pattern = f"{name} has negative variances"
    refused_when_written(tmp_path, state, {"card": json.dumps(card)}, pattern)


def test_what_the_network_answers_at_the_threshold():
    card = ModelCard(threshold=0.6, thresholds={"T1": 0.3}, calibration={"T1": (1.2, 0.7)})
    assert card.answer_at_threshold(("T1", "T2")) == pytest.approx(0.6)
    answer = np.array([card.answer_at_threshold(("T1",))], np.float32)
    card.calibrate(answer, ("T1",))
    assert answer[0] == pytest.approx(0.3, abs=1e-5)
