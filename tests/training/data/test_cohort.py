import numpy as np
import pytest

from napari_pvs.errors import InputError
from napari_pvs.study.bids import subjects
from napari_pvs.study.labels import stamp
from napari_pvs.study.roles import Split, assign, read, split
from napari_pvs.training.data.cohort import Cohort, News


def names(people):
    return [one.name for one in people]


@pytest.fixture
def study(make_study):
    return make_study(5, labelled=3)


def cohort(study, unlabelled=True, validation=("sub-03",)):
    return Cohort(study, split(subjects(study), validation), unlabelled)


def label(study, name, array, write_image):
    path = study / f"derivatives/labels/{name}/anat/{name}_desc-pvs_mask.nii.gz"
    write_image(path, array)
    return path


def test_who_takes_part(study):
    one = cohort(study)
    one.open()
    assert names(one.train) == ["sub-01", "sub-02"]
    assert names(one.validation) == ["sub-03"]
    assert names(one.unlabelled) == ["sub-04", "sub-05"]
    assert list(one.labels) == ["sub-01", "sub-02"]
    assert all(s.label is None for s in one.unlabelled)
    without = cohort(study, unlabelled=False)
    without.open()
    assert without.unlabelled == []
    assert (study / "derivatives" / "napari-pvs" / "cache").is_dir()


def test_who_is_held_out_is_not_learnt_from_without_a_label_either(study):
    roles = Split(("sub-01",), ("sub-03",), (), ("sub-05",))  # sub-04 is tested by other runs
    one = Cohort(study, roles, unlabelled=True)
    one.open({"sub-01": stamp(subjects(study)[0].label, study)})
    assert names(one.unlabelled) == ["sub-05"]


def test_update(study, make_head, write_image):
    one = cohort(study)
    one.open()
    assert one.update() == News([], [], [])
    before = one.train[0]
    label(study, "sub-04", make_head(seed=3).label, write_image)
    changed = make_head(seed=1).label
    changed[8:10, 8:10, 8:10] = True
    path = label(study, "sub-02", changed, write_image)
    assert one.update() == News(["sub-04"], ["sub-02"], [])
    assert names(one.train) == ["sub-01", "sub-02", "sub-04"]
    assert names(one.unlabelled) == ["sub-05"]
    assert one.train[0] is before  # what stayed is not read again
    np.testing.assert_array_equal(one.train[1].label, changed[1:-1, 1:-1, 1:-1])
    path.unlink()
    assert one.update().removed == ["sub-02"]
    assert names(one.unlabelled) == ["sub-02", "sub-05"]


def test_a_label_that_cannot_be_read_yet_waits(study, make_head, write_image, caplog):
    one = cohort(study)
    one.open()
    path = study / "derivatives/labels/sub-04/anat/sub-04_desc-pvs_mask.nii.gz"
    whole = write_image(study / "whole.nii.gz", make_head(seed=3).label).read_bytes()
    path.parent.mkdir(parents=True)
    path.write_bytes(whole[: len(whole) // 2])
    assert one.update() == News([], [], [])
    assert "waits for the next epoch" in caplog.text
    assert "sub-04_desc-pvs_mask" in caplog.text
    assert names(one.train) == ["sub-01", "sub-02"]
    path.write_bytes(whole)
    assert one.update().added == ["sub-04"]


def test_a_label_that_cannot_be_used_keeps_no_other_waiting(study, make_head, write_image, caplog):
    one = cohort(study)
    one.open()
    label(study, "sub-04", make_head(seed=3).label[:-1], write_image)  # of another scan
    label(study, "sub-05", make_head(seed=4).label, write_image)
    was = one.labels["sub-02"]
    label(study, "sub-02", make_head(seed=5).label[:-1], write_image)
    assert one.update() == News(["sub-05"], [], [])
    assert names(one.train) == ["sub-01", "sub-02", "sub-05"]
    assert names(one.unlabelled) == ["sub-04"]
    assert one.labels["sub-02"] == was
    said = caplog.text
    assert said.count("waits for the next epoch") == 2
    assert one.update() == News([], [], [])
    assert caplog.text == said  # once


def test_a_validation_label_is_that_of_the_beginning(study, make_head, write_image):
    from napari_pvs.study.labels import LabelStore

    LabelStore(study, "sub-03").import_outside()  # a revision, which stays
    one = cohort(study)
    one.open()
    assert list(one.judged) == ["sub-03"]
    label(study, "sub-03", make_head(seed=8).label, write_image)
    again = cohort(study)
    again.open(one.labels | one.judged, resumed=True)
    assert again.judged == one.judged
    np.testing.assert_array_equal(again.validation[0].label, one.validation[0].label)


def test_an_imported_label_has_not_changed(study):
    from napari_pvs.study.labels import LabelStore

    one = cohort(study)
    one.open()
    assert LabelStore(study, "sub-02").import_outside() is not None
    assert one.update() == News([], [], [])


def test_a_label_of_a_held_out_person_stays_out(study, make_head, write_image):
    one = cohort(study)
    one.open()
    label(study, "sub-03", make_head(seed=8).label, write_image)
    assert one.update() == News([], [], [])


def test_a_changed_label_waits_for_update_where_the_old_one_is_there(
    study, make_head, write_image, caplog
):
    one = cohort(study)
    one.open()
    old = dict(one.labels)
    again = cohort(study)
    again.open(old)
    assert again.labels == old
    assert caplog.text == ""
    label(study, "sub-02", make_head(seed=7).label, write_image)
    again.open(old)
    assert "The label of sub-02 has changed since the run began" in caplog.text
    assert again.labels["sub-02"] != old["sub-02"]


def test_refuses(make_study, study):
    one = cohort(study)
    (study / "derivatives/labels/sub-03/anat/sub-03_desc-pvs_mask.nii.gz").unlink()
    with pytest.raises(InputError, match=r"sub-03 was held out for validation.*put it back"):
        one.open()


def test_refuses_labels_without_pvs(make_study):
    with pytest.raises(InputError, match=r"all labels of .* are empty; draw some PVS"):
        cohort(make_study(3, tubes=0)).open()


def test_refuses_when_nobody_is_unlabelled(make_study):
    study = make_study(3)
    with pytest.raises(InputError, match=r"every scan of .* is labelled"):
        cohort(study).open()
    cohort(study, unlabelled=False).open()


def test_a_first_label_is_frozen_when_it_is_learnt_from(study, make_head, write_image, caplog):
    scans = subjects(study)
    run = assign(scans, ("sub-03",), root=study)
    one = Cohort(study, run, unlabelled=True)
    one.open()
    label(study, "sub-04", make_head(seed=3).label, write_image)
    broken = study / "derivatives/labels/sub-05/anat/sub-05_desc-pvs_mask.nii.gz"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"half of it")
    assert one.update().added == ["sub-04"]
    assert read(study)["sub-04"] == "train"
    assert read(study)["sub-05"] == "unlabelled"  # not learnt from yet
    label(study, "sub-05", make_head(seed=4).label, write_image)
    assert one.update().added == ["sub-05"]
    assert read(study)["sub-05"] == "train"
    assert one.update() == News([], [], [])


def test_a_label_that_another_run_tests_on_is_not_learnt_from(
    make_study, make_head, write_image, caplog
):
    study = make_study(5, labelled=3)
    one = Cohort(study, assign(subjects(study), ("sub-03",), root=study, unlabelled=False), False)
    one.open()
    for name in ("sub-04", "sub-05"):
        label(study, name, make_head(seed=3).label, write_image)
    assign(subjects(study), ("sub-03",), ("sub-05",), root=study)
    assert one.update().added == ["sub-04"]
    assert names(one.train) == ["sub-01", "sub-02", "sub-04"]
    assert "sub-05: held out by another run of the study" in caplog.text
    assert one.update() == News([], [], [])


def test_a_label_that_came_after_the_checkpoint_waits_for_update(study, make_head, write_image):
    one = cohort(study)
    one.open()
    label(study, "sub-04", make_head(seed=3).label, write_image)
    again = cohort(study)
    again.open(one.labels)
    assert again.labels == one.labels
    assert names(again.unlabelled) == ["sub-04", "sub-05"]
    assert again.update().added == ["sub-04"]


def test_who_learns_is_said(study):
    one = cohort(study)
    one.open()
    assert str(one) == (
        "Training on sub-01, sub-02, validating on sub-03; unlabelled: sub-04, sub-05."
    )
    one.unlabelled = []
    one.train = one.train * 4
    assert str(one) == "Training on 8 scans, validating on sub-03; unlabelled: none."
