"""Where to look for PVS: cerebral white matter and basal ganglia."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.scans.atlas import Atlas, fit_atlas
from napari_pvs.scans.grid import Grid
from napari_pvs.scans.masks import bounding_box, fill_holes

Volume = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
VoxelSize = tuple[float, float, float]

GAP_MM = 3.0
"""Gaps in white matter up to this width are closed, because PVS are at most this wide."""
FLUID_MM = 4.0
"""Fluid thicker than this is a ventricle or a sulcus, not a PVS."""
MARGIN_MM = 1.5
"""Distance that the region keeps from ventricles, sulci and the outside of the brain."""
_EM_MM, _FIELD_MM, _ITERATIONS = 2.5, 25.0, 15


def search_region(
    t1: Volume | None, t2: Volume | None, brain: Mask, grid: Grid, atlas: Atlas | None = None
) -> Mask:
    """Estimate cerebral white matter and deep grey matter, PVS included.

    White matter, grey matter and fluid are modelled as three Gaussians of the log intensities of
    all given images, fitted by expectation maximisation with the template's priors and a smooth
    bias field (Ashburner & Friston, NeuroImage 2005, without the deformation). White matter and the
    template's deep grey matter are joined, gaps up to ``GAP_MM`` closed and holes filled, because
    PVS look like grey matter or fluid. Finally a rim of ``MARGIN_MM`` is removed next to
    ventricles, sulci and the outside of the brain.

    Parameters
    ----------
    t1, t2
        Either or both, on ``grid``, which is RAS+.
    brain
        Brain mask.
    atlas
        From `fit_atlas`; None fits it here, which takes seconds.

    Raises
    ------
    ValueError
        No image, or an empty brain mask.
    """
    if atlas is None:
        atlas = fit_atlas(t1, t2, brain, grid)
    images = [image for image in (t1, t2) if image is not None]
    if not images or not brain.any():
        raise ValueError("the search region needs an image and a non-empty brain mask")
    size = grid.voxel_size
    # only the surroundings of the brain matter; the margin is for distances to its outside
    box = bounding_box(brain, np.divide(6, size))
    inside, cerebrum = brain[box], atlas.cerebrum[box]
    wm, fluid = _classify(
        [image[box] for image in images], inside, atlas.wm[box], atlas.gm[box], size
    )
    tissue = _largest(((wm & cerebrum) | (atlas.deep_grey[box] & ~fluid)) & cerebrum)
    closed = _close(tissue, GAP_MM / 2, size)
    thick = _thick(fluid, size)
    closed = fill_holes(closed) & ~thick & cerebrum
    barrier = (fluid & ~closed) | ~inside
    out = np.zeros_like(brain)
    out[box] = _largest(closed & (_distance(barrier, size) > MARGIN_MM))
    return out


def _classify(
    images: list[Volume], inside: Mask, wm: Volume, gm: Volume, size: VoxelSize
) -> tuple[Mask, Mask]:
    """Return the voxels that are most likely white matter, and most likely fluid."""
    prior = np.stack([wm, gm, np.clip(1 - wm - gm, 0, 1)], axis=-1)
    # the template is an average and the affine is coarse, so never rule out a class
    prior = 0.85 * prior / prior.sum(-1, keepdims=True) + 0.05
    logs = np.stack([_log(image, inside) for image in images], axis=-1)
    step = [max(1, round(_EM_MM / edge)) for edge in size]
    sparse = tuple(slice(None, None, n) for n in step)
    means, covariances, field = _fit(
        logs[sparse],
        inside[sparse],
        prior[sparse],
        [n * e for n, e in zip(step, size, strict=True)],
    )
    from scipy.ndimage import affine_transform

    for channel in range(len(images)):
        logs[..., channel] -= affine_transform(
            field[..., channel], [1 / n for n in step], output_shape=inside.shape, order=1,
            mode="nearest",
        )  # fmt: skip
    best = _log_posterior(logs[inside], prior[inside], means, covariances).argmax(-1)
    classes = np.full(inside.shape, -1, dtype=np.int8)
    classes[inside] = best
    return classes == 0, classes == 2


def _fit(
    logs: Volume, inside: Mask, prior: Volume, size: list[float]
) -> tuple[Volume, Volume, Volume]:
    """Return class means, covariances, and the bias field of each channel (log)."""
    from scipy.ndimage import gaussian_filter

    channels = logs.shape[-1]
    field = np.zeros_like(logs)
    values, weights = logs[inside], prior[inside]
    sigma = [_FIELD_MM / edge for edge in size]
    for _ in range(_ITERATIONS):
        total = weights.sum(0)
        means = (weights.T @ values) / total[:, None]
        centred = values[:, None, :] - means
        covariances = np.einsum("nk,nki,nkj->kij", weights, centred, centred)
        covariances = covariances / total[:, None, None] + 1e-4 * np.eye(channels)
        posterior = _log_posterior(values, prior[inside], means, covariances)
        weights = np.exp(posterior - posterior.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        # fluid says little about the bias field, because its intensities vary for other reasons
        trust = np.zeros(inside.shape, dtype=np.float32)
        trust[inside] = weights[:, :2].sum(-1)
        spread = gaussian_filter(trust, sigma) + 1e-3
        for channel in range(channels):
            residual = np.zeros(inside.shape, dtype=np.float32)
            rest = logs[inside][:, None, channel] - means[:2, channel]
            residual[inside] = (weights[:, :2] * rest).sum(-1)
            field[..., channel] = gaussian_filter(residual, sigma) / spread
        values = (logs - field)[inside]
    return means, covariances, field


def _log_posterior(values: Volume, prior: Volume, means: Volume, covariances: Volume) -> Volume:
    out = np.log(prior)
    for k, (mean, covariance) in enumerate(zip(means, covariances, strict=True)):
        centred = values - mean
        distance = np.einsum("ni,ij,nj->n", centred, np.linalg.inv(covariance), centred)
        out[:, k] -= 0.5 * (distance + np.linalg.slogdet(covariance)[1])
    return out


def _log(image: Volume, inside: Mask) -> NDArray[np.float32]:
    relative = image / np.median(image[inside])
    return np.log(np.clip(relative, 0.05, 20)).astype(np.float32)


def _distance(to: Mask, size: VoxelSize) -> NDArray[np.float64]:
    """Millimetres from each voxel to the nearest one of ``to``."""
    from scipy.ndimage import distance_transform_edt

    distance: NDArray[np.float64] = distance_transform_edt(~to, sampling=size)
    return distance


def _close(mask: Mask, radius: float, size: VoxelSize) -> Mask:
    return _distance(_distance(mask, size) > radius, size) > radius


def _thick(fluid: Mask, size: VoxelSize) -> Mask:
    """Fluid in which a ball of ``FLUID_MM`` fits, including the corners around it."""
    core = _distance(~fluid, size) > FLUID_MM / 2
    return fluid & (_distance(core, size) <= FLUID_MM) if core.any() else core


def _largest(mask: Mask) -> Mask:
    """Keep the largest 6-connected component and those at least a tenth of its size."""
    import cc3d

    labels = cc3d.connected_components(mask, connectivity=6)
    counts = np.bincount(labels.ravel())
    counts[0] = 0
    keep = counts >= max(0.1 * counts.max(), 1)
    kept: Mask = keep[labels]
    return kept
