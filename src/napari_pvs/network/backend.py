"""What runs the network: PyTorch, the reference, or OpenVINO, which is faster on a CPU."""

import importlib.util
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_pvs.errors import InputError
from napari_pvs.network.device import BackendName, Device, Precision, gpu_likely, pick
from napari_pvs.network.weights import ModelCard, load, read
from napari_pvs.scans.masks import Box

log = logging.getLogger(__name__)


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
    """

    name: str
    precision: str
    factor: int
    limit: int
    batch: int

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

    def on_cpu(self) -> "Backend":
        """Return the same network on the CPU."""
        ...


def open_backend(
    weights: Path,
    device: Device = "auto",
    name: BackendName = "auto",
    precision: Precision = "auto",
) -> tuple[Backend, ModelCard]:
    """Make a network from weights, in the backend that `choose` chooses.

    Raises
    ------
    InputError
        The weights cannot be used, or what was asked for is not there.
    """
    if choose(name, device) == "openvino":
        from napari_pvs.network.openvino_backend import OpenVinoBackend

        tensors, card = read(weights)
        try:
            return OpenVinoBackend(tensors, card.network, precision), card
        except (ImportError, OSError, RuntimeError) as error:  # a broken install, a strange CPU
            reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
            if name == "openvino":
                raise InputError(
                    f"OpenVINO does not run here ({reason}); leave --backend out to use PyTorch."
                ) from error
            log.warning("OpenVINO does not run here (%s); using PyTorch.", reason)
    from napari_pvs.network.torch_backend import TorchBackend, fuse

    model, card = load(weights)
    return TorchBackend(fuse(model), pick(device), precision), card


def choose(name: BackendName, device: Device) -> Literal["torch", "openvino"]:
    """Choose OpenVINO where it is installed and the network would run on the CPU, else PyTorch.

    Raises
    ------
    InputError
        OpenVINO is asked for, and is not installed or shall run on a GPU.
    """
    if name == "torch":
        return "torch"
    installed = importlib.util.find_spec("openvino") is not None
    if name == "openvino":
        if not installed:
            raise InputError(
                'OpenVINO is not installed; run pip install "napari-pvs[fast]", or leave '
                "--backend out to use PyTorch."
            )
        if device not in ("auto", "cpu"):
            raise InputError(
                f"OpenVINO runs on the CPU, not on {device}; leave --device or --backend out."
            )
        return "openvino"
    if not installed or device not in ("auto", "cpu"):
        return "torch"
    if device == "auto" and gpu_likely() and pick("auto").type != "cpu":
        return "torch"
    return "openvino"
