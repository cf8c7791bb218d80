import numpy as np
import pytest

from napari_pvs.evaluation.ceiling import ceiling, ceiling_of
from napari_pvs.evaluation.overlap import overlap


def tube(shape=(12, 12, 16)):
    x, y = np.ogrid[: shape[0], : shape[1]]
    profile = np.clip(1.4 - np.hypot(x - 5.3, y - 5.6) / 1.5, 0, 1)
    fade = np.linspace(0.5, 1, shape[2])
    return (profile[..., None] * fade).astype(np.float32)


def test_by_trying_every_threshold():
    fraction = tube()
    got = ceiling(fraction, 0.35, 0.1)
    references = [fraction >= rule for rule in got.rules]

    def mean_dsc(mask):
        return np.mean([overlap(mask, one, 1.0).dsc for one in references])

    tried = [mean_dsc(fraction >= s) for s in np.unique(fraction[fraction > 0])]
    assert got.rules == pytest.approx((0.25, 0.35, 0.45))
    assert got.dsc == pytest.approx(max(tried))
    assert mean_dsc(fraction >= got.threshold) == pytest.approx(got.dsc)
    assert 0.5 < got.dsc < 1


def test_no_other_mask_is_better():
    rng = np.random.default_rng(0)
    fraction = rng.permutation(np.linspace(0.05, 0.95, 8)).reshape(2, 2, 2)
    got = ceiling(fraction, 0.4, 0.2)
    references = [fraction >= rule for rule in got.rules]
    best = 0.0
    for code in range(1, 256):
        mask = np.array([code >> i & 1 for i in range(8)], dtype=bool).reshape(2, 2, 2)
        best = max(best, np.mean([overlap(mask, one, 1.0).dsc for one in references]))
    assert got.dsc == pytest.approx(best)


def test_sharp_edges_have_no_ceiling():
    fraction = np.zeros((6, 6, 6))
    fraction[2:4, 2:4] = 1
    assert ceiling(fraction, 0.5).dsc == 1


def test_a_label_tells_its_rule():
    fraction = tube()
    found = ceiling_of(fraction >= 0.35, fraction)
    assert found.dsc == pytest.approx(ceiling(fraction, 0.35).dsc, abs=0.01)  # few voxels
    assert found.rules[1] == pytest.approx(0.35, abs=0.02)
    stored = np.rint(fraction * 32767) / 32767
    assert ceiling_of(fraction >= 0.35, stored).dsc == pytest.approx(found.dsc, abs=1e-3)
    drawn = fraction >= 0.35
    drawn[:, :, :8] = False
    assert ceiling_of(drawn, fraction) is None
    assert ceiling_of(np.zeros_like(drawn), fraction) is None


def test_a_wider_step_lowers_it():
    assert ceiling(tube(), 0.35, 0.2).dsc < ceiling(tube(), 0.35, 0.05).dsc


def test_region_and_empty():
    fraction = tube()
    nothing = np.zeros(fraction.shape, dtype=bool)
    assert ceiling(fraction, 0.35, region=nothing).dsc == 1
    half = nothing.copy()
    half[..., 8:] = True
    assert ceiling(fraction, 0.35, region=half).dsc == ceiling(fraction[..., 8:], 0.35).dsc


def test_where_most_rules_mark_nothing_the_empty_mask_is_best():
    fraction = np.zeros((3, 3, 3))
    fraction[1, 1, 1] = 0.3
    got = ceiling(fraction, 0.35, 0.1)
    assert got.dsc == pytest.approx(2 / 3)
    assert not (fraction >= got.threshold).any()


@pytest.mark.parametrize(("rule", "step"), [(0.1, 0.1), (0.95, 0.1), (0.5, 0)])
def test_rules_must_be_fractions(rule, step):
    with pytest.raises(ValueError, match="range"):
        ceiling(tube(), rule, step)
