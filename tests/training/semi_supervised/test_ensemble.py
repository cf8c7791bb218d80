import numpy as np
import pytest
import torch

from napari_pvs.errors import InputError
from napari_pvs.network.weights import ModelCard, save
from napari_pvs.options import build
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.run import train
from napari_pvs.training.runs.events import read
from napari_pvs.training.semi_supervised.ensemble import Ensemble
from napari_pvs.training.semi_supervised.teacher import make_teacher
from napari_pvs.training.state import State

SMALL = {"batch": 2, "patch": (8,), "warmup": 1, "ramp_up": 0, "validate_every": 9}


pytestmark = pytest.mark.usefixtures("small_network")


def config(study, members, **values):
    more = SMALL | {"epochs": 10, "steps": 1} | values
    return TrainingConfig(
        study=study, method="m2ss", teacher="ensemble", members=members, device="cpu", **more
    )


def test_it_wants_members():
    with pytest.raises(InputError, match="the teacher ensemble has no members"):
        build(TrainingConfig, {"study": "x", "method": "m2ss", "teacher": "ensemble"})


def test_members_are_asked_once_and_the_last_steps_are_on_labels(
    make_study, tmp_path, tiny_weights, tiny_model
):
    other = tmp_path / "other.safetensors"
    save(other, tiny_model, ModelCard(threshold=0.5))
    out = tmp_path / "run"
    train(config(make_study(4, labelled=2), (tiny_weights, other), validate_every=5), out)
    events = read(out / "events.jsonl")
    assert [e["scans"] for e in events if e["type"] == "pseudo_labels"] == [2]
    asked = [e["epoch"] for e in events if e["type"] == "phase" and e["name"] == "pseudo-labels"]
    assert asked == [1]  # after the warm-up
    steps = {e["step"]: e for e in events if e["type"] == "step"}
    assert "unsupervised" not in steps[0]  # the warm-up
    assert all("unsupervised" not in e for n, e in steps.items() if n >= 9)
    soft = np.load(out / "pseudo" / "sub-03.npy").astype(np.float32)
    inside = soft[soft > 0]
    assert ((inside > 0.05) & (inside < 0.95)).any()  # the members differ in their thresholds


def test_the_loss_is_least_where_the_network_answers_as_the_ensemble(tmp_path):
    teacher = make_teacher(State(config("x", (tmp_path,), warmup=0), torch.device("cpu")), tmp_path)
    assert isinstance(teacher, Ensemble)
    soft = torch.full((1, 1, 4, 4, 4), 0.3)
    answers = torch.tensor([0.05, 0.3, 0.8])
    losses = [float(teacher.loss(torch.logit(a).expand_as(soft), soft)[0]) for a in answers]
    assert losses[1] == min(losses)
    unknown = torch.full_like(soft, -1)
    assert float(teacher.loss(torch.zeros_like(soft), unknown)[0]) == pytest.approx(0, abs=1e-6)


def test_what_it_costs(tmp_path):
    many = config("x", (tmp_path,) * 3, align=False)
    assert Ensemble.predictions(many, 9, {5, 10}) == 27
    aligned = config("x", (tmp_path,) * 3, refresh_scans=4)
    assert Ensemble.predictions(aligned, 9, {5, 10}) == 27 + 8
