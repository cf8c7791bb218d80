"""Names of files of BIDS derivatives, and what is said of a derivative."""

import json
from pathlib import Path

import pytest

import napari_pvs
from napari_pvs.errors import InputError
from napari_pvs.scans import derivative
from napari_pvs.scans.derivative import DESCRIPTION, IGNORE, describe, sidecar, versions


@pytest.fixture
def said():
    """Function of a folder: its description."""
    return lambda folder: json.loads((folder / DESCRIPTION).read_text())


def test_a_derivative_inside_the_dataset_moves_with_it(tmp_path, said):
    folder = tmp_path / "derivatives" / "labels"
    describe(folder, "labels", tmp_path)
    about = said(folder)
    assert (about["Name"], about["DatasetType"]) == ("labels", "derivative")
    assert about["DatasetLinks"] == {"raw": "../.."}
    assert about["GeneratedBy"] == [{"Name": "napari-pvs", "Version": napari_pvs.__version__}]
    assert versions(folder) == [napari_pvs.__version__]
    assert "revisions" in (folder / IGNORE).read_text().splitlines()


def test_elsewhere_the_link_is_absolute(tmp_path, said):
    describe(tmp_path / "out", "x", tmp_path / "raw")
    assert said(tmp_path / "out")["DatasetLinks"]["raw"] == (tmp_path / "raw").as_uri()


def test_another_version_is_named_beside_the_first(tmp_path, said):
    old = {"Name": "mine", "GeneratedBy": [{"Name": "napari-pvs", "Version": "0.0.1"}], "Odd": 1}
    (tmp_path / DESCRIPTION).write_text(json.dumps(old))
    (tmp_path / IGNORE).write_text("own\n")
    describe(tmp_path, "x", tmp_path)
    now = said(tmp_path)
    assert versions(tmp_path) == ["0.0.1", napari_pvs.__version__]
    assert (now["Name"], now["Odd"], now["DatasetLinks"]) == ("mine", 1, {"raw": "."})
    assert (tmp_path / IGNORE).read_text() == "own\n"
    stamp = (tmp_path / DESCRIPTION).stat().st_mtime_ns
    describe(tmp_path, "x", tmp_path)  # nothing is left to add
    assert (tmp_path / DESCRIPTION).stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    "text", ['{"Name": "x", "GeneratedBy": [{"Name": "fMRIPrep"}]}', "no JSON"]
)
def test_what_others_wrote_is_left_alone(tmp_path, text):
    (tmp_path / DESCRIPTION).write_text(text)
    describe(tmp_path, "x", tmp_path)
    assert (tmp_path / DESCRIPTION).read_text() == text
    assert not (tmp_path / IGNORE).exists()


def test_versions_of_nobody_of_others_and_of_nonsense(tmp_path):
    assert versions(tmp_path) is None
    (tmp_path / DESCRIPTION).write_text('{"GeneratedBy": [{"Name": "fMRIPrep"}]}')
    assert versions(tmp_path) == []
    (tmp_path / DESCRIPTION).write_text('{"GeneratedBy": 3}')
    with pytest.raises(InputError, match=r"dataset_description\.json .*repair it"):
        versions(tmp_path)


def test_a_sidecar_names_what_an_image_was_made_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scans = [Path("raw/sub-01/anat/a_T1w.nii.gz"), tmp_path / "raw/sub-01/anat/a_T2w.nii.gz"]
    found = json.loads(sidecar("PVS.", scans, Path("raw"), manual=True, kind="ROI", Extra=1))
    assert found == {
        "Description": "PVS.",
        "Type": "ROI",
        "Sources": ["bids:raw:sub-01/anat/a_T1w.nii.gz", "bids:raw:sub-01/anat/a_T2w.nii.gz"],
        "SpatialReference": "bids:raw:sub-01/anat/a_T1w.nii.gz",
        "Manual": True,
        "Extra": 1,
    }
    assert json.loads(sidecar("x", [], Path("raw"), manual=None)) == {"Description": "x"}


def test_names():
    mask = derivative.image("sub-01", derivative.MASK)
    assert mask == "sub-01_label-PVS_mask.nii.gz"
    assert derivative.sidecar_of(Path("a") / mask) == Path("a/sub-01_label-PVS_mask.json")
