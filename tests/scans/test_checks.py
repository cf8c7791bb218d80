import numpy as np
import pytest

from napari_pvs.errors import InputError
from napari_pvs.scans.checks import (
    Placed,
    covered,
    doubts_of_contrast,
    doubts_of_grid,
    require_contrast,
    tail,
)
from napari_pvs.scans.grid import Grid


def values(fluid, grey, share):
    """White matter at 100, 45 % of the tissue, with noise."""
    rng = np.random.default_rng(0)
    tissue = rng.choice(3, size=20000, p=[share, 0.55 * (1 - share), 0.45 * (1 - share)])
    return np.array([fluid, grey, 100.0])[tissue] + rng.normal(0, 5, 20000)


def test_tail():
    assert tail(np.arange(101)) == 0
    assert tail(np.r_[np.zeros(90), np.full(11, 5)]) == 1
    assert tail(np.ones(10)) == 0


@pytest.mark.parametrize("share", [0.06, 0.1, 0.25])
def test_t1_and_t2_are_told_apart_at_any_share_of_fluid(share):
    t1, t2 = ("a", values(25, 61, share)), ("b", values(240, 127, share))
    assert doubts_of_contrast(t1, t2) == []
    assert doubts_of_contrast(t1, None) == doubts_of_contrast(None, t2) == []
    assert "swapped" in doubts_of_contrast(t2, t1)[0]
    assert doubts_of_contrast(None, None) == []


def test_contrast_is_required():
    require_contrast("a", np.arange(9.0))
    with pytest.raises(InputError, match="a has no contrast"):
        require_contrast("a", np.r_[np.zeros(90), np.arange(10.0)])


def test_covered():
    brain = np.ones((10, 10, 10), bool)
    grid = Grid(brain.shape, np.eye(4))

    def slab(n):
        return Placed("b", np.zeros((10, 10, n)), Grid((10, 10, n), np.eye(4)))

    assert covered(brain, grid, slab(10))[1] == []
    kept, notes = covered(brain, grid, slab(4))
    assert kept.sum() == 400
    assert notes == ["b covers 40% of the brain; the rest is left out."]
    brain[:, :, :9] = False
    with pytest.raises(InputError, match="b covers 0% of the brain"):
        covered(brain, grid, slab(4))


@pytest.mark.parametrize(
    ("size", "found"), [((0.8, 0.8, 0.8), 0), ((1, 1, 2), 0), ((2.5, 2, 2), 1), ((0.5, 1, 1.2), 1)]
)
def test_doubts_of_grid(size, found):
    image = Placed.turned("a", np.zeros((5, 6, 7)), np.diag([*size, 1]))
    assert len(doubts_of_grid(image)) == found
