import json
from pathlib import Path

import pytest

from napari_pvs.errors import InputError, InputWarning
from napari_pvs.study.bids import StudySubject
from napari_pvs.study.roles import ROLES, Split, assign, join, read, split, split_without_labels


def people(*names, labelled=True):
    label = Path("label.nii.gz") if labelled else None
    return [StudySubject(name, Path("t1.nii"), None, label, None) for name in names]


def cohort(count, sessions=0, labelled=True):
    suffixes = [f"_ses-{k}" for k in range(sessions)] or [""]
    names = [f"sub-{n:02d}{s}" for n in range(count) for s in suffixes]
    return people(*names, labelled=labelled)


def test_first_use_draws_and_later_uses_keep(tmp_path):
    first = assign(cohort(10), seed=3, root=tmp_path)
    assert [len(first.train), len(first.validation), len(first.test)] == [8, 1, 1]
    for seed in range(5):
        assert assign(cohort(10), seed=seed, root=tmp_path) == first
    more = assign(cohort(30), seed=1, root=tmp_path)
    assert (more.validation, more.test) == (first.validation, first.test)
    assert len(more.train) == 28
    kept = json.loads((tmp_path / ROLES).read_text())
    assert kept["version"] == 1
    assert kept["persons"] == read(tmp_path)
    assert sorted(kept["persons"].values()) == ["test"] + ["train"] * 28 + ["validation"]


def test_a_person_may_be_named_on_first_use_only(tmp_path):
    assign(cohort(4), validation=["sub-00"], root=tmp_path)
    again = assign(cohort(7), validation=["sub-04"], test=["sub-05"], root=tmp_path)
    assert (again.validation, again.test) == (("sub-00", "sub-04"), ("sub-05",))
    assert again.train == ("sub-01", "sub-02", "sub-03", "sub-06")
    before = (tmp_path / ROLES).read_bytes()
    for names, message in (
        (
            {"validation": ["sub-01"]},
            "sub-01 was in train in an earlier run .* in validation; name",
        ),
        ({"test": ["sub-00"]}, "sub-00 was in validation in an earlier run .* in test; name"),
        ({"validation": ["sub-05"]}, "sub-05 was in test in an earlier run .* in validation; name"),
    ):
        with pytest.raises(InputError, match=message):
            assign(cohort(7), **names, root=tmp_path)
    assert (tmp_path / ROLES).read_bytes() == before
    assert assign(cohort(7), validation=["sub-00"], root=tmp_path) == again


def test_a_refused_split_is_not_kept(tmp_path):
    with pytest.raises(InputError, match="is not a labelled subject"):
        assign(cohort(4), validation=["sub-77"], root=tmp_path)
    assert read(tmp_path) == {}


def test_unlabelled_scans(tmp_path):
    labelled = people("sub-01", "sub-02", "sub-03_ses-1")
    scans = [*labelled, *people("sub-01_ses-2", "sub-03_ses-2", "sub-04", labelled=False)]
    got = assign(scans, validation=["sub-03"], root=tmp_path)
    assert got.validation == ("sub-03_ses-1",)
    assert got.unlabelled == ("sub-01_ses-2", "sub-04")
    assert read(tmp_path)["sub-04"] == "unlabelled"
    # its label comes: it can be trained on, but what was learnt from cannot measure
    scans = [*labelled, *people("sub-04")]
    with pytest.raises(InputError, match="sub-04 was trained on unlabelled in an earlier run"):
        assign(scans, test=["sub-04"], root=tmp_path)
    assert "sub-04" in assign(scans, root=tmp_path).train
    assert read(tmp_path)["sub-04"] == "train"


def test_who_lost_the_label_keeps_the_role(tmp_path):
    assign(cohort(5), validation=["sub-00"], test=["sub-01"], root=tmp_path)
    scans = [*people("sub-00", "sub-02"), *people("sub-01", "sub-03", labelled=False)]
    assert assign(scans, root=tmp_path).unlabelled == ("sub-03",)
    assert read(tmp_path)["sub-03"] == "train"
    with pytest.raises(InputError, match="no labelled person is left for validation"):
        assign(people("sub-02", "sub-03"), root=tmp_path)
    got = assign(people("sub-02", "sub-03", "sub-09"), root=tmp_path)
    assert (got.train, got.validation) == (("sub-02", "sub-03"), ("sub-09",))


def test_unlabelled_scans_that_are_not_used_stay_free(tmp_path):
    scans = [*cohort(3), *people("sub-09", labelled=False)]
    got = assign(scans, validation=["sub-00"], root=tmp_path, unlabelled=False)
    assert got.unlabelled == ()
    assert "sub-09" not in read(tmp_path)
    got = assign([*cohort(3), *people("sub-09")], test=["sub-09"], root=tmp_path)
    assert got.test == ("sub-09",)


def test_a_second_session_follows_its_person(tmp_path):
    one = people("sub-01_ses-1", "sub-02_ses-1", "sub-03_ses-1")
    assign(one, validation=["sub-01_ses-1"], root=tmp_path)
    both = [*one, *people("sub-01_ses-2", "sub-02_ses-2")]
    got = assign(both, validation=["sub-01_ses-1"], root=tmp_path)
    assert got.validation == ("sub-01_ses-1", "sub-01_ses-2")
    assert got.train == ("sub-02_ses-1", "sub-03_ses-1", "sub-02_ses-2")


def test_a_study_that_cannot_be_written(tmp_path):
    (tmp_path / "derivatives").mkdir()
    (tmp_path / "derivatives/napari-pvs").touch()  # nothing can be created below a file
    with pytest.warns(
        InputWarning, match=r"roles.json cannot be written \(.*apply to this run only"
    ):
        got = assign(cohort(10), root=tmp_path)
    assert len(got.train) == 8


def test_a_full_disk_keeps_the_old_roles(tmp_path, monkeypatch):
    import os

    before = assign(cohort(4), root=tmp_path)

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert assign(cohort(4), root=tmp_path) == before
    with pytest.warns(InputWarning, match="No space left on device"):
        got = assign(cohort(6), root=tmp_path)
    assert len(got.train) == 5
    assert sorted(read(tmp_path)) == [s.name for s in cohort(4)]


@pytest.mark.parametrize(
    "content", ['{"version": 1, "pers', '{"version": 2}', '{"persons": {"sub-01": "judge"}}', "[]"]
)
def test_a_damaged_file(tmp_path, content):
    path = tmp_path / ROLES
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(InputError, match=r"roles.json cannot be read .*; restore it .*\.$"):
        assign(cohort(4), root=tmp_path)
    assert path.read_text() == content


def test_another_process_holds_the_roles(tmp_path, monkeypatch):
    from filelock import FileLock

    from napari_pvs.study import roles

    monkeypatch.setattr(roles, "_WAIT", 0.1)
    path = tmp_path / ROLES
    path.parent.mkdir(parents=True)
    with (
        FileLock(path.with_suffix(".lock")),
        pytest.raises(
            InputError, match=r"roles.json is locked by another process; end that process"
        ),
    ):
        assign(cohort(4), root=tmp_path)
    assert len(assign(cohort(4), root=tmp_path).train) == 3


def test_runs_that_start_at_once_agree(tmp_path, forking):
    code = """
import json, os, sys
from dataclasses import asdict
from pathlib import Path
from filelock import FileLock
from napari_pvs.study.bids import StudySubject
from napari_pvs.study.roles import assign

scan = Path("x.nii")
cohort = [StudySubject(f"sub-{n:02d}", scan, None, scan, None) for n in range(20)]
for trial in range(5):
    study, children = Path(sys.argv[1]) / str(trial), []
    study.mkdir()
    reading, writing = os.pipe()
    for run in range(4):
        children.append(os.fork())
        if not children[-1]:
            os.close(writing)
            os.read(reading, 1)  # returns for all at once, when the parent closes its end
            got = asdict(assign(cohort, seed=run, root=study))
            (study / f"{run}.json").write_text(json.dumps(got))
            os._exit(0)
    os.close(writing)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    os.close(reading)
"""
    forking(code, tmp_path)
    for trial in map(tmp_path.joinpath, "01234"):
        got = {path.read_text() for path in trial.glob("*.json")}
        assert len(got) == 1
        split = json.loads(got.pop())
        kept = read(trial)
        assert all(kept[name] == role for role, names in split.items() for name in names)
        assert len(kept) == 20


def test_persons_labelled_while_a_run_goes_on(tmp_path):
    scans = [*cohort(3), *people("sub-08", "sub-09", labelled=False)]
    run = assign(scans, validation=["sub-00"], root=tmp_path)
    assert read(tmp_path)["sub-08"] == "unlabelled"
    assert join({"sub-08", "sub-10"}, run, root=tmp_path) == {"sub-08", "sub-10"}
    assert read(tmp_path)["sub-08"] == read(tmp_path)["sub-10"] == "train"
    assert read(tmp_path)["sub-09"] == "unlabelled"
    with pytest.raises(InputError, match="sub-10 was in train in an earlier run"):
        assign([*cohort(3), *people("sub-10")], test=["sub-10"], root=tmp_path)
    # another run of the study tests on a person whose label has come
    assign([*cohort(3), *people("sub-11")], test=["sub-11"], root=tmp_path)
    assert join({"sub-11", "sub-12"}, run, root=tmp_path) == {"sub-12"}
    assert read(tmp_path)["sub-11"] == "test"


def test_roles_of_a_cross_validation_freeze_nobody(tmp_path):
    run = Split(train=("sub-01",), validation=("sub-00",), test=("sub-02",))
    assert join({"sub-09"}, run, root=tmp_path) == {"sub-09"}
    assert read(tmp_path) == {}
    assign(cohort(3), validation=["sub-01"], root=tmp_path)
    before = read(tmp_path)
    assert join({"sub-09"}, run, root=tmp_path) == {"sub-09"}
    assert read(tmp_path) == before


def test_joining_where_the_roles_can_no_longer_be_written(tmp_path, monkeypatch):
    import os

    run = assign(cohort(4), root=tmp_path)

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(InputWarning, match=r"No space left on device.*to this run only"):
        assert join({"sub-09"}, run, root=tmp_path) == {"sub-09"}
    assert "sub-09" not in read(tmp_path)


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
    got = split(cohort(count))
    assert (len(got.train), len(got.validation), len(got.test)) == sizes
    names = [*got.train, *got.validation, *got.test]
    assert sorted(names) == [s.name for s in cohort(count)]


def test_unlabelled_subjects_neither_train_nor_measure():
    extra = StudySubject("sub-99", Path("t1.nii"), None, None, None)
    got = split([*cohort(3), extra])
    assert "sub-99" not in got.train + got.validation + got.test
    assert got.unlabelled == ("sub-99",)
    with pytest.raises(InputError, match="sub-99 is not a labelled subject"):
        split([*cohort(3), extra], validation=["sub-99"])


def test_drawn_by_the_seed():
    draws = {seed: split(cohort(20), seed=seed) for seed in range(5)}
    assert draws[3] == split(cohort(20), seed=3)
    assert len({d.validation for d in draws.values()}) > 1


def test_sessions_stay_together():
    for seed in range(5):
        got = split(cohort(12, sessions=3), seed=seed)
        roles = [{n.split("_")[0] for n in part} for part in (got.train, got.validation, got.test)]
        assert [len(r) for r in roles] == [10, 1, 1]
        assert len(set.union(*roles)) == 12
        assert len(got.train) == 30


def test_as_named():
    got = split(cohort(6), validation=["sub-04"], test=["sub-00", "sub-05"])
    assert got.validation == ("sub-04",)
    assert got.test == ("sub-00", "sub-05")
    assert got.train == ("sub-01", "sub-02", "sub-03")
    assert split(cohort(6), validation=["sub-04"]).test == ()


def test_a_person_stands_for_all_sessions():
    both = split(
        cohort(4, sessions=2), validation=["sub-01"], test=["sub-02_ses-0", "sub-02_ses-1"]
    )
    assert both.validation == ("sub-01_ses-0", "sub-01_ses-1")
    assert both.test == ("sub-02_ses-0", "sub-02_ses-1")
    assert len(both.train) == 4


def test_scans_of_a_held_out_person_are_not_learnt_from():
    later = [StudySubject(f"sub-0{n}_ses-9", Path("t1.nii"), None, None, None) for n in range(3)]
    got = split([*cohort(3, sessions=1), *later], validation=["sub-00"], test=["sub-01_ses-0"])
    assert got.unlabelled == ("sub-02_ses-9",)


def test_known_roles_go_before_the_draw():
    first = split(cohort(10), seed=1)
    known = dict.fromkeys(first.validation, "validation") | dict.fromkeys(first.test, "test")
    for seed in range(3):
        got = split(cohort(20), seed=seed, known=known)
        assert (got.validation, got.test) == (first.validation, first.test)
        assert len(got.train) == 18


def test_a_named_test_subject_is_never_drawn():
    for seed in range(6):
        got = split(cohort(6), test=["sub-02"], seed=seed)
        assert got.test == ("sub-02",)
        assert len(got.validation) == 1
        assert got.validation != got.test


def test_refusals():
    with pytest.raises(InputError, match="no subject has a label"):
        split(cohort(3, labelled=False))
    with pytest.raises(InputError, match="two persons"):
        split(cohort(1, sessions=4))
    with pytest.raises(InputError, match="two persons"):
        split(cohort(2), test=["sub-00"])
    with pytest.raises(InputError, match="sub-77 is not a labelled subject"):
        split(cohort(3), test=["sub-77"])
    with pytest.raises(InputError, match="no labelled subject is left"):
        split(cohort(2), validation=["sub-00", "sub-01"])
    with pytest.raises(InputError, match=r"sub-01 is in .*give all sessions one role"):
        split(cohort(3, sessions=2), validation=["sub-01_ses-0"])
    with pytest.raises(
        InputError, match=r"sub-01 is named for both validation and test; choose one"
    ):
        split(cohort(3), ["sub-01"], ["sub-01"])
    with pytest.raises(InputError, match=r"sub-01_ses-1 is named for both validation and test"):
        split(cohort(3, sessions=2), ["sub-01"], ["sub-01_ses-1"])
    with pytest.raises(InputError, match="give all sessions one role"):
        split(cohort(3, sessions=2), ["sub-01_ses-0"], ["sub-01_ses-1"])


def counts(split):
    return [len(names) for names in (split.train, split.validation, split.test, split.unlabelled)]


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(1, (0, 0, 0, 1)), (2, (0, 0, 0, 2)), (3, (0, 1, 0, 2)), (20, (0, 2, 0, 18))],
)
def test_without_labels_few_are_kept_aside(count, sizes):
    everybody = cohort(count, labelled=False)
    assert counts(split_without_labels(everybody)) == list(sizes)
    assert split_without_labels(everybody) == split_without_labels(everybody)


def test_without_labels_persons_stay_whole_and_keep_their_roles():
    everybody = cohort(5, sessions=2, labelled=False)
    found = split_without_labels(everybody, known={"sub-01": "test", "sub-02": "validation"})
    assert found.validation == ("sub-02_ses-0", "sub-02_ses-1")
    assert counts(found) == [0, 2, 0, 6]
    assert not any("sub-01" in name for name in found.unlabelled)
    with pytest.raises(InputError, match="every person of the study validates or tests"):
        split_without_labels(cohort(1, labelled=False), known={"sub-00": "test"})
