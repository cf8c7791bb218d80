"""Segmentations as files of a BIDS derivative."""

import json
from pathlib import Path

import pytest

import napari_pvs
from napari_pvs.errors import InputError
from napari_pvs.inference.config import SegmentConfig
from napari_pvs.inference.segment import segment_scan
from napari_pvs.scans.derivative import DESCRIPTION
from napari_pvs.study.bids import scan_of, subjects
from napari_pvs.study.derivatives import mask_of, page_of, require_ours, weights_of, write

STUDY = Path("study")


@pytest.fixture
def config(tiny_weights):
    return SegmentConfig(weights=tiny_weights, device="cpu", backend="torch", max_width=99)


@pytest.fixture
def segmented(make_study, config, tmp_path):
    """Function of a page that writes the only subject of a study; returns the output and result."""
    study = make_study(1, labelled=0)
    (one,) = subjects(study)
    result = segment_scan(scan_of(one), config)

    def to(page=None):
        write(result, tmp_path / "out", study, one, config, page)
        return tmp_path / "out", result

    return to


def test_the_weights_are_known_again(segmented):
    out, result = segmented()
    assert weights_of(out, "sub-01") == result.origin["weights_id"]
    assert weights_of(out, "sub-02") is None
    sidecar = mask_of(out, "sub-01").with_name("sub-01_label-PVS_mask.json")
    sidecar.write_text("{}")
    assert weights_of(out, "sub-01") is None
    sidecar.write_text("no JSON")
    with pytest.raises(InputError, match="add --overwrite to make it again"):
        weights_of(out, "sub-01")
    sidecar.unlink()
    assert weights_of(out, "sub-01") is None


@pytest.mark.parametrize("done", range(7))
def test_killed_between_its_files_it_can_be_written_again(segmented, monkeypatch, done):
    segmented()
    left, replace = [done], Path.replace

    def killed(self, target):
        if ".tmp-" in str(self.parent) and not left[0]:
            raise KeyboardInterrupt
        left[0] -= ".tmp-" in str(self.parent)
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            segmented()
    out, result = segmented()
    assert weights_of(out, "sub-01") == result.origin["weights_id"]


def test_masks_of_others_are_never_replaced(segmented, tmp_path):
    mask = mask_of(tmp_path / "out", "sub-01")
    mask.parent.mkdir(parents=True)
    mask.write_bytes(b"drawn by hand")
    with pytest.raises(InputError, match="was not made by segmenting and is not replaced"):
        segmented()
    assert [path.read_bytes() for path in mask.parent.iterdir()] == [b"drawn by hand"]
    with pytest.raises(InputError, match=r"labels holds the labels of study; name another folder"):
        require_ours(Path("study/derivatives/labels"), STUDY, again=True)


def test_a_page_goes_with_its_mask(segmented):
    out, _ = segmented("<p>page</p>")
    assert page_of(out, "sub-01").read_text() == "<p>page</p>"
    segmented()
    assert not page_of(out, "sub-01").exists()


def test_a_disk_that_is_full_leaves_what_was_there(segmented, monkeypatch):
    out, _ = segmented()
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("napari_pvs.inference.outputs.dseg_tsv", full)
    with pytest.raises(OSError, match="No space left"):
        segmented()
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_only_our_own_folders_are_written(tmp_path):
    require_ours(tmp_path, STUDY, again=False)
    require_ours(tmp_path / "new", STUDY, again=False)

    def made_by(name, version):
        about = {"Name": "x", "GeneratedBy": [{"Name": name, "Version": version}]}
        (tmp_path / DESCRIPTION).write_text(json.dumps(about))

    made_by("napari-pvs", napari_pvs.__version__)
    require_ours(tmp_path, STUDY, again=False)
    made_by("napari-pvs", "0.0.1")
    with pytest.raises(InputError, match=r"written by napari-pvs 0\.0\.1.*add --overwrite"):
        require_ours(tmp_path, STUDY, again=False)
    require_ours(tmp_path, STUDY, again=True)
    made_by("fMRIPrep", "1")
    with pytest.raises(InputError, match="is a derivative of another tool"):
        require_ours(tmp_path, STUDY, again=True)
