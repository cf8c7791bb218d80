"""The network in OpenVINO: two to three times as fast as PyTorch on a CPU, without its import.

The graph is made from the weights themselves (`openvino_graph`), so that nothing has to be
converted, kept on disk or brought up to date, and PyTorch is not needed.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.network.backends.base import Cpu
from napari_pvs.network.backends.openvino_graph import Channels, build, build_measuring
from napari_pvs.network.config import NetworkConfig
from napari_pvs.network.device import Precision, threads
from napari_pvs.network.layout import fold
from napari_pvs.scans.masks import Box

_Key = tuple[tuple[int, ...], tuple[tuple[int, int], ...]]


@dataclass(frozen=True)
class _Measuring:
    """What measures statistics of patches of a shape; see `build_measuring`."""

    shape: tuple[int, ...]
    request: Any
    measured: list[Channels]


class OpenVinoBackend:
    """A network in OpenVINO on the CPU; see `Backend`.

    It is compiled for each shape of window, which takes about 0.1 s and runs faster than
    variable shapes, and for each wanted part of windows above ``small`` voxels; of smaller ones
    all is computed. Compiled networks are kept as long as their windows together have at most
    ``limit`` voxels, because each holds the memory of its activations.

    Parameters
    ----------
    tensors
        The weights, as `read` gives them.
    config
        Of the network that they are for.
    precision
        ``auto``: bfloat16 where the processor computes in it; ``full``: float32.

    Raises
    ------
    ImportError, RuntimeError
        OpenVINO does not run here.
    """

    name = "openvino"
    small = 200_000
    batch = 16
    device = Cpu()

    def __init__(
        self,
        tensors: Mapping[str, NDArray[Any]],
        config: NetworkConfig,
        precision: Precision = "auto",
    ):
        self.factor = config.factor
        self.adapts = config.statistics == "scan"
        self._config = config
        self._tensors, self._asked = tensors, precision
        self._layers = fold(tensors)
        self._core = _core()
        native = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = "bfloat16" if native and precision == "auto" else "float32"
        # under 2 GB; a brain in one window takes two thirds of the time of one in two
        self.limit = 10_000_000 if self.precision == "bfloat16" else 7_000_000
        self._ready: dict[_Key, Any] = {}
        self._measuring: _Measuring | None = None

    def probability(
        self, images: NDArray[np.float32], keep: Box | None = None
    ) -> NDArray[np.float32]:
        """Compute the probability of PVS; see `Backend.probability`."""
        if keep is not None and _size(images.shape) <= self.small:
            return self.probability(images)[(slice(None), *keep)]
        request = self._request(images.shape, keep)
        request.get_input_tensor(0).data[...] = images  # its own memory, which is there already
        request.infer(share_outputs=True)
        found: NDArray[np.float32] = request.get_output_tensor(0).data[:, 0]
        return found

    def prepare(self, shape: tuple[int, ...]) -> None:
        """Compile what measures patches of this shape; see `Backend.prepare`."""
        if self._measuring is None or self._measuring.shape != shape:
            model, measured = build_measuring(self._tensors, self._config, shape)
            self._measuring = _Measuring(shape, self._compiled(model), measured)

    def with_statistics(self, images: NDArray[np.float32]) -> "OpenVinoBackend":
        """Return the network with these patches' statistics; see `Backend.with_statistics`."""
        self.prepare(images.shape)
        assert self._measuring is not None
        request = self._measuring.request
        request.get_input_tensor(0).data[...] = images
        request.infer(share_outputs=True)
        tensors = {name: tensor.copy() for name, tensor in self._tensors.items()}
        for index, (name, low, high) in enumerate(self._measuring.measured):
            tensors[name][low:high] = request.get_output_tensor(index).data.ravel()
        request.get_compiled_model().release_memory()  # as much as the network itself takes
        config = self._config.model_copy(update={"statistics": "fixed"})
        return OpenVinoBackend(tensors, config, self._asked)

    def on_cpu(self) -> "OpenVinoBackend":
        """Return itself."""
        return self

    def _request(self, shape: tuple[int, ...], keep: Box | None) -> Any:
        if keep is None:
            keep = (slice(0, shape[2]), slice(0, shape[3]), slice(0, shape[4]))
        sides = tuple((side.start, side.stop) for side in keep)
        key = (tuple(shape), sides)
        if key not in self._ready:
            while self._ready and self._voxels() + _size(shape) > self.limit:
                del self._ready[next(iter(self._ready))]  # the oldest
            model = build(self._layers, self._config, key[0], sides)
            self._ready[key] = self._compiled(model)
        return self._ready[key]

    def _compiled(self, model: Any) -> Any:
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if self.precision == "bfloat16" else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": str(threads()),
            # a pinned thread would wait for its core beside a training
            "ENABLE_CPU_PINNING": "NO",
        }
        return self._core.compile_model(model, "CPU", settings).create_infer_request()

    def _voxels(self) -> int:
        return sum(_size(shape) for shape, _ in self._ready)


@cache
def _core() -> Any:
    """Load OpenVINO, once: each new core would change the stack on which signals are handled, and
    the end of one before the other leaves a freed one there, so that Ctrl-C is a segmentation
    fault (2026.4).
    """
    # it would write a client's number into the home folder and call an analytics host; without
    # that package, which it does not need, it uses a stub of its own
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    core = openvino.Core()
    core.get_property("CPU", "FULL_DEVICE_NAME")  # loads the plugin
    return core


def _size(shape: tuple[int, ...]) -> int:
    return int(shape[0] * np.prod(shape[2:]))
