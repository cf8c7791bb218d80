"""Where edits are kept, and how they are found again."""

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from napari_pvs.correction.items import Decision, Review
from napari_pvs.errors import InputError
from napari_pvs.scans.nifti import Geometry
from napari_pvs.scans.scan import Scan, load_scan
from napari_pvs.study import drafts
from napari_pvs.study.drafts import (
    KEPT,
    YOUNGEST_DAYS,
    DraftStore,
    Made,
    prune,
    prune_unfinished,
    recovery_folder,
    scan_key,
)
from napari_pvs.study.labels import LabelStore
from napari_pvs.study.raters import require_independent

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
    assert "An older draft of yours remains: " in saved.notes[0]


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
    with pytest.raises(InputError, match="does not match this scan's voxels"):
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


BEGUN = datetime(2026, 1, 1, tzinfo=UTC)


def decision(n, verdict="reject", minutes=0, rater="A"):
    when = BEGUN + timedelta(minutes=minutes)
    return Decision(point=(n, n, n), kind="found", verdict=verdict, rater=rater, time=when)


def review(*decisions):
    return Review(decisions=decisions)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sub-01_desc-pvs_review.json"


def test_no_file_is_nothing_decided(path):
    assert drafts.read_decisions(path) == ()


def test_what_another_session_decided_stays(path):
    mine, theirs = decision(1), decision(2, minutes=1, rater="B")
    drafts.keep_decisions(path, review(theirs), {theirs})
    drafts.keep_decisions(path, review(mine), {mine})
    assert drafts.read_decisions(path) == (mine, theirs)


def test_the_later_of_two_decisions_about_one_pvs_counts(path):
    mine, theirs = decision(1, "accept", minutes=1), decision(1, "reject", minutes=2, rater="B")
    drafts.keep_decisions(path, review(theirs), {theirs})
    drafts.keep_decisions(path, review(mine), {mine})
    assert drafts.read_decisions(path) == (mine, theirs)  # each rater's; the last counts
    latest = decision(1, "skip", minutes=3)
    drafts.keep_decisions(path, review(latest), {mine, latest})
    assert drafts.read_decisions(path) == (theirs, latest)


def test_what_is_decided_between_two_raters_stands_beside_what_was_decided_before(path):
    before = decision(1, "accept")
    between = decision(1, "reject", minutes=5).model_copy(update={"kind": "disputed"})
    drafts.keep_decisions(path, review(before, between), {before, between})
    assert drafts.read_decisions(path) == (before, between)


def test_what_was_taken_back_here_goes(path):
    one, two = decision(1), decision(2)
    drafts.keep_decisions(path, review(one, two), {one, two})
    drafts.keep_decisions(path, review(two), {one, two})
    assert drafts.read_decisions(path) == (two,)


@pytest.mark.parametrize("content", ['{"format": "napari-pvs-review/2"}', "{", ""])
def test_a_file_that_cannot_be_understood_is_set_aside(path, content, caplog):
    for number in (1, 2):
        path.write_text(content)
        with pytest.raises(ValueError):  # noqa: PT011  pydantic's
            drafts.read_decisions(path)
        drafts.keep_decisions(path, review(decision(number)), set())
        assert drafts.read_decisions(path) == (decision(number),)
        assert path.with_name(f"{path.stem}.unread-{number}.json").read_text() == content
    assert "cannot be read and was renamed" in caplog.text


@pytest.fixture
def save(tmp_path):
    """Function that saves a label unlike all others, made from the rater's last one.

    Its attribute is the store.
    """
    store = LabelStore(tmp_path, "sub-01")
    like = Geometry.from_affine((4, 4, 60), np.eye(4))
    made, last = [], {}

    def one(author="AB", origin="corrected", state="draft", age=None, anew=False):
        if anew:
            last.pop(author, None)
        label = np.zeros((4, 4, 60), np.uint8)
        label[0, 0, len(made)] = 1
        made.append(1)
        parent = last.get(author)
        revision = store.save(label, like, author=author, origin=origin, state=state, parent=parent)
        last[author] = revision.number
        if age is not None:
            made_old(store, revision, age)
        return revision

    one.store = store
    return one


NOON = datetime(2026, 6, 15, 12, tzinfo=UTC)
OLD = YOUNGEST_DAYS + 10


def made_old(store, revision, age):
    """Write another time, so many days before `NOON`, into a sidecar."""
    path = store.path(revision).with_name(f"r{revision.number:04d}.json")
    about = json.loads(path.read_text())
    path.write_text(json.dumps(about | {"time": (NOON - timedelta(days=age)).isoformat()}))


def numbers(store):
    return [revision.number for revision in store.revisions()]


def test_before_anything_is_final_all_drafts_stay(save):
    for _ in range(KEPT + 4):
        save()
    assert prune(save.store) == 0
    assert len(numbers(save.store)) == KEPT + 4


def test_the_newest_stay_and_every_raters_last_and_predictions(save):
    save("napari-pvs", "predicted")  # 1
    save("CD")  # 2
    save("CD")  # 3, the last of CD
    for _ in range(KEPT + 2):  # 4 to KEPT + 5
        save()
    final = save(state="final").number
    save()  # begun since
    assert prune(save.store) == 4
    left = [1, 3, *range(final - KEPT + 1, final), final, final + 1]
    assert numbers(save.store) == left
    for revision in save.store.revisions():
        assert save.store.load(revision).data.sum() == 1
    # no image is left of those that went, and no number is given twice
    folder = save.store.path(save.store.revisions()[0]).parent
    assert len(list(folder.glob("*.nii.gz"))) == len(left)
    assert save().number == final + 2
    assert prune(save.store) == 0 or numbers(save.store)[-1] == final + 2


def test_what_cannot_be_deleted_stays_without_a_word(save, monkeypatch):
    for _ in range(KEPT + 2):
        save()
    save(state="final")

    def refuse(*_, **__):
        raise PermissionError("read-only")

    monkeypatch.setattr("pathlib.Path.unlink", refuse)
    assert prune(save.store) == 0
    assert len(numbers(save.store)) == KEPT + 3


def test_work_that_nothing_was_made_from_stays(save):
    save()  # 1
    save()  # 2: not restored, so the next begin anew
    for at in range(KEPT + 2):  # 3 to KEPT + 4
        save(anew=at == 0)
    save(state="final")
    assert prune(save.store) == 3
    assert numbers(save.store) == [2, *range(5, KEPT + 6)]


def test_unfinished_labels_keep_the_last_of_each_day_and_rater_and_all_that_is_young(save):
    hour = 1 / 24
    save("napari-pvs", "predicted", age=OLD + 9)  # 1
    save(age=OLD + 8)  # 2, goes
    save("CD", age=OLD + 8 - hour)  # 3, the last of CD
    save(age=OLD + 8 - hour)  # 4, the last of its day
    save(age=OLD + 1)  # 5, goes
    save(age=OLD + 1 - hour)  # 6, goes
    save(age=OLD + 1 - 2 * hour)  # 7, the last of its day
    save("AB", state="final", age=OLD)  # 8
    save(age=OLD - hour)  # 9, goes: begun since, and gone on from
    save(age=OLD - 2 * hour)  # 10
    for at in range(KEPT + 3):  # 11 to KEPT + 13: young
        save(age=YOUNGEST_DAYS - 1 - at * hour / 10)
    left = [1, 3, 4, 7, 8, 10, *range(11, KEPT + 14)]
    assert prune_unfinished(save.store, 10**4, NOON) == 0
    assert prune_unfinished(save.store, OLD + 5, NOON) == 1
    assert prune_unfinished(save.store, 0, NOON) == 3  # no less than it should
    assert numbers(save.store) == left
    assert prune_unfinished(save.store, 0, NOON) == 0
    for revision in save.store.revisions():
        assert save.store.load(revision).data.sum() == 1


def test_the_newest_drafts_of_a_scan_stay_however_old(save):
    for _ in range(KEPT + 2):
        save(age=10 * OLD)
    assert prune_unfinished(save.store, OLD, NOON) == 2
    assert numbers(save.store) == list(range(3, KEPT + 3))
    assert save.store.pending().number == KEPT + 2


def test_what_is_damaged_is_left_as_it_is(save):
    for _ in range(KEPT + 2):
        save(age=OLD)
    folder = save.store.path(save.store.revisions()[0]).parent
    (folder / "r0003.json").write_text("{")
    assert prune_unfinished(save.store, OLD, NOON) == 0
    assert len(list(folder.glob("*.json"))) == KEPT + 2


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


def test_what_is_undone_does_not_come_back_from_the_other_folder(pvs_scan, own_folders, study):
    time = datetime(2024, 1, 1, tzinfo=UTC)
    one, two = (
        Decision(point=(n, 2, 3), kind="found", verdict="accept", time=time) for n in (1, 2)
    )
    place = DraftStore(pvs_scan, study, "sub-01")
    (study / "derivatives").write_text("in the way of the folder")
    place.save_review(Review(decisions=[one, two]))
    (study / "derivatives").unlink()
    again = DraftStore(pvs_scan, study, "sub-01")
    assert again.review().decisions == (one, two)
    again.save_review(Review(decisions=[two]))  # one was undone
    assert DraftStore(pvs_scan, study, "sub-01").review().decisions == (two,)


def test_labels_of_32_bits_are_the_largest(pvs_scan, labels, own_folders):
    most = labels.astype(np.int64) * (2**31 - 1)
    place = DraftStore(pvs_scan)
    place.draft(most, ME)
    np.testing.assert_array_equal(place.pending().labels, most)
    with pytest.raises(InputError, match="above 2147483647"):
        place.draft(most + labels, ME)


def test_decisions_that_do_not_fit_on_the_disk_leave_the_old_ones(
    pvs_scan, own_folders, monkeypatch
):
    def decided(verdict):
        time = datetime(2024, 1, 1, tzinfo=UTC)
        return Review(
            decisions=[Decision(point=(1, 2, 3), kind="found", verdict=verdict, time=time)]
        )

    def full(handle):
        raise OSError(28, "No space left on device")

    place = DraftStore(pvs_scan)
    place.save_review(decided("accept"))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left on device"):
        place.save_review(decided("reject"))
    (kept,) = DraftStore(pvs_scan).review().decisions
    assert kept.verdict == "accept"


def test_a_blind_rater_is_offered_own_edits_alone(pvs_scan, labels, own_folders, study):
    place = DraftStore(pvs_scan, study, "sub-01")
    place.draft(labels, ME)
    place.draft(np.zeros_like(labels), Made("CD", "drawn"))
    assert place.pending().revision.author == "CD"
    assert place.pending("AB").revision.author == "AB"
    assert place.pending("EF") is None
    LabelStore(study, "sub-01").save(
        pvs_scan.to_source(labels), pvs_scan.source, author="CD", origin="drawn"
    )
    assert place.pending() is None  # a final revision came after it
    assert place.pending("CD") is None
    assert place.pending("AB").revision.author == "AB"


def test_a_draft_keeps_what_it_decides_between(pvs_scan, labels, own_folders, study):
    place = DraftStore(pvs_scan, study, "sub-01")
    made = Made("CD", "corrected", adjudicates=(3, 4), comment="Adjudication of AB and EF.")
    for saved in (place.draft(labels, made), place.final(labels, made)):
        assert saved.revision.adjudicates == (3, 4)
        assert saved.revision.comment == "Adjudication of AB and EF."


def test_a_correction_is_none_of_its_own_however_many_drafts_were_between(
    pvs_scan, labels, own_folders, study
):
    alice = DraftStore(pvs_scan, study, "sub-01").final(labels, Made("alice", "drawn")).revision
    place = DraftStore(pvs_scan, study, "sub-01")
    bob = Made("bob", "corrected", parents={study: alice.number})
    changed = labels.copy()
    for at in range(KEPT + 2):
        changed[at, 0, 0] = 1
        place.draft(changed, bob)
    changed[0, 1, 0] = 1
    final = place.final(changed, bob).revision
    store = LabelStore(study, "sub-01")
    assert 2 not in numbers(store)  # a link of the chain has gone
    assert final.made_from == (alice.number,)
    with pytest.raises(InputError, match="bob's labels were made from alice's"):
        require_independent(store, alice, final)


def test_a_draft_that_another_rater_went_on_from_stays(pvs_scan, labels, own_folders, study):
    place = DraftStore(pvs_scan, study, "sub-01")
    bob = Made("bob", "drawn")
    for at in range(3):
        labels[at, 0, 0] = 1
        place.draft(labels, bob)
    alice = Made("alice", "drawn", parents={study: 3})
    for at in range(KEPT + 2):
        labels[at, 1, 0] = 1
        place.draft(labels, alice)
    ours = place.final(labels, alice).revision
    for at in range(KEPT + 2):
        labels[at, 2, 0] = 1
        place.draft(labels, bob)
    theirs = place.final(labels, bob).revision
    store = LabelStore(study, "sub-01")
    assert (ours.made_from, theirs.made_from) == ((3,), ())
    assert 3 in numbers(store)
    assert not {1, 2, 5} & set(numbers(store))
    with pytest.raises(InputError, match="alice's labels were made from bob's"):
        require_independent(store, ours, theirs)


def test_days_that_were_kept_are_no_tips(save):
    for day in range(12):
        for _ in range(3):
            save(age=OLD + 30 - day)
    assert prune_unfinished(save.store, OLD, NOON) > 15
    save(state="final")
    prune(save.store)
    assert len(numbers(save.store)) == KEPT + 1


def test_damaged_and_crossed_sidecars_keep_no_label_from_being_saved(save):
    for _ in range(3):
        save()
    folder = save.store.path(save.store.revisions()[0]).parent
    one = folder / "r0001.json"
    about = json.loads(one.read_text()) | {"parent": 3, "made_from": None}
    one.write_text(json.dumps(about))
    for number in (2, 3):
        path = folder / f"r000{number}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"made_from": None}))
    assert save().made_from == ()  # and it ends
    (folder / "r0004.json").write_text("{")
    assert save().made_from is None


def test_a_final_label_that_passes_over_another_says_so(pvs_scan, labels, own_folders, study):
    place = DraftStore(pvs_scan, study, "sub-01")
    first = place.final(labels, Made("alice", "drawn"))
    bob, carol = (Made(name, "corrected", parents={study: 1}) for name in ("bob", "carol"))
    labels[1, 1, 1] = 1
    assert (first.notes, place.final(labels, bob).notes) == ((), ())
    labels[2, 2, 2] = 1
    assert place.final(labels, carol).notes == (
        "It replaces revision 2 by bob, saved since the label that yours was made from.",
    )
    labels[3, 3, 3] = 1
    assert place.final(labels, carol).notes == ()  # who goes on knows
    assert place.final(labels, bob, blind=True).notes == ()
    assert place.final(labels, Made("dave", "drawn")).notes == ()  # a second rater, from nothing
    decided = Made("eve", "drawn", adjudicates=(2, 6), comment="Adjudication.")
    assert place.final(labels, decided).notes == ()
    assert place.final(labels, Made("bob", "corrected", parents={study: 2})).notes == (
        "It replaces revision 7 decided between two raters, saved since the label that yours was "
        "made from.",
    )


def test_a_label_changed_by_another_program_meanwhile_is_told(pvs_scan, labels, own_folders, study):
    place = DraftStore(pvs_scan, study, "sub-01")
    place.final(labels, ME)
    plain = study / "derivatives/labels/sub-01/anat/sub-01_label-PVS_mask.nii.gz"
    labels[1, 1, 1] = 1
    elsewhere = DraftStore(pvs_scan, plain.parents[4].parent / "other", "sub-01")
    elsewhere.study.mkdir()
    elsewhere.final(labels, ME)
    plain.write_bytes(next(elsewhere.study.rglob("*_label-PVS_mask.nii.gz")).read_bytes())
    labels[2, 2, 2] = 1
    saved = place.final(labels, Made("AB", "corrected", parents={study: 1}))
    assert saved.notes == (
        "It replaces what another program has made of the label file, kept as revision 2.",
    )


def test_a_clock_that_runs_ahead_hides_no_draft(pvs_scan, labels, own_folders, study):
    place = DraftStore(pvs_scan, study, "sub-01")
    made_old(LabelStore(study, "sub-01"), place.final(labels, ME).revision, -1000)
    labels[1, 1, 1] = 1
    draft = place.draft(labels, Made("CD", "drawn")).revision
    assert place.pending().revision == draft
