import numpy as np
import pytest

from napari_pvs.evaluation.detection import agreement, detection
from napari_pvs.evaluation.overlap import overlap


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
def test_empty_masks(which):
    masks = [np.full((3, 3, 3), bool(value)) for value in which]
    found = agreement(*masks, 1.0)
    assert found.voxels == overlap(*masks, 1.0)
    assert (len(found.false), len(found.missed)) == which
