"""Names and shapes of the tensors of `M2SS`, without PyTorch."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.errors import InputError
from napari_pvs.network.config import CHANNELS, NetworkConfig

COUNTER = "num_batches_tracked"
"""Tensors of this name are 64-bit integers; all others are floats."""
EPSILON = 1e-5  # of torch.nn.BatchNorm3d

Layers = dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Kernel (out, in, 3, 3, 3) or (out, in, 1, 1, 1) and bias (out) of each convolution, by name."""


def layout(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a network, by its name in a weights file.

    Examples
    --------
    >>> layout(NetworkConfig(widths=(16,)))["head.weight"]
    (1, 16, 1, 1, 1)
    """
    return dict(_tensors(config))


def fold(tensors: Mapping[str, NDArray[Any]]) -> Layers:
    """Fold every batch norm into the convolution before it.

    Parameters
    ----------
    tensors
        Of one network, as `layout` names them.

    Returns
    -------
    The layers by name, such as ``encoder.0.1`` or ``head``.

    Raises
    ------
    InputError
        A number is not finite.
    """
    layers: Layers = {}
    for name in tensors:
        block = name.removesuffix(".0.weight")
        if f"{block}.1.running_var" in tensors and block != name:
            values = [
                tensors[f"{block}.1.{kind}"].astype(np.float64)
                for kind in ("weight", "bias", "running_mean", "running_var")
            ]
            gain, shift, mean, variance = values
            gain = gain / np.sqrt(variance + EPSILON)
            kernel = tensors[name] * gain[:, None, None, None, None]
            bias = shift - mean * gain
        elif name.endswith(".weight") and tensors[name].ndim == 5:
            block = name.removesuffix(".weight")
            kernel, bias = tensors[name], tensors[f"{block}.bias"]
        else:
            continue
        layers[block] = (kernel.astype(np.float32), bias.astype(np.float32))
        if not all(np.isfinite(part).all() for part in layers[block]):
            raise InputError(
                f"the weights of {block} are too large to compute with; choose other weights."
            )
    return layers


def without_norms(tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the tensors with every batch norm made to change nothing."""
    neutral = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1 - EPSILON}
    out = dict(tensors)
    for name in tensors:
        block = name.removesuffix(".running_var")
        if block != name:
            for kind, value in neutral.items():
                out[f"{block}.{kind}"] = np.full_like(tensors[name], value, np.float64)
    return out


def _tensors(config: NetworkConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    widths, paths = config.widths, config.scale_width
    extra = 2 * paths if config.multiscale else 0
    if config.multiscale:
        yield from _block("scales.convolve_then_pool", CHANNELS, len(widths) * paths)
        for level in range(len(widths)):
            yield from _block(f"scales.pool_then_convolve.{level}", CHANNELS, paths)
    for level, (before, width) in enumerate(itertools.pairwise((CHANNELS, *widths))):
        yield from _block(f"encoder.{level}.0", before + extra, width)
        yield from _block(f"encoder.{level}.1", width, width)
    for level, (fine, coarse) in enumerate(itertools.pairwise(widths)):
        yield from _convolution(f"reduce.{level}", coarse, fine)
        yield from _block(f"decoder.{level}.0", fine, fine)
        yield from _block(f"decoder.{level}.1", fine, fine)
    yield from _convolution("head", widths[0], 1)


def _block(name: str, before: int, after: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """3x3x3 convolution and batch norm."""
    yield f"{name}.0.weight", (after, before, 3, 3, 3)
    for kind in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.1.{kind}", (after,)
    yield f"{name}.1.{COUNTER}", ()


def _convolution(name: str, before: int, after: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """1x1x1 convolution."""
    yield f"{name}.weight", (after, before, 1, 1, 1)
    yield f"{name}.bias", (after,)
