"""The ICBM152 template on a scan: tissue priors, deep grey matter, cerebellum and brainstem."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.scans.grid import Grid

Volume = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
Affine = NDArray[np.float64]
VoxelSize = tuple[float, float, float]

COARSE_MM, FINE_MM = 6.0, 3.0
"""Voxel sizes at which the affine is searched, then refined."""
PITCHES = (-20.0, 0.0, 20.0)
"""Nods of the head, degrees, from which the search starts; other tilts are small in scanners."""

# Regions in MNI mm, x by its absolute value. Centres, semi-axes and directions are the mean and
# the second moments of labels of individual heads (SynthSeg's training maps, Billot et al. 2023), carried to the template by
# `register`; the last number is the least grey matter probability (low where the template calls
# pallidum and lateral thalamus white).
_DEEP_GREY = (
    # caudate
    ((13.5, 8.6, 11.7), (6.8, 11.5, 29.5),
     ((0.92, -0.13, -0.38), (-0.38, -0.56, -0.73), (-0.12, 0.82, -0.57)), 0.3),
    # putamen and pallidum
    ((25.2, -0.2, 0.1), (9.7, 12.8, 21.9),
     ((0.92, 0.33, -0.22), (-0.15, -0.22, -0.96), (-0.37, 0.92, -0.16)), 0.1),
    # accumbens
    ((9.1, 12.1, -6.2), (3.6, 6.8, 10.6),
     ((0.77, -0.24, 0.59), (0.63, 0.15, -0.76), (0.09, 0.96, 0.26)), 0.3),
    # thalamus
    ((12.0, -18.1, 7.3), (10.4, 13.1, 20.6),
     ((0.81, 0.40, -0.44), (0.42, 0.14, 0.90), (-0.42, 0.91, 0.06)), 0.1),
)  # fmt: skip
# Height (z) half way between the highest infratentorial and the lowest cerebral voxel above it,
# from the same heads; -80 where nothing infratentorial lies below. The brainstem ends at its
# junction with the ventral diencephalon.
_TENTORIUM_X = (0.0, 6.0, 12.0, 20.0, 30.0, 40.0, 50.0, 60.0)
_TENTORIUM_Y = (-100.0, -92.0, -84.0, -76.0, -68.0, -60.0, -52.0, -44.0, -36.0, -28.0, -20.0,
                -12.0, -4.0)  # fmt: skip
_TENTORIUM_Z = (
    (-30.0, -30.0, -28.0, -26.0, -26.0, -28.0, -40.0, -80.0),
    (-23.0, -23.0, -19.0, -19.5, -19.5, -22.0, -24.0, -80.0),
    (-17.0, -17.5, -18.0, -18.0, -20.0, -19.5, -20.0, -60.0),
    (-10.0, -12.0, -15.0, -17.0, -19.5, -19.5, -20.0, -40.0),
    (1.0, -5.0, -10.5, -14.5, -17.5, -20.5, -20.5, -40.0),
    (4.0, 2.0, -6.5, -14.0, -18.5, -22.5, -24.5, -40.0),
    (4.0, 2.0, -5.0, -13.5, -20.0, -25.0, -28.0, -60.0),
    (2.0, -2.0, -10.0, -16.5, -23.5, -28.5, -80.0, -80.0),
    (1.0, 0.0, -12.5, -19.5, -26.5, -40.0, -80.0, -80.0),
    (1.0, 1.0, -6.5, -27.0, -80.0, -80.0, -80.0, -80.0),
    (-19.0, -20.0, -20.0, -80.0, -80.0, -80.0, -80.0, -80.0),
    (-26.0, -26.0, -30.0, -80.0, -80.0, -80.0, -80.0, -80.0),
    (-80.0, -80.0, -80.0, -80.0, -80.0, -80.0, -80.0, -80.0),
)


@dataclass(frozen=True, eq=False)
class Template:
    """ICBM152 2009a symmetric (Fonov et al., NeuroImage 2011) at 1 mm, as shipped in nilearn.

    ``t1``, ``wm`` and ``gm`` are float32 in 0..1; ``deep_grey`` and ``infratentorial`` are masks;
    ``affine`` takes voxels to MNI millimetres.
    """

    t1: Volume
    wm: Volume
    gm: Volume
    deep_grey: Mask
    infratentorial: Mask
    affine: Affine


@dataclass(frozen=True, eq=False)
class Atlas:
    """The template on a scan's voxels.

    ``wm`` and ``gm`` are prior probabilities, float32 in 0..1. ``deep_grey`` marks basal ganglia
    and thalamus, ``infratentorial`` cerebellum and brainstem, ``cerebrum`` the rest of the brain
    mask, deep grey matter included. ``to_mni`` (4x4) takes a voxel index to MNI millimetres.
    """

    wm: NDArray[np.float32]
    gm: NDArray[np.float32]
    deep_grey: Mask
    infratentorial: Mask
    cerebrum: Mask
    to_mni: Affine


def fit_atlas(t1: Volume | None, t2: Volume | None, brain: Mask, grid: Grid) -> Atlas:
    """Register the template to a scan and carry its maps over.

    Affine only: borders of the regions are good to a few millimetres, worse beside large
    ventricles. The same input gives the same result on any number of cores.

    Parameters
    ----------
    t1, t2
        Either or both, on ``grid``, which is RAS+; T1 is registered when present.
    brain
        Brain mask; intensities outside it are not read.
    grid
        Only its voxel size is used: a header's origin and obliquity are not trusted.

    Raises
    ------
    ValueError
        Neither image is given, or the brain mask is empty.
    """
    image = t1 if t1 is not None else t2
    if image is None:
        raise ValueError("the template needs a T1 or a T2 image")
    if not brain.any():
        raise ValueError("the brain mask is empty")
    template = load_template()
    to_mni = register(image, brain, grid.voxel_size)
    wm = _carry(template.wm, template.affine, to_mni, brain)
    gm = _carry(template.gm, template.affine, to_mni, brain)
    deep_grey = _carry(template.deep_grey, template.affine, to_mni, brain) > 0.5
    infratentorial = _carry(template.infratentorial, template.affine, to_mni, brain) > 0.5
    return Atlas(wm, gm, deep_grey, infratentorial, brain & ~infratentorial, to_mni)


def register(image: Volume, brain: Mask, voxel_size: VoxelSize) -> Affine:
    """Find the affine from voxel indices of a scan to MNI millimetres.

    Mattes mutual information over the brain and 3 mm around it (so that its outline counts), all
    samples, regular-step gradient descent, one thread. Starts: centres of mass and volumes made
    equal, three nods of the head; the best at 6 mm is refined at 3 mm.

    Parameters
    ----------
    image
        T1 or T2 on a RAS+ grid.
    brain
        As in `fit_atlas`.
    voxel_size
        Millimetres along each axis.

    Returns
    -------
    4x4 float64.
    """
    template = load_template()
    to_mm = np.diag([*voxel_size, 1.0])
    centre = np.array([axis.mean() for axis in np.nonzero(brain)]) * voxel_size
    inside = template.t1 > 0
    target = np.array([axis.mean() for axis in np.nonzero(inside)]) + template.affine[:3, 3]
    scale = np.cbrt(inside.sum() / (brain.sum() * np.prod(voxel_size)))

    with _one_thread():
        pairs = {
            step: (
                _coarse(np.where(brain, image, 0), to_mm, step),
                _coarse(brain, to_mm, step),
                _coarse(template.t1, template.affine, step),
            )
            for step in (COARSE_MM, FINE_MM)
        }
        found = []
        for pitch in np.deg2rad(PITCHES):
            cos, sin = np.cos(pitch), np.sin(pitch)
            matrix = scale * np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
            start = _affine_transform(matrix, centre, target - centre)
            found.append(_optimise(*pairs[COARSE_MM], start))
        _, best = min(found, key=lambda pair: pair[0])
        _, best = _optimise(*pairs[FINE_MM], best)
    out = np.eye(4)
    out[:3, :3] = np.reshape(best.GetMatrix(), (3, 3))
    out[:3, 3] = best.TransformPoint((0.0, 0.0, 0.0))
    return out @ to_mm


@cache
def load_template() -> Template:
    """Load the template and derive its regions; kept for the life of the process."""
    from nilearn import datasets

    image = datasets.load_mni152_template(resolution=1)
    t1, gm, wm = (
        np.asarray(each.dataobj, dtype=np.float32)
        for each in (
            image,
            datasets.load_mni152_gm_template(resolution=1),
            datasets.load_mni152_wm_template(resolution=1),
        )
    )
    affine = np.asarray(image.affine, dtype=np.float64)
    axes = (np.arange(n) + origin for n, origin in zip(t1.shape, affine[:3, 3], strict=True))
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    infratentorial = _infratentorial(x, y, z) & (t1 > 0)
    deep_grey = _deep_grey(x, y, z, gm) & ~infratentorial
    return Template(t1, wm, gm, deep_grey, infratentorial, affine)


def _deep_grey(x: Volume, y: Volume, z: Volume, gm: Volume) -> Mask:
    """Grey matter (or what is not clearly white) in four ellipsoids per hemisphere."""
    out = np.zeros(gm.shape, dtype=bool)
    for centre, semi, axes, least in _DEEP_GREY:
        offsets = (np.abs(x) - centre[0], y - centre[1], z - centre[2])
        radius = sum(
            (sum(a * d for a, d in zip(axis, offsets, strict=True)) / length) ** 2
            for axis, length in zip(axes, semi, strict=True)
        )
        out |= (radius <= 1) & (gm > least)
    return out


def _infratentorial(x: Volume, y: Volume, z: Volume) -> Mask:
    """Below the tentorium, whose height is interpolated between the points of the table."""
    from scipy.interpolate import RegularGridInterpolator

    height = RegularGridInterpolator(
        (_TENTORIUM_Y, _TENTORIUM_X), _TENTORIUM_Z, bounds_error=False, fill_value=-100.0
    )
    return z < height(np.stack(np.broadcast_arrays(y, np.abs(x)), axis=-1))


def _affine_transform(matrix: Affine, centre: Affine, translation: Affine) -> Any:
    import SimpleITK as sitk

    transform = sitk.AffineTransform(3)
    transform.SetCenter(centre.tolist())
    transform.SetMatrix(matrix.ravel().tolist())
    transform.SetTranslation(translation.tolist())
    return transform


def _optimise(fixed: Any, brain: Any, moving: Any, start: Any) -> tuple[float, Any]:
    """Return the negative mutual information reached, and the transform."""
    import SimpleITK as sitk

    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(numberOfHistogramBins=32)
    reach = max(1, round(3 / brain.GetSpacing()[0]))
    method.SetMetricFixedMask(sitk.BinaryDilate(brain > 0.5, [reach] * 3))
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=2.0, minStep=0.02, numberOfIterations=60, gradientMagnitudeTolerance=1e-5
    )
    method.SetOptimizerScalesFromPhysicalShift()
    transform = sitk.AffineTransform(start)
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(fixed, moving)
    return float(method.GetMetricValue()), transform


def _coarse(image: NDArray[Any], affine: Affine, step: float) -> Any:
    """Return a SimpleITK image of ``step`` mm voxels along the array's axes."""
    import SimpleITK as sitk
    from scipy.ndimage import affine_transform, gaussian_filter

    size = np.linalg.norm(affine[:3, :3], axis=0)
    smooth = gaussian_filter(image.astype(np.float32), 0.4 * step / size)
    # Room around the head, so that a misplaced start still lands on the moving image.
    margin = int(np.ceil(24 / step))
    shape = np.ceil(np.array(image.shape) * size / step).astype(int) + 2 * margin
    low = affine_transform(
        smooth, step / size, -margin * step / size, tuple(shape.tolist()), order=1
    )
    out = sitk.GetImageFromArray(np.ascontiguousarray(low.T))
    out.SetSpacing([step] * 3)
    out.SetOrigin((affine[:3, 3] - margin * step).tolist())
    return out


def _carry(values: NDArray[Any], affine: Affine, to_mni: Affine, brain: Mask) -> Any:
    from scipy.ndimage import affine_transform

    matrix = np.linalg.inv(affine) @ to_mni
    out = affine_transform(
        values.astype(np.float32), matrix[:3, :3], matrix[:3, 3], brain.shape, order=1
    )
    out[~brain] = 0
    return out


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep SimpleITK to one thread: sums over threads differ in their last bits."""
    import SimpleITK as sitk

    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
