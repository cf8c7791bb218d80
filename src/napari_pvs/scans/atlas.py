"""The ICBM152 template fitted to a scan: tissue priors, deep grey matter, cerebellum, brainstem."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.errors import InputError
from napari_pvs.scans.grid import Grid
from napari_pvs.scans.masks import bounding_box
from napari_pvs.scans.template import load_template

Volume = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
Affine = NDArray[np.float64]
VoxelSize = tuple[float, float, float]

COARSE_MM, FINE_MM = 6.0, 3.0
"""Voxel sizes at which the affine is searched, then refined."""
PITCHES = (-20.0, 0.0, 20.0)
"""Pitch angles of the head, degrees, to start from; other tilts are small in scanners."""


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
    """Register the template to a scan and resample its maps onto it.

    Affine only: the borders of the regions are accurate to a few millimetres, less so next to large
    ventricles. The same input gives the same result on any number of cores.

    Parameters
    ----------
    t1, t2
        Either or both, on ``grid``, which is RAS+; the T1 is registered if present.
    brain
        Brain mask; intensities outside it are ignored.
    grid
        Only its voxel size is used, because a header's origin and obliquity may be wrong.

    Raises
    ------
    InputError
        The brain mask is too unlike a brain.
    ValueError
        Neither image is given, or the brain mask is empty.
    """
    image = t1 if t1 is not None else t2
    if image is None:
        raise ValueError("the template needs a T1 or a T2 image")
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
    samples, regular-step gradient descent, one thread. It starts with centres of mass and volumes
    aligned, at three pitch angles of the head; the best result at 6 mm is refined at 3 mm.

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

    Raises
    ------
    InputError
        The brain mask is too unlike a brain.
    ValueError
        The brain mask is empty.
    """
    import SimpleITK as sitk

    if not brain.any():
        raise ValueError("the brain mask is empty")
    template = load_template()
    to_mm = np.diag([*voxel_size, 1.0])
    centre = np.array([axis.mean() for axis in np.nonzero(brain)]) * voxel_size
    inside = template.t1 > 0
    target = np.array([axis.mean() for axis in np.nonzero(inside)]) + template.affine[:3, 3]
    scale = np.cbrt(inside.sum() / (brain.sum() * np.prod(voxel_size)))

    with one_thread():
        box = bounding_box(brain, np.divide(FINE_MM, voxel_size))
        corner = to_mm.copy()
        corner[:3, 3] = [edge.start * size for edge, size in zip(box, voxel_size, strict=True)]
        fine = (
            _coarse(np.where(brain, image, 0)[box], corner),
            _coarse(brain[box], corner),
            _coarse(template.t1, template.affine),
        )
        shrink = [round(COARSE_MM / FINE_MM)] * 3
        coarse = tuple(sitk.BinShrink(each, shrink) for each in fine)
        found = []
        for pitch in np.deg2rad(PITCHES):
            cos, sin = np.cos(pitch), np.sin(pitch)
            matrix = scale * np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
            start = _affine_transform(matrix, centre, target - centre)
            found.append(_optimise(coarse, start))
        _, best = min(found, key=lambda pair: pair[0])
        _, best = _optimise(fine, best)
    out = np.eye(4)
    out[:3, :3] = np.reshape(best.GetMatrix(), (3, 3))
    out[:3, 3] = best.TransformPoint((0.0, 0.0, 0.0))
    return out @ to_mm


def _affine_transform(matrix: Affine, centre: Affine, translation: Affine) -> Any:
    import SimpleITK as sitk

    transform = sitk.AffineTransform(3)
    transform.SetCenter(centre.tolist())
    transform.SetMatrix(matrix.ravel().tolist())
    transform.SetTranslation(translation.tolist())
    return transform


def _optimise(images: tuple[Any, ...], start: Any) -> tuple[float, Any]:
    """Return the negative mutual information reached, and the transform.

    The images are the scan, its brain mask and the template.
    """
    import SimpleITK as sitk

    fixed, brain, moving = images

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
    try:
        method.Execute(fixed, moving)
    except RuntimeError as error:  # it diverges for specks or a few slices
        raise InputError(
            "the brain mask looks too unlike a brain to register the template; give the mask of a "
            "whole brain (--brain-mask)."
        ) from error
    return float(method.GetMetricValue()), transform


def _coarse(image: NDArray[Any], affine: Affine) -> Any:
    """Return a SimpleITK image of ``FINE_MM`` voxels along the array's axes."""
    import SimpleITK as sitk
    from scipy.ndimage import affine_transform, gaussian_filter

    step = FINE_MM / np.linalg.norm(affine[:3, :3], axis=0)
    smooth = gaussian_filter(image.astype(np.float32), 0.4 * step, mode="constant")
    # leave room around the head, so that a misplaced start still overlaps the moving image
    margin = int(np.ceil(24 / FINE_MM))
    shape = np.ceil(np.array(image.shape) / step).astype(int) + 2 * margin
    low = affine_transform(smooth, step, -margin * step, tuple(shape.tolist()), order=1)
    out = sitk.GetImageFromArray(np.ascontiguousarray(low.T))
    out.SetSpacing([FINE_MM] * 3)
    out.SetOrigin((affine[:3, 3] - margin * FINE_MM).tolist())
    return out


def _carry(
    values: NDArray[Any], affine: Affine, to_mni: Affine, brain: Mask
) -> NDArray[np.float32]:
    from scipy.ndimage import affine_transform

    box = bounding_box(brain)
    matrix = np.linalg.inv(affine) @ to_mni
    offset = matrix[:3, :3] @ [edge.start for edge in box] + matrix[:3, 3]
    inside = brain[box]
    out = np.zeros(brain.shape, dtype=np.float32)
    found = affine_transform(
        values.astype(np.float32), matrix[:3, :3], offset, inside.shape, order=1
    )
    out[box] = np.where(inside, found, 0)
    return out


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep SimpleITK to one thread, since sums over several differ in their last bits."""
    import SimpleITK as sitk

    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
