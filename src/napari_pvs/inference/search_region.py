"""Where to look for PVS: cerebral white matter and basal ganglia; and where there are none."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.errors import InputError
from napari_pvs.scans.atlas import Atlas, fit_atlas
from napari_pvs.scans.grid import Grid
from napari_pvs.scans.masks import (
    bounding_box,
    connected_components,
    distance_inside,
    fill_holes,
    thick,
)
from napari_pvs.scans.regions import WHOLE_ML
from napari_pvs.scans.template import REGIONS, load_regions, load_template
from napari_pvs.scans.tissue import FLUID, WHITE, log_posteriors

Volume = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
VoxelSize = tuple[float, float, float]

GAP_MM = 3.0
"""Gaps in white matter up to this width are closed, because PVS are at most this wide."""
FLUID_MM = 4.0
"""Fluid thicker than this is a ventricle or a sulcus, not a PVS."""
MARGIN_MM = 1.5
"""Distance that the region keeps from ventricles, sulci and the outside of the brain."""
COARSE_MM, REACH_MM = 3.0, 1.0
"""Of `plausible`: voxels at which it is estimated, and how far it reaches beyond them."""
_MORE = "hippocampus", "midbrain", "pons", "medulla"  # where PVS are counted too
_SHARES = 0.2, 0.8  # least and most of the brain that it takes up where the template fits


class PartOfBrain(InputError):
    """The scan shows too little of a brain to say where in it PVS can be."""


def load_search() -> None:
    """Load ahead what a search needs: the template, and libraries that take long to import."""
    import SimpleITK  # noqa: F401
    from scipy import ndimage, optimize  # noqa: F401

    load_template()
    load_regions()


def search_region(
    t1: Volume | None, t2: Volume | None, brain: Mask, grid: Grid, atlas: Atlas | None = None
) -> Mask:
    """Estimate cerebral white matter and deep grey matter, PVS included.

    White matter, grey matter and fluid are told apart by `log_posteriors`. White matter and the
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
    closed = fill_holes(closed) & ~thick(fluid, size, FLUID_MM) & cerebrum
    barrier = (fluid & ~closed) | ~inside
    out = np.zeros_like(brain)
    out[box] = _largest(closed & (distance_inside(~barrier, size) > MARGIN_MM))
    return out


def plausible(t1: Volume | None, t2: Volume | None, brain: Mask, grid: Grid) -> Mask:
    """Estimate where PVS can be: not in cortex, sulci, cisterns, ventricles and cerebellum.

    The search region at `COARSE_MM`, the template's hippocampus and brainstem, and `REACH_MM`
    around them. On six real scans it holds 97 % of the PVS that were picked by eye, and 40 % of
    what had been marked and is none; finer voxels take three times as long and do no better.

    Parameters
    ----------
    t1, t2, brain
        As for `search_region`.
    grid
        Theirs, RAS+.

    Raises
    ------
    PartOfBrain
        Less than `WHOLE_ML` of brain.
    InputError
        The template does not fit it.
    """
    from skimage.measure import block_reduce

    size = np.array(grid.voxel_size)
    if np.count_nonzero(brain) * grid.voxel_volume < 1000 * WHOLE_ML:
        raise PartOfBrain(f"the scan shows less than {WHOLE_ML:.0f} mL of brain.")
    step = np.maximum(1, np.rint(COARSE_MM / size)).astype(int)
    blocks = tuple(step.tolist())
    share = block_reduce(brain.astype(np.float32), blocks, np.mean)
    inside = share > 0.5

    def shrunk(image: Volume | None) -> Volume | None:
        if image is None:
            return None
        mean = block_reduce(np.where(brain, image, 0).astype(np.float32), blocks, np.mean)
        return np.where(inside, mean / np.maximum(share, 0.5), 0)

    coarse = Grid(inside.shape, np.diag([*(size * step), 1.0]))
    t1, t2 = shrunk(t1), shrunk(t2)
    atlas = fit_atlas(t1, t2, inside, coarse)
    found = search_region(t1, t2, inside, coarse, atlas)
    voxels = np.argwhere(inside & ~found)
    region, _ = load_regions().at(voxels @ atlas.to_mni[:3, :3].T + atlas.to_mni[:3, 3])
    more = [REGIONS.index(name) + 1 for name in _MORE]
    found[tuple(voxels[np.isin(region, more)].T)] = True
    low, high = _SHARES
    if not low < np.count_nonzero(found) / np.count_nonzero(inside) < high:
        raise InputError("the template does not fit the brain.")
    for axis, times in enumerate(blocks):
        found = np.repeat(found, times, axis)
    found = found[tuple(slice(n) for n in brain.shape)]
    box = bounding_box(brain)
    out = np.zeros_like(brain)
    out[box] = distance_inside(~found[box], grid.voxel_size) <= REACH_MM
    return out & brain


def _classify(
    images: list[Volume], inside: Mask, wm: Volume, gm: Volume, size: VoxelSize
) -> tuple[Mask, Mask]:
    """Return the voxels that are most likely white matter, and most likely fluid."""
    classes = np.full(inside.shape, -1, dtype=np.int8)
    classes[inside] = log_posteriors(images, inside, wm, gm, size).argmax(-1)
    return classes == WHITE, classes == FLUID


def _close(mask: Mask, radius: float, size: VoxelSize) -> Mask:
    return distance_inside(~(distance_inside(~mask, size) > radius), size) > radius


def _largest(mask: Mask) -> Mask:
    """Keep the largest 6-connected component and those at least a tenth of its size."""
    labels, _ = connected_components(mask, 6)
    counts = np.bincount(labels.ravel())
    counts[0] = 0
    keep = counts >= max(0.1 * counts.max(), 1)
    kept: Mask = keep[labels]
    return kept
