"""Intensity normalisation inside the brain."""

import numpy as np
from numpy.typing import NDArray

CLIP = (-5.0, 10.0)
"""Normalised intensities are clipped to this range; ventricles on T2 reach about 8."""
PERCENTILES = (1, 5, 95, 99)
"""By which intensities of scans are compared."""
_CHUNK = 2**20  # voxels in memory as float64 at a time


def modalities(images: NDArray[np.floating]) -> tuple[str, ...]:
    """Name the modalities that a normalised scan has.

    Parameters
    ----------
    images
        (2, X, Y, Z): T1 and T2; a missing one is all zeros.

    Returns
    -------
    ``("T1",)``, ``("T2",)`` or ``("T1", "T2")``; nothing where both are missing.
    """
    return tuple(name for name, image in zip(("T1", "T2"), images, strict=True) if image.any())


def normalise(image: NDArray[np.floating], brain: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Centre on the brain's median, scale by its interquartile range, clip, zero outside.

    Median and quartiles are values of grey and white matter, so a large ventricle, a lesion or a
    bright vessel does not shift them.

    Parameters
    ----------
    image
        One modality, any shape and unit.
    brain
        Brain mask of the same shape, at least one voxel.

    Returns
    -------
    float32 array: 0 at the brain's median, ±0.67 at its quartiles, 0 outside the brain.

    Raises
    ------
    ValueError
        The interquartile range inside the brain is zero.
    """
    low, middle, high = np.percentile(image[brain], (25, 50, 75), overwrite_input=True)
    spread = (high - low) / 1.349  # the standard deviation, if it were Gaussian
    if not spread > 0:
        raise ValueError("the interquartile range inside the brain is zero")
    out = np.zeros(image.shape, np.float32)
    slices = max(1, _CHUNK * len(image) // image.size)
    for start in range(0, len(image), slices):
        part = slice(start, start + slices)
        inside = brain[part]
        out[part][inside] = np.clip((image[part][inside] - middle) / spread, *CLIP)
    return out


def percentiles(values: NDArray[np.floating]) -> dict[str, float]:
    """Return `PERCENTILES` of a brain's values as the network sees them, after `normalise`."""
    found = np.percentile(values, PERCENTILES)
    return {str(at): float(value) for at, value in zip(PERCENTILES, found, strict=True)}
