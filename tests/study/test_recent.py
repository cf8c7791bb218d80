"""What was opened last, and what waits there."""

import numpy as np
import pytest

from napari_pvs.scans.scan import load_scan
from napari_pvs.study import recent
from napari_pvs.study.bids import scan_of, subject
from napari_pvs.study.drafts import DraftStore, Made, recovery_folder, scan_key
from napari_pvs.study.labels import LabelStore
from napari_pvs.study.recent import MOST, Recent


@pytest.fixture(autouse=True)
def folder(user_data):
    return user_data


def test_nothing_was_opened_yet():
    assert recent.read() == []
    assert recent.unfinished([]) == []


def test_the_newest_comes_first_once_and_what_is_gone_is_left_out(tmp_path):
    studies = [tmp_path / f"study-{n}" for n in range(MOST + 2)]
    for study in studies:
        study.mkdir()
        recent.remember(Recent(study=study))
    recent.remember(Recent(study=studies[5]))
    studies[8].rmdir()
    found = [one.study for one in recent.read()]
    assert found == [studies[n] for n in (5, 9, 7, 6, 4, 3, 2)]
    recent.remember(Recent(study=studies[9]))
    studies[8].mkdir()  # a disk that was unplugged
    assert [one.study for one in recent.read()] == [studies[n] for n in (9, 5, 8, 7, 6, 4, 3, 2)]


def test_a_damaged_list_is_no_list(user_data):
    file = user_data / "napari-pvs" / "recent.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text('[{"study": 3}]')
    assert recent.read() == []
    recent.remember(Recent(study=user_data))
    assert [one.study for one in recent.read()] == [user_data]


def test_drafts_of_a_study_wait_and_predictions_do_not(make_study):
    study = make_study(subjects=3, labelled=0)
    place = Recent(study=study)
    assert recent.unfinished([place]) == []
    for name, origin in (("sub-01", "drawn"), ("sub-02", "predicted")):
        scan = scan_of(subject(study, name))
        LabelStore(study, name).save(
            scan.to_source(np.ones(scan.grid.shape, np.uint8)),
            scan.source, author="A", origin=origin, state="draft",
            weights_id="a" * 12 if origin == "predicted" else None,
        )  # fmt: skip
    (found,) = recent.unfinished([place])
    assert (found.subject, found.draft.author, found.place) == ("sub-01", "A", place)


def test_a_draft_of_files_is_found_by_their_voxels(head_files):
    t1, t2, brain = head_files
    scan = load_scan(t1, t2, brain)
    place = Recent(t1=t1, t2=t2, brain=brain, key=scan_key(scan))
    store = DraftStore(scan)
    store.draft(np.ones(scan.grid.shape, np.uint8), Made("B", "drawn"))
    assert recovery_folder().is_dir()
    (found,) = recent.unfinished([place])
    assert (found.subject, found.draft.author) == (None, "B")
    assert place.name == t1.name
    store.final(np.ones(scan.grid.shape, np.uint8), Made("B", "drawn"))
    assert recent.unfinished([place]) == []
