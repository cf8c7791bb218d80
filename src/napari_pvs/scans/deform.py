"""The ICBM152 template bent onto a scan, by its tissues."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.scans.atlas import one_thread, register
from napari_pvs.scans.grid import Grid
from napari_pvs.scans.masks import bounding_box
from napari_pvs.scans.template import load_template
from napari_pvs.scans.tissue import GREY, ORDER, tissue_order

Volume = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
Affine = NDArray[np.float64]
Progress = Callable[[int, int], None]

STEP_MM = 2.0
"""Distance of the nodes at which the displacement is known."""
WHITE_FROM, FLUID_TO = 0.8, 0.375
"""Limits of white matter and of fluid on the scale of `tissue_order`, half way to grey matter."""
_MARGIN = 4  # nodes around the template's brain
_LEVELS = ((2, 60, 2.0), (1, 20, 1.5))
"""Nodes that become one, iterations, smoothing of the displacement (SD in nodes)."""


@dataclass(frozen=True, eq=False)
class Deformation:
    """Where in the template each place of a scan lies.

    Attributes
    ----------
    to_mni
        (4, 4): takes a voxel of the scan to MNI millimetres, before the displacement.
    displacement
        float32 (3, X, Y, Z), mm, at nodes every `STEP_MM`, what is added to get there.
    corner
        MNI millimetres of the first node.
    tissue
        float32 (X, Y, Z): `tissue_order` of the scan at the nodes; grey outside the brain.
    likeness
        Correlation of the tissues of scan and deformed template inside the brain, -1 to 1.
    overlap
        Dice of the brain mask and the template's, deformed, where the scan has voxels.
    """

    to_mni: Affine
    displacement: NDArray[np.float32]
    corner: NDArray[np.float64]
    tissue: NDArray[np.float32]
    likeness: float
    overlap: float

    def points(self, voxels: NDArray[Any]) -> NDArray[np.float32]:
        """Return (n, 3) MNI millimetres of (n, 3) voxels of the scan."""
        affine = self._affine(voxels)
        return np.asarray(affine + self._sample(self.displacement, affine), np.float32)

    def tissue_at(self, voxels: NDArray[Any]) -> NDArray[np.float32]:
        """Return (n,) `tissue_order` of (n, 3) voxels of the scan."""
        return self._sample(self.tissue[None], self._affine(voxels))[:, 0]

    def voxels(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Undo `points`: where in the scan (n, 3) MNI points lie, to about a millimetre."""
        source = points
        for _ in range(4):
            source = points - self._sample(self.displacement, source)
        back = np.linalg.inv(self.to_mni)
        return np.asarray(source @ back[:3, :3].T + back[:3, 3])

    def _affine(self, voxels: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray(voxels @ self.to_mni[:3, :3].T + self.to_mni[:3, 3])

    def _sample(self, images: NDArray[np.float32], points: NDArray[Any]) -> NDArray[np.float32]:
        from scipy.ndimage import map_coordinates

        nodes = ((points - self.corner) / STEP_MM).T
        found = [map_coordinates(image, nodes, order=1, mode="nearest") for image in images]
        return np.stack(found, axis=-1)


def deform(
    t1: Volume | None,
    t2: Volume | None,
    brain: Mask,
    grid: Grid,
    progress: Progress | None = None,
) -> Deformation:
    """Register the template to a scan: an affine by `register`, then a smooth displacement.

    What is matched is tissue, not intensity, so that T1, T2 or both are alike: the scan by
    `tissue_order`, the template's white matter, grey matter and fluid on the same scale.
    Diffeomorphic demons (Vercauteren et al., NeuroImage 2009; SimpleITK), 4 mm then `STEP_MM`, on
    one thread: the same input gives the same result on any number of cores.

    Parameters
    ----------
    t1, t2
        Either or both, on ``grid``, which is RAS+.
    brain
        Brain mask; intensities outside it are not read.
    grid
        Only its voxel size is used.
    progress
        Called with the work done on the displacement, and all of it.

    Raises
    ------
    InputError
        The brain mask is too unlike a brain.
    ValueError
        Neither image is given, or the brain mask is empty.
    """
    images = [image for image in (t1, t2) if image is not None]
    if not images:
        raise ValueError("the template needs a T1 or a T2 image")
    to_mni = register(images[0], brain, grid.voxel_size)
    model = _model()
    nodes = model.wm.shape
    matrix = np.linalg.inv(to_mni) @ model.affine

    def at_nodes(image: NDArray[Any]) -> NDArray[np.float32]:
        from scipy.ndimage import affine_transform, gaussian_filter

        sigma = 0.4 * np.maximum(STEP_MM / np.array(grid.voxel_size) - 1, 0)
        smooth = gaussian_filter(image.astype(np.float32), sigma)
        return np.asarray(affine_transform(smooth, matrix[:3, :3], matrix[:3, 3], nodes, order=1))

    inside = at_nodes(brain) > 0.5
    # what is outside the brain would be smeared into it, bright fat into fluid
    covered = np.maximum(at_nodes(brain), 1e-3)
    sampled: list[Volume] = [at_nodes(np.where(brain, image, 0)) / covered for image in images]
    size = (STEP_MM, STEP_MM, STEP_MM)
    tissue = np.full(nodes, ORDER[GREY], np.float32)
    tissue[inside] = tissue_order(sampled, inside, model.wm, model.gm, size)
    fixed = tissue * inside
    displacement = _demons(fixed, model.tissue, progress)
    # what the scan does not show is not held against it
    field = at_nodes(np.ones(brain.shape, np.float32)) > 0.5
    from scipy.ndimage import map_coordinates

    where = np.indices(nodes, np.float32) + displacement / STEP_MM
    moved = map_coordinates(model.tissue, where, order=1)
    theirs = (map_coordinates(model.brain, where, order=1) > 0.5) & field
    likeness = float(np.corrcoef(fixed[inside], moved[inside])[0, 1])
    both, either = (int(np.count_nonzero(one)) for one in (inside & theirs, inside | theirs))
    overlap = 2 * both / max(both + either, 1)
    return Deformation(to_mni, displacement, model.affine[:3, 3], tissue, likeness, overlap)


@dataclass(frozen=True, eq=False)
class _Model:
    """The template at the nodes, around its brain."""

    wm: NDArray[np.float32]
    gm: NDArray[np.float32]
    brain: NDArray[np.float32]
    tissue: NDArray[np.float32]
    affine: Affine


@cache
def _model() -> _Model:
    template = load_template()
    step = round(STEP_MM)
    box = bounding_box(template.t1 > 0)
    start = [max(0, side.start - step * _MARGIN) for side in box]
    stop = [side.stop + step * _MARGIN for side in box]

    def cut(image: NDArray[Any]) -> NDArray[np.float32]:
        part = image[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
        whole = [(0, -n % step) for n in part.shape]
        x, y, z = (n // step for n in np.add(part.shape, [extra for _, extra in whole]))
        blocks = np.pad(part, whole).reshape(x, step, y, step, z, step)
        return np.asarray(blocks.mean((1, 3, 5), dtype=np.float32))

    inside = template.t1 > 0
    fluid = np.clip(1 - template.wm - template.gm, 0, 1)
    shares = (template.wm, template.gm, fluid)
    tissue = sum(v * share for v, share in zip(ORDER, shares, strict=True)) * inside
    affine = np.diag([STEP_MM, STEP_MM, STEP_MM, 1.0])
    affine[:3, 3] = template.affine[:3, 3] + start + (step - 1) / 2
    return _Model(cut(template.wm), cut(template.gm), cut(inside), cut(np.asarray(tissue)), affine)


def _demons(
    fixed: NDArray[np.float32], moving: NDArray[np.float32], progress: Progress | None
) -> NDArray[np.float32]:
    """Return the displacement, mm, from each node of ``fixed`` to its place in ``moving``."""
    import SimpleITK as sitk

    images = [sitk.GetImageFromArray(np.ascontiguousarray(one.T)) for one in (fixed, moving)]
    for image in images:
        image.SetSpacing([STEP_MM] * 3)
    field: Any = None
    # an iteration takes as long as it has nodes
    work = [iterations * 8 // shrink**3 for shrink, iterations, _ in _LEVELS]
    done = 0

    def on(image: Any) -> Any:
        return sitk.Resample(
            field, image, sitk.Transform(), sitk.sitkLinear, 0.0, field.GetPixelID()
        )

    with one_thread():
        for (shrink, iterations, smoothing), whole in zip(_LEVELS, work, strict=True):
            one, two = (sitk.BinShrink(image, [shrink] * 3) for image in images)
            demons = sitk.DiffeomorphicDemonsRegistrationFilter()
            demons.SetNumberOfIterations(iterations)
            demons.SetStandardDeviations(smoothing)
            demons.SetUpdateFieldStandardDeviations(1.0)
            demons.SmoothUpdateFieldOn()
            demons.SetMaximumUpdateStepLength(2.0)  # nodes; ventricles of the old are far away
            started = () if field is None else (on(one),)
            if progress is not None:
                tell = partial(_tell, progress, demons, done, whole // iterations, sum(work))
                demons.AddCommand(sitk.sitkIterationEvent, tell)
            field = demons.Execute(one, two, *started)
            done += whole
        found = sitk.GetArrayFromImage(on(images[0]))  # (z, y, x, 3)
    return np.ascontiguousarray(found.transpose(3, 2, 1, 0), dtype=np.float32)


def _tell(progress: Progress, demons: Any, before: int, each: int, total: int) -> None:
    progress(before + each * demons.GetElapsedIterations(), total)
