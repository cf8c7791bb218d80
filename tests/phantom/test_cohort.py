import csv
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from napari_pvs.errors import InputError
from napari_pvs.phantom.cohort import make, remove_cohort, subject_name, write_cohort
from napari_pvs.phantom.config import PhantomConfig
from napari_pvs.scans.nifti import read_labels, read_volume


@pytest.fixture(scope="module")
def small(config: PhantomConfig, head_file: Path) -> PhantomConfig:
    update = {"anatomy": (head_file,), "field_of_view": (48.0, 48.0, 48.0), "pvs": (8, 12)}
    return config.model_copy(update=update)


@pytest.fixture(scope="module")
def cohort(small: PhantomConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(small, tmp_path_factory.mktemp("cohort") / "new")


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def test_layout(cohort: Path) -> None:
    expected = {
        "dataset_description.json",
        "README.md",
        "participants.json",
        "participants.tsv",
        "derivatives/truth/.bidsignore",
        "derivatives/truth/dataset_description.json",
        "derivatives/labels/.bidsignore",
        "derivatives/labels/dataset_description.json",
        "derivatives/labels/sub-01/anat/sub-01_label-PVS_mask.json",
        "derivatives/labels/sub-01/anat/sub-01_label-PVS_mask.nii.gz",
    }
    for sub in ("sub-01", "sub-02"):
        expected |= {f"{sub}/anat/{sub}_T1w.nii.gz", f"{sub}/anat/{sub}_T2w.nii.gz"}
        expected |= {
            f"derivatives/truth/{sub}/anat/{sub}_{name}"
            for stem in ("label-PVS_mask", "label-PVS_probseg", "seg-PVS_dseg", "desc-brain_mask")
            for name in (f"{stem}.nii.gz", f"{stem}.json")
        }
        expected |= {f"derivatives/truth/{sub}/anat/{sub}_seg-PVS_dseg.tsv"}
    assert set(digests(cohort)) == expected


def test_descriptions(cohort: Path, small: PhantomConfig) -> None:
    raw = json.loads((cohort / "dataset_description.json").read_text())
    assert raw["DatasetType"] == "raw"
    settings = raw["GeneratedBy"][0]["Configuration"]
    assert PhantomConfig.model_validate(settings) == small
    for name in ("truth", "labels"):
        path = cohort / "derivatives" / name / "dataset_description.json"
        about = json.loads(path.read_text())
        assert (about["Name"], about["DatasetType"]) == (name, "derivative")
        assert about["DatasetLinks"] == {"raw": "../.."}
    path = cohort / "derivatives/truth/sub-02/anat/sub-02_seg-PVS_dseg.json"
    said = json.loads(path.read_text())
    assert said["Sources"] == [f"bids:raw:sub-02/anat/sub-02_T{n}w.nii.gz" for n in (1, 2)]
    table = rows(path.with_suffix(".tsv"))
    assert table[0].keys() - {"index", "name"} == said.keys() & table[0].keys()


def test_participants(cohort: Path) -> None:
    people = rows(cohort / "participants.tsv")
    assert [p["participant_id"] for p in people] == ["sub-01", "sub-02"]
    assert [p["labelled"] for p in people] == ["true", "false"]
    for p in people:
        truth = cohort / "derivatives/truth" / p["participant_id"] / "anat"
        table = rows(truth / f"{p['participant_id']}_seg-PVS_dseg.tsv")
        assert int(p["pvs"]) == len(table)
        total = sum(float(row["volume_mm3"]) for row in table)
        assert float(p["volume_mm3"]) == pytest.approx(total, abs=0.1)
        assert (p["site"], p["anatomy"]) == ("A", "spheres")


def test_files_agree(cohort: Path) -> None:
    truth = cohort / "derivatives/truth/sub-01/anat"
    mask = read_labels(truth / "sub-01_label-PVS_mask.nii.gz").data
    instances = read_labels(truth / "sub-01_seg-PVS_dseg.nii.gz").data
    share = read_volume(truth / "sub-01_label-PVS_probseg.nii.gz").data
    label = cohort / "derivatives/labels/sub-01/anat/sub-01_label-PVS_mask.nii.gz"
    assert mask.any()
    np.testing.assert_array_equal(mask, instances > 0)
    np.testing.assert_array_equal(mask, read_labels(label).data)
    assert share[mask > 0].min() >= 0.2 - 1e-4  # the default rule is the rater's
    scan = nib.load(cohort / "sub-01/anat/sub-01_T2w.nii.gz")
    assert scan.shape == mask.shape == (60, 60, 60)
    assert nib.aff2axcodes(scan.affine) == ("R", "A", "S")


def test_same_seed_same_bytes_side_by_side_too(
    cohort: Path, small: PhantomConfig, tmp_path: Path
) -> None:
    parallel = small.model_copy(update={"jobs": 2})
    assert digests(write_cohort(parallel, tmp_path / "again")) == digests(cohort)


def test_a_subject_is_the_same_in_a_cohort_of_any_size(cohort: Path, small: PhantomConfig) -> None:
    alone = make(small.model_copy(update={"subjects": 50, "labelled": 0}), 1)
    stored = read_volume(cohort / "sub-02/anat/sub-02_T1w.nii.gz").data
    np.testing.assert_array_equal(np.rint(alone.t1), stored)


def test_subjects_and_seeds_differ(small: PhantomConfig) -> None:
    first, second = make(small, 0), make(small, 1)
    other = make(small.model_copy(update={"seed": 1}), 0)
    assert not np.array_equal(first.t1, second.t1)
    assert not np.array_equal(first.t1, other.t1)


def test_sites_and_anatomies_are_taken_in_turn(small: PhantomConfig) -> None:
    mixed = small.model_copy(update={"sites": ("A", "B")})
    assert [make(mixed, i).site for i in range(3)] == ["A", "B", "A"]


def test_a_changed_anatomy_is_read_again(
    small: PhantomConfig, head_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "copy.nii.gz"
    path.write_bytes(head_file.read_bytes())
    config = small.model_copy(update={"anatomy": (path,)})
    make(config, 0)
    path.write_bytes(b"\x00" * 400)
    with pytest.raises(InputError, match=r"copy\.nii\.gz"):
        make(config, 0)


def test_empty_subjects_are_written_and_readable(small: PhantomConfig, tmp_path: Path) -> None:
    bare = small.model_copy(update={"pvs": (0, 0), "subjects": 1})
    out = write_cohort(bare, tmp_path / "bare")
    truth = out / "derivatives/truth/sub-01/anat"
    assert not read_labels(truth / "sub-01_label-PVS_mask.nii.gz").data.any()
    assert not read_labels(truth / "sub-01_seg-PVS_dseg.nii.gz").data.any()
    assert rows(truth / "sub-01_seg-PVS_dseg.tsv") == []
    assert rows(out / "participants.tsv")[0]["pvs"] == "0"


def test_progress_wraps_the_subjects(small: PhantomConfig, tmp_path: Path) -> None:
    seen: list[Any] = []

    def progress(iterator: Iterator[Any], length: int) -> Iterator[Any]:
        seen.append(length)
        for row in iterator:
            seen.append(row["participant_id"])
            yield row

    (tmp_path / "empty").mkdir()
    config = small.model_copy(update={"pvs": (1, 1)})
    write_cohort(config, tmp_path / "empty", progress)
    assert seen == [2, "sub-01", "sub-02"]


def test_names() -> None:
    assert [subject_name(i) for i in (0, 9, 99)] == ["sub-01", "sub-10", "sub-100"]


def test_refuses_a_folder_in_use(small: PhantomConfig, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(InputError, match="not an empty folder"):
        write_cohort(small, tmp_path)
    with pytest.raises(InputError, match="not an empty folder"):
        write_cohort(small, tmp_path / "note.txt")
    with pytest.raises(InputError, match="cannot be written"):
        write_cohort(small, tmp_path / "note.txt" / "below")
    assert (tmp_path / "note.txt").read_text() == "mine"


def test_refuses_missing_anatomies_before_any_work(
    small: PhantomConfig, head_file: Path, tmp_path: Path
) -> None:
    for wrong in (tmp_path / "none.nii.gz", head_file.parent):
        config = small.model_copy(update={"anatomy": (head_file, wrong)})
        out = tmp_path / "out"
        with pytest.raises(InputError, match="is not a file"):
            write_cohort(config, out)
        assert not any(out.iterdir())


def test_what_an_interrupted_run_leaves_can_be_removed(
    small: PhantomConfig, tmp_path: Path
) -> None:
    def interrupted(subjects: Iterator[Any], total: int) -> Iterator[Any]:
        yield next(subjects)
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        write_cohort(small, out, interrupted)
    assert (out / "sub-01").is_dir()
    assert not (out / "participants.tsv").exists()
    remove_cohort(out, overwrite=True)
    assert not out.exists()


def test_a_wrong_anatomy_leaves_the_folder_empty(small: PhantomConfig, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.nii"
    nib.save(nib.Nifti1Image(np.ones((40, 40, 40), np.uint8), np.eye(4)), wrong)
    with pytest.raises(InputError, match="not a label map of a head"):
        write_cohort(small.model_copy(update={"anatomy": (wrong,)}), tmp_path / "out")
    assert not any((tmp_path / "out").iterdir())
