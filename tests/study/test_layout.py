import pytest

from napari_pvs.errors import InputError
from napari_pvs.study.layout import label_folder, one


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
