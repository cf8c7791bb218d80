import pytest
import torch

from napari_pvs.network.backends.torch_backend import fuse
from napari_pvs.network.config import NetworkConfig
from napari_pvs.network.layout import COUNTER, fold, layout
from napari_pvs.network.m2ss import M2SS

CONFIGS = [
    NetworkConfig(),
    NetworkConfig(multiscale=False),
    NetworkConfig(widths=(3,), scale_width=2),
    NetworkConfig(widths=(4, 6, 5), scale_width=1, multiscale=False),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_names_and_shapes_are_those_of_the_network(config):
    state = M2SS(config).state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == layout(config)
    for name, tensor in state.items():
        assert tensor.dtype == (torch.int64 if name.endswith(COUNTER) else torch.float32)


@pytest.mark.parametrize("config", CONFIGS)
def test_folded_as_pytorch_folds(config):
    torch.manual_seed(0)
    model = M2SS(config).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            for tensor in (module.weight, module.bias, module.running_mean):
                torch.nn.init.uniform_(tensor, -1, 1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    layers = fold({name: tensor.numpy() for name, tensor in model.state_dict().items()})
    convolutions = {
        # a block is named by itself, not by the convolution in it
        name if name.startswith(("head", "reduce")) else name.removesuffix(".0"): module
        for name, module in fuse(model).named_modules()
        if isinstance(module, torch.nn.Conv3d)
    }
    assert layers.keys() == convolutions.keys()
    for name, (kernel, bias) in layers.items():
        torch.testing.assert_close(torch.from_numpy(kernel), convolutions[name].weight.detach())
        torch.testing.assert_close(torch.from_numpy(bias), convolutions[name].bias.detach())
