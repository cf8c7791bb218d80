"""What the scanner does: contrast, point spread, motion, receive field, misregistration, noise."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_pvs.phantom.anatomy import Tissue
from napari_pvs.phantom.placement import Image, smooth_field
from napari_pvs.phantom.sites import Range, Site

_FWHM = 2.3548  # full width at half maximum of a Gaussian of standard deviation 1


@dataclass(frozen=True)
class Contrast:
    """Intensities of one modality in one scan, white matter = 1.

    Attributes
    ----------
    tissue
        Indexed by `Tissue`.
    csf, wmh, vessel
        Of pure fluid, white-matter hyperintensities and vessels.
    """

    tissue: Image
    csf: float
    wmh: float
    vessel: float


def draw_contrasts(site: Site, rng: np.random.Generator) -> dict[str, Contrast]:
    """Draw the T1 and T2 contrast of one subject at one site."""

    def draw(interval: Range) -> float:
        return float(rng.uniform(*interval))

    t1 = np.ones(len(Tissue), np.float32)
    t1[Tissue.AIR] = 0.02
    t1[Tissue.CORTEX] = draw(site.t1_cortex)
    deep = draw(site.t1_deep_grey)
    t1[Tissue.STRIATUM] = deep
    t1[Tissue.THALAMUS] = (deep + 1) / 2
    t1[Tissue.PALLIDUM] = (deep + 2) / 3
    t1[Tissue.HIPPOCAMPUS] = t1[Tissue.CORTEX] + 0.05
    t1[Tissue.CSF] = draw(site.t1_csf)
    t1[Tissue.CEREBELLAR_WHITE_MATTER] = rng.uniform(0.84, 0.98)
    t1[Tissue.CEREBELLAR_CORTEX] = t1[Tissue.CORTEX]
    t1[Tissue.BRAINSTEM] = rng.uniform(0.82, 0.95)
    t1[Tissue.SOFT_TISSUE], t1[Tissue.BONE] = rng.uniform(0.4, 0.8), rng.uniform(0.1, 0.3)
    t1[Tissue.FAT] = rng.uniform(1.0, 1.6)
    t2 = np.ones(len(Tissue), np.float32)
    t2[Tissue.AIR] = 0.02
    t2[Tissue.CORTEX] = draw(site.t2_cortex)
    deep = draw(site.t2_deep_grey)
    t2[Tissue.STRIATUM] = deep
    t2[Tissue.THALAMUS] = deep * rng.uniform(0.95, 1.03)
    t2[Tissue.PALLIDUM] = rng.uniform(0.6, 0.95)  # iron
    t2[Tissue.HIPPOCAMPUS] = t2[Tissue.CORTEX]
    t2[Tissue.CSF] = draw(site.t2_csf)
    t2[Tissue.CEREBELLAR_WHITE_MATTER] = rng.uniform(0.95, 1.12)
    t2[Tissue.CEREBELLAR_CORTEX] = t2[Tissue.CORTEX] * rng.uniform(0.9, 1.0)
    t2[Tissue.BRAINSTEM] = rng.uniform(0.95, 1.2)
    t2[Tissue.SOFT_TISSUE], t2[Tissue.BONE] = rng.uniform(0.4, 0.9), rng.uniform(0.1, 0.3)
    t2[Tissue.FAT] = rng.uniform(0.8, 1.6)
    return {
        "T1": Contrast(t1, float(t1[Tissue.CSF]), draw(site.t1_wmh), rng.uniform(0.5, 0.9)),
        "T2": Contrast(t2, float(t2[Tissue.CSF]), draw(site.t2_wmh), rng.uniform(0.3, 0.7)),
    }


def acquire(
    clean: Image,
    site: Site,
    voxel_size: NDArray[np.float64],
    shift_mm: NDArray[np.float64],
    rng: np.random.Generator,
) -> Image:
    """Turn a clean image into a scan.

    Parameters
    ----------
    clean
        Intensities without noise, white matter = 1.
    site
        Ranges to draw from.
    voxel_size, shift_mm
        In mm; the shift is the misregistration of this modality.
    rng
        Source of randomness.

    Returns
    -------
    Magnitude image with Rician noise, in the scanner's own units.
    """
    fwhm = rng.uniform(*site.psf)
    image = ndimage.gaussian_filter(clean, fwhm / _FWHM)
    for axis, shift in enumerate(shift_mm / voxel_size):
        image = _shift(image, float(shift), axis)
    if rng.random() < site.motion:
        image = _ring(image, rng)
    field = smooth_field(clean.shape, voxel_size, 90.0, rng)
    field *= rng.uniform(*site.bias) / np.abs(field).max()
    image *= 1 + field
    sigma = 1 / rng.uniform(*site.snr)
    real = rng.standard_normal(image.shape, dtype=np.float32)
    real *= sigma
    real += image
    imaginary = rng.standard_normal(image.shape, dtype=np.float32)
    imaginary *= sigma
    image = np.hypot(real, imaginary)
    if (blur := rng.uniform(*site.smoothing)) > 0.1:
        image = ndimage.gaussian_filter(image, blur / _FWHM)
    return np.asarray(image * rng.uniform(200, 1200), np.float32)


def _shift(image: Image, voxels: float, axis: int) -> Image:
    """Shift along one axis, with linear interpolation."""
    if voxels == 0:
        return image
    reach = int(np.ceil(abs(voxels)))
    weights = np.clip(1 - np.abs(np.arange(-reach, reach + 1) - voxels), 0, None)
    return np.asarray(ndimage.convolve1d(image, weights, axis, mode="nearest"), np.float32)


def _ring(image: Image, rng: np.random.Generator) -> Image:
    """Add two faint copies along the phase-encoding axis, as motion between readouts does."""
    axis, lag = int(rng.integers(0, 3)), int(rng.integers(2, 6))
    amount = rng.uniform(0.02, 0.06)
    ghosts = np.roll(image, lag, axis) + np.roll(image, -lag, axis)
    return np.asarray(image * (1 - 2 * amount) + amount * ghosts, np.float32)
