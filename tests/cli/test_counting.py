"""The verb count, as a user reads it."""

import csv
from dataclasses import fields

import nibabel as nib
import numpy as np
import pytest

from napari_pvs import cli
from napari_pvs.burden.count import Burden
from napari_pvs.study.labels import LabelStore


@pytest.fixture
def count(capsys):
    """Count, and return what was printed, and the rows of ``burden.tsv``."""

    def call(what, out, *options):
        with pytest.raises(SystemExit) as ended:
            cli.main(["count", str(what), "--out", str(out), *map(str, options)])
        assert ended.value.code == 0
        with (out / "burden.tsv").open() as file:
            return capsys.readouterr().out, list(csv.DictReader(file, delimiter="\t"))

    return call


@pytest.fixture
def aseg(head, tmp_path, write_image):
    codes = np.zeros(head.brain.shape, np.int16)
    codes[:12], codes[12:] = 2, 51
    return write_image(tmp_path / "aseg.nii.gz", codes)


def test_a_mask_is_counted_by_region(count, head, aseg, tmp_path, write_image):
    mask = write_image(tmp_path / "sub-07_desc-pvs_mask.nii.gz", head.label.astype(np.uint8))
    brain = write_image(tmp_path / "brain.nii.gz", head.brain.astype(np.uint8))
    printed, rows = count(mask, tmp_path / "out", "--regions", aseg, "--brain-mask", brain)
    assert list(rows[0]) == [field.name for field in fields(Burden)]
    assert {row["subject"] for row in rows} == {"sub-07"}
    every, *regions = rows
    assert (every["region"], every["state"]) == ("all", "n/a")
    both = [row for row in regions if row["side"] == "both" and row["region"] != "all"]
    counts = [int(row["count"]) for row in both if row["count"] != "n/a"]
    assert sum(counts) == int(every["count"]) > 3
    sides = [int(row["count"]) for row in regions if row["region"] == "all"]
    assert sum(sides) == int(every["count"])
    volume = np.count_nonzero(head.label) * 0.8**3
    assert float(every["volume_mm3"]) == pytest.approx(volume, rel=1e-4)
    assert float(every["region_mm3"]) == pytest.approx(np.count_nonzero(head.brain) * 0.8**3, 0.01)
    by_name = {row["region"]: row["count"] for row in both}
    assert int(by_name["white matter"]) > 0 < int(by_name["basal ganglia"])
    assert by_name["cerebellum"] == "n/a"  # the map has none
    assert "basal ganglia" in printed
    assert str(tmp_path / "out" / "burden_pvs.tsv") in printed


def test_a_study_is_counted_by_its_newest_labels(count, make_study, refused, tmp_path):
    study = make_study(3, labelled=1)
    t1 = nib.load(study / "sub-02" / "anat" / "sub-02_T1w.nii.gz")
    found = np.zeros(t1.shape, np.uint8)
    found[5:9, 5, 5] = 1
    LabelStore(study, "sub-02").save(
        found, geometry(study / "sub-02" / "anat" / "sub-02_T1w.nii.gz"),
        author="x", origin="predicted", state="draft",
    )  # fmt: skip
    printed, rows = count(study, tmp_path / "out", "--regions", "none")
    assert [(row["subject"], row["state"], row["region"]) for row in rows] == [
        ("sub-01", "reference", "all"),
        ("sub-02", "segmented", "all"),
    ]
    assert (rows[1]["count"], rows[1]["volume_mm3"]) == ("1", str(round(4 * 0.8**3, 3)))
    assert float(rows[0]["volume_percent"]) > 0
    assert "No label and no prediction yet: sub-03" in printed
    # label maps of the subjects
    said = refused("count", study, "--out", tmp_path / "r", "--regions", "desc-aseg_dseg")
    assert "sub-01_" not in said
    assert "derivatives/*/sub-01/anat/*_desc-aseg_dseg.nii.gz" in said
    for name in ("sub-01", "sub-02"):
        folder = study / "derivatives" / "freesurfer" / name / "anat"
        folder.mkdir(parents=True)
        codes = np.full(t1.shape, 11, np.int16)
        nib.save(nib.Nifti1Image(codes, t1.affine), folder / f"{name}_desc-aseg_dseg.nii.gz")
    _, rows = count(study, tmp_path / "r", "--regions", "desc-aseg_dseg")
    rows = [row for row in rows if row["side"] == "both"]
    there = {row["subject"]: row["count"] for row in rows if row["region"] == "basal ganglia"}
    assert there["sub-02"] == "1"
    assert {row["count"] for row in rows if row["region"] == "elsewhere"} == {"0"}


@pytest.fixture
def mapped(make_study):
    """A labelled study, and a function that puts a label map of its subject into a derivative."""
    study = make_study(1, labelled=1)
    t1 = nib.load(study / "sub-01" / "anat" / "sub-01_T1w.nii.gz")

    def put(derivative, name):
        folder = study / "derivatives" / derivative / "sub-01" / "anat"
        folder.mkdir(parents=True, exist_ok=True)
        codes = np.full(t1.shape, 11, np.int16)
        nib.save(nib.Nifti1Image(codes, t1.affine), folder / f"sub-01_{name}.nii.gz")

    return study, put


def test_a_label_map_on_a_template_is_not_the_subjects(mapped, count, refused, tmp_path):
    study, put = mapped
    put("fmriprep", "space-MNI152NLin6Asym_dseg")
    said = refused("count", study, "--out", tmp_path / "out", "--regions", "dseg")
    assert "has no derivatives/*/sub-01/anat/*_dseg.nii.gz" in said
    put("fmriprep", "space-T1w_dseg")
    count(study, tmp_path / "out", "--regions", "dseg")


def test_of_two_label_maps_none_is_taken(mapped, refused, tmp_path):
    study, put = mapped
    put("freesurfer", "dseg")
    put("synthseg", "dseg")
    said = refused("count", study, "--out", tmp_path / "out", "--regions", "dseg")
    assert "could both be meant; keep one of them" in said
    assert "freesurfer" in said
    assert "synthseg" in said


def test_how_names_of_label_maps_end_may_be_said_otherwise(mapped, count, refused, tmp_path):
    study, put = mapped
    put("freesurfer", "desc-aseg_dseg")
    count(study, tmp_path / "out", "--regions", "desc-aseg_dseg.nii.gz")
    out = ("--out", tmp_path / "r", "--regions")
    said = refused("count", study, *out, tmp_path / "aseg.mgz")
    assert "aseg.mgz is the path of one file; for a study, give" in said
    assert "sub-01" in refused("count", study, *out, "**")


@pytest.mark.parametrize("origin", ["corrected", "drawn"])
def test_a_prediction_counts_until_its_correction_is_saved(count, make_study, tmp_path, origin):
    study = make_study(1, labelled=0)
    like = geometry(study / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    found = np.zeros(like.shape, np.uint8)
    store = LabelStore(study, "sub-01")
    for made_by, end in (("predicted", 9), (origin, 12)):
        found[5:end, 5, 5] = 1
        store.save(found, like, author="x", origin=made_by, state="draft")
    printed, rows = count(study, tmp_path / "out", "--regions", "none")
    (row,) = rows
    assert (row["state"], row["volume_mm3"]) == ("segmented", str(round(4 * 0.8**3, 3)))
    assert "no prediction" not in printed


def test_a_subject_that_cannot_be_counted_keeps_nobody_else_back(make_study, tmp_path, capsys):
    study = make_study(3)
    (label,) = study.glob("derivatives/labels/sub-02/anat/*.nii.gz")
    label.write_bytes(b"no image")
    with pytest.raises(SystemExit) as ended:
        cli.main(["count", str(study), "--out", str(tmp_path / "out"), "--regions", "none"])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert f"1 of 3 subjects could not be counted: sub-02: {label}" in said.err
    assert said.err.count("\n") == 1
    with (tmp_path / "out" / "burden.tsv").open() as file:
        assert [row["subject"] for row in csv.DictReader(file, delimiter="\t")] == [
            "sub-01",
            "sub-03",
        ]


def geometry(path):
    from napari_pvs.scans.nifti import read_volume

    return read_volume(path).geometry()


def test_what_cannot_be_counted_is_refused(make_study, head, aseg, refused, tmp_path, write_image):
    mask = write_image(tmp_path / "m.nii.gz", head.label.astype(np.uint8))
    out = ("--out", tmp_path / "out")
    assert "nowhere does not exist" in refused("count", tmp_path / "nowhere", *out)
    assert "there is no label map; add --regions" in refused("count", mask, *out, "--names", aseg)
    assert "is not a table of regions" in refused(
        "count", mask, *out, "--regions", aseg, "--names", tmp_path / "m.nii.gz"
    )
    said = refused("count", mask, *out, "--regions", "template")
    assert "the template needs the scan of" in said
    assert "leave one out" in refused("count", mask, *out, "--regions", aseg, "--t1", aseg)
    study = make_study(1, labelled=0)
    assert "has its own scans" in refused("count", study, *out, "--t1", mask)
    assert "has its own brain masks" in refused("count", study, *out, "--brain-mask", mask)
    assert "holds no label and no prediction" in refused("count", study, *out)
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "burden_pvs.tsv").touch()
    assert "burden_pvs.tsv exists; add --overwrite" in refused("count", mask, *out)
    # before any work
    inner = tmp_path / "m.nii.gz" / "inner"
    said = refused("count", mask, "--out", inner, "--regions", tmp_path / "nowhere.mgz")
    assert "inner cannot be written" in said
    assert "is a file, not a folder" in refused("count", mask, "--out", mask)
    empty = write_image(tmp_path / "empty.nii.gz", np.zeros(head.label.shape, np.uint8))
    said = refused("count", mask, "--out", tmp_path / "b", "--brain-mask", empty)
    assert "empty.nii.gz is empty where the PVS are; give the brain mask of this scan" in said


def test_workers_count_the_same(count, make_study, refused, tmp_path):
    study = make_study(3, labelled=3)
    one = count(study, tmp_path / "one", "--regions", "none")
    two = count(study, tmp_path / "two", "--regions", "none", "--workers", "2")
    assert one[1] == two[1]
    assert one[0].replace(str(tmp_path / "one"), "") == two[0].replace(str(tmp_path / "two"), "")
    for kind in ("T1w", "T2w"):
        (study / "sub-02" / "anat" / f"sub-02_{kind}.nii.gz").write_bytes(b"no image")
    (
        study / "derivatives" / "labels" / "sub-02" / "anat" / "sub-02_desc-pvs_mask.nii.gz"
    ).write_bytes(b"no")
    said = refused("count", study, "--out", tmp_path / "r", "--regions", "none", "--workers", "2")
    assert "1 of 3 subjects could not be counted: sub-02: " in said
    mask = study / "derivatives" / "labels" / "sub-01" / "anat" / "sub-01_desc-pvs_mask.nii.gz"
    said = refused("count", mask, "--out", tmp_path / "m", "--scheduler", "tcp://a:1")
    assert "--scheduler is for a study" in said
