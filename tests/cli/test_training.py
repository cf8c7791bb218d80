"""The verbs train and runs, as a user reads them."""

import io
import json
import sys

import pytest

from napari_pvs import cli
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.run import train

SMALL = {"epochs": 1, "steps": 1, "batch": 2, "patch": (8,), "device": "cpu"}


pytestmark = pytest.mark.usefixtures("small_network")


def test_a_table_in_a_pipe_is_whole(make_study, monkeypatch):
    study = make_study(2)
    name = "a-run-with-a-name-that-is-longer-than-any-terminal-is-wide-" + "x" * 60
    train(TrainingConfig(study=study, **SMALL), study / "derivatives" / "runs" / name)
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    with pytest.raises(SystemExit):
        cli.main(["runs", "list", str(study)])
    assert name in out.getvalue()
    assert "at epoch" in out.getvalue()


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--compare",), "--compare is for methods that use unlabelled scans; add --method m2ss"),
        (("--privileged", "0.5"), "--privileged is for methods that use"),
        (("--members", "a"), "members are those of the teacher ensemble"),
    ],
)
def test_options_that_would_do_nothing_are_refused(make_study, refused, option, said):
    assert said in refused("train", make_study(2), *option)


def test_runs_of_what_is_no_study(make_study, tmp_path, capsys, refused):
    assert "contains no sub-*/anat" in refused("runs", "list", tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.main(["runs", "list", str(make_study(2))])
    assert ended.value.code == 0
    assert "has no runs yet; start one with napari-pvs train " in capsys.readouterr().out


def test_runs_are_listed_for_programs(make_study, tmp_path, capsys, refused):
    study, file = make_study(2), tmp_path / "runs.json"

    def listed(*more):
        with pytest.raises(SystemExit) as ended:
            cli.main(["runs", "list", str(study), "--json", *map(str, more)])
        assert ended.value.code == 0
        return capsys.readouterr().out

    assert json.loads(listed("-")) == {"format": "napari-pvs-runs/1", "runs": []}
    train(TrainingConfig(study=study, **SMALL), study / "derivatives" / "runs" / "a")
    assert "supervised-multi" in listed(file)
    assert listed("-") == file.read_text()
    (row,) = json.loads(file.read_text())["runs"]
    assert (row["state"], row["epoch"]) == ("done", 1)
    assert "exists; add --overwrite" in refused("runs", "list", study, "--json", file)
    assert "contains no sub-*/anat" in refused("runs", "list", tmp_path, "--json", "-")


def test_tell_wants_a_run(make_study, tmp_path, refused):
    study = make_study(2)
    assert "contains no config.json; name the folder of a run" in refused(
        "runs", "tell", study, "stop"
    )
    run = tmp_path / "my runs" / "a"
    train(TrainingConfig(study=study, **SMALL), run)
    said = refused("runs", "tell", run, "stop")
    assert f"is not running; continue with napari-pvs train --resume '{run}'." in said


def test_a_run_goes_on_by_more_epochs_only(make_study, tmp_path, refused):
    run = tmp_path / "run"
    train(TrainingConfig(study=make_study(2), **(SMALL | {"epochs": 3})), run)
    kept = (run / "config.json").read_text()
    said = refused("train", "--resume", run, "--epochs", 2)
    assert "run has finished 3 of 3 epochs; give more with --epochs" in said
    assert (run / "config.json").read_text() == kept


def test_weights_that_are_a_folder(make_study, tmp_path, refused):
    said = refused("train", make_study(2), "--weights", tmp_path)
    assert f"{tmp_path} is a folder; name the weights file in it" in said
