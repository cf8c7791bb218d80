from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_pvs.errors import InputError
from napari_pvs.study.paths import (
    LABELS,
    OF_A_SCAN,
    differing,
    entities,
    first_run,
    label_folder,
    label_folders,
    labels,
    one,
    shared,
)


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
    assert one(tmp_path, LABELS[1]) is None
    touch(tmp_path, "sub-01_space-T1w_desc-pvs_mask.nii.gz")
    assert one(tmp_path, LABELS[1]).name == "sub-01_space-T1w_desc-pvs_mask.nii.gz"
    touch(tmp_path, "sub-01_desc-pvs_mask.nii.gz")
    assert one(tmp_path, LABELS[1]).name == "sub-01_desc-pvs_mask.nii.gz"
    # a scan of which there is nothing else is taken, whatever its space is called
    touch(tmp_path, "sub-01_space-MNI152_T1w.nii.gz")
    assert one(tmp_path, "*_T1w").name == "sub-01_space-MNI152_T1w.nii.gz"


WORD = st.from_regex(r"[A-Za-z0-9]{1,6}", fullmatch=True)
NAMED = st.dictionaries(st.sampled_from(OF_A_SCAN), st.sampled_from(["1", "01", "2", "a"]))


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), WORD), WORD)
def test_the_entities_of_a_name_are_found_again(said, suffix):
    name = "_".join([*(f"{key}-{value}" for key, value in said.items()), suffix])
    assert entities(Path("x") / f"{name}.nii.gz") == said


@settings(max_examples=100, deadline=None)
@given(NAMED, NAMED)
def test_what_two_images_both_name_is_alike_or_differs(one, other):
    both = {key for key in OF_A_SCAN if key in one and key in other}
    alike, unlike = shared(one, other), differing(one, other)
    assert set(alike) | set(unlike) == both
    assert not set(alike) & set(unlike)
    for key in both:
        same = one[key].lstrip("0") == other[key].lstrip("0")
        assert (key in alike) == same
    assert differing(one, other) == differing(other, one)
    assert differing(one, one) == []


def test_the_first_run_is_the_one_of_the_lowest_number():
    runs = [Path(f"sub-01_run-{n}_T1w.nii.gz") for n in (10, 9, "02", 3)]
    assert first_run(runs) == runs[2]
    assert first_run([*runs, Path("sub-01_T1w.nii.gz")]).name == "sub-01_T1w.nii.gz"
    assert first_run([]) is None


def test_folders_of_labels_are_listed_with_their_subjects(tmp_path):
    folder = tmp_path / "derivatives" / "labels"
    for name in ("sub-02", "sub-01/ses-b", "sub-01/ses-a"):
        (folder / name / "anat").mkdir(parents=True)
    (folder / "sub-03").mkdir()
    assert label_folders(tmp_path) == [
        (name, label_folder(tmp_path, name)) for name in ("sub-01_ses-a", "sub-01_ses-b", "sub-02")
    ]
    assert label_folders(folder) == []


def test_the_pvs_of_a_segmentation_are_no_regions(tmp_path, touch):
    pvs, regions = "sub-01_seg-PVS_dseg.nii.gz", "sub-01_desc-aseg_dseg.nii.gz"
    touch(tmp_path, pvs, regions)
    assert one(tmp_path, "*_dseg").name == regions
    assert one(tmp_path, "*_seg-PVS_dseg").name == pvs


def test_a_label_of_today_comes_first(tmp_path, touch):
    former, today = "sub-01_desc-pvs_mask.nii", "sub-01_label-PVS_mask.nii.gz"
    touch(tmp_path, former)
    assert [path.name for path in labels(tmp_path)] == [former]
    touch(tmp_path, today)
    assert [path.name for path in labels(tmp_path)] == [today, former]
    assert labels(tmp_path / "nowhere") == []
