import pytest

from napari_pvs.errors import InputError
from napari_pvs.study.paths import LABEL, label_folder, one


@pytest.mark.parametrize(
    ("name", "folder"),
    [("sub-01", "sub-01/anat"), ("sub-01_ses-2", "sub-01/ses-2/anat"), ("sub-a_b", "sub-a_b/anat")],
)
def test_label_folder(tmp_path, name, folder):
    assert label_folder(tmp_path, name) == tmp_path / "derivatives/labels" / folder


def test_hidden_files_do_not_count(tmp_path, touch):
    touch(tmp_path, ".tmp-x-sub-01_T1w.nii.gz", "._sub-01_T1w.nii.gz")
    assert one(tmp_path, "*_T1w") is None
    touch(tmp_path, "sub-01_T1w.nii.gz")
    assert one(tmp_path, "*_T1w").name == "sub-01_T1w.nii.gz"


def test_two(tmp_path, touch):
    touch(tmp_path, "sub-01_T1w.nii.gz", "sub-01_T1w.mgz")
    with pytest.raises(
        InputError, match=r"sub-01_T1w.nii.gz and sub-01_T1w.mgz; keep one of them\.$"
    ):
        one(tmp_path, "*_T1w")


def test_a_label_on_a_templates_grid_is_not_the_subjects(tmp_path, touch):
    touch(tmp_path, "sub-01_space-MNI152_desc-pvs_mask.nii.gz")
    assert one(tmp_path, LABEL) is None
    touch(tmp_path, "sub-01_space-T1w_desc-pvs_mask.nii.gz")
    assert one(tmp_path, LABEL).name == "sub-01_space-T1w_desc-pvs_mask.nii.gz"
    touch(tmp_path, "sub-01_desc-pvs_mask.nii.gz")
    assert one(tmp_path, LABEL).name == "sub-01_desc-pvs_mask.nii.gz"
    # a scan of which there is nothing else is taken, whatever its space is called
    touch(tmp_path, "sub-01_space-MNI152_T1w.nii.gz")
    assert one(tmp_path, "*_T1w").name == "sub-01_space-MNI152_T1w.nii.gz"
