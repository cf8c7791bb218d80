import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_pvs.errors import InputError
from napari_pvs.evaluation import matching
from napari_pvs.evaluation.matching import find, match, subject_of


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


@pytest.mark.parametrize(
    ("path", "subject"),
    [
        ("a/sub-01_mask.nii.gz", "sub-01"),
        ("a/sub-01/ses-2/anat/mask.nii", "sub-01_ses-2"),
        ("sub-01/x/sub-02_ses-B_desc-pvs_mask.nii.gz", "sub-02_ses-B"),
        ("a/case01_mask.nii.gz", None),
        ("a/nosub-01.nii.gz", None),
    ],
)
def test_subject_of(path, subject):
    assert subject_of(Path(path)) == subject


def test_finds_one_mask_per_subject(tmp_path):
    touch(
        tmp_path,
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_desc-pvs_mask.nii.gz",
        "sub-01/anat/sub-01_desc-pvs_probseg.nii.gz",
        "sub-01/anat/sub-01_desc-brain_mask.nii.gz",
        "sub-01/anat/sub-01_desc-wmh_mask.nii.gz",
        "sub-02_pvs.nii",
        "sub-03/labels.nii.gz",
        "sub-03/labels.json",
        "sub-04_T2w.nii.gz",
        ".git/sub-01_pvs_mask.nii.gz",
    )
    masks = find(tmp_path, matching.MASKS).files
    assert {subject: path.name for subject, path in masks.items()} == {
        "sub-01": "sub-01_desc-pvs_mask.nii.gz",
        "sub-02": "sub-02_pvs.nii",
        "sub-03": "labels.nii.gz",
    }
    assert find(tmp_path, matching.PROBABILITIES).files.keys() == {"sub-01"}


def test_finds_the_mask_of_a_bids_derivative(tmp_path):
    kinds = ("label-PVS_mask", "label-PVS_probseg", "seg-PVS_dseg")
    touch(tmp_path, *(f"sub-01/anat/sub-01_{kind}.nii.gz" for kind in kinds))
    mask, score = matching.MASKS, matching.PROBABILITIES
    assert find(tmp_path, mask).files["sub-01"].name == "sub-01_label-PVS_mask.nii.gz"
    assert find(tmp_path, score).files["sub-01"].name == "sub-01_label-PVS_probseg.nii.gz"


def test_finds_the_brain_mask(tmp_path):
    touch(tmp_path, "sub-01_desc-brain_mask.nii.gz", "sub-01_desc-pvs_mask.nii.gz")
    found = find(tmp_path, matching.REGIONS)
    assert found.files["sub-01"].name == "sub-01_desc-brain_mask.nii.gz"


@pytest.mark.parametrize(
    "names",
    [
        ("sub-01_a_mask.nii.gz", "sub-01_b_mask.nii.gz"),
        ("sub-01_mask.nii.gz", "sub-01_pvs.nii.gz"),
        ("sub-01_one.nii.gz", "sub-01_two.nii"),
    ],
)
def test_two_candidates_are_named_and_keep_nobody_else_back(tmp_path, names):
    touch(tmp_path, *names, "sub-02_mask.nii.gz")
    found = find(tmp_path, matching.MASKS)
    assert found.files.keys() == {"sub-02"}
    assert found.refused.keys() == {"sub-01"}
    assert all(name in found.refused["sub-01"] for name in names)


def test_a_folder_that_cannot_be_read_is_told(tmp_path, monkeypatch):
    touch(tmp_path, "sub-01/sub-01_mask.nii.gz", "sub-02/sub-02_mask.nii.gz")
    listed = os.scandir

    def scandir(path):
        if str(path).endswith("sub-01"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = find(tmp_path, matching.MASKS)
    assert found.files.keys() == {"sub-02"}
    assert "sub-01 cannot be read (Permission denied); change its" in found.refused["sub-01"]


def test_the_name_of_a_subject_says_nothing_about_the_file(tmp_path):
    for name in ("sub-proband01", "sub-brain01"):
        mask, brain, probability = (
            f"{name}_{kind}.nii.gz" for kind in ("desc-pvs_mask", "desc-brain_mask", "probseg")
        )
        touch(tmp_path, mask, brain, probability)
        assert find(tmp_path, matching.MASKS).files[name].name == mask
        assert find(tmp_path, matching.REGIONS).files[name].name == brain
        assert find(tmp_path, matching.PROBABILITIES).files[name].name == probability


def test_folder_without_subjects(tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        find(tmp_path / "absent", matching.MASKS)
    touch(tmp_path, "case01_mask.nii.gz")
    with pytest.raises(InputError, match="sub-XX"):
        find(tmp_path, matching.MASKS)


def named(*subjects):
    return {subject: Path(f"{subject}.nii") for subject in subjects}


def test_match_lists_what_is_on_one_side_only():
    got = match(named("sub-02", "sub-01", "sub-03"), named("sub-04", "sub-02", "sub-01"))
    assert list(got.pairs) == ["sub-01", "sub-02"]
    assert got.only_first == ("sub-03",)
    assert got.only_second == ("sub-04",)


def test_a_lone_session_may_be_left_out():
    got = match(named("sub-01", "sub-02"), named("sub-01_ses-1", "sub-02_ses-1", "sub-02_ses-2"))
    assert got.pairs == {"sub-01": (Path("sub-01.nii"), Path("sub-01_ses-1.nii"))}
    assert got.only_first == ("sub-02",)
    assert got.only_second == ("sub-02_ses-1", "sub-02_ses-2")


def test_different_sessions_do_not_match():
    assert not match(named("sub-01_ses-1"), named("sub-01_ses-2")).pairs


@pytest.mark.parametrize("swapped", [False, True])
def test_a_name_without_session_is_of_nobody_who_has_two(swapped):
    two = {f"sub-01_ses-{n}": Path(f"{n}.nii") for n in (1, 2)} | {"sub-02_ses-1": Path("3.nii")}
    plain = {"sub-01": Path("a.nii"), "sub-02": Path("b.nii")}
    first, second = (plain, two) if swapped else (two, plain)
    found = match(first, second)
    assert list(found.pairs) == ["sub-02" if swapped else "sub-02_ses-1"]
    left = found.only_second if swapped else found.only_first
    assert left == ("sub-01_ses-1", "sub-01_ses-2")


SIDE = st.sets(
    st.sampled_from([f"sub-0{n}{s}" for n in (1, 2, 3) for s in ("", "_ses-a", "_ses-b")])
)


@settings(max_examples=200, deadline=None)
@given(SIDE, SIDE)
def test_every_file_is_paired_once_or_left_whatever_there_is(one, other):
    """Both ways alike; and never two sessions, nor two persons."""
    first = {name: Path("one") / name for name in one}
    second = {name: Path("other") / name for name in other}
    got, back = match(first, second), match(second, first)
    assert list(got.pairs) == sorted(got.pairs)
    assert sorted([*got.pairs, *got.only_first]) == sorted(first)
    taken = [theirs.name for _, theirs in got.pairs.values()]
    assert sorted([*taken, *got.only_second]) == sorted(second)
    assert {(b, a) for a, b in back.pairs.values()} == set(got.pairs.values())
    for mine, theirs in got.pairs.values():
        if mine.name != theirs.name:
            person = mine.name.partition("_")[0]
            assert theirs.name.partition("_")[0] == person
            assert person in (mine.name, theirs.name)
            for side in (one, other):
                assert len([name for name in side if name.partition("_")[0] == person]) == 1
    assert set(got.pairs) >= one & other
