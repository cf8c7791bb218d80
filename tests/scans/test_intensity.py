import numpy as np
import pytest

from napari_pvs.scans.intensity import CLIP, modalities, normalise


@pytest.fixture
def image():
    return np.random.default_rng(0).normal(300, 40, (20, 20, 20))


@pytest.fixture
def brain():
    brain = np.zeros((20, 20, 20), bool)
    brain[3:17, 3:17, 3:17] = True
    return brain


def test_median_quartiles_and_outside(image, brain):
    out = normalise(image, brain)
    assert out.dtype == np.float32
    low, middle, high = np.percentile(out[brain], (25, 50, 75))
    assert middle == pytest.approx(0, abs=1e-3)
    assert high - low == pytest.approx(1.349, rel=1e-3)
    assert out[brain].std() == pytest.approx(1, abs=0.05)
    assert not out[~brain].any()


@pytest.mark.parametrize(("scale", "offset"), [(7, 0), (0.01, -3), (1e6, 1e6)])
def test_the_unit_does_not_matter(image, brain, scale, offset):
    np.testing.assert_allclose(
        normalise(image * scale + offset, brain), normalise(image, brain), atol=1e-4
    )


def test_what_lies_outside_does_not_matter(image, brain):
    other = np.where(brain, image, 1e5)
    np.testing.assert_array_equal(normalise(other, brain), normalise(image, brain))


def test_a_bright_ventricle_moves_it_little(image, brain):
    before = normalise(image, brain)
    image[4:8, 4:8, 4:8] = 5000
    after = normalise(image, brain)
    tissue = brain & (image < 5000)
    assert np.abs(after[tissue] - before[tissue]).max() < 0.15
    assert after[5, 5, 5] == CLIP[1]


def test_clipped(image, brain):
    image[10, 10, 10] = -1e4
    out = normalise(image, brain)
    assert out.min() == CLIP[0]
    assert out.max() <= CLIP[1]


def test_the_input_stays(image, brain):
    copy = image.copy()
    normalise(image, brain)
    np.testing.assert_array_equal(image, copy)


def test_no_spread(brain):
    with pytest.raises(ValueError, match="interquartile"):
        normalise(np.ones(brain.shape), brain)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int16])
@pytest.mark.parametrize("chunk", [1, 900, 2**20])
def test_parts_give_the_bits_of_the_whole(image, brain, kind, chunk, monkeypatch):
    monkeypatch.setattr("napari_pvs.scans.intensity._CHUNK", chunk)
    image = np.asarray(image.astype(kind), order="F")
    low, middle, high = np.percentile(image[brain], (25, 50, 75))
    whole = np.zeros(image.shape, np.float32)
    whole[brain] = np.clip((image[brain] - middle) / ((high - low) / 1.349), *CLIP)
    np.testing.assert_array_equal(normalise(image, brain), whole)
    np.testing.assert_array_equal(normalise(image[brain], brain[brain]), whole[brain])


@pytest.mark.parametrize("names", [(), ("T1",), ("T2",), ("T1", "T2")])
def test_a_missing_modality_is_all_zeros(names):
    images = np.zeros((2, 3, 4, 5), np.float32)
    for channel, name in zip(images, ("T1", "T2"), strict=True):
        channel[1, 2, 3] = -0.5 * (name in names)
    assert modalities(images) == names
