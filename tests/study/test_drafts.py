"""Where edits are kept, and how they are found again."""

import os
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from napari_pvs.correction.review import Decision, Review
from napari_pvs.errors import InputError
from napari_pvs.scans.scan import Scan, load_scan
from napari_pvs.study.drafts import DraftStore, Made, recovery_folder, scan_key
from napari_pvs.study.labels import LabelStore

ME = Made("AB", "drawn")


@pytest.fixture
def labels(pvs_scan, tubes):
    """On the scan's grid."""
    found = np.zeros(pvs_scan.grid.shape, np.uint8)
    found[tubes["sure"]] = 1
    return found


@pytest.fixture
def study(tmp_path):
    """An empty one."""
    (tmp_path / "study").mkdir()
    return tmp_path / "study"


def test_a_draft_is_found_again_by_another_copy_of_the_scan(
    tmp_path, head_files, own_folders, make_head
):
    t1, t2, brain = head_files
    labels = make_head().label.astype(np.uint8)
    DraftStore(load_scan(t1, t2, brain)).draft(labels, Made("AB", "corrected", "0123abcd"))
    elsewhere = [path.rename(tmp_path / path.name) for path in (t1, t2, brain)]
    offer = DraftStore(load_scan(*elsewhere)).pending()
    np.testing.assert_array_equal(offer.labels, labels)
    assert offer.revision.author == "AB"
    assert offer.revision.weights_id == "0123abcd"
    assert offer.text.startswith("Edits by AB of ")
    assert "were not saved as final: " in offer.text
    assert recovery_folder().is_relative_to(own_folders)


def test_another_scan_finds_nothing(pvs_scan, labels, own_folders):
    DraftStore(pvs_scan).draft(labels, ME)
    other = replace(pvs_scan, t2=pvs_scan.t2 + 1)
    assert scan_key(other) != scan_key(pvs_scan) == scan_key(replace(pvs_scan))
    assert DraftStore(other).pending() is None


def test_the_newest_draft_is_offered_until_a_final_one_follows(pvs_scan, labels, own_folders):
    place = DraftStore(pvs_scan)
    assert place.pending() is None
    place.draft(labels, ME)
    second = np.zeros_like(labels)
    second[5, 5, 5] = 1
    revision = place.draft(second, ME).revision
    assert revision.parent == 1
    np.testing.assert_array_equal(DraftStore(pvs_scan).pending().labels, second)
    place.final(second, ME)
    assert DraftStore(pvs_scan).pending() is None
    place.draft(labels, ME)
    np.testing.assert_array_equal(DraftStore(pvs_scan).pending().labels, labels)


def test_in_a_study_it_is_a_revision_of_the_subject(pvs_scan, labels, own_folders, study):
    place = DraftStore(pvs_scan, study, "sub-01")
    assert place.in_study
    draft = place.draft(labels, ME).revision
    store = LabelStore(study, "sub-01")
    assert store.pending() == draft
    assert not recovery_folder().exists()
    final = place.final(labels, Made("AB", "corrected", "0123abcd", ME.parents))
    assert final.notes == ()
    assert store.current() == final.revision
    assert final.revision.parent == draft.number
    np.testing.assert_array_equal(store.load(final.revision).data, labels)
    assert DraftStore(pvs_scan, study, "sub-01").pending() is None


def test_a_prediction_that_nobody_touched_is_not_offered(pvs_scan, labels, own_folders, study):
    store = LabelStore(study, "sub-01")
    store.save(labels, pvs_scan.source, author="net", origin="predicted", state="draft")
    assert DraftStore(pvs_scan, study, "sub-01").pending() is None
    # nor does it hide what a rater has drawn
    store.save(labels, pvs_scan.source, author="AB", origin="drawn", state="draft")
    store.save(labels, pvs_scan.source, author="net", origin="predicted", state="draft")
    assert DraftStore(pvs_scan, study, "sub-01").pending().revision.author == "AB"


def test_a_study_that_cannot_be_written_leaves_the_draft_in_the_users_folder(
    pvs_scan, labels, own_folders, study
):
    (study / "derivatives").write_text("in the way of the folder")
    place = DraftStore(pvs_scan, study, "sub-01")
    saved = place.draft(labels, ME)
    (note,) = saved.notes
    assert str(study) in note
    assert str(recovery_folder()) in note
    again = place.draft(labels, ME, kept=True)
    assert (again.revision, again.notes) == (None, saved.notes)
    assert len(list(recovery_folder().rglob("r*.json"))) == 1
    with pytest.raises(InputError, match="cannot be written"):
        place.final(labels, ME)
    # reopened, and the study is there again
    (study / "derivatives").unlink()
    again = DraftStore(pvs_scan, study, "sub-01")
    np.testing.assert_array_equal(again.pending().labels, labels)
    again.final(labels, ME)
    assert DraftStore(pvs_scan, study, "sub-01").pending() is None


def test_an_older_draft_is_not_offered_after_a_newer_final_revision(
    pvs_scan, labels, own_folders, study
):
    DraftStore(pvs_scan).draft(labels, ME)  # before the scan belonged to a study
    store = LabelStore(study, "sub-01")
    store.save(labels, pvs_scan.source, author="other", origin="drawn")
    assert DraftStore(pvs_scan, study, "sub-01").pending() is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_without_permission(pvs_scan, labels, own_folders):
    own_folders.mkdir()
    own_folders.chmod(0o500)
    with pytest.raises(InputError, match=r"cannot be written \(Permission denied\); make room"):
        DraftStore(pvs_scan).draft(labels, ME)


def test_nothing_can_be_written(pvs_scan, labels, own_folders):
    own_folders.write_text("in the way of the folder")
    with pytest.raises(InputError, match=r"cannot be written"):
        DraftStore(pvs_scan).draft(labels, ME)
    with pytest.raises(InputError, match=r"cannot be written"):
        DraftStore(pvs_scan).save_review(DraftStore(pvs_scan).review())


def test_a_study_that_was_moved_is_not_made_anew(pvs_scan, labels, own_folders, tmp_path, study):
    place = DraftStore(pvs_scan, study, "sub-01")
    place.draft(labels, ME)
    study.rename(tmp_path / "moved")
    with pytest.raises(InputError, match=r"study is no longer there; open the study where it is"):
        place.final(labels, ME)
    saved = place.draft(labels, ME)  # into the user's own folder
    assert "is no longer there" in " ".join(saved.notes)
    assert DraftStore(pvs_scan).pending() is not None
    place.save_review(place.review())
    assert not study.exists()


def test_the_later_of_two_decisions_counts_wherever_it_is(pvs_scan, own_folders, study):
    def decided(*verdicts):
        return Review(
            decisions=[
                Decision(point=(n, 0, 0), kind="found", verdict=verdict, time=time)
                for n, (verdict, time) in enumerate(verdicts)
            ]
        )

    early, late = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC)
    place = DraftStore(pvs_scan, study, "sub-01")
    place.save_review(decided(("accept", early), ("accept", late)))
    DraftStore(pvs_scan).save_review(decided(("reject", late), ("reject", early), ("skip", early)))
    found = {one.point[0]: one.verdict for one in place.review().decisions}
    assert found == {0: "reject", 1: "accept", 2: "skip"}


def test_numbers_below_0_are_refused_in_words(pvs_scan, labels, own_folders):
    with pytest.raises(InputError, match="numbers below 0"):
        DraftStore(pvs_scan).draft(-labels.astype(np.int32), ME)


def test_own_drafts_that_cannot_be_settled_do_not_undo_the_final_one(
    pvs_scan, labels, own_folders, study
):
    place = DraftStore(pvs_scan, study, "sub-01")
    place._save, save = refusing(place), place._save
    save(place._roots[1], labels, ME, "draft")
    saved = place.final(labels, ME)
    assert saved.revision.state == "final"
    assert "An older draft of yours stays: " in saved.notes[0]


def refusing(place):
    """Function that saves into the study alone."""
    save = place._save

    def call(root, *more):
        if root == place._roots[1]:
            raise OSError(28, "No space left on device", "own")
        return save(root, *more)

    return call


def test_a_damaged_review_counts_as_none(pvs_scan, own_folders):
    place = DraftStore(pvs_scan)
    place.save_review(place.review())
    (path,) = recovery_folder().rglob("*_desc-pvs_review.json")
    path.write_text("{")
    assert place.review().decisions == ()


def test_a_draft_of_a_scan_that_was_replaced_is_not_forced_onto_it(
    pvs_scan, labels, own_folders, study
):
    DraftStore(pvs_scan, study, "sub-01").draft(labels, ME)
    grid = replace(pvs_scan.grid, affine=np.diag([1.0, 1, 1, 1]))
    with pytest.raises(InputError, match="does not lie on this scan's voxels"):
        DraftStore(replace(pvs_scan, grid=grid), study, "sub-01").pending()


def test_old_drafts_that_were_gone_on_from_go_with_the_first_new_one(
    pvs_scan, labels, own_folders, monkeypatch
):
    from napari_pvs.study import drafts

    asked = []
    monkeypatch.setattr(drafts, "prune_unfinished", lambda *given: asked.append(given))
    place = DraftStore(pvs_scan, keep_days=200)
    assert asked == []  # to look deletes nothing
    place.pending()
    assert asked == []
    place.draft(labels, ME)
    place.draft(labels, ME)
    ((store, days),) = asked
    assert days == 200
    assert len(store.revisions()) == 2


def test_a_scan_is_known_by_the_name_that_its_drafts_lie_under():
    """Else a new version would no longer find the drafts of scans outside a study."""
    image = np.arange(9 * 10 * 11, dtype=np.float32).reshape(9, 10, 11)
    scan = Scan.from_arrays(image, None, np.diag([0.8, 0.9, 1.0, 1.0]), np.ones(image.shape, bool))
    assert scan_key(scan) == "f003a8cc3a4f7627"
    both = replace(scan, t2=image)
    assert len({scan_key(scan), scan_key(both), scan_key(replace(both, t1=None))}) == 2


def test_a_subject_without_a_study_is_kept_in_the_users_folder(pvs_scan, labels, own_folders):
    place = DraftStore(pvs_scan, None, "sub-01")
    assert not place.in_study
    place.draft(labels, ME)
    np.testing.assert_array_equal(DraftStore(pvs_scan).pending().labels, labels)


def test_decisions_that_nothing_takes_are_told_for_the_study(pvs_scan, own_folders, study):
    own_folders.write_text("in the way of the folder")
    (study / "derivatives").write_text("in the way of the folder")
    place = DraftStore(pvs_scan, study, "sub-01")
    with pytest.raises(InputError, match=r"cannot be written") as told:
        place.save_review(place.review())
    assert str(study) in str(told.value)


def test_labels_of_32_bits_are_the_largest(pvs_scan, labels, own_folders):
    most = labels.astype(np.int64) * (2**31 - 1)
    place = DraftStore(pvs_scan)
    place.draft(most, ME)
    np.testing.assert_array_equal(place.pending().labels, most)
    with pytest.raises(InputError, match="above 2147483647"):
        place.draft(most + labels, ME)
