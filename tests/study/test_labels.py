import gzip
import json
import shutil
from contextlib import contextmanager

import nibabel as nib
import numpy as np
import pytest

from napari_pvs.errors import InputError, InputWarning
from napari_pvs.scans.nifti import read_labels, write_like
from napari_pvs.study import labels
from napari_pvs.study.labels import LabelStore, Revisions, digest, stamp

ABOUT = {"subject": "sub-01", "author": "bob", "origin": "drawn", "state": "final"} | {
    "voxels": 0,
    "volume_mm3": 0,
}
NEWER = b"an image that is newer"


@pytest.fixture
def store(tmp_path):
    return LabelStore(tmp_path, "sub-01")


@pytest.fixture
def anat(tmp_path):
    return tmp_path / "derivatives/labels/sub-01/anat"


@pytest.fixture
def plain(anat):
    return anat / "sub-01_label-PVS_mask.nii.gz"


@pytest.fixture
def save(store, mask, like):
    """Function of a seed: saves that mask as corrected by a rater."""

    def run(seed, **values):
        values = {"author": "ann", "origin": "corrected"} | values
        return store.save(mask(seed), like, **values)

    return run


def test_a_final_revision_and_its_copy(store, anat, plain, save, mask, like):
    assert (store.revisions(), store.current(), store.outside()) == ([], None, None)
    one = save(1, comment="basal ganglia only")
    two = save(2, parent=1, weights_id="0123456789ab", origin="drawn", author="bob")
    assert store.revisions() == [one, two]
    assert store.current() == two
    assert (one.number, one.parent, one.author, one.comment) == (
        1,
        None,
        "ann",
        "basal ganglia only",
    )
    assert (two.number, two.parent, two.weights_id, two.origin) == (2, 1, "0123456789ab", "drawn")
    assert two.time >= one.time
    assert two.time.utcoffset().total_seconds() == 0
    assert (one.subject, one.state) == ("sub-01", "final")
    assert one.voxels == mask(1).sum()
    assert one.volume_mm3 == pytest.approx(0.4 * one.voxels)
    for number, revision in ((1, one), (2, two)):
        volume = store.load(revision)
        assert (volume.data == mask(number)).all()
        assert np.allclose(volume.affine, like.affine)
        assert store.path(revision).name == f"r000{number}_{revision.sha256[:8]}.nii.gz"
    assert plain.read_bytes() == store.path(two).read_bytes()
    names = {path.name for path in (anat / "revisions").iterdir()}
    assert names == {
        f"r000{r.number}{end}" for r in (one, two) for end in (".json", f"_{r.sha256[:8]}.nii.gz")
    }
    assert {path.name for path in anat.iterdir()} == {"revisions", plain.name}


def test_a_session_has_its_own(tmp_path, mask, like):
    store = LabelStore(tmp_path, "sub-01_ses-b")
    store.save(mask(0), like, author="ann", origin="drawn")
    anat = tmp_path / "derivatives/labels/sub-01/ses-b/anat"
    assert (anat / "sub-01_ses-b_label-PVS_mask.nii.gz").is_file()
    assert LabelStore(tmp_path, "sub-01_ses-a").revisions() == []


def test_drafts_stay_inside(store, plain, save):
    first = save(1, state="draft", origin="predicted")
    assert (store.current(), store.current("draft"), store.pending()) == (None, first, first)
    assert not plain.exists()
    final = save(2)
    assert (store.current(), store.pending()) == (final, None)
    published = plain.read_bytes()
    draft = save(3, state="draft")
    assert (store.current(), store.pending()) == (final, draft)
    assert plain.read_bytes() == published


def test_a_prediction_does_not_hide_what_a_rater_has_begun(store, save):
    assert store.predicted() is None
    begun = save(1, state="draft")
    predicted = save(2, state="draft", origin="predicted")
    assert (store.pending(), store.predicted()) == (begun, predicted)
    final = save(3)
    newest = save(4, state="draft", origin="predicted")
    assert (store.current(), store.pending(), store.predicted()) == (final, newest, newest)


def test_a_study_that_was_moved_is_not_made_anew(tmp_path, mask, like):
    store = LabelStore(tmp_path / "moved", "sub-01")
    with pytest.raises(InputError, match=r"moved is no longer there; open the study where it is"):
        store.save(mask(0), like, author="ann", origin="drawn")
    assert not (tmp_path / "moved").exists()


def test_numbers_of_pvs_are_kept_and_zero_one_takes_little_space(store, mask, like):
    numbers = np.arange(mask(0).size).reshape(like.shape)
    saved = store.save(numbers, like, author="ann", origin="drawn")
    assert (store.load(saved).data == numbers).all()
    assert saved.voxels == numbers.size - 1
    flags = [store.save(mask(1).astype(t), like, author="a", origin="drawn") for t in (bool, int)]
    assert flags[0].sha256 == flags[1].sha256
    assert nib.load(store.path(flags[0])).get_data_dtype() == np.uint8


def test_an_empty_label_is_a_label(store, plain, like):
    saved = store.save(np.zeros(like.shape, bool), like, author="ann", origin="drawn")
    assert (saved.voxels, saved.volume_mm3) == (0, 0)
    assert store.current() == saved
    assert not read_labels(plain).data.any()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((6, 7, 8), np.float32), "booleans, or integers"),
        (np.full((6, 7, 8), -1), "booleans, or integers"),
        (np.zeros((6, 7, 9), bool), "shape"),
    ],
)
def test_what_is_no_label(store, like, array, message):
    with pytest.raises(ValueError, match=message):
        store.save(array, like, author="ann", origin="drawn")
    with pytest.raises(ValueError, match="origin"):
        store.save(np.zeros(like.shape, bool), like, author="ann", origin="guessed")
    assert store.revisions() == []


def test_what_was_corrected_from_a_plain_file_is_made_from_its_revision(
    store, plain, save, mask, like
):
    write_like(plain, mask(5), like)
    drawn = save(2, origin="drawn")
    assert (drawn.number, drawn.parent) == (2, None)
    write_like(plain, mask(6), like)
    predicted = save(3, origin="corrected", weights_id="0123456789ab")
    assert (predicted.number, predicted.parent) == (4, None)
    write_like(plain, mask(7), like)
    corrected = save(4, origin="corrected")
    assert (corrected.number, corrected.parent) == (6, 5)


def test_a_plain_file_of_another_tool(store, plain, save, mask, like):
    write_like(plain, mask(5), like)
    content = plain.read_bytes()
    assert store.outside() == plain
    imported = store.import_outside()
    assert (imported.number, imported.origin, imported.parent) == (1, "imported", None)
    assert imported.voxels == mask(5).sum()
    assert store.path(imported).read_bytes() == content == plain.read_bytes()
    assert store.outside() is None
    assert store.import_outside() is None
    assert store.revisions() == [imported]


def test_an_edit_by_another_tool_is_never_overwritten(store, plain, save, mask, like):
    save(1)
    write_like(plain, mask(2).astype(np.float32), like)  # as some tools write masks
    edited = plain.read_bytes()
    save(3, state="draft")
    assert store.outside() == plain
    save(4)
    assert [r.origin for r in store.revisions()] == [
        "corrected",
        "corrected",
        "imported",
        "corrected",
    ]
    third = store.revisions()[2]
    assert (third.parent, third.state) == (1, "final")
    assert store.path(third).read_bytes() == edited
    assert (read_labels(plain).data == mask(4)).all()


@pytest.mark.parametrize("known", ["/etc/hostname@x", "a/**@x", "a\0b@x", "[@x", "../../x@x", "@"])
def test_a_stamp_of_a_damaged_file_names_no_label(store, mask, like, known):
    store.save(mask(1), like, author="me", origin="drawn")
    assert store.stamped(known) is None or known == "@"


@pytest.mark.parametrize("ending", [".nii", ".mgz"])
def test_a_plain_file_of_another_format(store, anat, plain, mask, like, ending):
    theirs = anat / f"sub-01_label-PVS_mask{ending}"
    write_like(theirs, mask(1), like)
    content = theirs.read_bytes()
    known = stamp(theirs, anat.parents[3])
    assert store.stamped(known) == theirs
    imported = store.import_outside()
    assert store.stamped(known).read_bytes() == content
    assert store.stamped(known[:-1] + "?") is None
    assert (store.load(imported).data == mask(1)).all()
    assert (anat / "revisions" / f"r0001_{theirs.name}").read_bytes() == content
    assert not theirs.exists()
    assert plain.read_bytes() == store.path(imported).read_bytes()
    assert store.outside() is None


def test_a_plain_file_under_another_name_keeps_it(store, anat, mask, like, save):
    theirs = anat / "sub-01_run-1_desc-pvs_mask.nii.gz"
    write_like(theirs, mask(1), like)
    saved = save(2)
    assert [path.name for path in anat.glob("*.nii.gz")] == [theirs.name]
    assert theirs.read_bytes() == store.path(saved).read_bytes()
    assert store.revisions()[0].comment == theirs.name


def test_what_cannot_be_imported_is_left_alone(store, plain, save):
    plain.parent.mkdir(parents=True)
    plain.write_bytes(gzip.compress(b"half a file")[:-4])
    with pytest.raises(InputError, match=f"{plain.name} is "):
        store.import_outside()
    content = plain.read_bytes()
    with pytest.warns(
        InputWarning, match=r"of sub-01 was left as it is \(.*label-PVS_mask.nii.gz is "
    ):
        saved = save(1)
    assert plain.read_bytes() == content
    assert store.current() == saved
    assert store.outside() == plain


def test_two_plain_files(store, anat, save, mask, like):
    paths = [anat / f"sub-01_label-PVS_mask.nii{end}" for end in ("", ".gz")]
    for seed, path in enumerate(paths):
        write_like(path, mask(seed), like)
    before = [path.read_bytes() for path in paths]
    with pytest.warns(InputWarning, match="keep one of them"):
        saved = save(2)
    assert [path.read_bytes() for path in paths] == before
    assert store.revisions() == [saved]


def test_a_crash_before_the_copy_is_made_good(store, plain, save):
    first, second = save(1), save(2)
    shutil.copyfile(store.path(first), plain)
    assert store.outside() is None
    assert store.current() == second
    assert store.import_outside() is None
    assert plain.read_bytes() == store.path(second).read_bytes()
    plain.unlink()
    store.import_outside()
    assert plain.read_bytes() == store.path(second).read_bytes()
    assert store.revisions() == [first, second]


def test_altered_missing_and_damaged_files(store, anat, save):
    first, second = save(1), save(2)
    shutil.copyfile(store.path(first), store.path(second))
    with pytest.raises(InputError, match=r"r0002_.* was altered .*; restore it .*\.$"):
        store.load(second)
    store.path(first).unlink()
    with pytest.raises(InputError, match=r"r0001_.* is missing; restore it .*\.$"):
        store.load(first)
    sidecar = anat / "revisions/r0002.json"
    values = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps(values | {"of a newer version": 1}))
    assert store.current() == second
    sidecar.write_text(json.dumps(values)[:-9])
    with pytest.raises(
        InputError, match=r"r0002\.json is not a readable revision \(no valid .*\); .*\.$"
    ):
        store.current()


def test_what_a_dead_writer_left_does_not_exist(store, anat, plain, save, touch):
    first = save(1)
    folder = anat / "revisions"
    touch(folder, "r0002.json", "r0003_01234567.nii.gz", ".tmp-x-r0004.json", "notes.txt")
    touch(anat, f".tmp-x-{plain.name}")
    left = {path.name for path in folder.iterdir()}
    assert store.revisions() == [first]
    assert store.outside() is None
    second = save(2)
    assert second.number == 4
    assert store.revisions() == [first, second]
    assert left < {path.name for path in folder.iterdir()}


def test_a_full_disk_at_every_step(store, anat, save, monkeypatch):
    """Each save fails one write later; what is listed is whole each time."""
    import os

    save(0)
    fsync = os.fsync
    said = []
    for step in range(1, 100):
        calls = iter(range(1, 1000))

        def full(handle, step=step, calls=calls):
            if next(calls) == step:
                raise OSError(28, "No space left on device")
            fsync(handle)

        monkeypatch.setattr(os, "fsync", full)
        listed = len(store.revisions())
        try:
            save(step)
        except InputError as error:
            said.append(str(error))
        except InputWarning:  # the revision is there, its copy is not
            assert len(store.revisions()) == listed + 1
            said.append("left")
        monkeypatch.setattr(os, "fsync", fsync)
        for revision in store.revisions():
            store.load(revision)
        if next(calls) <= step:
            break
    assert len(said) == step - 1
    assert sum("No space left on device" in text for text in said) >= 4
    assert said[-1] == "left"
    assert not list(anat.rglob(".tmp-*"))
    assert read_labels(anat / "sub-01_label-PVS_mask.nii.gz").data.any()
    images = {path.name for path in (anat / "revisions").glob("*.nii.gz")}
    assert images == {store.path(r).name for r in store.revisions()}


def test_a_study_that_cannot_be_written(store, anat, plain, save, mask, like):
    write_like(plain, mask(1), like)
    (anat / "revisions").touch()  # nothing can be created below a file, even by root
    with pytest.raises(InputError, match=r"revisions cannot be written \(.*\); .*save again\.$"):
        save(2)
    with pytest.raises(InputError, match="revisions cannot be written"):
        store.import_outside()
    assert store.revisions() == []
    assert store.outside() == plain
    assert (read_labels(plain).data == mask(1)).all()


WRITERS = """
import os, sys
from pathlib import Path
import numpy as np
from napari_pvs.scans.nifti import Geometry
from napari_pvs.study.labels import LabelStore

root, like = Path(sys.argv[1]), Geometry.from_affine((6, 7, 8), np.eye(4))

def save(writer, count):
    rng = np.random.default_rng(writer)
    store = LabelStore(root, "sub-01")
    for n in range(count):
        mask = rng.random(like.shape) < 0.1
        store.save(mask, like, author=str(writer), origin="drawn", comment=str(mask.sum()))
"""


def check(store):
    """Every revision loads and is what its writer meant."""
    revisions = store.revisions()
    assert [r.number for r in revisions] == sorted({r.number for r in revisions})
    for revision in revisions:
        assert store.load(revision).data.sum() == int(revision.comment) == revision.voxels
    return revisions


def test_writers_side_by_side(store, tmp_path, plain, forking):
    code = """
children = []
for writer in range(4):
    children.append(os.fork())
    if not children[-1]:
        save(writer, 5)
        os._exit(0)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
"""
    forking(WRITERS + code, tmp_path)
    revisions = check(store)
    assert sorted(r.author for r in revisions) == [str(w) for w in range(4) for _ in range(5)]
    assert plain.read_bytes() == store.path(revisions[-1]).read_bytes()


def test_writers_that_are_killed(store, tmp_path, plain, forking):
    code = """
import random, signal, time
store, before = LabelStore(root, "sub-01"), []
random.seed(0)
for writer in range(25):
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        for n in range(1000):
            save(10 * writer + n, 1)
            os.write(writing, b".")
    os.close(writing)
    assert os.read(reading, 1)
    start = time.monotonic()
    assert os.read(reading, 1)
    time.sleep(random.random() * (time.monotonic() - start))  # somewhere in the third
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    os.close(reading)
    now = store.revisions()
    assert len(now) >= len(before) + 2
    assert now[:len(before)] == before
    assert store.outside() is None, store.outside()
    before = now
"""
    forking(WRITERS + code, tmp_path)
    revisions = check(store)
    assert len(revisions) >= 50
    folder = store.path(revisions[0]).parent
    begun = max(int(path.name[1:5]) for path in folder.glob("r*"))
    assert begun > len(revisions) or list(folder.parent.rglob(".tmp-*"))  # some died on the way
    assert store.import_outside() is None
    assert plain.read_bytes() == store.path(revisions[-1]).read_bytes()


def test_a_plain_file_with_the_content_of_a_draft_is_another_tools(store, save, plain):
    save(0, state="final")
    draft = save(1, state="draft")
    plain.write_bytes(store.path(draft).read_bytes())  # exported from the viewer, say
    assert store.outside() == plain
    save(2, state="final")
    kept = [one.sha256 for one in store.revisions() if one.state == "final"]
    assert draft.sha256 in kept  # imported before it was replaced


ABOUT = {
    "subject": "sub-01",
    "author": "ann",
    "origin": "drawn",
    "state": "final",
    "voxels": 0,
    "volume_mm3": 0,
}


def test_a_number_that_another_writer_takes_meanwhile(tmp_path, monkeypatch):
    store, listed, theirs = Revisions(tmp_path / "revisions"), Revisions._numbers, []

    def numbers(self, ending):
        found = listed(self, ending)
        if len(theirs) < 2:
            theirs.append(1)
            self.commit(b"theirs", **ABOUT)
        return found

    monkeypatch.setattr(Revisions, "_numbers", numbers)
    ours = store.commit(b"ours", **ABOUT)
    saved = {r.number: store.path(r).read_bytes() for r in store.newest_first()}
    assert saved == {1: b"theirs", 2: b"theirs", 3: b"ours"}
    assert ours.number == 3


def test_many_revisions_are_in_order(tmp_path):
    store = Revisions(tmp_path)
    (tmp_path / "r9999.json").touch()
    for n in (10_000, 10_001):
        assert store.commit(b"x", **ABOUT).number == n
    assert [r.number for r in store.newest_first()] == [10_001, 10_000]


def test_content_is_known_by_its_whole_digest(tmp_path):
    store = Revisions(tmp_path)
    saved = store.commit(b"ours", **ABOUT)
    assert store.published(saved.sha256)
    assert not store.published(saved.sha256[:8] + "0" * 56)
    assert not store.published("0" * 64)


def test_digest(tmp_path):
    (tmp_path / "empty").touch()
    assert digest(tmp_path / "empty").startswith("e3b0c44298fc1c149afb")
    with pytest.raises(InputError, match=r"absent cannot be read \(.*\); check .*\.$"):
        digest(tmp_path / "absent")


def test_a_plain_file_that_is_being_written_is_not_imported(store, plain, mask, like, monkeypatch):
    write_like(plain, mask(1), like)

    def meanwhile(path):
        volume = read_labels(path)
        write_like(plain, mask(2), like)  # the other program goes on
        return volume

    monkeypatch.setattr(labels, "read_labels", meanwhile)
    with pytest.raises(
        InputError,
        match=r"label-PVS_mask\.nii\.gz is being written by another program; try again\.",
    ):
        store.import_outside()
    monkeypatch.undo()
    assert store.revisions() == []
    assert store.outside() == plain
    assert (store.load(store.import_outside()).data == mask(2)).all()


def test_a_plain_file_that_another_program_changes_during_a_save_is_left_alone(
    store, plain, save, mask, like, monkeypatch
):
    save(1)
    commit = labels.Revisions.commit

    def meanwhile(self, content, **values):
        saved = commit(self, content, **values)
        write_like(plain, mask(2), like)
        return saved

    monkeypatch.setattr(labels.Revisions, "commit", meanwhile)
    with pytest.warns(InputWarning, match="was changed by another program"):
        saved = save(3)
    monkeypatch.undo()
    assert (read_labels(plain).data == mask(2)).all()
    assert store.current() == saved
    assert store.outside() == plain


def test_the_plain_file_is_of_the_newest_of_two_that_are_saved_at_once(
    store, plain, save, mask, like, monkeypatch
):
    atomic, other = labels.atomic, LabelStore(store._root, "sub-01")

    @contextmanager
    def meanwhile(path):
        with atomic(path) as temporary:
            yield temporary
        if path == plain:  # it has the name, and the other writer's is newer
            monkeypatch.undo()
            later = other.commit(NEWER, **ABOUT)
            assert later.number == 2

    monkeypatch.setattr(labels, "atomic", meanwhile)
    assert save(1).number == 1
    assert plain.read_bytes() == NEWER


@pytest.fixture
def former(anat):
    return anat / "sub-01_desc-pvs_mask.nii.gz"


@pytest.fixture
def scans(tmp_path, like):
    folder = tmp_path / "sub-01" / "anat"
    for number in (1, 2):
        write_like(folder / f"sub-01_T{number}w.nii.gz", np.ones(like.shape, np.int32), like)
    return [f"bids:raw:sub-01/anat/sub-01_T{number}w.nii.gz" for number in (1, 2)]


def test_the_plain_file_is_described(store, plain, anat, save, scans, mask, like):
    save(1)
    sidecar = plain.with_name("sub-01_label-PVS_mask.json")
    told = json.loads(sidecar.read_text())
    assert (told["Sources"], told["SpatialReference"]) == (scans, scans[0])
    assert (told["Manual"], told["NapariPvsRevision"]) == (True, 1)
    about = json.loads((anat.parents[1] / "dataset_description.json").read_text())
    assert about["DatasetLinks"] == {"raw": "../.."}
    store.save(mask(2), like, author="net", origin="predicted")
    told = json.loads(sidecar.read_text())
    assert (told["Manual"], told["NapariPvsRevision"]) == (False, 2)


def test_the_sidecar_of_another_tool_is_left_alone(plain, save, scans):
    sidecar = plain.with_name("sub-01_label-PVS_mask.json")
    sidecar.parent.mkdir(parents=True)
    sidecar.write_text('{"Manual": false}')
    save(1)
    assert sidecar.read_text() == '{"Manual": false}'
    assert plain.is_file()


def test_without_scans_nothing_is_described(anat, save):
    save(1)
    assert [path.name for path in anat.iterdir() if path.is_file()] == [
        "sub-01_label-PVS_mask.nii.gz"
    ]
    assert not (anat.parents[1] / "dataset_description.json").exists()


def test_a_file_of_the_former_name_keeps_it(store, former, plain, anat, mask, like, save, scans):
    write_like(former, mask(1), like)
    theirs = former.read_bytes()
    assert store.outside() == former
    saved = save(2)
    imported = store.revisions()[0]
    assert (imported.origin, imported.comment) == ("imported", former.name)
    assert store.path(imported).read_bytes() == theirs
    assert former.read_bytes() == store.path(saved).read_bytes()
    assert not plain.exists()
    assert former.with_name("sub-01_desc-pvs_mask.json").is_file()
    write_like(former, mask(3), like)  # by another program
    assert store.outside() == former
    assert save(4).number == 4


def test_copies_under_both_names_are_kept_up_to_date(store, former, plain, save):
    save(1)
    shutil.copyfile(plain, former)  # as version 0.1 does
    assert store.outside() is None
    saved = save(2)
    assert plain.read_bytes() == former.read_bytes() == store.path(saved).read_bytes()
    assert len(store.revisions()) == 2


@pytest.mark.parametrize("foreign", ["former", "plain"])
def test_of_both_names_the_one_that_another_tool_wrote_wins(
    store, former, plain, mask, like, save, foreign
):
    save(1)
    shutil.copyfile(plain, former)
    theirs = former if foreign == "former" else plain
    write_like(theirs, mask(2), like)
    assert store.outside() == theirs
    imported = store.import_outside()
    np.testing.assert_array_equal(store.load(imported).data, mask(2))
    assert store.outside() is None
    assert plain.read_bytes() == former.read_bytes() == store.path(imported).read_bytes()


def test_of_two_that_other_tools_wrote_neither_is_taken(store, former, plain, mask, like, save):
    write_like(former, mask(1), like)
    write_like(plain, mask(1), like)
    assert store.outside() == plain  # they are the same
    write_like(former, mask(2), like)
    with pytest.raises(InputError, match=f"contains {plain.name} and {former.name}; keep one of"):
        store.outside()
    before = former.read_bytes(), plain.read_bytes()
    with pytest.warns(InputWarning, match="keep one of them"):
        assert save(3).number == 1
    assert (former.read_bytes(), plain.read_bytes()) == before
