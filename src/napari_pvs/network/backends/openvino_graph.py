"""`M2SS.forward` as a graph of OpenVINO, for one shape of window.

Three things differ from PyTorch's and leave the answer as it is:

- The decoder computes only what the wanted part of the window needs. A 3x3x3 convolution reaches
  one voxel further, so two of them are right from the third voxel inside a cut.
- Pooling by 4 is pooling by 2, twice; the scales share the first steps.
- A convolution of concatenated channels is a sum of convolutions. Where the parts do not fill
  vectors of 16 channels (2 + 16 at full resolution), this saves half of the padded work.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.network.config import NetworkConfig
from napari_pvs.network.layout import EPSILON, Layers, fold, without_norms

Span = tuple[int, int]
Channels = tuple[str, int, int]
"""Some channels of a block or tensor: its name, the first, and the one after the last."""
_VECTOR = 16  # channels that are computed together


def build(
    layers: Layers, config: NetworkConfig, shape: tuple[int, ...], keep: tuple[Span, ...]
) -> Any:
    """Make the graph.

    Parameters
    ----------
    layers
        Folded weights.
    config
        Of the network.
    shape
        (N, 2, X, Y, Z) of the images.
    keep
        Start and stop of the wanted part along X, Y and Z.

    Returns
    -------
    An `openvino.Model` from images to probabilities (N, 1, x, y, z).
    """
    import openvino
    from openvino import opset13 as op

    graph = _Graph(layers, config)
    images = op.parameter(list(shape), np.float32, "images")
    found = op.sigmoid(graph.logits(*_padded(images, config.factor), list(keep)))
    return openvino.Model([found], [images], "m2ss")


def build_measuring(
    tensors: Mapping[str, NDArray[Any]], config: NetworkConfig, shape: tuple[int, ...]
) -> tuple[Any, list[Channels]]:
    """Make a graph that measures batch norm's statistics, each after the layers before have theirs.

    Parameters
    ----------
    tensors
        The weights, not folded.
    config
        Of the network.
    shape
        (N, 2, X, Y, Z) of the images.

    Returns
    -------
    An `openvino.Model` from images to means and variances, and where in the weights each belongs.
    """
    import openvino
    from openvino import opset13 as op

    graph = _MeasuringGraph(tensors, config)
    images = op.parameter(list(shape), np.float32, "images")
    features, size = _padded(images, config.factor)
    graph.logits(features, size, [(0, n) for n in size])
    return openvino.Model(graph.statistics, [images], "m2ss-statistics"), graph.measured


class _Graph:
    """Layers of one network, and how they are joined."""

    def __init__(self, layers: Layers, config: NetworkConfig):
        self.layers, self.config = layers, config

    def logits(self, images: Any, size: list[int], keep: list[Span]) -> Any:
        levels = len(self.config.widths)
        extras = self.extras(images) if self.config.multiscale else [None] * levels
        features, skips = images, []
        for level, extra in enumerate(extras):
            if level:
                features = _pool(features)
            parts = [features] if extra is None else [features, extra]
            features = self.block(f"encoder.{level}.0", parts)
            features = self.block(f"encoder.{level}.1", [features])
            skips.append(features)
        spans = _needed(size, keep, levels)
        held = spans[-1]
        features = _crop(features, [(0, n >> (levels - 1)) for n in size], held)
        for level in reversed(range(levels - 1)):
            span = spans[level]
            features = _crop(features, held, [(low // 2, high // 2) for low, high in span])
            up = _double(self.convolve(f"reduce.{level}", features))
            skip = _crop(skips[level], [(0, n >> level) for n in size], span)
            features = _add(up, skip)
            features = self.block(f"decoder.{level}.0", [features])
            features = self.block(f"decoder.{level}.1", [features])
            held = span
        return self.convolve("head", _crop(features, held, keep))

    def extras(self, images: Any) -> list[Any]:
        """What the images themselves give to each level of the encoder."""
        width, levels = self.config.scale_width, len(self.config.widths)
        kernel, bias = self.layers["scales.convolve_then_pool"]
        # both paths of the finest scale are convolutions of the images
        pairs = zip((kernel, bias), self.layers["scales.pool_then_convolve.0"], strict=True)
        finest = _convolve(images, *(np.concatenate([a[:width], b]) for a, b in pairs))
        first, second = "scales.convolve_then_pool", "scales.pool_then_convolve.0"
        out = [self.activate(finest, [(first, 0, width), (second, 0, width)])]
        if levels == 1:
            return out
        paths = _convolve(images, kernel[width:], bias[width:])
        paths = self.activate(paths, [(first, width, len(kernel))])
        for level in range(1, levels):
            paths, images = _pool(paths), _pool(images)
            path = _channels(paths, 0, width)
            out.append(_join(path, self.block(f"scales.pool_then_convolve.{level}", [images])))
            if level < levels - 1:
                paths = _channels(paths, width, width * (levels - level))
        return out

    def block(self, name: str, parts: list[Any]) -> Any:
        features = self.convolve(name, *parts)
        return self.activate(features, [(name, 0, len(self.layers[name][1]))])

    def activate(self, features: Any, channels: list[Channels]) -> Any:
        """Apply what follows a convolution; batch norm is in the layers."""
        return _relu(features)

    def convolve(self, name: str, *parts: Any) -> Any:
        """Convolve parts as if their channels were joined."""
        kernel, bias = self.layers[name]
        widths = [int(part.get_output_shape(0)[1]) for part in parts]
        if len(parts) > 1 and all(width % _VECTOR == 0 for width in widths):
            return _convolve(_join(*parts), kernel, bias)
        total, start = None, 0
        for part, width in zip(parts, widths, strict=True):
            one = _convolve(part, kernel[:, start : start + width], None if start else bias)
            total = one if total is None else _add(total, one)
            start += width
        return total


class _MeasuringGraph(_Graph):
    """The same network, whose batch norm takes the mean and variance of what it is given.

    Attributes
    ----------
    statistics
        Means and variances.
    measured
        Where in the weights each of them belongs.
    """

    def __init__(self, tensors: Mapping[str, NDArray[Any]], config: NetworkConfig):
        super().__init__(fold(without_norms(tensors)), config)
        self.tensors = tensors
        self.statistics: list[Any] = []
        self.measured: list[Channels] = []

    def activate(self, features: Any, channels: list[Channels]) -> Any:
        """Normalise by the features' own statistics, and note these."""
        from openvino import opset13 as op

        def values(kind: str) -> Any:
            parts = [self.tensors[f"{name}.1.{kind}"][low:high] for name, low, high in channels]
            return op.constant(np.concatenate(parts).astype(np.float32).reshape(1, -1, 1, 1, 1))

        axes = np.array([0, 2, 3, 4], np.int64)
        mean = op.reduce_mean(features, axes, keep_dims=True)
        centred = op.subtract(features, mean)
        variance = op.reduce_mean(op.multiply(centred, centred), axes, keep_dims=True)
        count = np.prod(features.get_output_shape(0)) // features.get_output_shape(0)[1]
        unbiased = op.multiply(variance, op.constant(np.float32(count / (count - 1))))
        start = 0
        for name, low, high in channels:
            for kind, found in (("running_mean", mean), ("running_var", unbiased)):
                self.statistics.append(_channels(found, start, start + high - low))
                self.measured.append((f"{name}.1.{kind}", low, high))
            start += high - low
        spread = op.sqrt(op.add(variance, op.constant(np.float32(EPSILON))))
        scaled = op.multiply(centred, op.divide(values("weight"), spread))
        return _relu(op.add(scaled, values("bias")))


def _padded(images: Any, factor: int) -> tuple[Any, list[int]]:
    """Pad to multiples of the network's factor; also return the edges."""
    from openvino import opset13 as op

    size = [int(n) for n in images.get_output_shape(0)[2:]]
    pad = [(-n) % factor for n in size]
    if any(pad):
        images = op.pad(images, [0] * 5, [0, 0, *pad], "constant", np.float32(0))
    return images, [n + extra for n, extra in zip(size, pad, strict=True)]


def _needed(size: list[int], keep: list[Span], levels: int) -> list[list[Span]]:
    """Tell for each level which voxels its decoder must compute; of the last, which it must give.

    Spans begin and end at even voxels, where the level below can be doubled.
    """
    spans, wanted = [], keep
    for level in range(levels):
        limits = [n >> level for n in size]
        if level < levels - 1:
            wanted = [
                (max(0, low - 2) // 2 * 2, min(n, -(-(high + 2) // 2) * 2))
                for (low, high), n in zip(wanted, limits, strict=True)
            ]
        spans.append(wanted)
        wanted = [(low // 2, high // 2) for low, high in wanted]
    return spans


def _convolve(x: Any, kernel: Any, bias: Any) -> Any:
    from openvino import opset13 as op

    pad, one = [kernel.shape[2] // 2] * 3, [1] * 3
    out = op.convolution(x, op.constant(np.ascontiguousarray(kernel)), one, pad, pad, one)
    if bias is None:
        return out
    return op.add(out, op.constant(np.reshape(bias, (1, -1, 1, 1, 1))))


def _relu(x: Any) -> Any:
    from openvino import opset13 as op

    return op.relu(x)


def _add(x: Any, y: Any) -> Any:
    from openvino import opset13 as op

    return op.add(x, y)


def _join(*parts: Any) -> Any:
    from openvino import opset13 as op

    return op.concat(list(parts), 1)


def _pool(x: Any) -> Any:
    """The largest of 2x2x2 voxels."""
    from openvino import opset1

    return opset1.max_pool(x, [2] * 3, [0] * 3, [0] * 3, [2] * 3)


def _double(x: Any) -> Any:
    """Repeat each voxel twice along each axis."""
    from openvino import opset13 as op

    return op.interpolate(
        x,
        np.full(3, 2, np.float32),
        "nearest",
        "scales",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
        axes=np.array([2, 3, 4], np.int64),
    )


def _channels(x: Any, start: int, stop: int) -> Any:
    from openvino import opset13 as op

    edges = [np.array([n], np.int64) for n in (start, stop, 1, 1)]
    return op.slice(x, *edges)


def _crop(x: Any, held: list[Span], wanted: list[Span]) -> Any:
    """Cut from the voxels that are held those that are wanted."""
    from openvino import opset13 as op

    if held == wanted:
        return x
    pairs = zip(wanted, held, strict=True)
    low, high = zip(*((w[0] - h[0], w[1] - h[0]) for w, h in pairs), strict=True)
    edges = [np.array(values, np.int64) for values in (low, high, (1, 1, 1), (2, 3, 4))]
    return op.slice(x, *edges)
