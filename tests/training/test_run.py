import json
from shutil import copyfile

import nibabel as nib
import numpy as np
import pytest
import torch

from napari_pvs.errors import InputError
from napari_pvs.network.config import NetworkConfig
from napari_pvs.network.weights import load, save
from napari_pvs.study.bids import subjects
from napari_pvs.study.roles import split
from napari_pvs.training import loop
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.run import resume, train
from napari_pvs.training.runs.events import read
from napari_pvs.training.runs.folder import read_config
from napari_pvs.training.semi_supervised.pseudo_labels import PseudoLabels
from napari_pvs.training.state import State

SMALL = {"epochs": 2, "steps": 3, "batch": 2, "patch": (8,), "warmup": 1, "validate_every": 1}


TINY = NetworkConfig(widths=(4, 8), scale_width=2)


pytestmark = pytest.mark.usefixtures("small_network")


def config(study, **values):
    return TrainingConfig(study=study, device="cpu", **(SMALL | values))


def kinds(out):
    return [event["type"] for event in read(out / "events.jsonl")]


def test_run_folder(make_study, tmp_path):
    study, out = make_study(5), tmp_path / "runs" / "one"
    given = config(study, method="supervised-multi")
    assert train(given, out) == out / "best.safetensors"
    assert {p.name for p in out.iterdir()} == {
        *("config.json", "split.json", "events.jsonl", "best.safetensors", "best.json"),
        *("last.safetensors", "last.json", "checkpoint.safetensors", "run.lock"),
    }
    assert TrainingConfig.model_validate_json((out / "config.json").read_text()) == given
    roles = json.loads((out / "split.json").read_text())
    assert [len(roles[r]) for r in ("train", "validation", "test")] == [3, 1, 1]
    events = read(out / "events.jsonl")
    assert [e["seq"] for e in events] == list(range(len(events)))
    said = [e["type"] for e in events]
    assert said[:3] == ["hello", "phase", "step"]
    assert said.count("checkpoint") == 2
    assert said[-1] == "done"
    assert said.count("epoch") == said.count("validation") == 2
    assert "step" in said
    assert events[0]["train"] == 3
    checked = [e for e in events if e["type"] == "validation"]
    assert set(checked[0]["subjects"]) == set(roles["validation"])
    model, card = load(out / "best.safetensors")
    assert model.config.widths == (4, 8)
    assert card.name == "one"
    assert card.training["config"]["seed"] == 0
    assert card.accuracy["validation"]["dsc"] == max(e["dsc"] for e in checked)
    assert events[-1]["dsc"] == card.accuracy["validation"]["dsc"]
    assert card.threshold in [e["threshold"] for e in checked]


def test_loss_decreases_and_tubes_are_found(make_study, tmp_path):
    quick = {"epochs": 8, "steps": 8, "batch": 4, "patch": (16,), "validate_every": 8}
    still = {"modality_dropout": 0, "average": 0.9, "learning_rate": 0.01}
    out = tmp_path / "run"
    train(config(make_study(2), **quick, **still), out)
    events = read(out / "events.jsonl")
    losses = [e["loss"] for e in events if e["type"] == "epoch"]
    assert losses[-1] < 0.5 * losses[0]
    assert events[-1]["dsc"] > 0.6


def test_same_seed_same_weights(make_study, tmp_path):
    study = make_study(2)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(config(study, seed=seed, epochs=1), tmp_path / name)
    a, b, c = ((tmp_path / n / "last.safetensors") for n in "abc")
    first, second, other = (load(path)[0].state_dict() for path in (a, b, c))
    assert all(torch.equal(first[n], second[n]) for n in first)
    assert not all(torch.equal(first[n], other[n]) for n in first)


def test_starts_from_weights(make_study, tmp_path, tiny_weights):
    out = tmp_path / "run"
    slow = {"epochs": 1, "steps": 1, "learning_rate": 1e-9, "weights": tiny_weights}
    train(config(make_study(2), **slow), out)
    model, card = load(out / "last.safetensors")
    torch.testing.assert_close(
        model.head.weight, load(tiny_weights)[0].head.weight, atol=1e-3, rtol=0
    )
    assert len(card.training["from"]) == 12
    with pytest.raises(InputError, match=r"none.safetensors do not exist"):
        train(config(tmp_path / "study", weights=tmp_path / "none.safetensors"), tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_the_weights_it_started_from_may_go(make_study, tmp_path, tiny_weights):
    origin, out = tmp_path / "origin.safetensors", tmp_path / "run"
    copyfile(tiny_weights, origin)
    train(config(make_study(2), epochs=1, steps=1, weights=origin), out)
    first = load(out / "last.safetensors")[1].training["from"]
    origin.unlink()
    resume(out, epochs=2)
    _, card = load(out / "last.safetensors")
    assert (card.training["epoch"], card.training["from"]) == (2, first)


def test_weights_of_the_other_method_are_refused(make_study, tmp_path, tiny_weights):
    other = "supervised-mono" if load(tiny_weights)[0].config.multiscale else "supervised-multi"
    with pytest.raises(InputError, match=rf"for another network than method {other}"):
        train(config(make_study(2), weights=tiny_weights, method=other), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_refuses_a_folder_in_use(make_study, tmp_path):
    study, out = make_study(2), tmp_path / "run"
    out.mkdir()
    (out / "notes.txt").touch()
    with pytest.raises(InputError, match="run exists and is not an empty folder"):
        train(config(study), out)
    assert [p.name for p in out.iterdir()] == ["notes.txt"]
    with pytest.raises(InputError, match="not an empty folder"):
        train(config(study), out / "notes.txt")


def test_a_folder_with_its_config_is_a_new_run(make_study, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    given = config(make_study(2), epochs=1, steps=1)
    (out / "config.json").write_text(given.model_dump_json())
    train(given, out)
    assert kinds(out)[-1] == "done"
    with pytest.raises(InputError, match="not an empty folder"):
        train(given, out)


def test_what_a_run_has_left_that_was_killed_at_its_beginning_is_no_run(make_study, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    given = config(make_study(2), epochs=1, steps=1)
    for name in ("config.json", "start.safetensors", "run.lock", ".tmp-abcdefgh-split.json"):
        (out / name).write_text(given.model_dump_json() if name == "config.json" else "")
    train(given, out)
    assert kinds(out)[-1] == "done"


def test_a_run_knows_its_study_from_any_folder(make_study, tmp_path, tiny_weights, monkeypatch):
    make_study(2)
    copyfile(tiny_weights, tmp_path / "origin.safetensors")
    monkeypatch.chdir(tmp_path)
    train(config("study", epochs=1, steps=1, weights="origin.safetensors"), "run")
    kept = read_config(tmp_path / "run")
    assert (kept.study, kept.weights) == (tmp_path / "study", tmp_path / "origin.safetensors")
    monkeypatch.chdir("/")
    resume(tmp_path / "run", epochs=2)
    assert kinds(tmp_path / "run")[-1] == "done"
    assert str(config("x", weights="starter").absolute().weights) == "starter"


def test_weights_that_change_while_scans_are_read(make_study, tmp_path, tiny_weights, monkeypatch):
    origin, out = tmp_path / "origin.safetensors", tmp_path / "run"
    copyfile(tiny_weights, origin)
    network, card = load(tiny_weights)
    with torch.no_grad():
        network.head.bias += 1
    opened = loop.Cohort.open

    def changed(self, *known, **more):
        opened(self, *known, **more)
        save(origin, network, card)

    monkeypatch.setattr(loop.Cohort, "open", changed)
    given = config(make_study(2), weights=origin, epochs=1, steps=1, learning_rate=1e-12)
    train(given, out)
    # read once: what was checked is what is trained and kept
    assert (out / "start.safetensors").read_bytes() == tiny_weights.read_bytes()
    begun, last = load(out / "start.safetensors")[0], load(out / "last.safetensors")[0]
    torch.testing.assert_close(last.head.bias, begun.head.bias, rtol=0, atol=1e-6)


def test_first_pseudo_labels_are_made_at_the_threshold_of_the_weights(
    make_study, tmp_path, tiny_weights, monkeypatch
):
    given = config(
        make_study(3, labelled=2), weights=tiny_weights, method="m2ss", warmup=0, align=False
    )
    thresholds = []

    def note(_self, _epoch, _subjects, _mean, threshold, *_):
        thresholds.append(threshold)
        raise InputError("enough")

    monkeypatch.setattr(PseudoLabels, "refresh", note)
    with pytest.raises(InputError, match="enough"):
        train(given, tmp_path / "run")
    assert thresholds == [load(tiny_weights)[1].threshold]
    assert thresholds != [0.5]


def test_refuses_a_study_without_labels(make_study, tmp_path):
    with pytest.raises(InputError, match="no subject has a label"):
        train(config(make_study(2, labelled=0)), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="absent is not a folder"):
        train(config(tmp_path / "absent"), tmp_path / "run")


def test_refuses_empty_labels(make_study, tmp_path):
    with pytest.raises(InputError, match=r"all labels of .*study are empty"):
        train(config(make_study(2, tubes=0)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_refuses_a_label_on_another_grid(make_study, tmp_path):
    study = make_study(2)
    label = subjects(study)[1].label
    nib.save(
        nib.Nifti1Image(np.pad([[[1]]], 4).astype(np.uint8), np.eye(4)),
        label,
    )
    with pytest.raises(InputError, match=r"sub-02_desc-pvs_mask.* is not on the voxel grid"):
        train(config(study), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_nan_stops_the_run_and_names_the_patch(make_study, tmp_path, monkeypatch):
    drawn = loop.draw

    def draw(*args, **kwargs):
        patches = drawn(*args, **kwargs)
        if args[2] == 4:
            patches.images[1] = np.nan
        return patches

    monkeypatch.setattr(loop, "draw", draw)
    out = tmp_path / "run"
    # one patch spoils the batch's statistics, so the first patch is blamed too; both are of sub-02
    with pytest.raises(InputError, match=r"the loss became nan at step 4 on the patch of sub-0. t"):
        train(config(make_study(2)), out)
    last = read(out / "events.jsonl")[-1]
    assert last["type"] == "error"
    assert "the loss became nan at step 4" in last["message"]
    state = State(config(tmp_path), torch.device("cpu"))
    state.load(out / "checkpoint.safetensors")
    assert state.progress.step == 3
    assert all(torch.isfinite(t).all() for t in state.model.state_dict().values())


def test_an_infinite_gradient_stops_the_run(make_study, tmp_path, monkeypatch):
    updated = State.update
    monkeypatch.setattr(
        State, "update", lambda s, loss: updated(s, loss * (np.inf if s.progress.step == 4 else 1))
    )
    out = tmp_path / "run"
    said = r"the gradient of the loss became infinite or undefined at step 4; resume .*run from"
    with pytest.raises(InputError, match=said):
        train(config(make_study(2)), out)
    monkeypatch.undo()
    monkeypatch.setattr(TrainingConfig, "network", property(lambda _: TINY))
    resume(out)
    assert kinds(out)[-1] == "done"


def test_modality_dropout_is_survived_by_a_study_of_t2_alone(make_study, tmp_path):
    train(config(make_study(2, modalities=("T2w",)), epochs=1), tmp_path / "run")
    assert kinds(tmp_path / "run")[-1] == "done"


def test_weights_card_says_what_voxels(make_study, tmp_path):
    train(config(make_study(2), epochs=1, steps=1), tmp_path / "run")
    _, card = load(tmp_path / "run" / "best.safetensors")
    low, high = card.voxel_size_mm
    assert low == 0.65
    assert high == 1.1


@pytest.mark.parametrize("method", ["semi-mono", "m2ss"])
@pytest.mark.parametrize("recipe", ["default", "paper"])
def test_semi_supervised(make_study, tmp_path, method, recipe):
    out = tmp_path / "run"
    given = config(make_study(4, labelled=2), method=method, recipe=recipe, epochs=3, refresh=1)
    train(given, out)
    events = read(out / "events.jsonl")
    assert events[0]["unlabelled"] == 2
    assert load(out / "best.safetensors")[0].config.multiscale == (method == "m2ss")
    steps = {e["step"]: e for e in events if e["type"] == "step"}
    shares = [e["selected"] for e in steps.values() if "selected" in e]
    assert all(0 <= share <= 1 for share in shares)
    assert all("unsupervised" not in e for step, e in steps.items() if step < 3)  # the warm-up
    made = [e for e in events if e["type"] == "pseudo_labels"]
    assert [e["scans"] for e in made] == ([2, 2] if recipe == "default" else [])
    assert (out / "pseudo").exists() == (recipe == "default")


@pytest.mark.parametrize(
    ("method", "align"), [("m2ss", True), ("m2ss", False), ("supervised-multi", True)]
)
def test_the_threshold_regards_unlabelled_scans_where_they_count(
    make_study, tmp_path, monkeypatch, method, align
):
    asked, real, seen = [], loop.validate, []

    def validate(*arguments):
        asked.append(arguments[-1])
        return real(*arguments)

    def predict(self, epoch, scans, *arguments, **values):
        seen.append([one.name for one in scans])
        return look(self, epoch, scans, *arguments, **values)

    look = PseudoLabels.predict
    monkeypatch.setattr(loop, "validate", validate)
    monkeypatch.setattr(PseudoLabels, "predict", predict)
    train(config(make_study(5, labelled=3), method=method, align=align), tmp_path / "run")
    assert len(asked) == 2
    counts = align and method == "m2ss"
    assert all((likely is not None) == counts for likely in asked)
    assert not counts or all(0 < likely.sum() < len(likely) for likely in asked)
    # after each of two epochs for the threshold; the pseudo-labels need no look of their own
    looks = 0 if method != "m2ss" else 2 if align else 1
    assert seen == [["sub-04", "sub-05"]] * looks


def test_semi_supervised_wants_unlabelled_scans(make_study, tmp_path):
    study, out = make_study(3), tmp_path / "run"
    with pytest.raises(InputError, match=r"every scan of .*study is labelled; add unlabelled"):
        train(config(study, method="m2ss"), out)
    assert not out.exists()
    assert not (study / "derivatives" / "napari-pvs" / "roles.json").exists()


def test_roles_are_kept_over_runs(make_study, tmp_path):
    study = make_study(6, labelled=4)
    train(config(study, epochs=1, steps=1), tmp_path / "a")
    first = json.loads((tmp_path / "a" / "split.json").read_text())
    train(config(study, epochs=1, steps=1, seed=5), tmp_path / "b")
    second = json.loads((tmp_path / "b" / "split.json").read_text())
    assert second["validation"] == first["validation"]
    other = first["train"][0]
    with pytest.raises(InputError, match=f"{other}.*train"):
        train(config(study, validation=(other,)), tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_empty_labels_are_counted(make_study, make_head, write_image, tmp_path, caplog):
    study = make_study(4)
    first = subjects(study)[0]
    write_image(first.label, np.zeros(make_head().label.shape, np.uint8))
    held_out = (subjects(study)[3].name,)
    train(config(study, epochs=1, steps=1, validation=held_out), tmp_path / "run")
    assert "1 labels contain no PVS: sub-01" in caplog.text


def test_labels_that_cannot_be_learnt_from_are_named(make_study, tmp_path, caplog):
    study = make_study(4)
    for scan in (study / "sub-01" / "anat").iterdir():
        scan.unlink()
    train(config(study, method="supervised-multi"), tmp_path / "run")
    said = [r.getMessage() for r in caplog.records if "not trained on" in r.getMessage()]
    assert len(said) == 1
    assert "sub-01_desc-pvs_mask.nii.gz" in said[0]


@pytest.mark.parametrize("inside", [True, False])
def test_a_study_that_goes_away_ends_the_run_at_once(make_study, tmp_path, monkeypatch, inside):
    study = make_study(2)
    out = study / "derivatives" / "runs" / "a" if inside else tmp_path / "run"
    monkeypatch.setattr(loop, "_STEP_EVENTS", 0.0)
    taken, step = [], loop.Run._step

    def gone_at_the_third(self, *patches):
        taken.append(patches)
        if len(taken) == 3:
            study.rename(tmp_path / "moved")
        step(self, *patches)

    monkeypatch.setattr(loop.Run, "_step", gone_at_the_third)
    with pytest.raises(InputError) as told:
        train(config(study, epochs=2, steps=50, follow_labels=False), out)
    assert len(taken) == 3
    then = f"is no longer there; put it back, then continue with napari-pvs train --resume {out}."
    assert str(told.value) == f"{study} {then}"
    assert not study.exists()
    (tmp_path / "moved").rename(study)
    monkeypatch.setattr(loop.Run, "_step", step)
    if not inside:
        assert read(out / "events.jsonl")[-1]["message"] == str(told.value)
    assert resume(out, 1) == out / "best.safetensors"


def test_who_cannot_be_read_is_not_drawn_to_validate(make_study, tmp_path, caplog):
    study = make_study(3)
    (bad,) = split(subjects(study)).validation
    scan = study / bad / "anat" / f"{bad}_T1w.nii.gz"
    whole = scan.read_bytes()
    scan.write_bytes(b"no image")
    train(config(study), tmp_path / "a")
    held = json.loads((tmp_path / "a" / "split.json").read_text())["validation"]
    assert held != [bad]
    assert f"{bad} is not trained on: {scan} is truncated" in caplog.text
    # who has validated before is not replaced
    scan.write_bytes(whole)
    (study / held[0] / "anat" / f"{held[0]}_T1w.nii.gz").write_bytes(b"no image")
    with pytest.raises(InputError, match=f"{held[0]} is held out for validation and cannot be"):
        train(config(study), tmp_path / "b")
    # nobody is left
    for name in ("sub-01", "sub-02", "sub-03"):
        (study / name / "anat" / f"{name}_T1w.nii.gz").write_bytes(b"no image")
    (study / "derivatives" / "napari-pvs" / "roles.json").unlink()
    with pytest.raises(InputError, match="one to train on and one to validate on") as told:
        train(config(study), tmp_path / "c")
    assert all(f"{n}_T1w.nii.gz is truncated" in str(told.value) for n in held)


def test_a_run_keeps_the_statistics_of_its_start_weights(make_study, tmp_path, scan_weights):
    out = tmp_path / "run"
    given = config(make_study(3), patch=(16,), weights=scan_weights, epochs=1)
    train(given, out)
    assert read_config(out) == given  # as it was asked
    model, card = load(out / "best.safetensors")
    assert model.config.statistics == card.network.statistics == "scan"
    assert card.training["config"]["statistics"] == "scan"
    resume(out, epochs=2)
    model, card = load(out / "last.safetensors")
    assert model.config.statistics == "scan"
    assert card.training["epoch"] == 2
