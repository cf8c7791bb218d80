"""Which voxels of a synthetic PVS are labelled: those that it fills, or those a rater sees."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_pvs.phantom.config import PhantomConfig
from napari_pvs.phantom.placement import Image
from napari_pvs.phantom.tubes import Raster

_REACH = 2  # voxels around a PVS in which blur can still reach half of a maximum
_NEAR = 5  # voxels, edge of the cube of a local maximum


def physical(fraction: Image, owner: NDArray[np.int32], least: float) -> NDArray[np.int32]:
    """Label voxels of which a PVS fills at least the share ``least``; ``owner`` numbers the PVS."""
    return np.where(fraction >= least, owner, 0).astype(np.int32)


def rater(
    rasters: Sequence[Raster],
    contrast: Sequence[Sequence[float]],
    spreads: Sequence[NDArray[np.float64]],
    shape: tuple[int, ...],
    config: PhantomConfig,
    rng: np.random.Generator,
) -> NDArray[np.int32]:
    """Label what an image without noise shows of the visible PVS.

    A PVS is visible if, in one of the scans, the peak of its blurred share times the contrast of
    its fluid reaches `PhantomConfig.visible`. Its voxels are those where the sharper scan reaches
    at least half of the local maximum, and of which it fills at least half of
    `PhantomConfig.label_fraction`.

    Parameters
    ----------
    rasters
        The PVS, numbered from 1.
    contrast
        Of each PVS in each scan: fluid against the tissue around it in a voxel that it fills, in
        standard deviations of the noise.
    spreads
        Of each scan, the standard deviation of the blur along each axis, in voxels.
    shape
        Of the grid.
    config
        What a rater sees, and how much raters differ.
    rng
        Of the rater.
    """
    out = np.zeros(shape, np.int32)
    strongest = np.zeros(shape, np.float32)
    half = float(np.clip(0.5 + rng.normal() * config.rater_variation, 0.25, 0.75))
    visible = config.visible * float(np.exp(2 * rng.normal() * config.rater_variation))
    sharpest = min(range(len(spreads)), key=lambda i: float(np.prod(spreads[i])))
    for number, (raster, strength) in enumerate(zip(rasters, contrast, strict=True), start=1):
        low = np.maximum(raster.voxels.min(0) - _REACH, 0)
        high = np.minimum(raster.voxels.max(0) + _REACH + 1, shape)
        share = np.zeros(high - low, np.float32)
        share[tuple((raster.voxels - low).T)] = raster.fraction
        blurred = [ndimage.gaussian_filter(share, spread, mode="constant") for spread in spreads]
        seen = max(float(b.max()) * s for b, s in zip(blurred, strength, strict=True))
        if seen < visible:
            continue
        shown = blurred[sharpest]
        there = shown >= half * ndimage.maximum_filter(shown, _NEAR)
        there &= (shown >= half**2 * shown.max()) & (share >= config.label_fraction / 2)
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        there &= shown > strongest[box]
        strongest[box][there] = shown[there]
        out[box][there] = number
    return out
