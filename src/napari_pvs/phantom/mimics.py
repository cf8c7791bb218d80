"""PVS mimics: lesions, lacunes, vessels, fissures, sulci, choroid plexus."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_pvs.phantom.anatomy import Tissue
from napari_pvs.phantom.placement import Image, smooth_field
from napari_pvs.phantom.sites import Site
from napari_pvs.phantom.tubes import draw_tube, lognormal, rasterise
from napari_pvs.scans.masks import bounding_box, thick


def closed_sulci(tissue: NDArray[np.uint8], ventricles: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the label map with cortex in place of the CSF of narrow sulci, up to 4 mm wide.

    Label maps of 1 mm show them much wider than they are; `folds` opens them again.
    """
    wide = thick(np.isin(tissue, (Tissue.CSF, Tissue.AIR)), (1, 1, 1), 4.0, 2.5)
    narrow = (tissue == Tissue.CSF) & ~wide & ~ventricles
    narrow &= ndimage.binary_dilation(tissue == Tissue.CORTEX, iterations=2)
    return np.where(narrow, Tissue.CORTEX, tissue).astype(tissue.dtype)


def beads(shape: tuple[int, int, int], rng: np.random.Generator) -> Image:
    """Draw a field as fine as the bright parts of a sulcus in a real T2, on a grid of 1 mm."""
    return smooth_field(shape, np.ones(3), rng.uniform(3, 6), rng)


def folds(tissue: NDArray[np.uint8], rng: np.random.Generator) -> tuple[Image, Image]:
    """Find the sheets where two banks of cortex meet, in which a sulcus is.

    Returns
    -------
    How much farther from white matter a voxel of the cortex is than the mean of its neighbours: in
    mm, about 0.9 in the middle of a sheet and 0.3 at 1 mm from it, below 0 elsewhere; so that a
    threshold of it makes a sheet thinner than a voxel. And the share of CSF that the sheet has:
    open in some stretches, and beaded, as the bright parts of a sulcus in a real T2 are as small as
    PVS.
    """
    import edt

    cortex = tissue == Tissue.CORTEX
    depth = edt.edt(tissue != Tissue.WHITE_MATTER)
    np.minimum(depth, 6, out=depth)
    ridge = np.where(cortex, depth - ndimage.gaussian_filter(depth, 1.2), -0.5)
    stretch = smooth_field(tissue.shape, np.ones(3), 12.0, rng) > rng.uniform(-1.2, 0.2)
    amount = rng.uniform(0.4, 1.0)
    own = rng.spawn(1)[0]
    bead = beads(tissue.shape, own)
    share = stretch * np.clip(amount * (1 + own.uniform(0, 0.8) * bead), 0, 1)
    return ridge.astype(np.float32), share.astype(np.float32)


def folia(cerebellum: Image, voxel_size: NDArray[np.float64], rng: np.random.Generator) -> Image:
    """Compute the share of CSF in the fissures between lobules and folia of the cerebellum.

    Label maps show the cerebellar cortex as one smooth body; real folia are sheets 2-5 mm apart,
    and their fissures are as bright and thin as PVS. Here, lobules are unequal, bent sectors about
    the roof of the fourth ventricle in the sagittal plane, and folia branch off the middle of each
    lobule like the veins of a leaf, each with its own spacing and slant.
    """
    where = cerebellum > 0.05
    if not where.any():
        return np.zeros_like(cerebellum)
    own = rng.spawn(1)[0]  # its own stream, so that the subject's noise does not depend on it
    box = bounding_box(where)
    inside = cerebellum[box]
    axes = [
        (np.arange(n) - n / 2).astype(np.float32) * np.float32(v)
        for n, v in zip(inside.shape, voxel_size, strict=True)
    ]
    x, y, z = np.abs(axes[0])[:, None, None], axes[1][None, :, None] - 12, axes[2][None, None, :]
    radius = np.hypot(y, z)
    arc = rng.uniform(16, 24)  # mm of a radian
    bent = own.uniform(0.1, 0.4) * x + own.uniform(-0.4, 0.4) * radius
    bent = bent + 3.0 * smooth_field(inside.shape, voxel_size, 14.0, rng)
    rough = 0.7 * smooth_field(inside.shape, voxel_size, 4.0, rng)
    angle = np.arctan2(z, -y - 1e-3) + (bent + 0.5 * rough) / arc
    edges = np.cumsum(own.gamma(4, size=own.integers(10, 16)))
    edges *= 2 * np.pi / edges[-1]
    lobule = np.searchsorted(edges, angle % (2 * np.pi)).clip(max=len(edges) - 1)
    sizes = np.diff(edges, prepend=0)
    across = (angle % (2 * np.pi) - edges[lobule]) / sizes[lobule] + 0.5  # from -0.5 to 0.5
    bank = (0.5 - np.abs(across)) * sizes[lobule] * radius  # mm to the fissure beside the lobule
    slant, stretch = own.uniform(0.3, 1.2, len(edges)), own.uniform(0.8, 1.4, len(edges))
    along = (radius - slant[lobule] * bank) / np.hypot(1, slant[lobule]) + 0.3 * bent + rough
    period = rng.uniform(2.2, 5.0)
    wave = np.cos(2 * np.pi * along / (period * stretch[lobule]))
    wave *= np.clip(5 * np.abs(across), 0, 1)  # the white branch in the middle has none
    wave = np.maximum(wave, 1.5 - bank / 0.8) * np.clip(radius / 6 - 1, 0, 1)
    sharp = np.clip((wave - rng.uniform(0.0, 0.65)) * 4, 0, 1)
    depth = 0.7 + 0.4 * smooth_field(inside.shape, voxel_size, 10.0, rng)
    out = np.zeros_like(cerebellum)
    out[box] = rng.uniform(0.35, 1.0) * sharp * np.clip(depth, 0, 1) * np.clip(inside, 0, 1)
    return out


def lesions(
    white: NDArray[np.bool_],
    ganglia: NDArray[np.bool_],
    ventricle_distance: Image,
    voxel_size: NDArray[np.float64],
    site: Site,
    rng: np.random.Generator,
) -> tuple[Image, Image]:
    """Draw white-matter hyperintensities, plaques, lacunes and infarcts.

    A plaque goes up to three quarters of the way to fluid, on T2 and T1: it is round, wider than
    most PVS, and fainter than a PVS of its width. A lacune differs from a PVS by its size (radius
    from 2.2 mm), its round shape and its rim, and is rare; a punctate lesion is fainter than fluid
    and hardly dark on T1. In basal ganglia only lacunes and infarcts are drawn: what else is small
    and bright there is a PVS.

    Parameters
    ----------
    white, ganglia
        White matter, and basal ganglia.
    ventricle_distance
        Distance to the ventricles in mm, at every second voxel.
    voxel_size
        In mm.
    site
        How strong the hyperintensity around the ventricles is, and how often there are plaques or
        an infarct.
    rng
        Source of randomness.

    Returns
    -------
    Share of WMH and share of fluid per voxel, 0-1. Lacunes have a rim of WMH.
    """
    wmh = np.zeros(white.shape, np.float32)
    fluid = np.zeros(white.shape, np.float32)
    both = white | ganglia
    places, all_places = np.argwhere(white), np.argwhere(both)
    if not len(places):
        return wmh, fluid
    near = places[ventricle_distance[tuple(places.T // 2)] < 8]
    rough = smooth_field(white.shape, voxel_size, 5.0, rng)
    load = rng.uniform(0, 1) ** 2  # most have few lesions, some many
    for _ in range(rng.integers(2, 8 + int(16 * load))):  # caps and periventricular patches
        if len(near):
            radii = lognormal(rng, 3.0, 0.5, 1.2, 9) * rng.uniform(0.6, 1.6, 3)
            _add_blob(wmh, near[rng.integers(len(near))], radii, 1.0, rough, voxel_size, rng)
    for _ in range(rng.integers(2, 10 + int(50 * load))):  # deep
        radii = lognormal(rng, 1.8, 0.45, 0.9, 6) * rng.uniform(0.75, 1.35, 3)
        place = places[rng.integers(len(places))]
        _add_blob(wmh, place, radii, rng.uniform(0.4, 1.0), rough, voxel_size, rng)
    for _ in range(rng.integers(0, 40)):  # punctate
        radii = lognormal(rng, 0.9, 0.3, 0.6, 2) * rng.uniform(0.8, 1.4, 3)
        place = places[rng.integers(len(places))]
        _add_blob(wmh, place, radii, rng.uniform(0.3, 0.8), rough, voxel_size, rng)
    if rng.random() < site.plaques:
        _add_plaques(wmh, fluid, places, near, rough, voxel_size, rng)
    for _ in range(rng.poisson(0.6)):  # lacunes
        radii = rng.uniform(2.2, 6) * rng.uniform(0.85, 1.2, 3)
        place = all_places[rng.integers(len(all_places))]
        _add_blob(fluid, place, radii, rng.uniform(0.7, 1.0), rough, voxel_size, rng)
        _add_blob(wmh, place, radii + rng.uniform(1, 2.5), 1.0, rough, voxel_size, rng)
    if rng.random() < site.infarcts:
        place = all_places[rng.integers(len(all_places))]
        radii = rng.uniform(6, 25) * rng.uniform(0.6, 1.5, 3)
        _add_blob(wmh, place, radii, 1.0, rough, voxel_size, rng)
        cavity = rng.uniform(-0.5, 1)  # none in recent ones
        if cavity > 0:
            _add_blob(fluid, place, radii * rng.uniform(0.4, 0.8), cavity, rough, voxel_size, rng)
    strength = rng.uniform(*site.halo)
    if strength:
        halo = strength * np.exp(-ventricle_distance / rng.uniform(2, 6))
        for axis in range(3):
            halo = halo.repeat(2, axis)
        halo = halo[tuple(slice(n) for n in white.shape)] * np.clip(1 + 0.5 * rough, 0, 1)
        np.maximum(wmh, (halo * both).astype(np.float32), out=wmh)
    return wmh, fluid


def _add_plaques(
    wmh: Image,
    fluid: Image,
    places: NDArray[np.intp],
    near: NDArray[np.intp],
    rough: Image,
    voxel_size: NDArray[np.float64],
    rng: np.random.Generator,
) -> None:
    """Add the lesions of multiple sclerosis, many of them ``near`` the ventricles.

    In the lesions of one patient, the peak was at 0.55 of the step to CSF, on T1 and on T2.
    """
    for _ in range(rng.integers(5, 60)):
        close = len(near) and rng.random() < 0.4
        place = near[rng.integers(len(near))] if close else places[rng.integers(len(places))]
        radius = lognormal(rng, 1.9, 0.4, 1.1, 6)
        radii = radius * np.array([rng.uniform(0.8, 1), 1, rng.uniform(1, 1.5)])
        most = min(1.0, radius / 2.5)  # small ones are faint
        _add_blob(wmh, place, radii + 0.3, rng.uniform(0.6, 1.0), rough, voxel_size, rng)
        _add_blob(fluid, place, radii, most * rng.uniform(0, 0.75), rough, voxel_size, rng)


def choroid_plexus(
    ventricles: NDArray[np.bool_], voxel_size: NDArray[np.float64], rng: np.random.Generator
) -> Image:
    """Draw choroid plexus, as shares per voxel: fronds in the ventricles, as bright as GM."""
    out = np.zeros(ventricles.shape, np.float32)
    places = np.argwhere(ventricles)
    if not len(places):
        return out
    rough = smooth_field(ventricles.shape, voxel_size, 2.5, rng)
    for _ in range(rng.integers(3, 14)):
        radii = rng.uniform(0.8, 2.5) * rng.uniform(0.6, 2.5, 3)
        place = places[rng.integers(len(places))]
        _add_blob(out, place, radii, rng.uniform(0.4, 1.0), rough, voxel_size, rng)
    return out * ventricles


def vessels(
    allowed: NDArray[np.bool_],
    directions: Image,
    voxel_size: NDArray[np.float64],
    rng: np.random.Generator,
    number: tuple[int, int] = (5, 50),
    diameter: float = 1.0,
) -> Image:
    """Draw vessels, as shares per voxel: shaped like PVS, but dark on T2 (flow void).

    ``directions`` are unit vectors (3, X, Y, Z) at every second voxel; ``diameter`` is the median
    in mm.
    """
    out = np.zeros(allowed.shape, np.float32)
    places = np.argwhere(allowed)
    for _ in range(rng.integers(*number) if len(places) else 0):
        place = places[rng.integers(len(places))]
        direction = np.asarray(directions[(slice(None), *(place // 2))], np.float64)
        tube = draw_tube(place * voxel_size, direction, allowed, voxel_size, "WM", rng, diameter)
        if tube is not None:
            raster = rasterise(tube, allowed.shape, voxel_size)
            out[tuple(raster.voxels.T)] = raster.fraction
    return out


def clefts(
    csf: Image,
    allowed: NDArray[np.bool_],
    voxel_size: NDArray[np.float64],
    rng: np.random.Generator,
) -> Image:
    """Draw clefts, as shares of CSF: tubes and sheets 1-3 mm wide that open into CSF.

    The third ventricle, the fissures about the thalamus and the brainstem, and sulci cut off by a
    slice look like this. They are drawn in ``allowed``, where there are no PVS.
    """
    out = np.zeros(csf.shape, np.float32)
    edge = np.argwhere(allowed & (csf > 0.2) & (csf < 0.8))
    if not len(edge):
        return out
    rough = np.zeros(csf.shape, np.float32)
    for _ in range(rng.integers(10, 80)):
        place = edge[rng.integers(len(edge))]
        width = rng.uniform(0.5, 1.4)
        radii = np.array([width, width * rng.uniform(1, 4), rng.uniform(1.5, 4)])
        _add_blob(out, place, radii, rng.uniform(0.5, 1.0), rough, voxel_size, rng)
    return out * allowed


def blob(
    shape: tuple[int, int, int],
    centre: NDArray[np.intp],
    radii: NDArray[np.float64],
    voxel_size: NDArray[np.float64],
    rng: np.random.Generator,
) -> Image:
    """Share of each voxel of a grid in a turned ellipsoid with a soft edge.

    Radii in mm: three alike make a round lesion, one small and two large ones a sheet.
    """
    out = np.zeros(shape, np.float32)
    _add_blob(out, centre, radii, 1.0, out.copy(), voxel_size, rng)
    return out


def _add_blob(
    image: Image,
    centre: NDArray[np.intp],
    radii: NDArray[np.float64],
    amount: float,
    rough: Image,
    voxel_size: NDArray[np.float64],
    rng: np.random.Generator,
) -> None:
    """Raise ``image`` to ``amount`` in a turned ellipsoid (radii in mm) with a soft, rough edge."""
    from scipy.spatial.transform import Rotation

    reach = np.ceil((1.6 * radii.max() + 2) / voxel_size).astype(int)
    low = np.maximum(centre - reach, 0)
    high = np.minimum(centre + reach + 1, image.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    axes = [
        (np.arange(a, b) - c) * v for a, b, c, v in zip(low, high, centre, voxel_size, strict=True)
    ]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    turned = points @ Rotation.random(rng=rng).as_matrix()
    distance = (np.linalg.norm(turned / radii, axis=-1) - 1) * radii.mean()
    distance += 0.25 * radii.mean() * rough[box]
    soft = np.clip(0.5 - distance / 1.2, 0, 1) * amount
    np.maximum(image[box], soft.astype(np.float32), out=image[box])
