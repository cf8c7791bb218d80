import numpy as np
import pytest

from napari_pvs.evaluation.agreement import concordance, icc_a1

# Shrout & Fleiss 1979, Psychol Bull 86:420, table 2: six targets, four judges.
SHROUT_FLEISS = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
)


def test_icc_of_the_published_example():
    assert icc_a1(SHROUT_FLEISS) == pytest.approx(0.29, abs=0.005)


def test_icc_is_one_for_equal_raters_and_falls_with_an_offset():
    x = np.array([1.0, 4, 9, 16])
    assert icc_a1(np.stack([x, x], axis=1)) == pytest.approx(1)
    assert icc_a1(np.stack([x, x + 5], axis=1)) < 0.9


def test_icc_does_not_depend_on_order():
    rng = np.random.default_rng(0)
    table = SHROUT_FLEISS[rng.permutation(6)][:, rng.permutation(4)]
    assert icc_a1(table) == pytest.approx(icc_a1(SHROUT_FLEISS))


def test_concordance_by_hand():
    x, y = [1, 2, 3], [2, 3, 4]  # variance 2/3, covariance 2/3, means 1 apart
    assert concordance(x, y) == pytest.approx((4 / 3) / (4 / 3 + 1))
    assert concordance(x, x) == pytest.approx(1)
    assert concordance(x, [3, 2, 1]) == pytest.approx(-1)


def test_concordance_is_pearson_times_bias():
    rng = np.random.default_rng(1)
    x = rng.normal(10, 3, 40)
    y = 1.2 * x + rng.normal(2, 1, 40)
    scale = y.std() / x.std()
    shift = (x.mean() - y.mean()) / np.sqrt(x.std() * y.std())
    bias = 2 / (scale + 1 / scale + shift**2)
    assert concordance(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1] * bias)
    assert concordance(x, y) == pytest.approx(concordance(y, x))


def test_undefined():
    assert concordance([1, 2], [1, 2]) is None
    assert icc_a1([[1, 2], [3, 4]]) is None
    assert concordance([5, 5, 5], [5, 5, 5]) is None
    assert icc_a1(np.full((4, 2), 5)) is None


def test_wrong_shapes():
    with pytest.raises(ValueError):  # noqa: PT011
        concordance([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match="two raters"):
        icc_a1([[1], [2], [3]])
    with pytest.raises(ValueError, match="table"):
        icc_a1([1, 2, 3])


@pytest.mark.parametrize("value", [0.0, 7.0, 1999 * 0.512, 0.1])
def test_equal_numbers_tell_nothing_whatever_their_rounding(value):
    assert concordance([value] * 10, [value] * 10) is None
    assert icc_a1([(value, value)] * 10) is None
