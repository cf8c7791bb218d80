"""What released versions wrote is read: `tests/formats` has a file of each kind from each."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from napari_pvs.burden import tables as burden
from napari_pvs.errors import InputError
from napari_pvs.inference import outputs
from napari_pvs.inference.results import read_results, scan_files
from napari_pvs.network import weights
from napari_pvs.scans.nifti import read_volume
from napari_pvs.scans.scan import load_scan
from napari_pvs.study import roles
from napari_pvs.study.bids import subjects
from napari_pvs.study.drafts import read_decisions
from napari_pvs.study.labels import LabelStore
from napari_pvs.study.paths import label_folder
from napari_pvs.training import run as training
from napari_pvs.training.runs import folder, status

VERSIONS = sorted((Path(__file__).parent / "formats").iterdir())
pytestmark = pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)


@pytest.fixture
def written(version, tmp_path):
    """A copy of what a version wrote, elsewhere than where it was written."""
    return Path(shutil.copytree(version, tmp_path / "moved"))


@pytest.fixture
def run(written):
    return written / "study" / folder.RUNS / "run-1"


def test_results(written):
    out, study = written / "results", written / "study"
    names = {"t1": "T1w", "t2": "T2w"}
    anat = study / "sub-01" / "anat"
    moved = {key: anat / f"sub-01_{kind}.nii.gz" for key, kind in names.items()}
    (brain,) = study.glob("derivatives/masks/sub-01/anat/*")
    files = scan_files(out, **moved, brain_mask=brain)
    scan = load_scan(files.t1, files.t2, files.brain_mask)
    found = read_results(out, scan)
    np.testing.assert_array_equal(found.labels, read_volume(out / outputs.LABELS).data)
    assert found.labels.max() > 0
    assert found.threshold == json.loads((out / outputs.SUMMARY).read_text())["threshold"]
    with (out / outputs.TABLE).open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len(rows) == found.labels.max()
    assert {"id", "voxels", "volume_mm3", "x_mm", "mean_probability"} <= rows[0].keys()


def test_results_of_a_newer_version_are_refused(written):
    summary = written / "results" / outputs.SUMMARY
    summary.write_text(summary.read_text().replace(outputs.FORMAT, "napari-pvs-results/99"))
    with pytest.raises(InputError, match=r"format napari-pvs-results/99, .* update napari-pvs"):
        scan_files(written / "results")


def test_weights(run):
    tensors, card = weights.read(run / folder.BEST)
    assert card.format == weights.FORMAT
    assert len(tensors) > 10
    assert card.network.widths == (4, 8)


def test_labels_decisions_and_roles(written):
    study = written / "study"
    store = LabelStore(study, "sub-01")
    final = store.current()
    assert (final.origin, final.author, final.parent) == ("corrected", "A", 1)
    assert np.count_nonzero(store.load(final).data) == final.voxels > 0
    assert [one.state for one in store.revisions()] == ["draft", "final"]
    assert [one.state for one in subjects(study)] == ["corrected", "corrected", "new"]
    (decision,) = read_decisions(label_folder(study, "sub-01") / "sub-01_desc-pvs_review.json")
    assert (decision.verdict, decision.rater) == ("accept", "A")
    assert sorted(roles.read(study).values()) == ["train", "unlabelled", "validation"]


def test_a_study_goes_on_and_loses_nothing(written):
    study = written / "study"
    before = {path: path.read_bytes() for path in study.rglob("*") if path.is_file()}
    store = LabelStore(study, "sub-01")
    plain = label_folder(study, "sub-01") / "sub-01_desc-pvs_mask.nii.gz"
    mask = store.load(store.current())
    array = mask.data.copy()
    array[7, 7, 7] = 1
    saved = store.save(array, mask, author="B", origin="corrected")
    assert saved.number == 3
    assert plain.read_bytes() == store.path(saved).read_bytes()  # as scripts know it
    assert [one.state for one in subjects(study)] == ["corrected", "corrected", "new"]
    changed = {path.name for path, content in before.items() if path.read_bytes() != content}
    assert changed == {plain.name}


def test_a_run_is_read_and_goes_on(run, small_network):
    config, split = folder.read_config(run), folder.read_split(run)
    assert (config.method, config.epochs) == ("m2ss", 1)
    assert (len(split.train), len(split.validation), len(split.unlabelled)) == (1, 1, 1)
    assert status.seen(run).status().state == "done"
    training.resume(run, 2)
    assert status.seen(run).status().epoch == 2


def test_tables(written):
    def header(path):
        return set(path.read_text().splitlines()[0].split("\t"))

    assert header(written / "counted" / "burden.tsv") <= burden.COLUMNS.keys()
    told = json.loads((written / "scores" / "scores.json").read_text())
    assert told["format"] == "napari-pvs-scores/1"
    (one,) = told["subjects"]
    assert one["dsc"] == 1
    assert header(written / "scores" / "scores.tsv") == one.keys()
