"""What is measured on a scan's own voxels: how fluid looks in it, how smooth and noisy it is."""

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]
Mask = NDArray[np.bool_]

FWHM = 2.3548
"""Full width at half maximum of a Gaussian of standard deviation 1."""


def fluid_level(signed: Values, deep: Mask) -> float:
    """Return the intensity of pure fluid: upper quartile of what is fluid and not at an edge.

    Parameters
    ----------
    signed
        A scan as by `intensity.normalise`, times -1 where fluid is dark (T1).
    deep
        The brain without its outer millimetres; at least one voxel.
    """
    from scipy import ndimage

    # on a T1 of high contrast between white and grey matter fluid is no further than 1.6
    most = float(np.percentile(signed[deep], 99.5))
    fluid = (signed > min(2.5, 0.75 * most)) & deep
    if not fluid.any():  # a scan of one intensity
        return most
    core = ndimage.binary_erosion(fluid)
    return float(np.percentile(signed[core if core.any() else fluid], 75))


def smoothness(image: Values, region: Mask, size: NDArray[np.float64]) -> NDArray[np.float64]:
    """FWHM in mm of the Gaussian that would give white noise the image's smoothness, per axis.

    From the ratio of second to first differences of neighbours in white matter, by their median
    absolute deviations: anatomy changes slowly and adds little to either (correlation of
    neighbours alone finds twice the width). 0 to 3 mm.

    Parameters
    ----------
    image
        Any unit.
    region
        White matter of the same shape, some thousand voxels with their neighbours.
    size
        Edges of a voxel in mm.
    """
    correlation = np.linspace(1e-3, 0.99, 1000)
    expected = (6 - 8 * correlation + 2 * correlation**4) / (2 - 2 * correlation)
    out = []
    for axis, edge in enumerate(size):
        before, after = (np.roll(image, shift, axis) for shift in (1, -1))
        inside = region & np.roll(region, 1, axis) & np.roll(region, -1, axis)
        first, second = ((after - image)[inside], (after + before - 2 * image)[inside])
        mads = [np.median(np.abs(each - np.median(each))) for each in (first, second)]
        if not mads[0]:  # no noise at all
            out.append(3.0)
            continue
        best = correlation[np.abs(expected - (mads[1] / mads[0]) ** 2).argmin()]
        out.append(edge * np.sqrt(-2 * np.log(2) / np.log(best)))
    return np.minimum(out, 3.0)


def noise(image: Values, region: Mask) -> float:
    """Return the standard deviation of an image's noise, by the median absolute deviation.

    Of what a Gaussian of two voxels leaves of it in the region, which anatomy adds little to.

    Parameters
    ----------
    image
        Any unit.
    region
        White matter of the same shape; at least one voxel.
    """
    from scipy import ndimage

    rest = (image - ndimage.gaussian_filter(image, 2.0))[region]
    return float(1.4826 * np.median(np.abs(rest - np.median(rest))))
