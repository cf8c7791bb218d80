import numpy as np
import pytest

from napari_pvs.study.bids import subjects
from napari_pvs.training.data.prepared import load
from napari_pvs.training.semi_supervised.alignment import BINS, above, aligned, burden, likely
from napari_pvs.training.validation import THRESHOLDS


@pytest.fixture
def found():
    rng = np.random.default_rng(0)
    return rng.random((12, 10, 8), dtype=np.float32) ** 3


@pytest.fixture
def shares(found):
    return above(found, np.ones(found.shape, bool))


def test_burden(make_study):
    people = [load(s) for s in subjects(make_study(6, labelled=5))]
    shares = [s.label.sum() / s.brain.sum() for s in people[:5]]
    least, most = burden(people)
    assert np.sqrt(least * most) == pytest.approx(np.mean(shares))
    few_least, few_most = burden(people[:2])
    assert few_most / few_least > most / least > 1  # fewer labels tell less
    one = burden(people[:1])
    assert one[0] < np.mean(shares[:1]) < one[1]


def test_above_counts_what_a_threshold_finds(found, shares):
    for threshold, share in zip(BINS[1:-1:7], shares[1::7], strict=False):
        assert share == np.mean(found >= threshold)
    assert above(np.zeros((4, 4, 4), np.float32), np.zeros((4, 4, 4), bool)).sum() == 0


def test_likely_thresholds_find_a_share_in_the_range(found, shares):
    middle = np.mean(found >= 0.5)
    allowed = likely(THRESHOLDS, shares, (0.9 * middle, 1.1 * middle))
    for threshold, one in zip(THRESHOLDS, allowed, strict=True):
        share = np.mean(found >= threshold)
        assert one == (0.9 * middle <= share <= 1.1 * middle)
    assert allowed.sum() >= 1
    # none is likely: the nearest
    assert likely(THRESHOLDS, shares, (2, 3)).tolist() == [True] + [False] * (len(THRESHOLDS) - 1)


def test_a_threshold_moves_only_as_far_as_labels_tell(found, shares):
    at = np.mean(found >= 0.4)
    assert aligned(0.4, shares, (0.5 * at, 2 * at)) == 0.4
    higher = aligned(0.4, shares, (0.3 * at, 0.5 * at))
    assert np.mean(found >= higher) == pytest.approx(0.5 * at, rel=0.02)
    lower = aligned(0.4, shares, (1.5 * at, 2 * at))
    assert np.mean(found >= lower) == pytest.approx(1.5 * at, rel=0.02)
    assert aligned(0.4, shares, (2, 3)) == 0.02


@pytest.mark.parametrize("people", [1, 4, 9])
def test_the_likely_shares_are_a_standard_error_apart(people):
    """exp(0.6 / sqrt(n)) on either side of the mean."""
    one = type("One", (), {})
    subjects = []
    for share in np.linspace(0.01, 0.02, people):
        subject = one()
        subject.label, subject.brain = np.zeros(10_000, bool), np.ones(10_000, bool)
        subject.label[: round(share * 10_000)] = True
        subjects.append(subject)
    mean = np.mean([s.label.mean() for s in subjects])
    least, most = burden(subjects)
    assert most / mean == pytest.approx(np.exp(0.6 / np.sqrt(people)))
    assert mean / least == pytest.approx(np.exp(0.6 / np.sqrt(people)))
