import numpy as np
import pytest

from napari_pvs.phantom.anatomy import Anatomy
from napari_pvs.phantom.config import PhantomConfig
from napari_pvs.phantom.placement import Placement, smooth_field

EDGES = np.full(3, 2.0)
SHAPE = (60, 60, 60)


def place(anatomy: Anatomy, seed: int, **change: float) -> dict[str, np.ndarray]:
    config = PhantomConfig.model_validate({"deformation": 0, "head": True, **change})
    placement = Placement(anatomy, SHAPE, EDGES, config, np.random.default_rng(seed))
    return placement.sample({"brain": anatomy.brain, "white": anatomy.tissue == 1})


def test_smooth_field_is_standard_and_smooth() -> None:
    rng = np.random.default_rng(0)
    fields = [smooth_field((50, 40, 30), np.full(3, 1.0), 8.0, rng) for _ in range(5)]
    assert fields[0].shape == (50, 40, 30)
    assert fields[0].dtype == np.float32
    assert abs(np.mean(fields)) < 0.15
    assert 0.6 < np.std(fields) < 1.05
    assert np.std(np.diff(fields[0], axis=0)) < 0.35 * np.std(fields[0])


def test_smooth_field_of_one_sample_per_voxel_keeps_the_samples() -> None:
    field = smooth_field((6, 6, 6), np.full(3, 1.0), 2.0, np.random.default_rng(1))
    assert np.isfinite(field).all()


@pytest.mark.parametrize("seed", range(3))
def test_pose_keeps_volume_and_centre(head: Anatomy, seed: int) -> None:
    brain = place(head, seed)["brain"]
    assert 0.75 < brain.sum() * 8 / head.brain.sum() < 1.3
    centre = np.average(np.indices(SHAPE).reshape(3, -1), axis=1, weights=brain.ravel())
    np.testing.assert_allclose(centre, 29.5, atol=0.6)


def test_values_are_interpolated_not_invented(head: Anatomy) -> None:
    white = place(head, 0, deformation=3)["white"]
    assert white.min() == 0
    assert white.max() == pytest.approx(1, abs=1e-5)
    assert ((white > 0.05) & (white < 0.95)).any()


def test_deformation_bends(head: Anatomy) -> None:
    straight, bent = place(head, 0)["brain"], place(head, 0, deformation=4)["brain"]
    assert 0.01 < np.abs(straight - bent).mean() / straight.mean() < 0.3


def test_brain_alone_is_the_same_brain(head: Anatomy) -> None:
    full, alone = place(head, 2, deformation=2), place(head, 2, deformation=2, head=False)
    np.testing.assert_array_equal(full["brain"], alone["brain"])
    np.testing.assert_array_equal(full["white"], alone["white"])


def test_seeds_differ(head: Anatomy) -> None:
    assert not np.array_equal(place(head, 0)["brain"], place(head, 1)["brain"])
