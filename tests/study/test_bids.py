import pytest

from napari_pvs.errors import InputError
from napari_pvs.study.bids import subjects


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_scans_labels_and_masks(tmp_path):
    touch(
        tmp_path,
        "sub-02/anat/sub-02_T2w.nii",
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_T2w.nii.gz",
        "sub-01/anat/sub-01_T1w.json",
        "sub-03/func/sub-03_bold.nii.gz",
        "derivatives/labels/sub-01/anat/sub-01_desc-pvs_mask.nii.gz",
        "derivatives/other/sub-01/anat/sub-01_desc-pvs_mask.nii.gz",
        "derivatives/bet/sub-01/anat/sub-01_desc-brain_mask.nii.gz",
        "participants.tsv",
    )
    one, two = subjects(tmp_path)
    assert (one.name, one.person) == ("sub-01", "sub-01")
    assert one.t1 == tmp_path / "sub-01/anat/sub-01_T1w.nii.gz"
    assert one.t2 == tmp_path / "sub-01/anat/sub-01_T2w.nii.gz"
    assert one.label == tmp_path / "derivatives/labels/sub-01/anat/sub-01_desc-pvs_mask.nii.gz"
    assert one.brain == tmp_path / "derivatives/bet/sub-01/anat/sub-01_desc-brain_mask.nii.gz"
    assert (two.name, two.t1, two.label, two.brain) == ("sub-02", None, None, None)
    assert two.t2.name == "sub-02_T2w.nii"


def test_sessions_belong_to_one_person(tmp_path):
    touch(
        tmp_path,
        "sub-01/ses-b/anat/sub-01_ses-b_T1w.mgz",
        "sub-01/ses-a/anat/sub-01_ses-a_T1w.mgz",
        "sub-01/ses-c/func/x.nii",
        "derivatives/labels/sub-01/ses-b/anat/sub-01_ses-b_desc-pvs_mask.nii.gz",
    )
    found = subjects(tmp_path)
    assert [s.name for s in found] == ["sub-01_ses-a", "sub-01_ses-b"]
    assert {s.person for s in found} == {"sub-01"}
    assert [s.label is not None for s in found] == [False, True]


@pytest.mark.parametrize(
    "name", ["sub-01_acq-fast_T1w.nii.gz", "sub-01_T1w.nii", "sub-01_acq-fast_run-2_T1w.nii.gz"]
)
def test_two_candidates(tmp_path, name):
    touch(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz", f"sub-01/anat/{name}")
    with pytest.raises(InputError, match=r"keep one of them\.$") as error:
        subjects(tmp_path)
    assert name in str(error.value)
    assert "sub-01_T1w.nii.gz" in str(error.value)


def test_first_of_several_runs(tmp_path):
    touch(tmp_path, *(f"sub-01/anat/sub-01_run-{n}_T1w.nii.gz" for n in (2, 1, 3)))
    assert subjects(tmp_path)[0].t1.name == "sub-01_run-1_T1w.nii.gz"


def test_the_mask_on_the_scan_goes_before_one_on_a_template(tmp_path):
    derivative = "derivatives/fmriprep/sub-01/anat/sub-01"
    touch(
        tmp_path,
        "sub-01/anat/sub-01_T1w.nii.gz",
        f"{derivative}_desc-brain_mask.nii.gz",
        f"{derivative}_space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz",
    )
    assert subjects(tmp_path)[0].brain.name == "sub-01_desc-brain_mask.nii.gz"


def test_nothing_there(tmp_path):
    with pytest.raises(InputError, match="holds no sub"):
        subjects(tmp_path)
    touch(tmp_path, "sub-01/anat/notes.txt", "sub-02")
    with pytest.raises(InputError, match="holds no sub"):
        subjects(tmp_path)
    with pytest.raises(InputError, match="absent is not a folder"):
        subjects(tmp_path / "absent")
    with pytest.raises(InputError, match="sub-02 is not a folder"):
        subjects(tmp_path / "sub-02")
