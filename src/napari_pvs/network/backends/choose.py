"""Which backend runs the network here."""

import importlib.util
import logging
from pathlib import Path
from typing import Literal

from napari_pvs.errors import InputError
from napari_pvs.network.backends.base import Backend
from napari_pvs.network.device import BackendName, Device, Precision, gpu_likely, pick
from napari_pvs.network.weights import ModelCard, load, read

log = logging.getLogger(__name__)


def open_backend(
    weights: Path,
    device: Device = "auto",
    name: BackendName = "auto",
    precision: Precision = "auto",
    content: bytes | None = None,
) -> tuple[Backend, ModelCard]:
    """Make a network from weights, in the backend that `choose` chooses.

    Parameters
    ----------
    weights
        A weights file.
    device, name, precision
        As for `Predictor`.
    content
        What `content_of` returned for the file, if it has been read already.

    Raises
    ------
    InputError
        The weights cannot be used, or what was asked for is not there.
    """
    if choose(name, device) == "openvino":
        from napari_pvs.network.backends.openvino_backend import OpenVinoBackend

        tensors, card = read(weights, content)
        try:
            return OpenVinoBackend(tensors, card.network, precision), card
        except (ImportError, OSError, RuntimeError) as error:  # a broken install, a strange CPU
            reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
            if name == "openvino":
                raise InputError(
                    f"OpenVINO does not run here ({reason}); leave --backend out to use PyTorch."
                ) from error
            log.warning("OpenVINO does not run here (%s); using PyTorch.", reason)
    from napari_pvs.network.backends.torch_backend import TorchBackend

    model, card = load(weights, content)
    return TorchBackend(model, pick(device), precision), card


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
