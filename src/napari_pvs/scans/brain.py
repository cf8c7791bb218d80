"""Finding the brain."""

import warnings

import numpy as np
from numpy.typing import NDArray

from napari_pvs.errors import InputError
from napari_pvs.scans.grid import Grid
from napari_pvs.scans.masks import connected_components, fill_holes

VOLUME_ML = (300.0, 2500.0)
"""Volume limits of a brain; adult brains have 900 to 1900 mL including ventricles."""
WHOLE_HEAD_ML = 2000.0
"""Smaller fields of view show only part of a head."""
LARGE_ML = 1450.0
"""A stripped scan with more than this is checked again: it may be a small head over zeroed air."""
WHOLE, PARTLY = 0.8, 0.95
"""Shares of a stripped scan that deepbet takes for brain. Below the first it is a whole head; below
the second, pieces of the head are left around the brain."""
LEFT_MM = 3.0
"""Such pieces lie farther from deepbet's brain."""
ALIKE_MM, ALIKE = 4.0, 0.1
"""Intensities of a brain 4 mm apart correlate by 0.3 to 0.7 (six scans), those of noise by 0.0,
also if it was smoothed by 2.4 mm."""
_SOME = 7  # of the pairs of voxels, one in so many is looked at
OUTSIDE = 0.04
"""If more of a given mask is farther than that from a stripped brain, it is of another brain."""
BACKGROUND = 0.3
"""Minimum share of background in a stripped scan; a brain fills about half of its bounding box."""


def brain_mask(
    t1: NDArray[np.floating] | None,
    t2: NDArray[np.floating] | None,
    grid: Grid,
    device: str = "cpu",
    name: str = "the scan",
) -> NDArray[np.bool_]:
    """Find the brain in the T1, or in the T2 if there is no T1.

    In a skull-stripped scan the mask is what is not background; for a whole head it is computed by
    deepbet (Fisch et al., Human Brain Mapping 2024). It is also computed for a scan that looks
    stripped but is large or has a layer of bone, which may be a defaced head over zeroed air or a
    partly stripped head. deepbet was trained on T1, so a T2 is first passed through `t1_like`;
    ``benchmarks/brain_extraction.py`` compares alternatives.

    Parameters
    ----------
    t1, t2
        Shape of ``grid``; at least one.
    grid
        RAS+.
    device
        ``"cpu"``, or anything else for the GPU that torch finds.
    name
        What messages call the image.

    Returns
    -------
    bool, shape of ``grid``: one component without holes.

    Raises
    ------
    InputError
        Nothing with the volume of a brain was found.
    """
    image = t1 if t1 is not None else t2
    if image is None:
        raise ValueError("neither T1 nor T2")
    mask = stripped_mask(image, grid)
    if mask is None or _doubtful(image, mask, grid):
        found = deepbet_mask(image if t1 is not None else t1_like(image), device)
        mask = found if mask is None else _brain_of(mask, found, grid)
    if not VOLUME_ML[0] <= _millilitres(mask, grid) <= VOLUME_ML[1]:
        raise InputError(f"no brain was found in {name}; give its brain mask (--brain-mask).")
    if _is_noise(image, mask, grid):
        raise InputError(
            f"{name} looks like noise, with no head in it; give another scan, or its brain mask "
            "(--brain-mask)."
        )
    return mask


def _is_noise(image: NDArray[np.floating], mask: NDArray[np.bool_], grid: Grid) -> bool:
    """Whether nothing sets the brain off from the rest, and places in it have nothing in common."""
    inner, outer = image[mask][::_SOME], image[~mask][::_SOME]
    if not len(outer) or abs(inner.mean() - outer.mean()) > 0.5 * inner.std():
        return False
    for axis, edge in enumerate(grid.voxel_size):
        step = max(1, round(ALIKE_MM / edge))
        near, far = ([slice(None)] * 3 for _ in range(2))
        near[axis], far[axis] = slice(None, -step), slice(step, None)
        here, there = tuple(near), tuple(far)
        both = mask[here] & mask[there]
        pair = image[here][both][::_SOME], image[there][both][::_SOME]
        if all(side.std() > 0 for side in pair) and np.corrcoef(*pair)[0, 1] > ALIKE:
            return False
    return True


def stripped_mask(image: NDArray[np.floating], grid: Grid) -> NDArray[np.bool_] | None:
    """Return the brain of a skull-stripped image; None if the image is not stripped.

    Stripped means that a single value fills the border and at least `BACKGROUND` of the image, and
    that the rest has the volume of a brain. A whole head over zeroed air is not stripped: it has
    3 L or more, and reaches the border at the neck.
    """
    faces = np.concatenate([image[index].ravel() for index in _faces()])
    values, counts = np.unique(faces, return_counts=True)
    value = values[counts.argmax()]
    if counts.max() < 0.9 * faces.size:
        return None
    inside = image != value
    if inside.mean() > 1 - BACKGROUND or not inside.any():
        return None
    mask = _solid(inside)
    return mask if VOLUME_ML[0] <= _millilitres(mask, grid) <= VOLUME_ML[1] else None


def _doubtful(image: NDArray[np.floating], mask: NDArray[np.bool_], grid: Grid) -> bool:
    """Whether an apparently stripped scan may be a head, by its volume or by bone below a rim."""
    if _millilitres(mask, grid) > LARGE_ML:
        return True
    import edt

    half = (slice(None, None, 2),) * 3
    inside = mask[half]
    edges = tuple(2 * edge for edge in grid.voxel_size)
    depth = edt.edt(np.ascontiguousarray(inside), anisotropy=edges, black_border=True)[inside]
    values = image[half][inside]
    layers = [values[(depth > d) & (depth <= d + 2)] for d in range(0, 30, 2)]
    profile = np.array([np.median(layer) for layer in layers if len(layer) > 100])
    if len(profile) < 8:
        return False
    lowest = int(profile[1:8].argmin()) + 1  # bone lies 2 to 16 mm deep
    dip = profile[lowest]
    return bool(min(profile[:lowest].max(), profile[lowest:].max()) > 1.3 * max(dip, 0))


def _brain_of(
    stripped: NDArray[np.bool_], found: NDArray[np.bool_], grid: Grid
) -> NDArray[np.bool_]:
    """Choose between the mask from a scan's zeros and deepbet's, by their overlap."""
    share = np.count_nonzero(stripped & found) / np.count_nonzero(stripped)
    if share >= PARTLY or not found.any():
        return stripped
    if share < WHOLE:
        return found
    import edt

    near = edt.edt(~found, anisotropy=grid.voxel_size) <= LEFT_MM
    return _solid(stripped & near)


def t1_like(t2: NDArray[np.floating]) -> NDArray[np.floating]:
    """Fold the bright side of a T2 down, so that its tissues rank as on a T1.

    White matter, near the head's median, becomes brightest, and grey matter and fluid darker. Bone
    and air stay dark, whereas a simple inversion would make them bright.
    """
    peak = np.median(t2[t2 > 0.1 * np.percentile(t2, 99.5)])
    return np.where(t2 > peak, (2 * peak - t2).clip(min=0), t2)


def deepbet_mask(image: NDArray[np.floating], device: str) -> NDArray[np.bool_]:
    """Run deepbet on an image in RAS+ order; the mask is empty if it finds nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's about TorchScript, which users cannot act on
        from deepbet.bet import BrainExtraction

        extraction = BrainExtraction(no_gpu=device == "cpu")
        try:
            found = extraction.run_model(np.ascontiguousarray(image, dtype=np.float32)) > 0.5
        except (AssertionError, ValueError):  # no foreground to put a box around
            return np.zeros(image.shape, dtype=bool)
    return _solid(found) if found.any() else found


def _solid(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Largest 6-connected component, with holes filled."""
    labels, _ = connected_components(mask, 6)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return fill_holes(labels == sizes.argmax())


def doubts_of_mask(mask: NDArray[np.bool_], grid: Grid, name: str) -> list[str]:
    """Say whether a mask given for a whole head cannot be a brain's."""
    volume = _millilitres(mask, grid)
    whole = grid.voxel_volume * mask.size >= WHOLE_HEAD_ML * 1000
    if not whole or VOLUME_ML[0] <= volume <= VOLUME_ML[1]:
        return []
    return [
        f"{name} has {volume:.0f} mL, but an adult brain has 900 to 1,900; give the mask of this "
        "scan's brain."
    ]


def doubts_of_person(
    mask: NDArray[np.bool_], image: NDArray[np.floating], grid: Grid, name: str, first: str
) -> list[str]:
    """Detect that a given mask is not that of a skull-stripped scan, but of another head.

    The measure is the share of the mask that lies more than `LEFT_MM` outside the visible brain.
    On a real scan it was 0 for its own mask, even if dilated by two voxels, and 7 and 17 % for the
    masks of two other people, moved to the same centre.

    Parameters
    ----------
    mask, image
        Shape of ``grid``.
    grid
        RAS+.
    name, first
        What messages call the mask and the image.
    """
    import edt

    half = (slice(None, None, 2),) * 3
    few = image[half], mask[half]
    coarse = Grid(few[0].shape, grid.affine @ np.diag([2.0, 2.0, 2.0, 1.0]))
    shown = stripped_mask(few[0], coarse)
    if shown is None or not few[1].any():
        return []
    far = max(LEFT_MM, 1.5 * max(coarse.voxel_size))
    share = float((edt.edt(~shown, anisotropy=coarse.voxel_size)[few[1]] > far).mean())
    if share < OUTSIDE:
        return []
    return [
        f"{name} has {share:.0%} of its voxels more than {far:.0f} mm outside the brain in "
        f"{first}: it may be of another head; give the brain mask of this scan."
    ]


def _millilitres(mask: NDArray[np.bool_], grid: Grid) -> float:
    return float(mask.sum() * grid.voxel_volume / 1000)


def _faces() -> list[tuple[slice | int, ...]]:
    return [
        tuple(side if axis == across else slice(None) for axis in range(3))
        for across in range(3)
        for side in (0, -1)
    ]
