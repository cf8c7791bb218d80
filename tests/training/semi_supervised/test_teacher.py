"""A semi-supervised method is one module: here is one, from its registration to its steps."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from napari_pvs import cli
from napari_pvs.errors import InputError
from napari_pvs.network.backends.torch_backend import send
from napari_pvs.network.config import NetworkConfig
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.crossval.jobs import plan as plan_crossval
from napari_pvs.training.methods import METHODS, TEACHERS, Method
from napari_pvs.training.plan import plan
from napari_pvs.training.run import train
from napari_pvs.training.runs.events import read
from napari_pvs.training.semi_supervised.inserted import InsertedPVS
from napari_pvs.training.semi_supervised.teacher import (
    NoTeacher,
    Teacher,
    make_teacher,
    register,
    teacher_class,
)
from napari_pvs.training.semi_supervised.teachers import Network, RunningMean
from napari_pvs.training.state import State

BRIGHT = 3.0  # of T2, in interquartile ranges of the brain
SMALL = {"epochs": 1, "steps": 3, "batch": 2, "patch": (8,), "warmup": 0, "device": "cpu"}


class BrightIsPVS(Teacher):
    """Takes what is bright on T2 for PVS, and learns from it in the labelled patches' scale."""

    def __init__(self, state, out):
        self.state = state
        self.prepared: list[int] = []
        self.seen: list[torch.Tensor] = []
        made.append(self)

    @staticmethod
    def batch(config):
        return 3

    def prepare(self, epoch, cohort, events, alive, *, new):
        self.prepared.append(epoch)
        events.write("phase", name="looking for bright voxels", epoch=epoch)

    def scans(self, step, cohort) -> Sequence:
        return cohort.unlabelled

    @property
    def target(self):
        return lambda subject: subject.images[1] > BRIGHT

    def view(self, patches, generator):
        pseudo = send(patches.target, self.state.device)
        self.seen.append(pseudo)
        return send(patches.images, self.state.device), pseudo

    def loss(self, logits, pseudo):
        loss = functional.binary_cross_entropy_with_logits(logits, pseudo)
        return 0.5 * loss, {"bright": float(pseudo.mean()), "unsupervised": float(loss.detach())}


made: list[BrightIsPVS] = []


@pytest.fixture
def bright(monkeypatch):
    """Register the method for one test."""
    tiny = NetworkConfig(widths=(4, 8), scale_width=2)

    def network(self):
        return tiny.model_copy(update={"multiscale": METHODS[self.method].multiscale})

    monkeypatch.setattr(TrainingConfig, "network", property(network))
    own = Method("bright-is-pvs", multiscale=False, semi_supervised=True, teacher="bright")
    monkeypatch.setitem(METHODS, own.name, own)  # so that it goes with the test
    monkeypatch.setitem(TEACHERS, "bright", "")
    register("bright", BrightIsPVS, own, about="bright voxels of T2")
    made.clear()
    return own.name


def test_a_third_method_trains_in_the_real_loop(bright, make_study, tmp_path):
    out = tmp_path / "run"
    train(TrainingConfig(study=make_study(4, labelled=2), method=bright, **SMALL), out)
    (teacher,) = made
    assert teacher.prepared == [0]
    assert [tuple(pseudo.shape) for pseudo in teacher.seen] == [(3, 1, 8, 8, 8)] * 3
    assert {float(value) for pseudo in teacher.seen for value in pseudo.unique()} == {0.0, 1.0}
    events = read(out / "events.jsonl")
    assert events[0]["unlabelled"] == 2
    assert "looking for bright voxels" in [e["name"] for e in events if e["type"] == "phase"]
    first = next(e for e in events if e["type"] == "step")
    assert first["bright"] == pytest.approx(float(teacher.seen[0].mean()))
    assert first["loss"] == pytest.approx(first["supervised"] + 0.5 * first["unsupervised"])
    assert events[-1]["type"] == "done"
    assert json.loads((out / "config.json").read_text())["method"] == bright
    assert not (out / "pseudo").exists()


def test_its_unlabelled_patches_are_learnt_from(bright, make_study, tmp_path):
    study = make_study(4, labelled=2)
    weights = {}
    for method in (bright, "supervised-mono"):
        out = tmp_path / method
        train(TrainingConfig(study=study, method=method, validation=("sub-01",), **SMALL), out)
        weights[method] = (out / "last.safetensors").read_bytes()
    assert weights[bright] != weights["supervised-mono"]


def test_the_command_line_offers_it(bright, make_study, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "300")

    def main(*words):
        with pytest.raises(SystemExit) as ended:
            cli.main([str(word) for word in words])
        return ended.value.code, capsys.readouterr()

    _, shown = main("train", "--help")
    assert bright in shown.out
    study = make_study(4, labelled=2)
    options = ["--epochs", 1, "--steps", 1, "--batch", 2, "--patch", 8, "--device", "cpu"]
    options += ["--warmup", 0]
    code, _ = main("train", study, "--method", bright, *options)
    assert code == 0
    assert made
    _, shown = main("runs", "list", study)
    assert bright in shown.out
    code, shown = main("train", study, "--method", "dark-is-pvs")
    assert code == 2
    assert bright in shown.err  # among those to choose from


def test_crossval_compares_it_with_the_others(bright, make_study, tmp_path):
    config = TrainingConfig(study=make_study(6, labelled=4), **SMALL)
    jobs = plan_crossval(config, tmp_path / "cv", folds=4, seeds=1)
    assert [job.config.method for job in jobs[:5]] == list(METHODS)
    assert bright in METHODS
    with pytest.raises(InputError, match=f"choose from .*{bright}"):
        plan_crossval(config, tmp_path / "other", ["dark-is-pvs"])


def test_the_train_form_offers_it(bright, request):
    pytest.importorskip("napari")
    qtbot = request.getfixturevalue("qtbot")
    from napari_pvs.widgets.train.form import ConfigForm

    form = ConfigForm()
    qtbot.addWidget(form)
    form.unfold()

    def offered(name):
        box = form.fields[name].widget
        return [box.itemText(at) for at in range(box.count())]

    assert offered("method") == list(METHODS)
    assert offered("teacher") == list(TEACHERS)
    assert {"inserted", "privileged", "bright"} < set(TEACHERS)
    form.fields["method"].set(bright)
    assert form.config("x").taught_by == "bright"


def test_a_plan_asks_it(bright, make_study):
    config = TrainingConfig(study=make_study(4, labelled=2), method=bright, **SMALL)
    assert "and 2 unlabelled" in plan(config).use


def test_every_method_has_a_teacher_that_knows_its_cost():
    def of(**values):
        return TrainingConfig(study="x", epochs=20, warmup=5, refresh_scans=6, **values)

    assert teacher_class(of(method="supervised-mono")) is NoTeacher
    assert teacher_class(of(method="m2ss")) is InsertedPVS
    assert teacher_class(of(method="m2ss", teacher="mean")) is RunningMean
    assert teacher_class(of(method="semi-mono", recipe="paper")) is Network
    assert teacher_class(of(method="m2ss", teacher="network")) is Network
    for name in TEACHERS:  # whatever is declared is there
        members = ("some.safetensors",) if name == "ensemble" else ()
        known = of(method="m2ss", teacher=name, members=members)
        assert Teacher in teacher_class(known).__mro__
    # of 9 unlabelled scans, 6 at a time: at 2 validations, at 2 beginnings of epochs, at both
    known = {"scans": 9, "validated": {10, 20}}
    assert Network.predictions(of(align=True), **known) == 12
    assert Network.predictions(of(align=False), **known) == 0
    assert RunningMean.predictions(of(align=False, refresh=10), **known) == 12
    assert RunningMean.predictions(of(align=True, refresh=10), **known) == 24
    assert RunningMean.predictions(of(align=True, refresh=5), **known) == 24
    assert NoTeacher.predictions(of(), **known) == NoTeacher.batch(of()) == 0


def test_the_network_s_own_pseudo_label_is_its_answer_to_the_unchanged_patch(bright):
    from napari_pvs.training.data.sampling import Patches

    config = TrainingConfig(study="x", method="m2ss", recipe="paper", precision="full")
    state = State(config, torch.device("cpu"))
    teacher = make_teacher(state, Path("unused"))
    images = np.random.default_rng(0).standard_normal((2, 2, 16, 16, 16)).astype(np.float32)
    seen, pseudo = teacher.view(Patches(images, None, ()), torch.Generator().manual_seed(0))
    expected = torch.sigmoid(state.model.eval()(torch.from_numpy(images)))
    torch.testing.assert_close(pseudo, expected)
    noise = seen - torch.from_numpy(images)
    assert float(noise.std()) == pytest.approx(1, abs=0.05)
