from pathlib import Path

import pytest

from napari_pvs.errors import InputError
from napari_pvs.study.bids import StudySubject
from napari_pvs.study.roles import split, split_without_labels


def people(count, sessions=0, labelled=True):
    label = Path("label.nii.gz") if labelled else None
    suffixes = [f"_ses-{k}" for k in range(sessions)] or [""]
    return [
        StudySubject(f"sub-{n:02d}{s}", Path("t1.nii"), None, label, None)
        for n in range(count)
        for s in suffixes
    ]


@pytest.mark.parametrize(
    ("count", "sizes"),
    [
        (2, (1, 1, 0)),
        (4, (3, 1, 0)),
        (5, (3, 1, 1)),
        (10, (8, 1, 1)),
        (12, (10, 1, 1)),
        (20, (16, 2, 2)),
    ],
)
def test_eight_to_one_to_one(count, sizes):
    got = split(people(count))
    assert (len(got.train), len(got.validation), len(got.test)) == sizes
    names = [*got.train, *got.validation, *got.test]
    assert sorted(names) == [s.name for s in people(count)]


def test_unlabelled_subjects_neither_train_nor_measure():
    extra = StudySubject("sub-99", Path("t1.nii"), None, None, None)
    got = split([*people(3), extra])
    assert "sub-99" not in got.train + got.validation + got.test
    assert got.unlabelled == ("sub-99",)
    with pytest.raises(InputError, match="sub-99 is no labelled subject"):
        split([*people(3), extra], validation=["sub-99"])


def test_drawn_by_the_seed():
    draws = {seed: split(people(20), seed=seed) for seed in range(5)}
    assert draws[3] == split(people(20), seed=3)
    assert len({d.validation for d in draws.values()}) > 1


def test_sessions_stay_together():
    for seed in range(5):
        got = split(people(12, sessions=3), seed=seed)
        roles = [{n.split("_")[0] for n in part} for part in (got.train, got.validation, got.test)]
        assert [len(r) for r in roles] == [10, 1, 1]
        assert len(set.union(*roles)) == 12
        assert len(got.train) == 30


def test_as_named():
    got = split(people(6), validation=["sub-04"], test=["sub-00", "sub-05"])
    assert got.validation == ("sub-04",)
    assert got.test == ("sub-00", "sub-05")
    assert got.train == ("sub-01", "sub-02", "sub-03")
    assert split(people(6), validation=["sub-04"]).test == ()


def test_a_person_stands_for_all_sessions():
    both = split(
        people(4, sessions=2), validation=["sub-01"], test=["sub-02_ses-0", "sub-02_ses-1"]
    )
    assert both.validation == ("sub-01_ses-0", "sub-01_ses-1")
    assert both.test == ("sub-02_ses-0", "sub-02_ses-1")
    assert len(both.train) == 4


def test_scans_of_a_held_out_person_are_not_learnt_from():
    later = [StudySubject(f"sub-0{n}_ses-9", Path("t1.nii"), None, None, None) for n in range(3)]
    got = split([*people(3, sessions=1), *later], validation=["sub-00"], test=["sub-01_ses-0"])
    assert got.unlabelled == ("sub-02_ses-9",)


def test_known_roles_go_before_the_draw():
    first = split(people(10), seed=1)
    known = dict.fromkeys(first.validation, "validation") | dict.fromkeys(first.test, "test")
    for seed in range(3):
        got = split(people(20), seed=seed, known=known)
        assert (got.validation, got.test) == (first.validation, first.test)
        assert len(got.train) == 18


def test_a_named_test_subject_is_never_drawn():
    for seed in range(6):
        got = split(people(6), test=["sub-02"], seed=seed)
        assert got.test == ("sub-02",)
        assert len(got.validation) == 1
        assert got.validation != got.test


def test_refusals():
    with pytest.raises(InputError, match="no subject has a label"):
        split(people(3, labelled=False))
    with pytest.raises(InputError, match="two persons"):
        split(people(1, sessions=4))
    with pytest.raises(InputError, match="two persons"):
        split(people(2), test=["sub-00"])
    with pytest.raises(InputError, match="sub-77 is no labelled subject"):
        split(people(3), test=["sub-77"])
    with pytest.raises(InputError, match="no labelled subject is left"):
        split(people(2), validation=["sub-00", "sub-01"])
    with pytest.raises(InputError, match=r"sub-01 is in .*keep a person whole"):
        split(people(3, sessions=2), validation=["sub-01_ses-0"])
    with pytest.raises(
        InputError, match=r"sub-01 is named for validation and for test; choose one"
    ):
        split(people(3), ["sub-01"], ["sub-01"])
    with pytest.raises(InputError, match=r"sub-01_ses-1 is named for validation and for test"):
        split(people(3, sessions=2), ["sub-01"], ["sub-01_ses-1"])
    with pytest.raises(InputError, match="keep a person whole"):
        split(people(3, sessions=2), ["sub-01_ses-0"], ["sub-01_ses-1"])


def roles(split):
    return [len(names) for names in (split.train, split.validation, split.test, split.unlabelled)]


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(1, (0, 0, 0, 1)), (2, (0, 0, 0, 2)), (3, (0, 1, 0, 2)), (20, (0, 2, 0, 18))],
)
def test_without_labels_few_are_kept_aside(count, sizes):
    everybody = people(count, labelled=False)
    assert roles(split_without_labels(everybody)) == list(sizes)
    assert split_without_labels(everybody) == split_without_labels(everybody)


def test_without_labels_persons_stay_whole_and_keep_their_roles():
    everybody = people(5, sessions=2, labelled=False)
    found = split_without_labels(everybody, known={"sub-01": "test", "sub-02": "validation"})
    assert found.validation == ("sub-02_ses-0", "sub-02_ses-1")
    assert roles(found) == [0, 2, 0, 6]
    assert not any("sub-01" in name for name in found.unlabelled)
    with pytest.raises(InputError, match="every person of the study validates or tests"):
        split_without_labels(people(1, labelled=False), known={"sub-00": "test"})
