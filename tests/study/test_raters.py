"""Who has labelled what, and whose labels may be compared."""

import numpy as np
import pytest

from napari_pvs.errors import InputError
from napari_pvs.evaluation.raters import Contingency
from napari_pvs.scans.grid import Grid
from napari_pvs.scans.nifti import Geometry
from napari_pvs.study.labels import LabelStore
from napari_pvs.study.raters import (
    agree,
    final_of,
    finals,
    load_on,
    require_independent,
    take_apart,
)

SHAPE = (12, 10, 8)
AFFINE = np.diag([0.5, 1.0, 1.0, 1.0])
PLACES = {"a": (1, 1), "b": (4, 4), "c": (7, 7), "d": (10, 1)}


def mask(names: str) -> np.ndarray:
    """PVS of four voxels each at some of the places."""
    found = np.zeros(SHAPE, bool)
    for name in names:
        x, y = PLACES[name]
        found[x, y, 2:6] = True
    return found


@pytest.fixture
def study(tmp_path):
    (tmp_path / "study").mkdir()
    return tmp_path / "study"


@pytest.fixture
def save(study):
    """Function of a subject, a rater and the places of PVS."""

    def write(subject, author, names, **values):
        values = {"origin": "drawn"} | values
        store = LabelStore(study, subject)
        like = Geometry.from_affine(SHAPE, AFFINE)
        return store.save(mask(names), like, author=author, **values)

    return write


def test_the_newest_final_label_of_each_rater(study, save):
    save("sub-01", "starter", "ab", origin="predicted", state="draft")
    save("sub-01", "ann", "a")
    ann = save("sub-01", "ann", "ab", origin="corrected")
    bob = save("sub-01", "bob", "b")
    save("sub-01", "bob", "abcd", state="draft")
    save("sub-01", "starter", "abc", origin="predicted")
    save("sub-01", "cas", "ab", adjudicates=(2, 4))
    store = LabelStore(study, "sub-01")
    assert finals(store) == {"bob": bob, "ann": ann}
    assert list(finals(store)) == ["bob", "ann"]
    assert final_of(store, "cas") is None
    assert final_of(store, "ann") == ann
    assert finals(LabelStore(study, "sub-09")) == {}


def test_an_adjudication_is_kept_with_the_two_it_names(study, save):
    save("sub-01", "cas", "ab", adjudicates=(1, 2), comment="Adjudication of ann and bob.")
    (one,) = LabelStore(study, "sub-01").revisions()
    assert (one.adjudicates, one.comment) == ((1, 2), "Adjudication of ann and bob.")


def test_labels_made_from_each_other_are_not_compared(study, save):
    predicted = save("sub-01", "starter", "ab", origin="predicted", state="draft")
    ann = save("sub-01", "ann", "a", parent=predicted.number)
    bob = save("sub-01", "bob", "ab", parent=predicted.number)
    store = LabelStore(study, "sub-01")
    require_independent(store, ann, bob)  # a prediction that both have seen is no rater
    draft = save("sub-01", "bob", "ab", parent=ann.number, state="draft")
    late = save("sub-01", "bob", "abc", parent=draft.number)
    for pair in ((ann, late), (late, ann)):
        with pytest.raises(InputError, match=r"bob's labels were made from ann's \(revision 2\)"):
            require_independent(store, *pair)
    decided = save("sub-01", "ann", "abc", adjudicates=(ann.number, bob.number))
    after = save("sub-01", "ann", "abcd", parent=decided.number)
    with pytest.raises(InputError, match="ann's labels were made from bob's"):
        require_independent(store, after, bob)


def test_a_circle_of_parents_does_not_hang(study, save):
    one = save("sub-01", "ann", "a", parent=1)
    two = save("sub-01", "bob", "a", parent=2)
    require_independent(LabelStore(study, "sub-01"), one, two)


def test_two_labels_are_taken_apart(save):
    ann, bob = save("sub-01", "ann", "abc"), save("sub-01", "bob", "bcd")
    first, second = mask("abc"), mask("bcd")
    second[4, 4, 2:5] = False  # less of what both have
    found = take_apart((ann, bob), first, second)
    np.testing.assert_array_equal(found.agreed, mask("bc"))  # as the first has it
    np.testing.assert_array_equal(found.disputed["ann"], mask("a"))
    np.testing.assert_array_equal(found.disputed["bob"], mask("d"))
    with pytest.raises(ValueError, match="themselves"):
        take_apart((ann, ann), first, second)
    with pytest.raises(ValueError, match="shape"):
        take_apart((ann, bob), first, second[1:])


def test_a_label_is_read_on_the_scans_voxels(study, save):
    ann = save("sub-01", "ann", "ab")
    store = LabelStore(study, "sub-01")
    np.testing.assert_array_equal(load_on(store, ann, Grid(SHAPE, AFFINE)), mask("ab"))
    with pytest.raises(InputError, match="was the scan replaced"):
        load_on(store, ann, Grid(SHAPE, np.eye(4)))


def test_a_study_is_compared_subject_by_subject(study, save):
    for at, (one, two) in enumerate((("ab", "ab"), ("abc", "ab"), ("a", "cd")), start=1):
        save(f"sub-{at:02d}", "starter", "abcd", origin="predicted", state="draft")
        save(f"sub-{at:02d}", "ann", one)
        save(f"sub-{at:02d}", "bob", two)
    save("sub-04", "ann", "a")
    found = agree(study)
    assert found.raters == ("ann", "bob")
    assert found.missing == ("sub-04",)
    assert [one.subject for one in found.scores] == ["sub-01", "sub-02", "sub-03"]
    assert [one.pvs for one in found.scores] == [
        Contingency(2, 0, 0, 2),
        Contingency(2, 1, 0, 1),
        Contingency(0, 1, 2, 1),
    ]
    assert [one.dsc for one in found.scores] == pytest.approx([1.0, 0.8, 0.0])
    assert found.scores[1].volume_first_mm3 == pytest.approx(12 * 0.5)
    turned = agree(study, ("bob", "ann"))
    assert turned.scores[1].pvs == Contingency(2, 0, 1, 1)


def test_without_a_prediction_kappa_is_unknown(study, save):
    save("sub-01", "ann", "ab")
    save("sub-01", "bob", "b")
    (one,) = agree(study).scores
    assert one.pvs == Contingency(1, 1, 0)
    assert one.pvs.kappa is None


def test_labels_of_flipped_files_are_compared(study, save):
    save("sub-01", "ann", "ab")
    flipped = np.diag([-0.5, 1.0, 1.0, 1.0])
    flipped[0, 3] = 0.5 * (SHAPE[0] - 1)
    LabelStore(study, "sub-01").save(
        mask("ab")[::-1], Geometry.from_affine(SHAPE, flipped), author="bob", origin="drawn"
    )
    assert agree(study).scores[0].dsc == 1.0


def test_who_cannot_be_compared_is_told(study, save):
    save("sub-01", "ann", "ab")
    with pytest.raises(InputError, match=r"has final labels by ann; two raters are needed"):
        agree(study)
    bob = save("sub-01", "bob", "b")
    with pytest.raises(InputError, match="has no final labels by eve, but by ann, bob"):
        agree(study, ("ann", "eve"))
    with pytest.raises(InputError, match="names ann twice"):
        agree(study, ("ann", "ann"))
    save("sub-02", "cas", "b")
    with pytest.raises(InputError, match="by ann, bob, cas; name two of them with --raters"):
        agree(study)
    with pytest.raises(InputError, match="have no subject in common"):
        agree(study, ("ann", "cas"))
    with pytest.raises(InputError, match="is no longer there"):
        agree(study / "gone")
    LabelStore(study, "sub-01").path(bob).write_bytes(b"altered")
    with pytest.raises(InputError, match=r"sub-01: .* was altered after it was saved"):
        agree(study, ("ann", "bob"))


def test_one_unusable_subject_does_not_stop_the_others(study, save):
    for name in ("sub-01", "sub-02", "sub-03"):
        save(name, "ann", "ab")
        save(name, "bob", "b", parent=1 if name == "sub-02" else None)
    (folder,) = study.glob("derivatives/labels/sub-03/anat/revisions")
    (folder / "r0001.json").write_text("{")
    found = agree(study)
    assert [one.subject for one in found.scores] == ["sub-01"]
    assert [name for name, _ in found.left_out] == ["sub-03", "sub-02"]
    assert "label blind to compare" in dict(found.left_out)["sub-02"]
