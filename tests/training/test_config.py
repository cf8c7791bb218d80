import pytest
from pydantic import ValidationError

from napari_pvs.training.config import TrainingConfig


def test_method_names_the_network():
    assert TrainingConfig(study="x").network.multiscale
    assert not TrainingConfig(study="x", method="supervised-mono").network.multiscale


def test_round_trip():
    config = TrainingConfig(study="x", validation=("sub-01",), weights="w.safetensors", seed=4)
    assert TrainingConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    "wrong",
    [
        {"focal_weight": 0, "dice_weight": 0},
        {"validation": ("sub-01",), "test": ("sub-01",)},
        {"epochs": 0},
        {"patch": 4},
        {"foreground": 1.5},
        {"focal_alpha": 1},
        {"method": "unsupervised"},
        {"lerning_rate": 1},
    ],
)
def test_refuses(wrong):
    with pytest.raises(ValidationError):
        TrainingConfig(study="x", **wrong)


def test_a_recipe_sets_what_is_not_said():
    adapt = TrainingConfig(study="x", recipe="adapt")
    assert (str(adapt.weights), adapt.epochs, adapt.warmup) == ("starter", 20, 0)
    assert adapt.teacher == "inserted-privileged"
    other = TrainingConfig(study="x", recipe="adapt", weights="mine.safetensors", epochs=45)
    assert (str(other.weights), other.epochs) == ("mine.safetensors", 45)
    assert other.learning_rate == adapt.learning_rate < TrainingConfig(study="x").learning_rate


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"epochs": 10**30}, "epochs is more than 1,000,000"),
        ({"seed": 10**30}, "seed is more than 9,007,199,254,740,992"),
        ({"learning_rate": float("inf")}, "finite"),
        ({"focal_weight": float("nan")}, "finite"),
        ({"recipe": ["adapt"]}, "recipe"),
    ],
)
def test_what_nobody_means_is_refused(values, reason):
    with pytest.raises(ValidationError, match=reason):
        TrainingConfig(study=".", **values)
