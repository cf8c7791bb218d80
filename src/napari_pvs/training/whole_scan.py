"""Prediction of whole prepared scans, as `Predictor` does it."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from napari_pvs.inference.predictor import compute, interior
from napari_pvs.network.backends.torch_backend import TorchBackend
from napari_pvs.network.device import Precision
from napari_pvs.network.m2ss import M2SS
from napari_pvs.training.data.prepared import PreparedSubject

Answer = Callable[[PreparedSubject], NDArray[np.float32]]


def reader(
    network: M2SS,
    device: torch.device,
    alive: Callable[[], None] = lambda: None,
    precision: Precision = "auto",
) -> Answer:
    """Return a function that predicts whole scans with a network.

    Parameters
    ----------
    network
        It is copied, so that its training may go on meanwhile.
    device
        Where to compute.
    alive
        Called after every window.
    precision
        As in `Predictor`.

    Returns
    -------
    Function from a subject to its probability of PVS: float32 in the shape of its brain, 0 outside
    the brain and within 3 mm of its surface.
    """
    backend = TorchBackend(network, device, precision)

    def probability(subject: PreparedSubject) -> NDArray[np.float32]:
        inside = interior(subject.brain, subject.voxel_size)
        images = subject.images.astype(np.float32)
        return compute(backend, images, inside, progress=lambda *_: alive())

    return probability
