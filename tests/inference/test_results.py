"""Results of the command line, and maps of other tools, on the voxels of a scan."""

import json

import numpy as np
import pytest

from napari_pvs.errors import InputError
from napari_pvs.inference.outputs import LABELS, MASK, PROBABILITY, SUMMARY
from napari_pvs.inference.results import read_results, results_at, scan_files


@pytest.fixture
def folder(tmp_path, pvs_scan, write_image, tubes):
    """Results of a scan in which three PVS were found."""
    score = np.zeros(pvs_scan.grid.shape, np.float32)
    for name, value in (("sure", 0.9), ("also sure", 0.8), ("doubtful", 0.4)):
        score[tubes[name]] = value
    made = tmp_path / "results"
    write_image(made / PROBABILITY, score, pvs_scan.grid.affine)
    summary = {
        "threshold": 0.3, "method": "network", "weights": "ours", "weights_id": "a1" * 6,
        "config": {"min_volume": 0.5, "max_width": None, "weights": "/gone.safetensors"},
        "anything": ["else"],
    }  # fmt: skip
    (made / SUMMARY).write_text(json.dumps(summary))
    return made


def test_a_folder_is_read_with_its_settings(folder, pvs_scan):
    for path in (folder, folder / PROBABILITY):
        found = read_results(path, pvs_scan)
        assert found.labels.max() == 3
        assert (found.threshold, found.name, found.key) == (0.3, "ours", "a1" * 6)
        assert (found.config.min_volume, found.config.max_width) == (0.5, None)
        assert found.config.weights is None  # they are gone


def test_a_map_a_mask_and_numbered_pvs_of_another_tool(folder, pvs_scan, write_image, tmp_path):
    (folder / SUMMARY).unlink()
    found = read_results(folder, pvs_scan)
    assert found.threshold == 0.5
    assert found.labels.max() == 2
    assert len(found.key) == 12
    for values in (found.labels > 0, found.labels.astype(np.int16) * 7):
        other = write_image(tmp_path / "other.nii.gz", values, pvs_scan.grid.affine)
        again = read_results(other, pvs_scan)
        np.testing.assert_array_equal(again.labels > 0, found.labels > 0)
        assert again.name == "other"


def test_what_cannot_be_used_is_said_with_the_remedy(folder, pvs_scan, write_image, tmp_path):
    with pytest.raises(InputError, match=r"holds no pvs_probability.nii.gz; choose"):
        read_results(tmp_path / "nothing", pvs_scan)
    moved = pvs_scan.grid.affine.copy()
    moved[0, 3] += 5
    other = write_image(tmp_path / "m.nii.gz", np.zeros(pvs_scan.grid.shape), moved)
    with pytest.raises(InputError, match="does not lie on the voxels of"):
        read_results(other, pvs_scan)
    values = np.full(pvs_scan.grid.shape, -3.5)
    other = write_image(tmp_path / "v.nii.gz", values, pvs_scan.grid.affine)
    with pytest.raises(InputError, match=r"holds values from -3\.5 to -3\.5"):
        read_results(other, pvs_scan)
    (folder / SUMMARY).write_text('{"threshold": 7, "method": "network"}')
    with pytest.raises(InputError, match=r"summary.json is damaged .*segment the scan again"):
        read_results(folder, pvs_scan)


def test_results_are_known_by_their_folder_and_its_images(folder, tmp_path):
    for name in (MASK, LABELS):
        (folder / name).touch()
    assert [results_at(folder / name) for name in ("", MASK, LABELS, PROBABILITY)] == [folder] * 4
    assert results_at(tmp_path) is None
    (folder / SUMMARY).unlink()
    assert results_at(folder / MASK) is None  # a mask that stands alone may be anybody's
    assert results_at(folder / PROBABILITY) == folder / PROBABILITY
    assert results_at(folder) == folder


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("sub-01_probseg.nii.gz", True),
        ("PVS_Probability.nii", True),
        ("prob.mgz", True),
        ("sub-proband01_T1w.nii.gz", False),
        ("probe_T2w.nii", False),
        ("prob.txt", False),
    ],
)
def test_a_map_is_known_by_its_name(tmp_path, name, known):
    path = tmp_path / name
    assert results_at(path) is None  # it is not there
    path.touch()
    assert results_at(path) == (path if known else None)


def test_results_tell_the_files_of_their_scan(folder, tmp_path, monkeypatch):
    t1, brain = tmp_path / "t1.nii.gz", tmp_path / "brain.nii.gz"
    t1.touch()
    summary = json.loads((folder / SUMMARY).read_text())
    summary["config"] |= {"t1": str(t1), "t2": "t2.nii.gz", "brain_mask": str(brain)}
    (folder / SUMMARY).write_text(json.dumps(summary))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t2.nii.gz").touch()  # whatever lies in the folder of now is another file
    assert scan_files(folder) == {"t1": t1}
    brain.touch()
    assert scan_files(folder / PROBABILITY) == {"t1": t1, "brain": brain}
    assert scan_files(tmp_path / "map.nii.gz") == {}
    (folder / SUMMARY).write_text("{")
    with pytest.raises(InputError, match=r"summary\.json is damaged"):
        scan_files(folder)
