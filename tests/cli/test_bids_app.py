"""The command run as a process, on datasets that it only reads."""

import csv
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import napari_pvs
from napari_pvs import cli
from napari_pvs.cli.bids_app import _spread
from napari_pvs.inference import outputs
from napari_pvs.scans.nifti import read_labels, read_volume

ANAT = "sub-01/anat/sub-01"


@pytest.fixture
def use(tiny_weights):
    # the validator is for other tests: these datasets have no description
    return [
        *("--weights", tiny_weights, "--device", "cpu", "--max-width", "99"),
        "--skip-bids-validation",
    ]


@pytest.fixture
def app(use):
    """Function of BIDS folder, output, level and options: exit code, stdout, stderr."""

    def call(*arguments):
        more = use if "participant" in arguments else ()
        done = subprocess.run(
            [sys.executable, "-m", "napari_pvs", "run", *map(str, (*arguments, *more))],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    return call


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def said_of(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def test_participants_then_the_group(make_study, app, tmp_path):
    study, out = make_study(3, labelled=1), tmp_path / "out"
    before = contents(study)
    code, told, _ = app(study, out, "participant", "--participant-label", "01", "sub-02")
    assert code == 0
    assert [line.split(":")[0] for line in told.splitlines()] == ["sub-01", "sub-02"]
    code, told, _ = app(
        study, out, "participant", "--report", "--n_cpus", "2", "-w", tmp_path / "w"
    )
    assert code == 0
    assert told.splitlines()[0].startswith("sub-03: ")
    assert told.splitlines()[1].startswith("Already segmented with these weights: 2")

    kinds = ("label-PVS_mask", "label-PVS_probseg", "seg-PVS_dseg")
    names = {f"{kind}{end}" for kind in kinds for end in (".nii.gz", ".json")}
    found = {path.name.removeprefix("sub-01_") for path in (out / "sub-01" / "anat").iterdir()}
    assert found == names | {"seg-PVS_dseg.tsv"}
    mask = read_labels(out / f"{ANAT}_label-PVS_mask.nii.gz").data
    numbered = read_labels(out / f"{ANAT}_seg-PVS_dseg.nii.gz").data
    score = read_volume(out / f"{ANAT}_label-PVS_probseg.nii.gz").data
    rows = table(out / f"{ANAT}_seg-PVS_dseg.tsv")
    np.testing.assert_array_equal(mask > 0, numbered > 0)
    assert [int(row["index"]) for row in rows] == list(range(1, numbered.max() + 1))
    assert [int(row["voxels"]) for row in rows] == np.bincount(numbered.ravel())[1:].tolist()
    assert 0 <= score.min() <= score[mask > 0].min() < score.max() <= 1
    about = said_of(out / f"{ANAT}_label-PVS_mask.json")
    assert about["Sources"][:2] == [f"bids:raw:{ANAT}_T{n}w.nii.gz" for n in (1, 2)]
    assert (about["SpatialReference"], about["Manual"]) == (about["Sources"][0], False)
    assert about["NapariPvs"]["modalities"] == ["T1", "T2"]
    explained = said_of(out / f"{ANAT}_seg-PVS_dseg.json")
    assert rows[0].keys() - {"index", "name"} == outputs.COLUMNS.keys() <= explained.keys()
    described = said_of(out / "dataset_description.json")
    assert described["GeneratedBy"] == [{"Name": "napari-pvs", "Version": napari_pvs.__version__}]
    assert described["DatasetLinks"] == {"raw": study.as_uri()}
    assert (out / "sub-03.html").is_file()
    assert not (out / "sub-01.html").exists()

    page = (out / "sub-03.html").read_bytes()
    code, told, _ = app(study, out, "group")
    assert code == 0
    assert str(out / "index.html") in told
    whole = [row for row in table(out / "burden.tsv") if row["region"] == "all"]
    both = {row["subject"]: row for row in whole if row["side"] == "both"}
    assert list(both) == ["sub-01", "sub-02", "sub-03"]
    assert {(row["state"], row["scans"]) for row in both.values()} == {("segmented", "T1+T2")}
    assert int(both["sub-01"]["count"]) == len(rows)  # not those of the label
    assert (out / "sub-01.html").is_file()
    assert (out / "sub-03.html").read_bytes() == page  # the one with probabilities
    assert contents(study) == before
    code, _, told = app(study, out, "group")
    assert (code, told.count("\n")) == (2, 1)
    assert "burden_pvs.tsv exists; add --overwrite to replace it." in told
    assert app(study, out, "group", "--overwrite", "--n-cpus", "2")[0] == 0
    assert contents(study) == before


def test_processes_make_the_same_files(make_study, app, tmp_path):
    study = make_study(3, labelled=0)
    assert app(study, tmp_path / "one", "participant")[0] == 0
    assert app(study, tmp_path / "two", "participant", "--n-cpus", "2")[0] == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_segment_writes_the_same_into_a_study(make_study, app, use, tmp_path):
    study = make_study(1, labelled=0)
    assert app(study, tmp_path / "out", "participant")[0] == 0
    with pytest.raises(SystemExit) as ended:
        cli.main(["segment", str(study), *map(str, use[:-1])])
    assert ended.value.code == 0
    own = study / "derivatives" / "napari-pvs"
    for one in (own / "sub-01" / "anat").iterdir():
        two = tmp_path / "out" / "sub-01" / "anat" / one.name
        assert one.read_bytes() == two.read_bytes()
    assert said_of(own / f"{ANAT}_label-PVS_mask.json")["NapariPvs"]["count"] > 0
    assert said_of(own / "dataset_description.json")["DatasetLinks"] == {"raw": "../.."}


def test_sessions(make_study, app, tmp_path):
    study = make_study(1, labelled=0)
    for folder in (study, study / "derivatives" / "x"):
        for session in ("a", "b"):
            for file in (folder / "sub-01" / "anat").iterdir():
                name = file.name.replace("sub-01_", f"sub-01_ses-{session}_")
                copy = folder / "sub-01" / f"ses-{session}" / "anat" / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, copy)
        shutil.rmtree(folder / "sub-01" / "anat")
    code, told, _ = app(study, tmp_path / "out", "participant", "--session-label", "ses-b")
    assert (code, told.split(":")[0]) == (0, "sub-01_ses-b")
    assert [p.name for p in (tmp_path / "out" / "sub-01").iterdir()] == ["ses-b"]
    code, told, _ = app(study, tmp_path / "out", "group")
    assert code == 0
    assert "Not segmented yet: sub-01_ses-a" in told
    code, _, told = app(study, tmp_path / "out", "participant", "--session-label=c")
    assert (code, "has no scan of ses-c; check the names" in told) == (2, True)


def test_bad_subjects_stop_no_other(make_study, app, tmp_path):
    study, out = make_study(4, labelled=0), tmp_path / "out"
    (study / "sub-02" / "anat" / "sub-02_T1w.nii.gz").write_bytes(b"no image")
    (study / "sub-03" / "anat" / "sub-03_T2w.nii.gz").unlink()
    anat = study / "sub-04" / "anat"
    for kind in ("T1w", "T2w"):
        shutil.copy(anat / f"sub-04_{kind}.nii.gz", anat / f"sub-04_run-2_{kind}.nii.gz")
        (anat / f"sub-04_{kind}.nii.gz").rename(anat / f"sub-04_run-1_{kind}.nii.gz")
    code, told, warned = app(study, out, "participant")
    assert code == 2
    assert [line.split(":")[0] for line in told.splitlines()] == ["sub-01", "sub-03", "sub-04"]
    assert "1 of 4 subjects could not be segmented: sub-02: " in warned.splitlines()[-1]
    assert "1 of 4 have no T2w; only T1w is used for sub-03." in warned
    assert f"{anat / 'sub-04_run-2_T1w.nii.gz'} is not used; sub-04_run-1_T1w.nii.gz is." in warned
    about = said_of(out / "sub-04/anat/sub-04_label-PVS_mask.json")
    assert "bids:raw:sub-04/anat/sub-04_run-1_T1w.nii.gz" in about["Sources"]
    about = said_of(out / "sub-03/anat/sub-03_label-PVS_mask.json")
    assert about["NapariPvs"]["modalities"] == ["T1"]
    assert not any("T2w" in source for source in about["Sources"])
    code, told, _ = app(study, out, "group")
    assert code == 0
    assert "Not segmented yet: sub-02" in told
    scans = {row["subject"]: row["scans"] for row in table(out / "burden.tsv")}
    assert scans == {"sub-01": "T1+T2", "sub-03": "T1", "sub-04": "T1+T2"}
    (study / "sub-03" / "anat" / "sub-03_T1w.nii.gz").write_bytes(b"no image")
    code, _, told = app(study, out, "group", "--overwrite")
    assert (code, "1 of 3 subjects could not be counted: sub-03: " in told) == (2, True)


def test_a_folder_of_another_version_or_tool(make_study, app, tmp_path):
    study, out = make_study(1, labelled=0), tmp_path / "out"
    assert app(study, out, "participant")[0] == 0
    path = out / "dataset_description.json"
    path.write_text(path.read_text().replace(napari_pvs.__version__, "0.0.7"))
    for level in ("participant", "group"):
        code, _, told = app(study, out, level)
        assert (code, told.count("\n")) == (2, 1)
        assert f"{out} was written by napari-pvs 0.0.7, and this is" in told
    assert app(study, out, "participant", "--overwrite")[0] == 0
    versions = [one["Version"] for one in said_of(path)["GeneratedBy"]]
    assert versions == ["0.0.7", napari_pvs.__version__]
    path.write_text('{"GeneratedBy": [{"Name": "fMRIPrep"}]}')
    for more in ((), ("--overwrite",)):
        code, _, told = app(study, out, "participant", *more)
        assert (code, f"{out} is a derivative of another tool" in told) == (2, True)


def test_what_cannot_begin(make_study, refused, use, tmp_path, head_files):
    study, out = make_study(1, labelled=0), tmp_path / "out"

    def said(*arguments):
        return refused("run", *arguments)

    assert "nowhere is not a folder; give a BIDS dataset" in said(
        tmp_path / "nowhere", out, "participant"
    )
    assert "holds no masks of" in said(study, out, "group")
    assert "has no scan of sub-09; check the names" in said(
        study, out, "participant", *use, "--participant-label", "01", "09"
    )
    for inside in (study, study / "sub-01", study / "results"):
        assert "which is only read" in said(study, inside, "participant", *use)
    assert "is a file, not a folder" in said(study, head_files[0], "participant", *use)
    assert "name another --work-dir" in said(
        study, out, "participant", *use, "-w", head_files[0] / "w"
    )
    assert "is not one of 'participant', 'group'" in said(study, out, "dataset")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "dataset_description.json").write_text("no JSON")
    assert "repair it, or name another folder" in said(study, damaged, "participant", *use)
    labels = study / "derivatives" / "labels"
    assert f"{labels} holds the labels of {study}" in said(study, labels, "participant", *use)
    assert not out.exists()


def test_the_version(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", "--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"{napari_pvs.__version__}\n"


def test_lists_and_underscores_as_other_bids_apps_take_them():
    typed = "in out group --participant_label 1 2 -w x --n_cpus=2 --session-label a"
    meant = "in out group --participant-label 1 --participant-label 2 -w x --n-cpus=2"
    assert _spread(shlex.split(typed)) == [*shlex.split(meant), "--session-label", "a"]


@pytest.fixture
def validator(tmp_path, monkeypatch):
    """Function of a script's output: puts it in the place of the validator."""

    def put(output: str) -> None:
        program = tmp_path / "bin" / "bids-validator-deno"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\necho '{output}'\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")

    return put


@pytest.mark.skipif(os.name != "posix", reason="a shell script stands in for the validator")
def test_an_invalid_dataset_is_refused(make_study, refused, use, validator, tmp_path):
    study = make_study(1, labelled=0)
    issue = '{"code": "EMPTY_FILE", "location": "/sub-01/anat/x.nii"}'
    validator(f'{{"issues": {{"issues": [{issue}, {issue}]}}}}')
    said = refused("run", study, tmp_path / "out", "participant", *use[:-1])
    assert "is not valid BIDS: EMPTY_FILE in /sub-01/anat/x.nii and 1 more; correct it, or" in said
    validator("segmentation fault")
    said = refused("run", study, tmp_path / "out", "participant", *use[:-1])
    assert "could not check" in said
    assert "add --skip-bids-validation" in said
    assert not (tmp_path / "out").exists()
    validator('{"issues": {"issues": []}}')
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", str(study), str(tmp_path / "out"), "participant", *map(str, use[:-1])])
    assert ended.value.code == 0
