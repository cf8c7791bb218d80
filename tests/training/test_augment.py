import pytest
import torch

from napari_pvs.training.augment import GAIN, augment, drop_modality, noise
from napari_pvs.training.distributed.world import Share


def batch(n=24, size=12, seed=0):
    """Labels, and images that hold the label in T1 and twice the label in T2."""
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand((n, 1, size, size, size), generator=generator) < 0.3).float()
    return torch.cat([labels, 2 * labels], 1), labels


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_label_stays_aligned_with_the_images():
    images, labels = batch()
    before = labels.clone()
    out, turned = augment(images, labels, seeded(0))
    # voxels outside the label are zero and stay so, those inside do not
    assert torch.equal(out[:, :1] != 0, turned > 0)
    assert torch.equal(out[:, 1:] != 0, turned > 0)
    moved = [not torch.equal(a, b) for a, b in zip(before, turned, strict=True)]
    assert 0.7 * len(moved) < sum(moved)  # 7 of 8 are flipped
    for a, b in zip(before, turned, strict=True):
        flips = [a.flip(list(axes)) for axes in [(), (1,), (2,), (3,), (1, 2), (1, 3), (2, 3)]]
        assert any(torch.equal(f, b) for f in [*flips, a.flip([1, 2, 3])])


def test_zeros_stay_zeros_and_values_stay_sane():
    images, labels = batch()
    images = torch.randn(images.shape, generator=seeded(5))
    images[:, :, :3] = 0
    images[4:8, 1] = 0  # no T2
    zero = int((images == 0).sum())
    out, _ = augment(images, labels, seeded(0))
    assert int((out == 0).sum()) == zero
    assert not out[4:8, 1].any()
    assert torch.isfinite(out).all()
    assert out.abs().max() < 10


def test_same_state_same_batch():
    first, second, other = (augment(*batch(), seeded(s)) for s in (3, 3, 4))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], other[0])


def test_contrast_differs_between_patches_and_channels():
    images, labels = torch.ones(16, 2, 8, 8, 8), torch.zeros(16, 1, 8, 8, 8)
    out, _ = augment(images, labels, seeded(0))
    means = out.mean((2, 3, 4)).flatten()
    assert len(means.unique()) == 32
    assert GAIN[0] - 0.35 < means.min() < means.max() < GAIN[1] + 0.4


@pytest.mark.parametrize("share", [0.0, 0.4, 0.9])
def test_share_of_dropped_modalities(share):
    images = torch.ones(4000, 2, 1, 1, 1)
    out = drop_modality(images, share, seeded(0))[:, :, 0, 0, 0]
    assert (out.sum(1) >= 1).all()  # never both
    for channel in range(2):
        assert (out[:, channel] == 0).float().mean().item() == pytest.approx(share / 2, abs=0.03)
    assert torch.equal(images, torch.ones_like(images))


def test_a_single_modality_is_never_dropped():
    images = torch.ones((50, 2, 2, 2, 2))
    images[:, 0] = 0
    assert torch.equal(drop_modality(images, 0.9, seeded(0)), images)


def test_a_patch_is_changed_alike_whoever_has_it():
    images, labels = batch()
    images = torch.randn(images.shape, generator=seeded(5))

    def changed(share):
        own, random = share.slice, seeded(2)
        out, turned = augment(images[own].clone(), labels[own].clone(), random, share)
        return [drop_modality(out, 0.5, random, share) + noise(out, random, share), turned]

    whole = changed(Share(0, 24, 24))
    for start, stop in ((0, 10), (10, 24), (24, 24)):
        for part, all_ in zip(changed(Share(start, stop, 24)), whole, strict=True):
            torch.testing.assert_close(part, all_[start:stop])


def test_patches_of_one_scan_are_changed_alike():
    images = torch.ones(16, 2, 8, 8, 8)
    outs = [augment(images.clone(), images[:, :1], seeded(s), alike=True)[0] for s in range(20)]
    quiet = [out for out in outs if out.std((2, 3, 4)).max() < 1e-6]
    assert 5 < len(quiet) < 18  # without noise
    for out in quiet:
        assert len(out[:, 0].unique()) == len(out[:, 1].unique()) == 1
    assert len({float(out[0, 0, 0, 0, 0]) for out in quiet}) == len(quiet)
    noisy = next(out for out in outs if out.std((2, 3, 4)).max() > 0.01)
    assert not torch.equal(noisy[0], noisy[1])  # the noise itself is each patch's own
    kept = torch.stack([drop_modality(images, 0.6, seeded(s), alike=True) for s in range(200)])
    seen = kept.flatten(3).any(-1)
    assert torch.equal(seen, seen[:, :1].expand_as(seen))
    for channel in range(2):
        assert (~seen[:, 0, channel]).float().mean().item() == pytest.approx(0.3, abs=0.1)
