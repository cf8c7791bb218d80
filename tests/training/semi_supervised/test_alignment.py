from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    least, most = burden(people, 20)
    assert np.sqrt(least * most) == pytest.approx(np.mean(shares))
    few_least, few_most = burden(people[:2], 20)
    assert few_most / few_least > most / least > 1  # fewer labels tell less
    one = burden(people[:1], 20)
    assert one[0] < np.mean(shares[:1]) < one[1]


def test_the_sessions_of_a_person_tell_no_more_than_one(make_study):
    people = [load(s) for s in subjects(make_study(3, labelled=3))]
    sessions = [replace(p, name=f"{p.name}_ses-{n}") for p in people for n in range(4)]
    assert burden(sessions, 20) == pytest.approx(burden(people, 20))


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


def labelled(*shares):
    """Subjects of whose brains so much is PVS."""
    label = np.zeros((len(shares), 10_000), bool)
    for one, share in zip(label, shares, strict=True):
        one[: round(share * 10_000)] = True
    brain = np.ones(10_000, bool)
    return [SimpleNamespace(name=f"sub-{n}", label=one, brain=brain) for n, one in enumerate(label)]


def width(shares, others):
    """Half of the range on either side of the mean."""
    least, most = burden(labelled(*shares), others)
    assert np.sqrt(least * most) == pytest.approx(np.mean(shares))
    return float(np.log(most / least) / 4)


def test_one_label_tells_no_spread_between_persons():
    assert width([0.01], 10**9) == pytest.approx(0.6)
    assert width([0.01], 4) == pytest.approx(0.6 * np.sqrt(1 + 1 / 4))


def test_the_likely_shares_are_two_standard_errors_apart():
    """Of the difference between the labelled persons and the others, on either side."""
    alike, unlike = [0.01] * 9, [0.002, 0.05] * 4 + [0.01]
    assert width(alike, 16) == pytest.approx(0.6 * np.sqrt(4 / 12 * (1 / 9 + 1 / 16)))
    squares = 9 * np.var(np.log(unlike))
    spread = np.sqrt((4 * 0.6**2 + squares) / 12)
    assert width(unlike, 16) == pytest.approx(spread * np.sqrt(1 / 9 + 1 / 16))
    assert width(unlike, 16) > 2 * width(alike, 16)
    assert width(alike, 1) > width(alike, 16)


def test_a_person_without_pvs_tells_no_spread_but_counts():
    assert width([0.01, 0.0, 0.01], 5) == pytest.approx(0.6 * np.sqrt(4 / 5 * (1 / 3 + 1 / 5)))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**31 - 1),
    st.sampled_from(THRESHOLDS.tolist()),
    st.tuples(st.floats(0.001, 1), st.floats(1, 50)),
)
def test_a_threshold_is_kept_or_moved_towards_what_is_likely(seed, threshold, wanted):
    """Never past it; and a higher threshold never finds more."""
    found = np.random.default_rng(seed).random((6, 6, 6), dtype=np.float32) ** 2
    brain = np.ones(found.shape, bool)
    shares = above(found, brain)
    assert (np.diff(shares) <= 0).all()
    assert shares[0] == 1
    low, high = 0.5 * wanted[0], min(1.0, 0.5 * wanted[0] * wanted[1])
    share, moved = np.mean(found >= threshold), aligned(threshold, shares, (low, high))
    if low <= np.interp(threshold, BINS[:-1], shares) <= high:
        assert moved == threshold
    else:
        assert 0.02 <= moved <= 0.98
        assert moved <= threshold + 0.005 if share < low else moved >= threshold - 0.005
    allowed = likely(THRESHOLDS, shares, (low, high))
    assert allowed.any()
    inside = [low <= np.mean(found >= one) <= high for one in THRESHOLDS]
    if any(inside):
        assert allowed.tolist() == inside


def test_where_nobody_is_labelled_an_empty_brain_has_no_pvs():
    none, brain = np.zeros((2, 2, 2), bool), np.ones((2, 2, 2), bool)
    one = SimpleNamespace(name="sub-1", label=none, brain=none)
    unlabelled = SimpleNamespace(name="sub-2", label=None, brain=brain)
    assert burden([one, unlabelled], 1) == (0, 0)
