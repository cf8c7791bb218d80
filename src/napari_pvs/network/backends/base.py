"""What runs the network: PyTorch, the reference, or OpenVINO, which is faster on a CPU."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_pvs.scans.masks import Box


class GpuMemoryError(Exception):
    """The GPU has no room for a window."""


@dataclass(frozen=True)
class Cpu:
    """The CPU, where PyTorch and its devices are not loaded."""

    type: str = "cpu"


class Backend(Protocol):
    """A network that is ready to run.

    Attributes
    ----------
    name
        ``torch`` or ``openvino``.
    factor
        Windows are padded to a multiple of this.
    limit
        Most voxels of a window: what bounds the memory of its activations.
    batch
        Patches of the paper's grid that are computed together.
    precision
        Type of number in the convolutions: ``float32``, ``bfloat16`` or ``float16``.
    adapts
        Whether batch norm still needs the statistics of the scan; see `with_statistics`.
    """

    name: str
    precision: str
    factor: int
    limit: int
    batch: int
    adapts: bool

    @property
    def device(self) -> Any:
        """Where it runs; has a ``type``: ``cpu``, ``cuda`` or ``mps``."""
        ...

    def probability(
        self, images: NDArray[np.float32], keep: Box | None = None
    ) -> NDArray[np.float32]:
        """Compute the probability of PVS.

        Parameters
        ----------
        images
            (N, 2, X, Y, Z) float32, normalised T1 and T2, any size.
        keep
            The part of each window that is wanted; all of it where None.

        Returns
        -------
        float32 (N, x, y, z), of the size of ``keep``; to be read before the next call, which may
        write there.

        Raises
        ------
        GpuMemoryError
            A smaller window or batch may fit.
        """
        ...

    def prepare(self, shape: tuple[int, ...]) -> None:
        """Do ahead what `with_statistics` has to for patches of this shape; it may take a while."""
        ...

    def with_statistics(self, images: NDArray[np.float32]) -> "Backend":
        """Return the same network with batch norm's mean and variance taken from patches.

        Source: AdaBN; Li et al., "Revisiting batch normalization for practical domain adaptation",
        2016.

        Parameters
        ----------
        images
            (N, 2, X, Y, Z) float32, normalised T1 and T2: patches of one scan. They are measured
            layer by layer, each after the layers before have been adapted.
        """
        ...

    def on_cpu(self) -> "Backend":
        """Return the same network on the CPU."""
        ...
