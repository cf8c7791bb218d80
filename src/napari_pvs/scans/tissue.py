"""White matter, grey matter and fluid of a scan, whatever its contrasts."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Volume = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
VoxelSize = tuple[float, float, float]

WHITE, GREY, FLUID = 0, 1, 2
"""Places of the classes along the last axis of what `log_posteriors` returns."""
ORDER = (1.0, 0.6, 0.15)
"""White matter, grey matter and fluid on the scale of `tissue_order`: that of a T1."""
MEDIAN = 4.0
"""Of a scan over its spread, roughly: where a normalised one has to be moved for logarithms."""
_EM_MM, _FIELD_MM, _ITERATIONS = 2.5, 25.0, 15
_RIM_MM = 4.0  # of the brain, where its mask may hold something else
_EXTREME = 2.0  # percentile of the inner brain at which fluid is pure


def log_posteriors(
    images: list[Volume], inside: Mask, wm: Volume, gm: Volume, size: VoxelSize
) -> NDArray[np.floating[Any]]:
    """Tell how likely each voxel is white matter, grey matter or fluid.

    The classes are three Gaussians of the log intensities of all images, fitted by expectation
    maximisation with the template's priors and a smooth bias field (Ashburner & Friston,
    NeuroImage 2005, without the deformation), on every few voxels.

    Parameters
    ----------
    images
        T1, T2 or both, of one shape (X, Y, Z).
    inside
        Brain mask.
    wm, gm
        Prior probabilities; the rest is fluid.
    size
        Millimetres along each axis.

    Returns
    -------
    (n, 3): for each voxel of ``inside``, in the order of indexing, logarithms up to a constant of
    the voxel.
    """
    logs, prior, means, covariances = _corrected(images, inside, wm, gm, size)
    return _log_posterior(logs, prior, means, covariances)


def tissue_order(
    images: list[Volume], inside: Mask, wm: Volume, gm: Volume, size: VoxelSize
) -> NDArray[np.float32]:
    """Put each voxel on one scale, on which T1, T2 and both look alike: `ORDER`.

    The level of white matter is that of `log_posteriors`, that of fluid the extreme on the other
    side, that of grey matter the median of what is not white where the template is grey. Between
    them the scale is straight; of two images the mean counts. Classes would do worse: grey matter
    and fluid share most of the template's rim, and their Gaussians fall together.

    Parameters
    ----------
    images, inside, wm, gm, size
        As for `log_posteriors`.

    Returns
    -------
    (n,): for each voxel of ``inside``, in the order of indexing.
    """
    from scipy.ndimage import binary_erosion

    logs, prior, means, covariances = _corrected(images, inside, wm, gm, size)
    white = _log_posterior(logs, prior, means, covariances).argmax(-1) == WHITE
    depth = [max(1, round(_RIM_MM / edge)) for edge in size]
    core = binary_erosion(inside, np.ones([2 * n + 1 for n in depth]))[inside]
    core = core if core.any() else np.ones_like(white)
    grey = core & ~white & (gm[inside] > 0.6)
    grey = grey if grey.any() else core & ~white
    out = np.zeros(len(white), np.float32)
    for values, middle in zip(np.exp(logs).T, np.exp(means[WHITE]), strict=True):
        dark = np.mean(values[~white]) < middle if not white.all() else True
        fluid = np.percentile(values[core], _EXTREME if dark else 100 - _EXTREME)
        level = np.median(values[grey]) if grey.any() else (middle + fluid) / 2
        levels = np.array([middle, level, fluid])
        upwards = np.argsort(levels, kind="stable")
        out += np.interp(values, levels[upwards], np.array(ORDER)[upwards]) / len(images)
    return out


def _corrected(
    images: list[Volume], inside: Mask, wm: Volume, gm: Volume, size: VoxelSize
) -> tuple[Volume, Volume, Volume, Volume]:
    """Return log intensities without bias and the prior, both (n, …); class means, covariances."""
    prior = np.stack([wm, gm, np.clip(1 - wm - gm, 0, 1)], axis=-1)
    # The template is an average and the affine is coarse: no class is ever ruled out.
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
    return logs[inside], prior[inside], means, covariances


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
        # Fluid says little about the field: its intensities spread for other reasons.
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
    """Return the logarithm of an image in units of its median.

    One with a mean of about 0, as a z-score, is first moved to where scans are.
    """
    low, first, median, third = map(float, np.percentile(image[inside], (5, 25, 50, 75)))
    spread = max((third - first) / 1.349, 1e-6)
    relative = image / median if low >= 0 else 1 + (image - median) / (MEDIAN * spread)
    return np.asarray(np.log(np.clip(relative, 0.05, 20)), np.float32)
