import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_pvs.errors import InputError
from napari_pvs.network.weights import ModelCard, save, starter_path
from napari_pvs.network.weights import load as load_weights
from napari_pvs.study.bids import subjects
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.data.prepared import load
from napari_pvs.training.validation import Validation
from napari_pvs.training.weights import Start, card, load_start


def test_card(make_study):
    people = [load(s) for s in subjects(make_study(1))]
    result = Validation(0.65, 0.5, None, 0.4, {"sub-01": 0.5})
    config = TrainingConfig(study="x", weights="starter")
    about = card("mine", config, 7, result, people, [], load_start(config))
    assert about.threshold == 0.65
    assert about.name == "mine"
    assert about.training["epoch"] == 7
    assert len(about.training["from"]) == 12
    assert about.accuracy["validation"]["avd_percent"] is None


def test_card_tells_the_intensities_of_its_scans(make_study):
    one, other = (load(s) for s in subjects(make_study(2)))
    t1_only = replace(other, images=np.stack([other.images[0], np.zeros_like(other.images[1])]))
    result = Validation(0.65, 0.5, None, 0.4, {"sub-01": 0.5})
    about = card("mine", TrainingConfig(study="x"), 7, result, [one], [t1_only], Start())
    told = about.training["intensities"]
    assert set(told) == {"T1", "T2"}
    for key, value in one.percentiles["T2"].items():
        assert told["T2"][key] == pytest.approx((value, value), abs=0.01)
    expected = np.percentile(one.images[0][..., ::4][one.brain[..., ::4]], (1, 5, 95, 99))
    assert list(one.percentiles["T1"].values()) == pytest.approx(expected, abs=0.01)
    low, high = told["T1"]["95"]
    assert low <= one.percentiles["T1"]["95"] + 0.01
    assert high >= t1_only.percentiles["T1"]["95"] - 0.01


def test_start(tiny_weights, tmp_path):
    assert load_start(TrainingConfig(study="x")) == Start(None, None, 0.5, None)
    start = load_start(TrainingConfig(study="x", weights="starter"))
    starter, threshold = start.network, start.threshold
    expected, card = load_weights(starter_path())
    assert threshold == card.threshold
    assert starter is not None
    assert torch.equal(starter.head.weight, expected.head.weight)
    with pytest.raises(InputError, match="for another network than method semi-mono"):
        load_start(TrainingConfig(study="x", weights="starter", method="semi-mono"))
    with pytest.raises(InputError, match=r"none.safetensors do not exist"):
        load_start(TrainingConfig(study="x", weights=tmp_path / "none.safetensors"))


@pytest.mark.parametrize(
    ("asked", "of_start", "taken"),
    [
        ("auto", "scan", "scan"),
        ("auto", "fixed", "fixed"),
        ("auto", None, "fixed"),
        ("scan", "fixed", "scan"),
        ("fixed", "scan", "fixed"),
        ("scan", None, "scan"),
    ],
)
def test_batch_statistics_are_as_asked_or_as_the_start_weights(
    asked, of_start, taken, tiny_model, tmp_path
):
    path = None
    if of_start:
        model, path = copy.deepcopy(tiny_model), tmp_path / "start.safetensors"
        model.config = model.config.model_copy(update={"statistics": of_start})
        save(path, model, ModelCard())
    config = TrainingConfig(study="x", weights=path, statistics=asked)
    start = load_start(config)
    settled = start.settled(config)
    assert settled.statistics == settled.network.statistics == taken
    assert settled.one_scan == (taken == "scan")
    if start.network is not None:
        assert start.network.config.statistics == taken
