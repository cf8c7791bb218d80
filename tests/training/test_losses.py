import math

import pytest
import torch
from torch.nn import functional

from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.losses import focal, soft_dice, supervised


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 1, 5, 5, 5, generator=generator) * 3
    return logits, (torch.rand(logits.shape, generator=generator) < 0.2).float()


def test_focal_without_focus_is_half_the_cross_entropy(pair):
    bce = functional.binary_cross_entropy_with_logits(*pair)
    torch.testing.assert_close(focal(*pair, gamma=0, alpha=0.5), 0.5 * bce)


def test_focal_by_hand():
    # p = .8 for a PVS voxel, p = .3 for a background voxel
    logits = torch.tensor([math.log(0.8 / 0.2), math.log(0.3 / 0.7)])
    target = torch.tensor([1.0, 0.0])
    one = -0.75 * 0.2**2 * math.log(0.8)
    other = -0.25 * 0.3**2 * math.log(0.7)
    assert focal(logits, target).item() == pytest.approx((one + other) / 2, rel=1e-5)


@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2])
def test_focal_of_extreme_logits_is_finite(gamma):
    logits = torch.tensor([100.0, -100.0, 100.0, -100.0], requires_grad=True)
    loss = focal(logits, torch.tensor([1.0, 0.0, 0.0, 1.0]), gamma)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("loss", [focal, soft_dice])
def test_gradient(loss, pair):
    logits = pair[0].double().requires_grad_()
    target = pair[1].double()
    assert torch.autograd.gradcheck(lambda x: loss(x, target), logits)
    loss(logits, target).backward()
    inside = target > 0
    assert (logits.grad[inside] < 0).all()  # raises the logits of PVS
    assert (logits.grad[~inside] > 0).all()


def test_soft_dice(pair):
    target = pair[1]
    perfect = torch.where(target > 0, 50.0, -50.0)
    assert soft_dice(perfect, target).item() == pytest.approx(0, abs=1e-6)
    voxels = float(target.sum())
    wrong = soft_dice(-perfect, target).item()
    assert wrong == pytest.approx(1 - 1 / (target.numel() + 1))
    half = soft_dice(torch.zeros_like(target), target).item()
    assert half == pytest.approx(1 - (voxels + 1) / (target.numel() / 2 + voxels + 1))
    nothing = torch.zeros(1, 1, 4, 4, 4)
    assert soft_dice(nothing - 50, nothing).item() == pytest.approx(0, abs=1e-6)


def test_what_does_not_count_has_no_say(pair):
    logits, target = pair
    counted = (torch.arange(logits.numel()).reshape(logits.shape) % 3 > 0).float()
    wrong = torch.where(counted > 0, target, 1 - target)
    for loss in (focal, soft_dice):
        torch.testing.assert_close(
            loss(logits, target, counted=counted), loss(logits, wrong, counted=counted)
        )
    everything = torch.ones_like(target)
    torch.testing.assert_close(focal(logits, target, counted=everything), focal(logits, target))


def config(**values):
    return TrainingConfig(study="x", method="m2ss", **values)


def test_supervised_is_the_weighted_sum(pair):
    both = supervised(*pair, config(focal_weight=3, dice_weight=0.5))
    torch.testing.assert_close(both, 3 * focal(*pair) + 0.5 * soft_dice(*pair))
    literal = supervised(*pair, config(recipe="paper"))
    torch.testing.assert_close(literal, focal(*pair))
