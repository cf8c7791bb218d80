"""The official BIDS validator on all that is written: no error, and no warning that we could avoid.

It is on PyPI (bids-validator-deno) and needs no network.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from napari_pvs import cli
from napari_pvs.cli.bids_app import validator
from napari_pvs.correction.review import Review
from napari_pvs.phantom.cohort import write_cohort
from napari_pvs.phantom.config import PhantomConfig
from napari_pvs.study import sittings
from napari_pvs.study.bids import scan_of, subject
from napari_pvs.study.derivatives import folder_of
from napari_pvs.study.drafts import DraftStore, Made
from napari_pvs.study.labels import LabelStore
from napari_pvs.study.sittings import Sitting

pytestmark = pytest.mark.skipif(
    validator() is None,
    reason="bids-validator-deno is not installed; it is in the extra dev",
)
SCANNER = "SIDECAR_KEY_RECOMMENDED"
"""No scanner made these scans, so nobody knows its make, its field, its coils …"""
FOR_PEOPLE = {
    "JSON_KEY_RECOMMENDED",  # HEDVersion, License: not ours to say
    "TOO_FEW_AUTHORS",
    "NO_AUTHORS",
    "README_FILE_MISSING",  # of a derivative; its description and its sidecars say all
}
"""What only those who publish a dataset can add."""


def issues(folder: Path) -> Iterator[tuple[str, str, str, str]]:
    """Severity, code, key and place of whatever the validator says."""
    done = subprocess.run(
        [validator(), folder, "--format", "json", "--max-rows", "-1"],
        capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip
    for one in json.loads(done.stdout)["issues"]["issues"]:
        place = one.get("location", "")
        yield one["severity"], one["code"], one.get("subCode", ""), place


def check(folder: Path, *allowed: str) -> None:
    found = set(issues(folder))
    assert not {one for one in found if one[0] == "error"}
    assert not {one for one in found if one[1] not in (*FOR_PEOPLE, *allowed)}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Four small subjects, of whom three are labelled."""
    config = PhantomConfig(subjects=4, labelled=3, pvs=(8, 12), field_of_view=(48.0, 48.0, 48.0))
    return write_cohort(config, tmp_path_factory.mktemp("made") / "cohort")


@pytest.fixture
def cohort(made, tmp_path) -> Path:
    return shutil.copytree(made, tmp_path / "cohort")


def call(*arguments: object) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in arguments])
    assert ended.value.code == 0


def test_a_cohort(cohort):
    check(cohort, SCANNER)
    for name in ("labels", "truth"):
        check(cohort / "derivatives" / name)


@pytest.mark.filterwarnings("ignore:.*was registered to it:napari_pvs.errors.InputWarning")
@pytest.mark.usefixtures("small_network")
def test_a_study_after_each_verb(cohort, tiny_weights, tmp_path):
    use = ("--weights", tiny_weights, "--device", "cpu", "--max-width", 99)
    call("segment", cohort, *use)
    for name in ("sub-01", "sub-04"):  # one has a label, the other a prediction
        scan = scan_of(subject(cohort, name))
        labels = np.zeros(scan.grid.shape, np.int32)
        labels[20:24, 20:22, 20] = 1
        drafts = DraftStore(scan, cohort, name)
        drafts.draft(labels, Made("A", "drawn"))
        drafts.final(labels, Made("A", "corrected"))
        drafts.save_review(Review())
        sittings.keep(cohort, name, Sitting(rater="A", begun=datetime.now(UTC)))
        assert LabelStore(cohort, name).current().origin == "corrected"
    few = ("--epochs", 1, "--steps", 1, "--batch", 1, "--patch", 16, "--warmup", 0)
    call("train", cohort, "--device", "cpu", "--method", "supervised-multi", *few)
    call("count", cohort, "--out", tmp_path / "counted", "--regions", "none")
    check(cohort, SCANNER)
    for folder in (cohort / "derivatives" / "labels", folder_of(cohort)):
        check(folder)
    said = json.loads(
        (cohort / "derivatives/labels/sub-04/anat/sub-04_label-PVS_mask.json").read_text()
    )
    assert said["Manual"] is True


def test_the_output_of_run(cohort, tiny_weights, tmp_path):
    use = ("--weights", tiny_weights, "--device", "cpu", "--max-width", 99)
    call("run", cohort, tmp_path / "out", "participant", *use, "--report")
    call("run", cohort, tmp_path / "out", "group")
    check(tmp_path / "out")


def test_a_wrong_dataset_is_refused(cohort, tmp_path, capsys):
    (cohort / "sub-01" / "anat" / "sub-01_T1W.nii.gz").touch()
    assert "NOT_INCLUDED" in {one[1] for one in issues(cohort)}  # the checks above can fail
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", str(cohort), str(tmp_path / "out"), "participant"])
    assert ended.value.code == 2
    assert f"{cohort} is not valid BIDS: " in capsys.readouterr().err
