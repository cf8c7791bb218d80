"""Agreement of two raters, against values worked out by hand."""

import numpy as np
import pytest

from napari_pvs.evaluation.raters import (
    Contingency,
    RaterScore,
    contingency,
    score_raters,
    summarise_raters,
)


def row(*at: int, n: int = 20) -> np.ndarray:
    """A mask with single voxels along a line."""
    mask = np.zeros((1, 1, n), bool)
    mask[0, 0, list(at)] = True
    return mask


def test_kappa_by_hand():
    # Cohen's definition: observed 35/50; chance (25·30 + 25·20)/2500 = .5
    assert Contingency(20, 5, 10, 15).kappa == pytest.approx((0.7 - 0.5) / (1 - 0.5))
    assert Contingency(8, 0, 0, 4).kappa == pytest.approx(1)
    assert Contingency(0, 6, 6, 0).kappa == pytest.approx(-1)
    # as good as chance
    assert Contingency(4, 4, 4, 4).kappa == pytest.approx(0)


def test_kappa_agrees_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(3)
    one = rng.random(200) < 0.6
    two = np.where(rng.random(200) < 0.8, one, ~one)
    table = Contingency(
        int((one & two).sum()),
        int((one & ~two).sum()),
        int((~one & two).sum()),
        int((~one & ~two).sum()),
    )
    assert table.kappa == pytest.approx(metrics.cohen_kappa_score(one, two))


def test_kappa_needs_what_nobody_has():
    assert Contingency(5, 1, 1).kappa is None
    assert Contingency(5, 1, 1, 0).kappa == pytest.approx(-1 / 6)
    assert Contingency(5, 0, 0, 0).kappa is None  # yes to everything, both
    assert Contingency(0, 0, 0, 3).kappa is None
    assert Contingency(0, 0, 0, 0).kappa is None


def test_positive_agreement_is_where_kappa_goes():
    table = Contingency(30, 6, 4)
    assert table.positive_agreement == pytest.approx(60 / 70)
    far = Contingency(30, 6, 4, 10**7).kappa
    assert far == pytest.approx(table.positive_agreement, abs=1e-4)
    assert Contingency(0, 0, 0, 9).positive_agreement is None


def test_pooling():
    assert Contingency(1, 2, 3, 4) + Contingency(5, 6, 7, 8) == Contingency(6, 8, 10, 12)
    assert (Contingency(1, 2, 3, 4) + Contingency(1, 1, 1)).neither is None


def test_who_has_which_pvs():
    first = row(0, 1, 2, 5, 9, 10)
    second = row(2, 3, 7, 9, 10, 14)
    table, counts = contingency(first, second)
    # 0-3 and 9-10 are shared, 5 is the first's, 7 and 14 are the second's
    assert table == Contingency(2, 1, 2)
    assert counts == (3, 4)
    assert contingency(second, first)[0] == Contingency(2, 2, 1)
    # a prediction has 5, which one of them has, and 17 and 19, which no one has
    assert contingency(first, second, row(5, 17, 19))[0] == Contingency(2, 1, 2, 2)


def test_two_pieces_of_one_pvs_are_one():
    first = row(0, 1, 2, 3, 4)
    second = row(0, 4)
    table, counts = contingency(first, second)
    assert table == Contingency(1, 0, 0)
    assert counts == (1, 2)
    # neighbours that share no voxel are two
    assert contingency(row(0, 1), row(2, 3))[0] == Contingency(0, 1, 1)


def test_nothing_marked():
    table, counts = contingency(row(), row())
    assert (table, counts) == (Contingency(0, 0, 0), (0, 0))
    assert contingency(row(), row(3, 8))[0] == Contingency(0, 0, 2)
    one = score_raters(row(), row(), 0.5, subject="sub-01")
    assert (one.dsc, one.volume_first_mm3) == (1.0, 0.0)


def test_labels_with_numbers_count_as_masks():
    first = row(0, 1).astype(int) * 7
    second = row(1).astype(np.uint8) * 3
    one = score_raters(first, second, 0.5, subject="sub-01", prediction=row(1, 5).astype(int) * 2)
    assert one.pvs == Contingency(1, 0, 0, 1)
    assert one.dsc == pytest.approx(2 / 3)
    assert (one.volume_first_mm3, one.volume_second_mm3) == (1.0, 0.5)
    assert (one.count_first, one.count_second) == (1, 1)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="shape"):
        score_raters(row(1), row(1, n=9), 1.0, subject="sub-01")


# Shrout & Fleiss 1979, Psychol Bull 86:420, table 2, the first two judges
COUNTS = ((9, 2), (6, 1), (8, 4), (7, 1), (10, 5), (6, 2))


def scores(counts=COUNTS):
    return [
        RaterScore(
            subject=f"sub-{at:02d}",
            pvs=Contingency(1, 2, 1, 1),
            dsc=0.5 + at / 10,
            count_first=one,
            count_second=two,
            volume_first_mm3=10.0 * one,
            volume_second_mm3=10.0 * two,
        )
        for at, (one, two) in enumerate(counts)
    ]


def test_icc_of_two_raters_by_hand():
    # sums of squares: 106.9167 in all, 23.4167 between six targets, 80.0833 between two judges, so
    # 3.4167 are left; mean squares 4.6833, 80.0833 and .6833; Shrout & Fleiss's ICC(2,1) is
    # (4.6833 - .6833) / (4.6833 + .6833 + 2/6 (80.0833 - .6833)) = 4 / 31.8333
    found = summarise_raters(scores())
    assert found.count_icc == pytest.approx(4 / 31.8333, abs=1e-5)
    assert found.volume_icc == pytest.approx(found.count_icc)  # a unit changes nothing


def test_a_cohort():
    found = summarise_raters(scores())
    assert found.n == 6
    assert found.pvs == Contingency(6, 12, 6, 6)
    assert found.dsc == pytest.approx(0.75)
    two = summarise_raters(scores(COUNTS[:2]))
    assert (two.count_icc, two.volume_icc) == (None, None)
    with pytest.raises(ValueError, match="no scores"):
        summarise_raters([])
