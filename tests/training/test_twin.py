"""What the unlabelled scans changed, and the supervised twin of a semi-supervised run."""

import json
from dataclasses import replace

import pytest
import torch

from napari_pvs.network.weights import load
from napari_pvs.training import loop
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.run import resume, train
from napari_pvs.training.runs.control import tell
from napari_pvs.training.runs.events import read
from napari_pvs.training.runs.status import runs, seen

SMALL = {"epochs": 2, "steps": 2, "batch": 2, "patch": (8,), "warmup": 1, "validate_every": 1}


pytestmark = pytest.mark.usefixtures("small_network")


def config(study, **values):
    more = {"method": "m2ss", "device": "cpu", "validation": ("sub-02",)} | SMALL | values
    return TrainingConfig(study=study, **more)


def of(out, kind):
    return [event for event in read(out / "events.jsonl") if event["type"] == kind]


def state(path):
    return load(path)[0].state_dict()


@pytest.fixture
def better(monkeypatch):
    """Function that decides what a validation of the run, and of its twin, finds."""

    def decide(own, twin):
        measure = loop.validate

        def validate(*args):
            return replace(measure(*args), dsc=twin if args[-1] is None else own)

        monkeypatch.setattr(loop, "validate", validate)  # the twin allows any threshold

    return decide


def test_what_the_unlabelled_scans_changed(make_study, tmp_path):
    out = tmp_path / "run"
    train(config(make_study(4, labelled=2)), out)
    found = json.loads((out / "unlabelled.json").read_text())
    assert set(found["before"]) == set(found["after"]) == {"sub-03", "sub-04"}
    (said,) = of(out, "unlabelled")
    assert said["scans"] == 2
    assert said["before_mm3"] == pytest.approx(sum(found["before"].values()) / 2)
    assert said["after_mm3"] == pytest.approx(sum(found["after"].values()) / 2)
    assert "In 2 unlabelled scans" in seen(out).told["unlabelled"]
    phases = [e["name"] for e in of(out, "phase")]
    assert phases.index("unlabelled scans, before") < phases.index("pseudo-labels")


def test_nothing_is_said_of_a_run_that_has_learnt_from_none(make_study, tmp_path):
    study = make_study(4, labelled=2)
    out = tmp_path / "supervised"
    train(config(study, method="supervised-multi"), out)
    assert not (out / "unlabelled.json").exists()
    assert of(out, "unlabelled") == []


def test_the_twin_is_the_supervised_run(make_study, tmp_path, better):
    study, out = make_study(4, labelled=2), tmp_path / "run"
    better(own=0.5, twin=0.4)
    train(config(study, compare=True), out)
    train(config(study, method="supervised-multi"), tmp_path / "alone")
    first, second = (
        state(out / "twin" / "last.safetensors"),
        state(tmp_path / "alone/last.safetensors"),
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    (said,) = of(out, "compared")
    assert (said["dsc"], said["twin"], said["kept"]) == (0.5, 0.4, "m2ss")
    assert "is not better on the validation subjects" in seen(out).told["compared"]
    assert not (out / "own.safetensors").exists()
    assert load(out / "best.safetensors")[1].training["config"]["method"] == "m2ss"
    assert of(out, "done")
    assert runs(study) == []  # the twin is no run of its own


def test_better_weights_of_the_twin_are_kept_and_said(make_study, tmp_path, better):
    out = tmp_path / "run"
    better(own=0.4, twin=0.5)
    train(config(make_study(4, labelled=2), method="semi-mono", compare=True), out)
    assert (out / "best.safetensors").read_bytes() == (out / "twin/best.safetensors").read_bytes()
    _, card = load(out / "best.safetensors")
    assert card.training["config"]["method"] == "supervised-mono"
    assert json.loads((out / "best.json").read_text())["training"] == card.training
    assert load(out / "own.safetensors")[1].training["config"]["method"] == "semi-mono"
    (said,) = of(out, "compared")
    assert said["kept"] == "twin"
    assert "the unlabelled scans did not help" in seen(out).told["compared"]


def test_own_weights_and_the_twins_outlive_another_end_and_a_longer_run(
    make_study, tmp_path, better, monkeypatch
):
    study, out = make_study(4, labelled=2), tmp_path / "run"
    with monkeypatch.context() as patch:
        better(own=0.4, twin=0.5)
        train(config(study, compare=True), out)
        first = (out / "own.safetensors").read_bytes()
        resume(out)  # ends once more
        assert (out / "own.safetensors").read_bytes() == first
        said = of(out, "weights")[-1]
        assert (said["weights"], said["dsc"], said["epoch"]) == ("best.safetensors", 0.5, 1)
        assert of(out, "done")[-1]["dsc"] == 0.5
        assert seen(out).status().dsc == 0.5
        patch.undo()
    with monkeypatch.context():
        better(own=0.45, twin=0.5)  # better than it was, not than the twin
        resume(out, epochs=3)
    assert (out / "own.safetensors").read_bytes() != first
    twins = load(out / "best.safetensors")[1].training["config"]["method"]
    assert twins == "supervised-multi"
    assert seen(out).status().dsc == 0.5
    better(own=0.6, twin=0.5)
    resume(out, epochs=4)
    assert load(out / "best.safetensors")[1].training["config"]["method"] == "m2ss"
    assert not (out / "own.safetensors").exists()
    assert of(out, "weights")[-1]["dsc"] == seen(out).status().dsc == 0.6
    assert of(out, "compared")[-1]["kept"] == "m2ss"


def test_a_run_stopped_in_its_twin_goes_on_there(make_study, tmp_path, monkeypatch):
    study, out = make_study(4, labelled=2), tmp_path / "run"
    original = loop.Run._end_epoch

    def stop_in_the_twin(self, epoch, stop):
        whole = original(self, epoch, stop)
        if self.out.name == "twin" and epoch == 1:
            tell(out, "stop")
        return whole

    with monkeypatch.context() as patch:
        patch.setattr(loop.Run, "_end_epoch", stop_in_the_twin)
        train(config(study, compare=True), out)
    assert read(out / "events.jsonl")[-1]["type"] == "stopped"
    assert seen(out).status().state == "stopped"
    assert of(out, "compared") == []
    resume(out)
    assert of(out, "compared")
    assert [e["type"] for e in read(out / "twin" / "events.jsonl")].count("resumed") == 1
    assert read(out / "events.jsonl")[-1]["type"] == "done"
