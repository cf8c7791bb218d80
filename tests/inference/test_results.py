"""Results of the command line, and maps of other tools, on the voxels of a scan."""

import json

import numpy as np
import pytest

from napari_pvs.errors import InputError
from napari_pvs.inference.outputs import PROBABILITY, SUMMARY
from napari_pvs.inference.results import ScanFiles, read_results, scan_files


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


def test_the_scan_that_results_were_made_of(tmp_path, monkeypatch):
    def made_of(**config):
        out = tmp_path / "a" / "results"
        out.mkdir(parents=True, exist_ok=True)
        told = {"threshold": 0.5, "method": "network", "config": config}
        (out / SUMMARY).write_text(json.dumps(told))
        return out

    scan = tmp_path / "in" / "T1.nii"
    scan.parent.mkdir()
    scan.touch()
    out = made_of(t1=str(scan), t2=None)
    assert scan_files(out) == ScanFiles(scan, None, None)
    # named from a folder above, wherever that is now and whatever the current folder is
    assert scan_files(made_of(t1="in/T1.nii")).t1 == scan
    monkeypatch.chdir(tmp_path / "in")
    assert scan_files(made_of(t2="T1.nii")) == ScanFiles(None, scan, None)
    with pytest.raises(InputError, match=r"gone\.nii, .* name it with --brain-mask"):
        scan_files(made_of(t1=str(scan), brain_mask="gone.nii"))
    moved = scan_files(made_of(t1=str(scan), brain_mask="gone.nii"), brain_mask=scan)
    assert moved.brain_mask == scan
    with pytest.raises(InputError, match="names no scan"):
        scan_files(made_of())
    with pytest.raises(InputError, match=r"holds no summary\.json"):
        scan_files(tmp_path / "in")
