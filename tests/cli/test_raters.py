"""The verb agree."""

import json

import numpy as np
import pytest

from napari_pvs import cli
from napari_pvs.scans.nifti import Geometry
from napari_pvs.study.labels import LabelStore


@pytest.fixture
def study(tmp_path):
    """Three subjects that ann and bob have labelled, and a prediction of each."""
    root = tmp_path / "study"
    root.mkdir()
    like = Geometry.from_affine((30, 9, 9), np.eye(4))
    for at in range(3):
        store = LabelStore(root, f"sub-{at + 1:02d}")
        for author, places in (("net", range(8)), ("ann", range(4 + at)), ("bob", range(1, 6))):
            mask = np.zeros(like.shape, bool)
            for place in places:
                mask[3 * place + 1, 4, 2:7] = True
            predicted = author == "net"
            store.save(
                mask,
                like,
                author=author,
                origin="predicted" if predicted else "drawn",
                state="draft" if predicted else "final",
            )
    return root


def agree(*arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main(["agree", *map(str, arguments)])
    return ended.value.code


def test_two_raters_are_compared(study, tmp_path, capsys):
    tsv, file = tmp_path / "agreement.tsv", tmp_path / "agreement.json"
    assert agree(study, "--tsv", tsv, "--json", file) == 0
    out = capsys.readouterr().out
    assert "1: ann, 2: bob" in out
    assert "Counts over subjects: ICC(2,1)" in out
    rows = [line.split("\t") for line in tsv.read_text().splitlines()]
    first = dict(zip(rows[0], rows[1], strict=True))
    # ann has 0-3, bob 1-5, the network 0-7: both 3, ann alone 1, bob alone 2, nobody 2
    cells = {"both": "3", "only_first": "1", "only_second": "2", "neither": "2"}
    assert first.items() >= (cells | {"subject": "sub-01", "rater_2": "bob"}).items()
    # observed 5/8; chance (4 · 5 + 4 · 3) / 64 = 1/2
    assert float(first["kappa"]) == pytest.approx((5 / 8 - 1 / 2) / (1 / 2))
    assert float(first["dsc"]) == pytest.approx(6 / 9)
    found = json.loads(file.read_text())
    assert found["raters"] == ["ann", "bob"]
    assert found["summary"]["both"] == 3 + 4 + 5
    assert found["summary"]["n"] == 3
    assert -1 <= found["summary"]["count_icc"] <= 1
    assert found["left_out"] == {}


def test_it_can_be_quiet(study, tmp_path, capsys):
    assert agree(study, "--quiet", "--tsv", tmp_path / "agreement.tsv") == 0
    assert capsys.readouterr().out == ""
    assert (tmp_path / "agreement.tsv").is_file()


def test_the_raters_are_named(study, capsys):
    assert agree(study, "--raters", "bob", "ann") == 0
    assert "1: bob, 2: ann" in capsys.readouterr().out


def test_what_is_refused(study, tmp_path, refused, write_image):
    assert "has no final labels by eve, but by ann, bob" in refused(
        "agree", study, "--raters", "ann", "eve"
    )
    assert "is no longer there" in refused("agree", tmp_path / "none")
    there = tmp_path / "there.tsv"
    there.write_text("mine")
    assert "exists; add --overwrite" in refused("agree", study, "--tsv", there)
    assert "name two files" in refused("agree", study, "--tsv", there, "--json", there)
    assert there.read_text() == "mine"


def test_a_subject_that_cannot_be_compared_is_named_at_the_end(study, capsys):
    store = LabelStore(study, "sub-02")
    (ann,) = (one for one in store.revisions() if one.author == "ann")
    mask = store.load(ann)
    store.save(mask.data > 0, mask, author="bob", origin="corrected", parent=ann.number)
    LabelStore(study, "sub-04").save(mask.data > 0, mask, author="ann", origin="drawn")
    assert agree(study) == 2
    said = capsys.readouterr()
    assert "1 of 3 subjects could not be compared: sub-02: bob's labels were made" in said.err
    assert "Labelled by one of them only: sub-04." in said.out
    assert "sub-03" in said.out
    assert "needs three subjects" in said.out
