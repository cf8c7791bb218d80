import cc3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_pvs.evaluation.detection import (
    FALSE,
    MISSED,
    TRUE,
    Rates,
    agreement,
    detection,
    told_apart,
)
from napari_pvs.evaluation.overlap import overlap


def empty(n=2, shape=(20, 20, 20)):
    return np.zeros((n, *shape), dtype=bool)


def test_lenient_and_strict_by_hand():
    prediction, reference = empty()
    reference[1, 1, 1:11] = True  # A, 10 voxels: one voxel found
    prediction[1:3, 1, 10] = True  # overlap 1, IoU 1/11
    reference[6, 6, 1:5] = True  # B: found, IoU 2/5
    prediction[6, 6, 3:6] = True
    reference[12, 12, 12] = True  # C: missed
    prediction[16, 2, 2] = prediction[16, 8, 8] = True  # two false
    got = detection(prediction, reference, 1.0)
    assert got.lenient == Rates(n_reference=3, n_found=2, n_predicted=4, n_true=2)
    assert got.strict == Rates(n_reference=3, n_found=1, n_predicted=4, n_true=1)
    assert got.lenient.recall == pytest.approx(2 / 3)
    assert got.lenient.precision == 0.5
    assert got.lenient.f1 == pytest.approx(2 * (2 / 3) * 0.5 / (2 / 3 + 0.5))
    assert got.strict.f1 == pytest.approx(2 / 7)


def test_strict_is_one_to_one():
    prediction, reference = empty()
    reference[5, 5, 2:6] = reference[5, 5, 8:11] = True
    prediction[5, 5, 2:11] = True  # one PVS joins two
    got = detection(prediction, reference, 1.0)
    assert got.lenient == Rates(2, 2, 1, 1)
    assert got.strict == Rates(2, 1, 1, 1)


def test_strict_takes_the_largest_overlap_first():
    prediction, reference = empty()
    reference[5, 5, 2:8] = True
    prediction[5, 5, 2:4] = prediction[5, 5, 5:8] = True
    reference[6, 7, 2] = True  # apart from the tube, touched by nothing
    got = detection(prediction, reference, 1.0)
    assert got.strict == Rates(2, 1, 2, 1)
    assert got.lenient == Rates(2, 1, 2, 2)


def test_iou_of_exactly_a_tenth_is_a_match():
    prediction, reference = empty()
    reference[5, 5, 0:10] = True
    prediction[5, 5, 0] = True
    assert detection(prediction, reference, 1.0).strict.n_found == 1
    reference[5, 5, 10] = True
    got = detection(prediction, reference, 1.0)
    assert got.strict.n_found == 0
    assert got.lenient.n_found == 1


def test_diagonal_voxels_are_one_pvs():
    prediction, reference = empty()
    for i in range(5):
        reference[i, i, i] = True
    assert detection(prediction, reference, 1.0).lenient.n_reference == 1


def test_sizes_and_their_limits():
    lengths = (9, 10, 19, 20, 29, 30, 31)  # at 0.5 mm³: 4.5, 5, 9.5, 10, 14.5, 15, 15.5 mm³
    prediction, reference = np.zeros((2, 20, 40, 3), dtype=bool)
    for i, n in enumerate(lengths):
        reference[2 * i, :n, 1] = True
    prediction[0, 0, 1] = True  # finds the smallest
    prediction[4, :25, 1] = True  # 12.5 mm³, finds 9.5 mm³
    prediction[16, :40, 1] = True  # 20 mm³, false
    got = detection(prediction, reference, 0.5)
    assert [one.n_reference for one in got.lenient_by_size] == [1, 2, 2, 2]
    assert [one.n_found for one in got.lenient_by_size] == [1, 1, 0, 0]
    assert [one.n_predicted for one in got.lenient_by_size] == [1, 0, 1, 1]
    assert [one.n_true for one in got.lenient_by_size] == [1, 0, 1, 0]
    assert [one.n_found for one in got.strict_by_size] == [1, 1, 0, 0]
    assert sum(got.lenient_by_size, Rates(0, 0, 0, 0)) == got.lenient
    assert sum(got.strict_by_size, Rates(0, 0, 0, 0)) == got.strict


def test_limit_survives_rounding_of_the_voxel_volume():
    prediction, reference = np.zeros((2, 3, 60, 3), dtype=bool)
    reference[1, :50, 1] = True
    volume = 0.1 - 1e-12  # 50 voxels are 5 mm³, but for rounding
    assert detection(prediction, reference, volume).lenient_by_size[1].n_reference == 1


def test_empty_masks():
    nothing, something = empty()
    something[3, 3, 3] = True
    both = detection(nothing, nothing, 1.0)
    assert both.lenient == both.strict == Rates(0, 0, 0, 0)
    assert both.lenient.f1 is both.lenient.recall is both.lenient.precision is None
    missed = detection(nothing, something, 1.0).lenient
    assert (missed.recall, missed.precision, missed.f1) == (0, None, 0)
    false = detection(something, nothing, 1.0).strict
    assert (false.recall, false.precision, false.f1) == (None, 0, 0)


def test_region_cuts_both():
    prediction, reference = empty()
    reference[3, 3, 3:6] = prediction[3, 3, 3:6] = True
    prediction[15, 15, 15] = True
    region = np.zeros(prediction.shape, dtype=bool)
    region[:10] = True
    assert detection(prediction, reference, 1.0, region).lenient == Rates(1, 1, 1, 1)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="shape"):
        detection(np.zeros((3, 3, 3)), np.zeros((3, 3, 4)), 1.0)


def brute_force(prediction, reference):
    """Lenient counts by looking at each PVS in turn, with scipy's components."""
    from scipy import ndimage

    cube = np.ones((3, 3, 3))
    first, n_first = ndimage.label(prediction, cube)
    second, n_second = ndimage.label(reference, cube)
    found = sum(bool(prediction[second == i].any()) for i in range(1, n_second + 1))
    right = sum(bool(reference[first == i].any()) for i in range(1, n_first + 1))
    return Rates(n_second, found, n_first, right)


@pytest.mark.parametrize("seed", range(5))
def test_lenient_agrees_with_brute_force(seed):
    rng = np.random.default_rng(seed)
    prediction, reference = rng.random((2, 16, 15, 14)) < 0.03
    prediction |= reference & (rng.random(reference.shape) < 0.4)
    got = detection(prediction, reference, 1.0)
    assert got.lenient == brute_force(prediction, reference)
    assert got.lenient.n_found > 5
    assert got.strict.n_found == got.strict.n_true <= got.lenient.n_found


@pytest.mark.parametrize("seed", range(5))
def test_orientation_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    prediction, reference = rng.random((2, 12, 12, 12)) < 0.06
    straight = detection(prediction, reference, 1.0)
    turned = detection(prediction.transpose(2, 0, 1)[::-1], reference.transpose(2, 0, 1)[::-1], 1.0)
    assert straight == turned


def test_ten_thousand_pvs_are_all_matched():
    reference = np.zeros((110, 120, 96), dtype=bool)
    reference[::4, ::4, ::8] = reference[::4, ::4, 1::8] = True
    prediction = np.roll(reference, 1, axis=2)
    got = detection(prediction, reference, 0.5)
    assert got.lenient.n_reference == 28 * 30 * 12
    assert got.strict.f1 == 1


@pytest.fixture
def masks():
    """Prediction, reference and region of random specks in a corner of the array."""
    rng = np.random.default_rng(2)
    prediction, reference, region = (np.zeros((30, 34, 38), bool) for _ in range(3))
    prediction[5:20, 9:30, 3:20] = rng.random((15, 21, 17)) < 0.04
    reference[5:20, 9:30, 3:20] = rng.random((15, 21, 17)) < 0.04
    region[7:30, :, 5:] = True
    return prediction, reference, region


@pytest.mark.parametrize("inside", [False, True])
def test_the_numbers_are_those_of_the_evaluation(masks, inside):
    prediction, reference, region = masks
    region = region if inside else None
    found = agreement(prediction, reference.astype(np.int32) * 7, 0.5, region)
    assert found.voxels == overlap(prediction, reference, 0.5, region)
    assert found.pvs == detection(prediction, reference, 0.5, region).lenient
    assert len(found.missed) == found.pvs.n_reference - found.pvs.n_found > 0
    assert len(found.false) == found.pvs.n_predicted - found.pvs.n_true > 0


def test_missed_and_false_are_told_by_size_and_place():
    prediction, reference = np.zeros((2, 20, 20, 20), np.uint8)
    prediction[2:4, 2, 2] = 1
    reference[2, 2, 2:6] = 1  # touches it
    reference[10, 10, 9:12] = reference[15, 15, 15] = 1
    prediction[10, 4, 4:9] = 1
    found = agreement(prediction, reference, 2.0)
    assert [(s.volume_mm3, s.index) for s in found.missed] == [
        (6.0, (10, 10, 10)),
        (2.0, (15, 15, 15)),
    ]
    assert [(s.volume_mm3, s.index) for s in found.false] == [(10.0, (10, 4, 6))]
    assert (found.pvs.recall, found.pvs.precision) == (1 / 3, 1 / 2)


@pytest.mark.parametrize("which", [(0, 0), (1, 0), (0, 1)])
def test_agreement_of_empty_masks(which):
    masks = [np.full((3, 3, 3), bool(value)) for value in which]
    found = agreement(*masks, 1.0)
    assert found.voxels == overlap(*masks, 1.0)
    assert (len(found.false), len(found.missed)) == which


MASK = arrays(bool, (5, 5, 4), elements=st.sampled_from([False] * 5 + [True]))


@settings(max_examples=100, deadline=None)
@given(MASK, MASK)
def test_what_holds_for_any_two_masks(one, other):
    there, back = detection(one, other, 2.0), detection(other, one, 2.0)
    for ours, theirs in ((there.lenient, back.lenient), (there.strict, back.strict)):
        assert (ours.n_reference, ours.n_found) == (theirs.n_predicted, theirs.n_true)
        assert (ours.recall, ours.precision) == (theirs.precision, theirs.recall)
        assert ours.f1 == theirs.f1
    assert there.strict.n_found == there.strict.n_true <= there.lenient.n_found
    whole = detection(one, one, 2.0)
    assert whole.strict == whole.lenient == Rates(*[whole.lenient.n_reference] * 4)
    assert whole.lenient.f1 == (1 if one.any() else None)
    # who marks more finds no less
    assert detection(one | other, other, 2.0).lenient.n_found >= there.lenient.n_found
    for pooled, sizes in (
        (there.lenient, there.lenient_by_size),
        (there.strict, there.strict_by_size),
    ):
        assert sum(sizes, Rates(0, 0, 0, 0)) == pooled


def test_pvs_are_told_apart_as_their_counts_are():
    rng = np.random.default_rng(2)
    for _ in range(20):
        predicted, true = (rng.random((6, 7, 8)) > 0.93 for _ in range(2))
        marks = told_apart(predicted, true)
        found = detection(predicted, true, 1.0).lenient
        counts = [
            cc3d.connected_components(marks == mark, connectivity=26, return_N=True)[1]
            for mark in (TRUE, FALSE, MISSED)
        ]
        assert counts == [
            found.n_true, found.n_predicted - found.n_true, found.n_reference - found.n_found,
        ]  # fmt: skip
        assert ((marks == TRUE) | (marks == FALSE)).sum() == predicted.sum()
        assert (true[marks == MISSED]).all()
    assert not told_apart(np.zeros((2, 2, 2)), np.zeros((2, 2, 2))).any()
