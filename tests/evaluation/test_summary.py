import numpy as np
import pytest

from napari_pvs.evaluation.compare import score
from napari_pvs.evaluation.detection import Rates
from napari_pvs.evaluation.summary import MEASURES, summarise
from napari_pvs.evaluation.tables import COLUMNS


def subject(n_predicted, n_reference, name="a"):
    """PVS of 3 voxels of 1 mm³ on a lattice; the first are the same in both masks."""
    prediction, reference = np.zeros((2, 16, 16, 5), dtype=bool)
    for mask, n in ((prediction, n_predicted), (reference, n_reference)):
        for i in range(n):
            mask[2 * (i // 8), 2 * (i % 8), 1:4] = True
    return score(prediction, reference, (1, 1, 1), subject=name)


def test_moments_and_exclusions():
    got = summarise([subject(2, 4), subject(4, 4), subject(0, 0), subject(1, 0)])
    assert (got.n, got.n_both_empty, got.n_avd_excluded) == (4, 1, 2)
    dsc = [2 / 3, 1, 1, 0]
    assert got.moments["dsc"].mean == pytest.approx(np.mean(dsc))
    assert got.moments["dsc"].sd == pytest.approx(np.std(dsc, ddof=1))
    assert got.moments["avd_percent"].mean == pytest.approx(25)
    assert got.moments["avd_percent"].n == 2
    auprc = got.moments["auprc"]
    assert (auprc.mean, auprc.sd, auprc.n) == (None, None, 0)


def test_agreement_over_subjects():
    perfect = summarise([subject(n, n) for n in (1, 5, 9)])
    assert perfect.count_ccc == pytest.approx(1)
    assert perfect.volume_icc == pytest.approx(1)
    biased = summarise([subject(n + 4, n) for n in (1, 5, 9)])
    # Over n: variance 32/3 each, covariance the same, means 4 apart.
    assert biased.count_ccc == pytest.approx((64 / 3) / (64 / 3 + 16))
    assert biased.volume_ccc == pytest.approx(biased.count_ccc)
    # Mean squares: subjects 32, raters 24, error 0.
    assert biased.count_icc == pytest.approx(32 / (32 + 2 / 3 * 24))


def test_two_subjects_have_no_agreement():
    got = summarise([subject(1, 2), subject(3, 4)])
    assert got.count_ccc is got.count_icc is got.volume_ccc is got.volume_icc is None


def test_sizes_are_pooled():
    got = summarise([subject(2, 4), subject(3, 3)])
    assert got.lenient_by_size[0] == Rates(n_reference=7, n_found=5, n_predicted=5, n_true=5)
    assert got.strict_by_size[1:] == (Rates(0, 0, 0, 0),) * 3


def test_one_subject_has_no_spread():
    assert summarise([subject(2, 4)]).moments["dsc"].sd is None


def test_order_does_not_matter():
    scores = [subject(2, 4), subject(4, 3), subject(9, 7)]
    one, other = summarise(scores), summarise(scores[::-1])
    assert one.count_icc == pytest.approx(other.count_icc)
    assert one.moments["dsc"].mean == pytest.approx(other.moments["dsc"].mean)


def test_every_column_is_summarised():
    assert {column.name for column in COLUMNS} == set(MEASURES)


def test_nothing_to_summarise():
    with pytest.raises(ValueError, match="no score"):
        summarise([])
