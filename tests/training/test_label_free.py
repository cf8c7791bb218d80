"""Adapting weights to a study of which no scan is labelled."""

import json
from shutil import copytree

import numpy as np
import pytest

from napari_pvs import cli
from napari_pvs.errors import InputError
from napari_pvs.network.weights import fingerprint, load, starter_path
from napari_pvs.study.roles import ROLES
from napari_pvs.study.roles import read as read_roles
from napari_pvs.training import agreement, loop
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.plan import plan
from napari_pvs.training.run import resume, train
from napari_pvs.training.runs.control import tell
from napari_pvs.training.runs.events import read
from napari_pvs.training.runs.folder import read_config
from napari_pvs.training.runs.status import best_weights, seen

SMALL = {"epochs": 2, "steps": 2, "patch": (8,), "refresh": 1, "validate_every": 1, "synthetic": 0}


pytestmark = pytest.mark.usefixtures("small_network")


@pytest.fixture
def config(tiny_weights):
    def make(study, **values):
        more = {"method": "m2ss", "learning_rate": 1e-6, "weights": tiny_weights} | SMALL | values
        return TrainingConfig(study=study, recipe="adapt", device="cpu", **more)

    return make


def of(out, kind):
    return [event for event in read(out / "events.jsonl") if event["type"] == kind]


def test_scans_without_any_label_adapt_weights(config, make_study, tmp_path):
    study, out = make_study(4, labelled=0), tmp_path / "run"
    given = config(study)
    before = given.weights.read_bytes()
    assert train(given, out) == out / "best.safetensors"
    roles = json.loads((out / "split.json").read_text())
    assert [len(roles[r]) for r in ("train", "validation", "test", "unlabelled")] == [0, 1, 0, 3]
    _, card = load(out / "best.safetensors")
    assert card.training["unlabelled"] == roles["unlabelled"]
    assert card.accuracy == {}  # nothing has measured it
    assert card.training["agreement"]["found"] > agreement.LEAST
    assert set(card.thresholds) == {"T1", "T2", "T1+T2"}
    assert of(out, "validation") == []
    assert [set(e["subjects"]) for e in of(out, "agreement")] == [set(roles["validation"])] * 2
    assert {e["dsc"] for e in of(out, "weights")} == {None}
    assert all(e["scans"] == 3 and e["pvs_voxels"] > 0 for e in of(out, "pseudo_labels"))
    (changed,) = of(out, "unlabelled")
    assert changed["scans"] == 3
    assert changed["before_mm3"] > 0
    assert of(out, "step")[0].keys() >= {"unsupervised", "selected_pvs"}
    assert "supervised" not in of(out, "step")[0]
    assert given.weights.read_bytes() == before  # what it started from can be chosen again
    assert not (study / ROLES).exists()


def test_the_starter_weights_stay_and_the_network_learns(make_study, tmp_path, monkeypatch):
    monkeypatch.undo()  # the starter's own network
    study, out = make_study(2, labelled=0), tmp_path / "run"
    starter = fingerprint(starter_path())
    small = SMALL | {"epochs": 1, "steps": 1, "unlabelled_batch": 2, "patch": (16,)}
    train(TrainingConfig(study=study, recipe="adapt", method="m2ss", device="cpu", **small), out)
    assert fingerprint(starter_path()) == starter
    _, card = load(out / "last.safetensors")
    assert card.training["from"] == starter
    first, second = (load(p)[0].head.weight for p in (starter_path(), out / "last.safetensors"))
    assert not np.allclose(first.detach(), second.detach())


def test_what_the_run_is_told_to_do_stands_in_its_configuration(config, make_study, tmp_path):
    train(config(make_study(2, labelled=0), warmup=3, sure=0.9), tmp_path / "run")
    done = read_config(tmp_path / "run")
    assert (done.warmup, done.ramp_up, done.consistency_weight) == (0, 0, 1.0)
    assert (done.confidence, done.confidence_pvs) == (0.9, 0.9)
    assert not done.align
    assert not done.follow_labels


def test_labels_of_synthetic_subjects_are_trained_on(config, make_study, tmp_path):
    out = tmp_path / "run"
    train(config(make_study(2, labelled=0), synthetic=2), out)
    assert len(list((out / "synthetic").glob("*.npz"))) == 2
    assert all({"supervised", "unsupervised"} <= step.keys() for step in of(out, "step"))
    assert of(out, "hello")[0]["train"] == 0  # nobody of the study


def test_two_scans_are_both_learnt_from_and_judge_themselves(config, make_study, tmp_path):
    out = tmp_path / "run"
    train(config(make_study(2, labelled=0)), out)
    roles = json.loads((out / "split.json").read_text())
    assert roles["validation"] == []
    assert set(of(out, "agreement")[0]["subjects"]) == {"sub-01", "sub-02"}


def test_weights_that_forget_the_start_are_not_kept(config, make_study, tmp_path, monkeypatch):
    monkeypatch.setattr(agreement, "LEAST", 1.01)
    out = tmp_path / "run"
    with pytest.raises(InputError, match="has no weights to give: without a label"):
        train(config(make_study(2, labelled=0)), out)
    assert not (out / "best.safetensors").exists()
    assert (out / "last.safetensors").exists()
    assert "sure of" in of(out, "warning")[0]["message"]
    assert seen(out).status().state == "failed"


def test_the_last_weights_that_agree_are_kept(config, make_study, tmp_path, monkeypatch):
    monkeypatch.setattr(agreement, "LEAST", 0.0)
    out = tmp_path / "run"
    train(config(make_study(2, labelled=0)), out)
    assert load(out / "best.safetensors")[1].training["epoch"] == 2


def test_a_stopped_run_goes_on_as_if_it_had_not_been(config, make_study, tmp_path, monkeypatch):
    study = make_study(3, labelled=0)
    train(config(study), tmp_path / "whole")
    copied = tmp_path / "again"
    original = loop.Run._end_epoch

    def stop_after_one(self, epoch, stop):
        original(self, epoch, stop)
        if epoch == 1:
            tell(copied, "stop")

    with monkeypatch.context() as patch:
        patch.setattr(loop.Run, "_end_epoch", stop_after_one)
        train(config(study), copied)
    assert of(copied, "stopped")
    resume(copied)
    whole, again = ((tmp_path / n / "best.safetensors") for n in ("whole", "again"))
    first, second = (load(path)[0].state_dict() for path in (whole, again))
    assert all((first[name] == second[name]).all() for name in first)


def test_later_runs_from_such_weights_validate_on_nobody_they_have_learnt_from(
    config, make_study, make_head, write_image
):
    study = make_study(4, labelled=0)
    run = study / "derivatives" / "runs" / "free"
    best = train(config(study), run)
    learnt = json.loads((run / "split.json").read_text())["unlabelled"]
    (aside,) = json.loads((run / "split.json").read_text())["validation"]
    for name in learnt[:2]:
        path = study / f"derivatives/labels/{name}/anat/{name}_desc-pvs_mask.nii.gz"
        write_image(path, make_head(seed=int(name[-1]) - 1).label)
    from_adapted = config(study, method="supervised-multi", weights=best, batch=2)
    with pytest.raises(InputError, match="no labelled person is left for validation"):
        train(from_adapted, study / "derivatives" / "runs" / "two")
    # from the weights before it, everybody is as free as ever
    assert "validates on 1" in plan(config(study, method="supervised-multi", batch=2)).use
    path = study / f"derivatives/labels/{aside}/anat/{aside}_desc-pvs_mask.nii.gz"
    write_image(path, make_head(seed=int(aside[-1]) - 1).label)
    train(from_adapted, study / "derivatives" / "runs" / "three")
    assert read_roles(study)[aside] == "validation"
    assert {read_roles(study)[name] for name in learnt[:2]} == {"train"}


def test_who_was_tested_on_is_left_out(config, make_study, tmp_path):
    study, out = make_study(4, labelled=0), tmp_path / "run"
    (study / ROLES).parent.mkdir(parents=True)
    roles = {"sub-01": "test", "sub-02": "validation"}
    (study / ROLES).write_text(json.dumps({"version": 1, "persons": roles}))
    train(config(study), out)
    split = json.loads((out / "split.json").read_text())
    assert split["validation"] == ["sub-02"]
    assert split["unlabelled"] == ["sub-03", "sub-04"]


def test_it_says_so_beforehand(config, make_study):
    said = plan(config(make_study(5, labelled=0)))
    assert said.use == (
        "No scan is labelled: adapts the start weights to 4 scans, training on voxels that they "
        "are sure of, and keeps 1 aside; without labels, the gain cannot be measured."
    )
    assert not said.refused


def test_only_a_method_that_learns_from_unlabelled_scans_can(config, make_study):
    study = make_study(3, labelled=0)
    for values in ({"method": "supervised-multi"}, {"weights": None}):
        with pytest.raises(InputError, match="or adapt the starter weights without labels"):
            plan(config(study, **values))
    with pytest.raises(InputError, match="sub-01 is named to judge a run"):
        plan(config(study, validation=("sub-01",)))


def test_on_the_command_line(config, make_study, caplog, capsys, tiny_weights):
    caplog.set_level("INFO")
    study = make_study(3, labelled=0)
    words = ["train", study, "--recipe", "adapt", "--method", "m2ss", "--from", tiny_weights]
    words += ["--epochs", 1, "--steps", 1, "--patch", 8, "--device", "cpu"]
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    assert ended.value.code == 0
    assert "No labels: adapting the start weights to sub-0" in caplog.text
    assert "PVS voxels to learn from in 2 scans" in caplog.text
    assert "In 2 unlabelled scans" in caplog.text
    assert "Best weights: " in capsys.readouterr().out
    (known,) = best_weights(study)
    assert known.label.startswith("no labels: ")
    assert "adapted to 2 scans without a label" in known.tip
    run = known.path.parent
    with pytest.raises(SystemExit):
        cli.main(["runs", "follow", str(run)])
    assert "the start weights were sure of" in capsys.readouterr().out.replace("\n", " ")


def test_a_study_that_was_moved_with_its_run_knows_whom_it_learnt_from(
    config, make_study, tmp_path
):
    from napari_pvs.training.weights import load_start

    study = make_study(2, labelled=0)
    best = train(config(study), study / "derivatives" / "runs" / "free")
    copytree(study, tmp_path / "moved")
    moved = tmp_path / "moved"
    inside = moved / best.relative_to(study)
    assert load_start(config(moved, weights=inside)).learned == ("sub-01", "sub-02")
    assert load_start(config(moved, weights=best)).learned == ()  # another study
