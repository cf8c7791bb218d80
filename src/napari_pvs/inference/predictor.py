"""From a scan to a probability of PVS per voxel."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from napari_pvs.inference.patches import grid, tiles
from napari_pvs.network.device import Device, pick, place
from napari_pvs.network.weights import ModelCard, fingerprint, load, starter_path
from napari_pvs.scans.grid import resample, with_voxel_size
from napari_pvs.scans.masks import Box
from napari_pvs.scans.scan import Scan

if TYPE_CHECKING:
    import torch

    from napari_pvs.network.m2ss import M2SS

log = logging.getLogger(__name__)

Windows = Literal["fast", "paper"]
Progress = Callable[[int, int], None]

_LIMIT = 1_600_000  # voxels of a window; bounds the memory of its activations
_HALO = 16  # voxels around a tile that give it context and are thrown away
_PATCH, _STRIDE, _BATCH = 32, 16, 16  # the paper's grid
_RIM_MM = 3.0  # the cortex: no PVS is looked for so close to the brain mask's surface


def fuse(model: "M2SS") -> "M2SS":
    """Return a copy with every batch norm folded into the convolution before it."""
    import copy

    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    from napari_pvs.network.m2ss import ConvBlock

    model = copy.deepcopy(model).eval()
    for block in model.modules():
        if isinstance(block, ConvBlock):
            block[0] = fuse_conv_bn_eval(block[0], block[1])  # type: ignore[type-var,arg-type]
            block[1] = nn.Identity()
    return model


class Predictor:
    """A network ready to run on one device.

    Parameters
    ----------
    weights
        A file of weights; the starter weights where None.
    device
        auto, cpu, cuda or mps.
    windows
        ``fast``: few large windows over the brain. ``paper``: 32³ patches at stride 16,
        blended with Gaussian weights.

    Attributes
    ----------
    card
        The weights' model card.
    weights_id
        First 12 digits of the SHA-256 of the weights.
    """

    card: ModelCard
    weights_id: str

    def __init__(
        self, weights: Path | None = None, device: Device = "auto", windows: Windows = "fast"
    ):
        path = Path(weights) if weights is not None else starter_path()
        model, self.card = load(path)
        self.weights_id = fingerprint(path)
        self.device = pick(device)
        self.windows: Windows = windows
        self._model = place(fuse(model), self.device)

    def predict(self, scan: Scan, progress: Progress | None = None) -> NDArray[np.float32]:
        """Compute the probability of PVS.

        Scans with voxels outside the range of the weights' training are resampled to the nearest
        size inside it, and the probability back to the scan's grid.

        Parameters
        ----------
        scan
            T1, T2 or both.
        progress
            Called with windows done and windows in all.

        Returns
        -------
        float32 (X, Y, Z) on the scan's grid; 0 outside the brain and in its outer 3 mm.
        """
        low, high = self.card.voxel_size_mm
        size = tuple(float(np.clip(v, low, high)) for v in scan.grid.voxel_size)
        images, brain = scan.normalised(), interior(scan.brain, scan.grid.voxel_size)
        if np.allclose(size, scan.grid.voxel_size, rtol=0.02):
            return self.predict_array(images, brain, progress)
        fine = with_voxel_size(scan.grid, (size[0], size[1], size[2]))
        affine = scan.grid.affine
        images = np.stack([resample(image, affine, fine, 1) for image in images])
        mask = resample(brain.astype(np.uint8), affine, fine, 0) > 0
        probability = self.predict_array(images, mask, progress)
        back: NDArray[np.float32] = resample(probability, fine.affine, scan.grid, 1)
        return np.asarray(np.clip(back, 0, 1) * brain, np.float32)

    def predict_array(
        self,
        images: NDArray[np.float32],
        brain: NDArray[np.bool_],
        progress: Progress | None = None,
    ) -> NDArray[np.float32]:
        """Compute the probability of PVS from normalised images.

        Parameters
        ----------
        images
            (2, X, Y, Z) normalised T1 and T2; a missing modality is zeros.
        brain
            (X, Y, Z) mask; nothing is computed outside its bounding box.
        progress
            Called with windows done and windows in all.

        Returns
        -------
        float32 (X, Y, Z), 0 outside the brain.
        """
        if not brain.any():
            return np.zeros(brain.shape, np.float32)
        return run(self._model, images, brain, self.device, self.windows, progress)


def interior(brain: NDArray[np.bool_], voxel_size: tuple[float, float, float]) -> NDArray[np.bool_]:
    """Return the brain without the outer 3 mm, which are cortex and the edge of the mask.

    Where the field of view ends inside the brain, its border is no surface.
    """
    import edt

    return np.asarray(edt.edt(brain, anisotropy=voxel_size, black_border=False) > _RIM_MM)


def run(
    model: "M2SS",
    images: NDArray[np.float32],
    brain: NDArray[np.bool_],
    device: "torch.device",
    windows: Windows = "fast",
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Run a network over a volume; see `Predictor.predict_array`.

    When the GPU's memory runs out, smaller windows or batches are tried as long as they can be cut,
    then the CPU with the usual ones; the log says so.
    """
    import torch

    model = model.to(device)  # a call that ran out of memory left it on the CPU
    whole = tuple(slice(n) for n in brain.shape)
    trust = np.ones((), np.float32)
    if windows == "paper":
        trust = _centre_weights(_PATCH)
        pad = [(0, max(0, _PATCH - n)) for n in brain.shape]
        images, brain = np.pad(images, [(0, 0), *pad]), np.pad(brain, pad)
    limit, batch = _LIMIT, _BATCH
    plan = usual = _plan(brain, windows, limit, batch, model.factor)
    while True:
        try:
            return _average(model, images, brain, device, plan, trust, progress)[whole]
        except RuntimeError as error:  # MPS has no exception of its own
            full = (
                isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error).lower()
            )
            if device.type == "cpu" or not full:
                raise
            if device.type == "cuda":
                torch.cuda.empty_cache()
            limit, batch = limit // 4, max(1, batch // 4)
            smaller = _plan(brain, windows, limit, batch, model.factor)
            if smaller != plan:
                plan = smaller
                log.warning("The GPU's memory ran out; trying again with smaller windows.")
            else:  # a window is little more than its halo; small ones would only cost the CPU time
                device, plan = pick("cpu"), usual
                model = model.to(device)
                log.warning("The GPU's memory ran out even for small windows; using the CPU.")


def _plan(
    brain: NDArray[np.bool_], windows: Windows, limit: int, batch: int, factor: int
) -> list[list[tuple[Box, Box]]]:
    """Batches of windows, each with the tile inside it that is kept."""
    if windows == "fast":
        return [[pair] for pair in tiles(brain, limit, _HALO, factor)]
    pairs = [(box, box) for box in grid(brain.shape, _PATCH, _STRIDE) if brain[box].any()]
    return [pairs[i : i + batch] for i in range(0, len(pairs), batch)]


def _average(
    model: "M2SS",
    images: NDArray[np.float32],
    brain: NDArray[np.bool_],
    device: "torch.device",
    plan: list[list[tuple[Box, Box]]],
    trust: NDArray[np.float32],
    progress: Progress | None,
) -> NDArray[np.float32]:
    """Compute batches of windows; average what the tiles inside them say, weighted by ``trust``."""
    total, weight = np.zeros(brain.shape, np.float32), np.zeros(brain.shape, np.float32)
    done, wanted = 0, sum(len(pairs) for pairs in plan)
    for pairs in plan:
        stack = np.stack([images[(slice(None), *window)] for window, _ in pairs])
        for (window, tile), found in zip(pairs, _probability(model, stack, device), strict=True):
            inner = tuple(
                slice(t.start - w.start, t.stop - w.start)
                for t, w in zip(tile, window, strict=True)
            )
            total[tile] += found[inner] * trust
            weight[tile] += trust
        done += len(pairs)
        if progress:
            progress(done, wanted)
    total /= np.maximum(weight, np.float32(1e-12))
    total *= brain
    return total


def _centre_weights(edge: int) -> NDArray[np.float32]:
    """Gaussian weights of a patch: at its faces the network sees half of a voxel's surroundings.

    Source: Isensee et al., nnU-Net, Nature Methods 2021; a sigma of an eighth of the edge.
    """
    distance = (np.arange(edge) - (edge - 1) / 2) / (edge / 8)
    profile = np.exp(-(distance**2) / 2).astype(np.float32)
    cube: NDArray[np.float32] = np.einsum("i,j,k->ijk", profile, profile, profile)
    return cube


def _probability(
    model: "M2SS", images: NDArray[np.float32], device: "torch.device"
) -> NDArray[np.float32]:
    """(N, 2, X, Y, Z) images to (N, X, Y, Z) probabilities."""
    import torch

    with torch.inference_mode(), torch.autocast(device.type, enabled=device.type == "cuda"):
        tensor = torch.from_numpy(np.ascontiguousarray(images)).to(device)
        found = torch.sigmoid(model(tensor)[:, 0].float())
        return np.asarray(found.cpu().numpy())
