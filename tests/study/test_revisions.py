import pytest

from napari_pvs.errors import InputError
from napari_pvs.study.labels import Revisions, digest

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
