import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_pvs.evaluation.overlap import average_precision, overlap, surface_dice


def blobs(seed, shape=(14, 12, 10), share=0.1):
    return np.random.default_rng(seed).random(shape) < share


def tubes(seed, shape=(20, 18, 16)):
    mask = np.zeros(shape, dtype=bool)
    rng = np.random.default_rng(seed)
    for x, y, z in rng.integers(1, 12, (6, 3)):
        mask[x : x + 2, y : y + 5, z : z + 2] = True
    return mask


def test_hand_counted():
    prediction, reference = np.zeros((2, 4, 4, 4), dtype=bool)
    reference[0, 0] = True  # 4 voxels
    prediction[0, 0, :3] = prediction[1, 1, :3] = True  # 6 voxels, 3 common
    got = overlap(prediction, reference, 0.5)
    assert got.dsc == pytest.approx(2 * 3 / 10)
    assert got.recall == 3 / 4
    assert got.precision == 3 / 6
    assert got.avd_percent == pytest.approx(50)
    assert (got.volume_predicted_mm3, got.volume_reference_mm3) == (3, 2)
    assert (got.n_voxels_predicted, got.n_voxels_reference, got.n_voxels_common) == (6, 4, 3)
    assert not got.both_empty


def test_agrees_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    prediction, reference, region = blobs(1, share=0.3), blobs(2, share=0.2), blobs(3, share=0.7)
    got = overlap(prediction, reference, 1.0, region)
    true, guess = reference[region], prediction[region]
    assert got.dsc == pytest.approx(metrics.f1_score(true, guess))
    assert got.recall == pytest.approx(metrics.recall_score(true, guess))
    assert got.precision == pytest.approx(metrics.precision_score(true, guess))


def test_empty_masks():
    empty, full = np.zeros((3, 3, 3), dtype=bool), np.ones((3, 3, 3), dtype=bool)
    both = overlap(empty, empty, 1.0)
    assert (both.dsc, both.both_empty) == (1, True)
    assert both.recall is both.precision is both.avd_percent is None
    no_reference = overlap(full, empty, 1.0)
    assert (no_reference.dsc, no_reference.precision, no_reference.both_empty) == (0, 0, False)
    assert no_reference.recall is no_reference.avd_percent is None
    no_prediction = overlap(empty, full, 1.0)
    assert (no_prediction.dsc, no_prediction.recall, no_prediction.avd_percent) == (0, 0, 100)
    assert no_prediction.precision is None


def test_labels_count_as_mask_and_region_cuts():
    labels = np.zeros((4, 4, 4), dtype=np.int32)
    labels[0], labels[2] = 7, 9
    region = np.zeros((4, 4, 4), dtype=np.uint8)
    region[:2] = 1
    got = overlap(labels, labels == 7, 1.0, region)
    assert got.dsc == 1
    assert got.n_voxels_predicted == 16


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="shape"):
        overlap(np.ones((3, 3, 3)), np.ones((1, 3, 3)), 1.0)
    with pytest.raises(ValueError, match="shape"):
        overlap(np.ones((3, 3, 3)), np.ones((3, 3, 3)), 1.0, np.ones((3, 3, 1)))


def test_surface_dice_by_hand():
    one, other = np.zeros((2, 9, 9, 9), dtype=bool)
    one[4, 4, 2:7] = True
    other[5, 4, 2:7] = True
    assert surface_dice(one, other, (1, 1, 1)) == 1  # 1 mm off is within tolerance
    assert surface_dice(one, other, (1.2, 1, 1)) == 0
    assert surface_dice(one, other, (0.5, 1, 1), tolerance_mm=0.4) == 0
    other[5, 4, 7:9] = True  # 2 of 7 lie further: 1.41 and 2.24 mm
    assert surface_dice(one, other, (1, 1, 1)) == pytest.approx((5 + 5) / 12)


def test_surface_dice_forgives_rounding():
    one, other = np.zeros((2, 8, 5, 5), dtype=bool)
    one[1, 2, 2] = other[4, 2, 2] = True
    assert surface_dice(one, other, (1 / 3, 1, 1)) == 1


def test_surface_dice_of_empty_masks():
    empty, full = np.zeros((5, 5, 5), dtype=bool), np.ones((5, 5, 5), dtype=bool)
    assert surface_dice(empty, empty, (1, 1, 1)) == 1
    assert surface_dice(empty, full, (1, 1, 1)) == 0
    assert surface_dice(full, empty, (1, 1, 1)) == 0
    assert surface_dice(full, full, (1, 1, 1), region=empty) == 1


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
@pytest.mark.parametrize("voxel_size", [(1.0, 1.0, 1.0), (0.8, 0.5, 1.2)])
def test_agrees_with_monai(voxel_size):
    metrics = pytest.importorskip("monai.metrics")
    torch = pytest.importorskip("torch")
    reference = tubes(4)
    reference[12:18, 10:16, 2:8] = True  # one with an inside
    prediction = np.roll(reference, 1, axis=0) | tubes(5)
    batch = [torch.from_numpy(one)[None, None].float() for one in (prediction, reference)]
    theirs = metrics.compute_surface_dice(
        *batch, class_thresholds=[1.0], include_background=True, spacing=voxel_size
    )
    ours = surface_dice(prediction, reference, voxel_size)
    assert 0.2 < ours < 1
    assert ours == pytest.approx(float(theirs), abs=1e-6)
    dice = metrics.DiceMetric(include_background=True)(*batch)
    assert overlap(prediction, reference, 1.0).dsc == pytest.approx(float(dice), abs=1e-6)


@pytest.mark.parametrize("levels", [3, 100, None])
def test_average_precision_agrees_with_scikit_learn(levels):
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(6)
    reference = blobs(7, share=0.05)
    probability = np.clip(0.3 * reference + 0.6 * rng.random(reference.shape), 0, 1)
    if levels:
        probability = np.round(probability * levels) / levels  # ties
    expected = metrics.average_precision_score(reference.ravel(), probability.ravel())
    assert average_precision(probability, reference) == pytest.approx(expected, abs=1e-12)
    region = blobs(8, share=0.5)
    expected = metrics.average_precision_score(reference[region], probability[region])
    assert average_precision(probability, reference, region) == pytest.approx(expected, abs=1e-12)


def test_average_precision_edges():
    reference = np.zeros((2, 2, 2), dtype=bool)
    probability = np.linspace(0, 1, 8).reshape(2, 2, 2)
    assert average_precision(probability, reference) is None
    reference[1] = True
    assert average_precision(probability, reference) == 1
    assert average_precision(np.full((2, 2, 2), 0.5), reference) == 0.5
    probability[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN voxels"):
        average_precision(probability, reference)


def test_axis_order_does_not_matter():
    prediction, reference = tubes(9), tubes(10)
    sizes = np.array([0.8, 0.5, 1.2])
    order = (2, 0, 1)
    turned = prediction.transpose(order)[::-1], reference.transpose(order)[::-1]
    assert overlap(*turned, 1.0) == overlap(prediction, reference, 1.0)
    assert surface_dice(*turned, sizes[list(order)]) == pytest.approx(
        surface_dice(prediction, reference, sizes)
    )


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.float32, (4, 4, 3), elements=st.sampled_from([0, 0.25, 0.5, 0.75, 1])),
    arrays(bool, (4, 4, 3)),
)
def test_a_higher_threshold_never_finds_more(probability, reference):
    recalls, volumes = [], []
    for threshold in (0, 0.25, 0.5, 0.75, 1, 1.1):
        got = overlap(probability >= threshold, reference, 0.5)
        recalls.append(got.recall)
        volumes.append(got.volume_predicted_mm3)
        back = overlap(reference, probability >= threshold, 0.5)
        assert (back.dsc, back.recall, back.precision) == (got.dsc, got.precision, got.recall)
        assert 0 <= got.dsc <= 1
        assert got.n_voxels_common <= min(got.n_voxels_predicted, got.n_voxels_reference)
    assert volumes == sorted(volumes, reverse=True)
    if reference.any():
        assert recalls == sorted(recalls, reverse=True)
        assert (recalls[0], recalls[-1]) == (1, 0)
