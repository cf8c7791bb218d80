import pytest
import torch
from torch.nn import functional

from napari_pvs.network.config import NetworkConfig
from napari_pvs.network.m2ss import M2SS

SMALL = {"widths": (4, 8), "scale_width": 3}


def network(seed=0, **config):
    torch.manual_seed(seed)
    return M2SS(NetworkConfig(**(SMALL | config)))


def test_mono_lacks_the_scales_and_is_otherwise_equal():
    multi, mono = (
        {n: tuple(p.shape) for n, p in network(multiscale=m, widths=(4, 8, 8)).named_parameters()}
        for m in (True, False)
    )
    assert {n for n in multi if not n.startswith("scales.")} == set(mono)
    different = {n for n in mono if mono[n] != multi[n]}
    assert different == {f"encoder.{level}.0.0.weight" for level in range(3)}
    for name in different:  # two paths of scale_width channels join the level's input
        assert multi[name][1] == mono[name][1] + 2 * SMALL["scale_width"]


def test_every_level_has_a_convolution_of_the_pooled_images():
    scales = network(widths=(4, 4, 4, 4)).scales
    assert len(scales.pool_then_convolve) == 4
    shapes = [tuple(s.shape[1:]) for s in scales(torch.zeros(1, 2, 16, 24, 8))]
    assert shapes == [(6, 16, 24, 8), (6, 8, 12, 4), (6, 4, 6, 2), (6, 2, 3, 1)]


@pytest.mark.parametrize("multiscale", [True, False])
@pytest.mark.parametrize("size", [(33, 40, 17), (3, 5, 2), (1, 1, 1), (8, 8, 8)])
def test_any_size(size, multiscale):
    model = network(widths=(2, 2, 2, 2), multiscale=multiscale).eval()
    assert model.factor == 8
    out = model(torch.randn(2, 2, *size))
    assert out.shape == (2, 1, *size)
    assert torch.isfinite(out).all()


def test_odd_sizes_are_padded_with_zeros_at_the_end():
    model = network().eval()
    images = torch.randn(1, 2, 9, 7, 8)
    padded = functional.pad(images, (0, 0, 0, 1, 0, 1))
    torch.testing.assert_close(model(images), model(padded)[..., :9, :7, :8])


@pytest.mark.parametrize("multiscale", [True, False])
def test_gradient_reaches_every_parameter(multiscale):
    model = network(widths=(4, 8, 8), multiscale=multiscale)
    model(torch.randn(2, 2, 16, 16, 16)).square().sum().backward()
    dead = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert dead == []


def test_a_window_gives_what_the_whole_gives(tiny_model):
    """Receptive field of 2 levels: 3 + (2 * 2 + 1) + 2 = 10 voxels to each side."""
    torch.manual_seed(1)
    images = torch.randn(1, 2, 40, 40, 40)
    with torch.inference_mode():
        whole = tiny_model(images)
        window = tiny_model(images[..., 8:36, 6:34, 4:32])
        torch.testing.assert_close(
            window[..., 10:-10, 10:-10, 10:-10],
            whole[..., 18:26, 16:24, 14:22],
            atol=1e-5,
            rtol=1e-5,
        )
        odd = tiny_model(images[..., 7:35, 6:34, 4:32])  # the pooling grid is shifted by a voxel
    difference = odd[..., 10:-10, 10:-10, 10:-10] - whole[..., 17:25, 16:24, 14:22]
    assert difference.abs().max() > 1e-2


def test_only_the_receptive_field_counts(tiny_model):
    images = torch.randn(1, 2, 24, 24, 24)
    with torch.inference_mode():
        before = tiny_model(images)
        images[..., 0, 0, 0] += 50
        change = (tiny_model(images) - before).abs()[0, 0]
    assert change[:2, :2, :2].max() > 1e-2
    assert change[11:].max() < 1e-4


def test_starts_out_rare():
    """An untrained network must not call everything a PVS."""
    assert network().head.bias.item() == -3
