"""What a scanner does: contrast, point spread, motion, receive field, slices, noise, filters."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_pvs.phantom.anatomy import Tissue
from napari_pvs.phantom.placement import Image, smooth_field
from napari_pvs.phantom.sites import Range, Site
from napari_pvs.scans.signal import FWHM


@dataclass(frozen=True)
class Contrast:
    """Intensities of one modality in one scan, white matter = 1.

    Attributes
    ----------
    tissue
        Indexed by `Tissue`.
    csf, wmh, vessel, choroid
        Of pure fluid, white-matter hyperintensities, vessels and choroid plexus.
    """

    tissue: Image
    csf: float
    wmh: float
    vessel: float
    choroid: float


@dataclass(frozen=True)
class Acquisition:
    """How one scan is acquired.

    Attributes
    ----------
    fwhm
        Full width at half maximum of the point spread, voxels.
    smoothing
        The same for smoothing after the noise, voxels; 0 for none.
    sharpening
        Share of an unsharp mask that is added.
    axis, thickness
        The axis across 2D slices, and their thickness in voxels; 0 for a 3D scan.
    snr
        White-matter signal over the standard deviation of the noise.
    """

    fwhm: float
    smoothing: float
    sharpening: float
    axis: int
    thickness: float
    snr: float

    @property
    def spread(self) -> NDArray[np.float64]:
        """Standard deviation of the whole blur along each axis, in voxels."""
        variance = np.full(3, (self.fwhm**2 + self.smoothing**2) / FWHM**2)
        if self.thickness:  # a box, then linear interpolation between slices
            variance[self.axis] += self.thickness**2 / 12 + self.thickness**2 / 6
        return np.asarray(np.sqrt(variance))


def draw_acquisition(
    site: Site, modality: str, voxel_size: NDArray[np.float64], rng: np.random.Generator
) -> Acquisition:
    """Draw how a ``T1`` or ``T2`` of a site is acquired; ``voxel_size`` in mm."""
    fwhm = rng.uniform(*site.psf)
    smoothing = rng.uniform(*site.smoothing) if rng.random() < 0.6 else 0.0
    sharpening = rng.uniform(*site.sharpening) if rng.random() < 0.4 else 0.0
    axis, thickness = 2, 0.0
    if rng.random() < site.sliced:
        axis = int(rng.choice(3, p=(0.15, 0.15, 0.7)))
        thickness = float(rng.uniform(*site.slices) / voxel_size[axis])
    limits = site.t1_snr if modality == "T1" else site.t2_snr
    snr = float(np.exp(rng.uniform(*np.log(limits))))
    return Acquisition(fwhm, smoothing, sharpening, axis, thickness, snr)


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
    t2[Tissue.PALLIDUM] = draw(site.t2_pallidum)
    t2[Tissue.HIPPOCAMPUS] = t2[Tissue.CORTEX]
    t2[Tissue.CSF] = draw(site.t2_csf)
    t2[Tissue.CEREBELLAR_WHITE_MATTER] = rng.uniform(0.95, 1.12)
    t2[Tissue.CEREBELLAR_CORTEX] = t2[Tissue.CORTEX] * rng.uniform(0.9, 1.0)
    t2[Tissue.BRAINSTEM] = rng.uniform(0.95, 1.2)
    t2[Tissue.SOFT_TISSUE], t2[Tissue.BONE] = rng.uniform(0.4, 0.9), rng.uniform(0.1, 0.3)
    t2[Tissue.FAT] = rng.uniform(0.8, 1.6)
    out = {}
    for name, tissue, wmh, vessel in (
        ("T1", t1, draw(site.t1_wmh), rng.uniform(0.5, 0.9)),
        ("T2", t2, draw(site.t2_wmh), rng.uniform(0.3, 0.7)),
    ):
        csf, cortex = float(tissue[Tissue.CSF]), float(tissue[Tissue.CORTEX])
        choroid = cortex + rng.uniform(0.0, 0.5) * (csf - cortex)
        out[name] = Contrast(tissue, csf, wmh, vessel, choroid)
    return out


def acquire(
    clean: Image,
    how: Acquisition,
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
    how
        Point spread, slices, noise and filters.
    site
        Ranges of motion and receive field to draw from.
    voxel_size, shift_mm
        In mm; the shift is the misregistration of this modality.
    rng
        Source of randomness.

    Returns
    -------
    Magnitude image with Rician noise, in the scanner's own units.
    """
    image = ndimage.gaussian_filter(clean, how.fwhm / FWHM)
    for axis, shift in enumerate(shift_mm / voxel_size):
        image = _shift(image, float(shift), axis)
    if rng.random() < site.motion:
        image = _ring(image, rng)
    field = smooth_field(clean.shape, voxel_size, 90.0, rng)
    field *= rng.uniform(*site.bias) / np.abs(field).max()
    image *= 1 + field
    if how.thickness:
        image = across(image, how.axis, *_slicing(image.shape[how.axis], how.thickness, rng))
    if how.smoothing > 0.1:
        image = ndimage.gaussian_filter(image, how.smoothing / FWHM)
    # both parts of the complex signal are as smooth as the finished scan
    image += _noise(image.shape, how, rng)
    image = np.hypot(image, _noise(image.shape, how, rng))
    if how.sharpening:
        image += how.sharpening * (image - ndimage.gaussian_filter(image, 1.0))
        np.maximum(image, 0, out=image)
    return np.asarray(image * rng.uniform(200, 1200), np.float32)


def across(image: Image, axis: int, *matrices: NDArray[np.float32]) -> Image:
    """Multiply an image along one axis by matrices (to, from), one after the other."""
    out = image
    for matrix in matrices:
        out = np.moveaxis(np.tensordot(matrix, out, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(out)


def _slicing(
    length: int, thickness: float, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return matrices that average ``length`` voxels into slices and interpolate back."""
    centres = np.arange(rng.uniform(0, thickness), length - 0.5, thickness)
    if len(centres) < 2:
        centres = np.array([0.0, length - 1.0])
    voxels = np.arange(length)
    mean = np.clip(thickness / 2 + 0.5 - np.abs(voxels - centres[:, None]), 0, 1)
    mean /= mean.sum(1, keepdims=True)
    back = np.clip(1 - np.abs(voxels[:, None] - centres) / thickness, 0, 1)
    back[voxels < centres[0]] = np.eye(len(centres))[0]
    back[voxels > centres[-1]] = np.eye(len(centres))[-1]
    back /= back.sum(1, keepdims=True)
    return mean.astype(np.float32), back.astype(np.float32)


def _noise(shape: tuple[int, ...], how: Acquisition, rng: np.random.Generator) -> Image:
    """Draw noise of the scan's SNR, correlated by its smoothing and its slices."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    if how.thickness:
        back = _slicing(shape[how.axis], how.thickness, rng)[1]
        few = [slice(None)] * 3
        few[how.axis] = slice(back.shape[1])
        noise = across(noise[tuple(few)], how.axis, back)
    if how.smoothing > 0.1:
        noise = ndimage.gaussian_filter(noise, how.smoothing / FWHM)
    noise *= 1 / (how.snr * max(float(noise.std()), 1e-6))
    return np.asarray(noise, np.float32)


def _shift(image: Image, voxels: float, axis: int) -> Image:
    """Shift along one axis, with linear interpolation."""
    if voxels == 0:
        return image
    reach = int(np.ceil(abs(voxels)))
    weights = np.clip(1 - np.abs(np.arange(-reach, reach + 1) - voxels), 0, None)
    return np.asarray(ndimage.convolve1d(image, weights, axis, mode="nearest"), np.float32)


def _ring(image: Image, rng: np.random.Generator) -> Image:
    """Add two faint copies along the phase-encoding axis, like motion between readouts."""
    axis, lag = int(rng.integers(0, 3)), int(rng.integers(2, 6))
    amount = rng.uniform(0.02, 0.06)
    ghosts = np.roll(image, lag, axis) + np.roll(image, -lag, axis)
    return np.asarray(image * (1 - 2 * amount) + amount * ghosts, np.float32)
