"""Two classical baselines: Frangi's vesselness, and a threshold on local contrast."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.scans.masks import bounding_box

Volume = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
VoxelSize = tuple[float, float, float]

FRANGI_THRESHOLD = 0.08
"""Default for `frangi`; both thresholds had the best DSC on two synthetic subjects."""
INTENSITY_THRESHOLD = 0.45
"""Default for `intensity_threshold`: 4.5 robust standard deviations."""
SIGMAS_MM = (0.8, 1.2)
"""Scales; skimage's filter responds best to a tube at about half its diameter."""
FULL_SCORE = 10.0
"""Robust standard deviations that `intensity_threshold` maps to 1."""
_BACKGROUND_MM = 5.0
_GAMMA = 2.0


def frangi(
    t1: Volume | None,
    t2: Volume | None,
    region: Mask,
    voxel_size: VoxelSize,
    sigmas: Sequence[float] = SIGMAS_MM,
) -> NDArray[np.float32]:
    """Compute the vesselness of bright ridges in the local contrast.

    Frangi et al., MICCAI 1998, with `skimage.filters.frangi` (alpha and beta 0.5); the maximum over
    scales. The structure term's gamma is fixed in robust standard deviations of the region's
    contrast and shrinks with the square of the scale, as Hessians do (Lindeberg's normalisation),
    so that a threshold means the same in every scan. Nothing is rescaled by the maximum, which a
    single bright voxel could determine.

    Parameters
    ----------
    t1, t2
        Either or both, on a RAS+ grid. PVS are dark on T1 and bright on T2; for how both are
        combined see `local_contrast`.
    region
        Where to look for PVS; see `search_region`.
    voxel_size
        Millimetres along each axis; coarser axes are interpolated to the finest.
    sigmas
        Scales in mm, raised to at least one voxel, because the filter's derivatives alias below.

    Returns
    -------
    float32 in 0..1 on the same grid, 0 outside the region.

    Raises
    ------
    ValueError
        No image, or an image without contrast in the region.
    """
    score = np.zeros(region.shape, dtype=np.float32)
    if not region.any():
        return score
    from scipy.ndimage import zoom
    from skimage import filters

    box = bounding_box(region, np.divide(3 * max(sigmas), voxel_size))
    inside = region[box]
    contrast = local_contrast(t1, t2, region, voxel_size)[box]
    finest = min(voxel_size)
    scale = [edge / finest for edge in voxel_size]
    isotropic = max(scale) < 1.01
    if not isotropic:
        contrast = zoom(contrast, scale, order=1, grid_mode=True, mode="nearest")
    best = np.zeros(contrast.shape, dtype=np.float32)
    for sigma in sigmas:
        voxels = max(sigma / finest, 1.01)
        found = filters.frangi(
            contrast, sigmas=[voxels], gamma=_GAMMA / voxels**2, black_ridges=False
        )
        np.maximum(best, found, out=best)
    if not isotropic:
        back = np.divide(inside.shape, best.shape)
        best = zoom(best, back, order=1, grid_mode=True, mode="nearest")
    score[box] = np.where(inside, np.clip(best, 0, 1), 0)
    return score


def intensity_threshold(
    t1: Volume | None, t2: Volume | None, region: Mask, voxel_size: VoxelSize
) -> NDArray[np.float32]:
    """Score each voxel of the region by its local contrast.

    Parameters
    ----------
    t1, t2, region, voxel_size
        As in `frangi`.

    Returns
    -------
    float32 in 0..1, linear in the contrast from 0 to ``FULL_SCORE`` robust standard deviations;
    0 outside the region.

    Raises
    ------
    ValueError
        As in `frangi`.
    """
    contrast = local_contrast(t1, t2, region, voxel_size)
    score: NDArray[np.float32] = np.clip(contrast / np.float32(FULL_SCORE), 0, 1)
    return score


def local_contrast(
    t1: Volume | None, t2: Volume | None, region: Mask, voxel_size: VoxelSize
) -> NDArray[np.float32]:
    """Measure how much each voxel looks like fluid compared with its surroundings.

    From each image (T1 negated) its Gaussian mean within the region is subtracted (5 mm, which
    removes the bias field and the step between white and deep grey matter), and the result is
    divided by the region's robust standard deviation (1.4826 MAD). Two images are averaged, then
    scaled again, so that what only one of them shows, mostly noise, counts half.

    Parameters
    ----------
    t1, t2, region, voxel_size
        As in `frangi`.

    Returns
    -------
    float32, 0 outside the region.

    Raises
    ------
    ValueError
        As in `frangi`.
    """
    images = [sign * image for sign, image in ((-1, t1), (1, t2)) if image is not None]
    if not images:
        raise ValueError("a T1 or a T2 image is needed")
    out = np.zeros(region.shape, dtype=np.float32)
    if not region.any():
        return out
    sigma = [_BACKGROUND_MM / edge for edge in voxel_size]
    box = bounding_box(region)
    inside = region[box]
    parts = [_standardise(image[box], inside, sigma) for image in images]
    mean = np.mean(parts, axis=0)
    out[box] = mean / _spread(mean, inside) if len(parts) > 1 else mean
    return out


def _standardise(image: Volume, inside: Mask, sigma: list[float]) -> NDArray[np.float32]:
    from scipy.ndimage import gaussian_filter

    middle = np.median(image[inside])
    values = np.where(inside, image - middle, 0).astype(np.float32)
    weight = np.maximum(gaussian_filter(inside.astype(np.float32), sigma, mode="constant"), 1e-6)
    local = gaussian_filter(values, sigma, mode="constant") / weight
    centred = np.where(inside, values - local, 0)
    standardised: NDArray[np.float32] = (centred / _spread(centred, inside)).astype(np.float32)
    return standardised


def _spread(values: Volume, inside: Mask) -> np.float32:
    chosen = values[inside]
    spread = 1.4826 * np.median(np.abs(chosen - np.median(chosen)))
    if not spread > 0:
        raise ValueError("the image has no contrast inside the search region")
    return np.float32(spread)
