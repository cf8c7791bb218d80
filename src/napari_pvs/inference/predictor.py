"""Compute the probability of PVS in each voxel of a scan."""

import logging
from collections.abc import Callable, Iterator
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from napari_pvs.errors import InputError
from napari_pvs.inference.patches import grid, sample, tiles
from napari_pvs.network.backends.base import Backend, GpuMemoryError
from napari_pvs.network.backends.choose import open_backend
from napari_pvs.network.backends.torch_backend import TorchBackend
from napari_pvs.network.config import CHANNELS
from napari_pvs.network.device import BackendName, Device, Precision
from napari_pvs.network.weights import ModelCard, content_of, fingerprint, starter_path
from napari_pvs.scans.grid import Grid, resample, with_voxel_size
from napari_pvs.scans.header import MOST_VOXELS
from napari_pvs.scans.intensity import modalities
from napari_pvs.scans.masks import (
    Box,
    bounding_box,
    box_of,
    distance_inside,
    fill_holes,
    moved,
    voxels_in,
)
from napari_pvs.scans.scan import Scan

if TYPE_CHECKING:
    import torch

    from napari_pvs.network.m2ss import M2SS

__all__ = ["Predictor", "Progress", "Windows", "adapted", "compute", "interior", "run"]

log = logging.getLogger(__name__)

Windows = Literal["fast", "paper"]
Progress = Callable[[int, int], None]

_HALO = 16  # voxels computed around a tile for context, then discarded
_MARGIN = 4  # the same around the whole mask: cortex, then zeros
_SMALL = 200_000  # an array of fewer voxels is not worth trimming
_PATCH, _STRIDE = 32, 16  # the paper's grid
_SAMPLE, _SAMPLE_EDGE = 16, 48  # patches that a scan's statistics are of; as when training
_RIM_MM = 3.0  # cortex: no PVS lie this close to the surface of the brain mask


class Predictor:
    """A network ready to run on one device.

    Parameters
    ----------
    weights
        A weights file; None for the starter weights.
    device
        auto, cpu, cuda or mps.
    windows
        ``fast``: few large windows over the brain. ``paper``: 32³ patches at stride 16,
        blended with Gaussian weights.
    backend
        auto, torch or openvino; see `choose`.
    precision
        ``auto``: 16-bit where the device supports it; ``full``: float32.

    Attributes
    ----------
    card
        The weights' model card.
    weights_id
        First 12 digits of the SHA-256 of the weights.
    backend
        What runs the network.
    device
        Where it runs; its ``type`` is ``cpu``, ``cuda`` or ``mps``.
    """

    card: ModelCard
    weights_id: str

    def __init__(
        self,
        weights: Path | None = None,
        device: Device = "auto",
        windows: Windows = "fast",
        backend: BackendName = "auto",
        precision: Precision = "auto",
    ):
        path = Path(weights) if weights is not None else starter_path()
        content = content_of(path)  # once: a run may replace the file meanwhile
        self.backend, self.card = open_backend(path, device, backend, precision, content)
        self.weights_id = fingerprint(path, content)
        self.device = self.backend.device
        self.windows: Windows = windows

    def prepare(self) -> None:
        """Do ahead what does not depend on the scan, such as compiling; it may run beside work."""
        if self.backend.adapts:
            edges = [_SAMPLE_EDGE] * 3
            self.backend.prepare((_SAMPLE, CHANNELS, *edges))

    def for_scan(self, scan: Scan) -> "Predictor":
        """Return a predictor for windows of a scan, which cannot tell the scan's statistics.

        Other predictions of weights that need them (`NetworkConfig.statistics`) measure them anew
        on what they are given.
        """
        if not self.backend.adapts:
            return self
        name = str(scan.source.path or "the scan")
        _, images, _ = self._resampled(scan.grid, scan.normalised(), scan.brain, name)
        ready = copy(self)
        ready.backend = adapted(self.backend, images)
        return ready

    def predict(self, scan: Scan, progress: Progress | None = None) -> NDArray[np.float32]:
        """Compute the probability of PVS in a scan of any voxel size; see `predict_on`.

        Parameters
        ----------
        scan
            T1, T2 or both.
        progress
            Called with the number of windows done and the total.

        Returns
        -------
        float32 (X, Y, Z) on the scan's grid; 0 outside the brain and in its outer 3 mm.
        """
        name = str(scan.source.path or "the scan")
        brain = interior(scan.brain, scan.grid.voxel_size)
        return self.predict_on(scan.grid, scan.normalised(), brain, progress, name=name)

    def predict_on(
        self,
        grid: Grid,
        images: NDArray[np.float32],
        brain: NDArray[np.bool_],
        progress: Progress | None = None,
        *,
        name: str = "the scan",
    ) -> NDArray[np.float32]:
        """Compute the probability of PVS from normalised images of any voxel size.

        Voxels outside the range that the weights were trained on are resampled to the nearest size
        inside it, and the probability is resampled back.

        Parameters
        ----------
        grid
            Of the images: a whole scan, or a window of one.
        images, brain, progress
            As in `predict_array`.
        name
            What messages call the images.

        Returns
        -------
        float32 (X, Y, Z) on ``grid``, 0 outside the brain.

        Raises
        ------
        InputError
            Resampled, the scan would be too large.
        """
        fine, images, mask = self._resampled(grid, images, brain, name)
        probability = self.predict_array(images, mask, progress)
        if fine is grid:
            return probability
        back: NDArray[np.float32] = resample(probability, fine.affine, grid, 1)
        return np.asarray(np.clip(back, 0, 1) * brain, np.float32)

    def _resampled(
        self, grid: Grid, images: NDArray[np.float32], brain: NDArray[np.bool_], name: str
    ) -> tuple[Grid, NDArray[np.float32], NDArray[np.bool_]]:
        """Return grid, images and brain at a voxel size that the weights know."""
        low, high = self.card.voxel_size_mm
        x, y, z = (float(np.clip(edge, low, high)) for edge in grid.voxel_size)
        if np.allclose((x, y, z), grid.voxel_size, rtol=0.02):
            return grid, images, brain
        fine = with_voxel_size(grid, (x, y, z))
        voxels = np.prod(fine.shape, dtype=float)
        if voxels > MOST_VOXELS:
            raise InputError(
                f"{name} would have {voxels:.3g} voxels at the voxel size that the weights "
                f"{self.card.name} need ({low:g} to {high:g} mm); use other weights, or crop or "
                "resample the scan."
            )
        images = np.stack([resample(image, grid.affine, fine, 1) for image in images])
        return fine, images, resample(brain.astype(np.uint8), grid.affine, fine, 0) > 0

    def predict_array(
        self,
        images: NDArray[np.float32],
        brain: NDArray[np.bool_],
        progress: Progress | None = None,
    ) -> NDArray[np.float32]:
        """Compute the probability of PVS from normalised images at a voxel size the weights know.

        Parameters
        ----------
        images
            (2, X, Y, Z) normalised T1 and T2; a missing modality is zeros.
        brain
            (X, Y, Z) mask; nothing is computed outside its bounding box.
        progress
            Called with the number of windows done and the total.

        Returns
        -------
        float32 (X, Y, Z), 0 outside the brain.
        """
        probability = compute(self.backend, images, brain, self.windows, progress)
        self.card.calibrate(probability, modalities(images))
        return probability


def interior(brain: NDArray[np.bool_], voxel_size: tuple[float, float, float]) -> NDArray[np.bool_]:
    """Return the brain without its outer 3 mm: cortex, and the uncertain edge of the mask.

    Neither holes in the mask nor the border of a field of view that cuts through the brain count as
    its surface.
    """
    out = np.zeros(brain.shape, bool)
    if brain.any():
        box = bounding_box(brain, margin=1)
        inside = brain[box]
        out[box] = inside & (distance_inside(fill_holes(inside), voxel_size) > _RIM_MM)
    return out


def adapted(backend: Backend, images: NDArray[np.float32]) -> Backend:
    """Return a network with batch norm's statistics of a scan; see `Backend.with_statistics`.

    Parameters
    ----------
    backend
        The network.
    images
        (2, X, Y, Z) normalised T1 and T2 of the whole scan, zero outside the brain; a missing
        modality is zeros. If all is zero, nothing is measured.
    """
    brain = np.asarray(images.any(axis=0))
    if not brain.any():
        return backend
    boxes = sample(brain, _SAMPLE, _SAMPLE_EDGE)
    return backend.with_statistics(np.stack([images[(slice(None), *box)] for box in boxes]))


def run(
    model: "M2SS",
    images: NDArray[np.float32],
    brain: NDArray[np.bool_],
    device: "torch.device",
    windows: Windows = "fast",
    progress: Progress | None = None,
    precision: Precision = "auto",
) -> NDArray[np.float32]:
    """Run a network in PyTorch over a volume; see `compute`."""
    return compute(TorchBackend(model, device, precision), images, brain, windows, progress)


def compute(
    backend: Backend,
    images: NDArray[np.float32],
    brain: NDArray[np.bool_],
    windows: Windows = "fast",
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Run a network over a volume, with its statistics if it needs them.

    Parameters are those of `Predictor.predict_array`.

    If the GPU runs out of memory, smaller windows or batches are tried for as long as they can be
    made smaller, then the CPU with the usual ones; each step is logged.
    """
    if not brain.any():
        return np.zeros(brain.shape, np.float32)
    if backend.adapts:
        backend = adapted(backend, images)
    whole = tuple(slice(n) for n in brain.shape)
    trust = np.ones((), np.float32)
    if windows == "paper":
        trust = _centre_weights(_PATCH)
        pad = [(0, max(0, _PATCH - n)) for n in brain.shape]
        images, brain = np.pad(images, [(0, 0), *pad]), np.pad(brain, pad)
    limit, batch = backend.limit, backend.batch
    plan = usual = _plan(brain, windows, limit, batch, backend.factor)
    while True:
        try:
            return _average(backend, images, brain, plan, trust, progress)[whole]
        except GpuMemoryError:
            limit, batch = limit // 4, max(1, batch // 4)
            smaller = _plan(brain, windows, limit, batch, backend.factor)
            if _largest(smaller) < _largest(plan):
                plan = smaller
                log.warning("The GPU ran out of memory; retrying with smaller windows.")
            else:  # windows are hardly more than halo; on the CPU small ones would only be slower
                backend, plan = backend.on_cpu(), usual
                log.warning("The GPU ran out of memory even with small windows; using the CPU.")


def _plan(
    brain: NDArray[np.bool_], windows: Windows, limit: int, batch: int, factor: int
) -> list[list[tuple[Box, Box]]]:
    """Batches of windows, each with the tile inside it whose values are kept."""
    if windows == "fast":
        return [[pair] for pair in _large(brain, limit, factor)]
    pairs = [(box, box) for box in grid(brain.shape, _PATCH, _STRIDE) if brain[box].any()]
    return [pairs[i : i + batch] for i in range(0, len(pairs), batch)]


def _largest(plan: list[list[tuple[Box, Box]]]) -> int:
    """Number of voxels of the largest batch."""
    return max(len(pairs) * voxels_in(pairs[0][0]) for pairs in plan)


def _large(brain: NDArray[np.bool_], limit: int, factor: int) -> Iterator[tuple[Box, Box]]:
    """Large windows over the mask's box plus a margin, aligned so that pooling keeps its phase.

    A small array is a single window whatever its mask, so that every click in a scan computes
    windows of the same shape.
    """
    if brain.size <= min(_SMALL, limit):
        yield box_of([0] * 3, brain.shape), bounding_box(brain)
        return
    near = bounding_box(brain, margin=_MARGIN)
    low = [side.start // factor * factor for side in near]
    high = [
        min(n, -(-side.stop // factor) * factor) for side, n in zip(near, brain.shape, strict=True)
    ]
    for pair in tiles(brain[box_of(low, high)], limit, _HALO, factor):
        window, tile = (moved(box, low) for box in pair)
        yield window, tile


def _average(
    backend: Backend,
    images: NDArray[np.float32],
    brain: NDArray[np.bool_],
    plan: list[list[tuple[Box, Box]]],
    trust: NDArray[np.float32],
    progress: Progress | None,
) -> NDArray[np.float32]:
    """Compute batches of windows; average the values of their tiles, weighted by ``trust``."""
    total = np.zeros(brain.shape, np.float32)
    weight = np.zeros(brain.shape, np.float32) if trust.ndim else None  # tiles do not overlap
    done, wanted = 0, sum(len(pairs) for pairs in plan)
    for pairs in plan:
        parts = [images[(slice(None), *window)] for window, _ in pairs]
        stack = np.stack(parts) if len(parts) > 1 else parts[0][None]  # usually one: no copy
        found = backend.probability(stack, _inside(*pairs[0]))
        if not np.isfinite(found).all():
            raise InputError(
                "the network returned NaN or infinite values, so the weights or the scan must be "
                "damaged; use other weights or another scan."
            )
        for (_, tile), one in zip(pairs, found, strict=True):
            if weight is None:
                np.multiply(one, brain[tile], out=total[tile])
            else:
                total[tile] += one * trust
                weight[tile] += trust
        done += len(pairs)
        if progress:
            progress(done, wanted)
    if weight is not None:
        total /= np.maximum(weight, np.float32(1e-12))
        total *= brain
    return total


def _inside(window: Box, tile: Box) -> Box | None:
    """Return the tile in the window's own voxels, or None if it is the whole window."""
    if tile == window:
        return None
    return moved(tile, [-side.start for side in window])


def _centre_weights(edge: int) -> NDArray[np.float32]:
    """Gaussian weights of a patch: near its faces the network sees only half of the surroundings.

    Source: Isensee et al., nnU-Net, Nature Methods 2021; a sigma of an eighth of the edge.
    """
    distance = (np.arange(edge) - (edge - 1) / 2) / (edge / 8)
    profile = np.exp(-(distance**2) / 2).astype(np.float32)
    cube: NDArray[np.float32] = np.einsum("i,j,k->ijk", profile, profile, profile)
    return cube
