"""Where PVS can be drawn into a scan, and how they would look there: measured on the scan itself.

White matter and basal ganglia come from the template (`inference.search_region`) where the brain is
whole; where the field of view cuts through it on all sides, white matter alone, by intensity. Fluid
is what CSF shows; noise and smoothness are those of white matter.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from napari_pvs import json_files
from napari_pvs.errors import InputError
from napari_pvs.files import atomic, write_text
from napari_pvs.scans.masks import connected_components, distance_inside, thick
from napari_pvs.scans.signal import FWHM, fluid_level, noise, smoothness
from napari_pvs.training.data.prepared import PreparedSubject
from napari_pvs.training.place import raw

log = logging.getLogger(__name__)

WHITE, GREY = 1, 2
"""Values of `Ground.tissue`: white matter, basal ganglia; 0 is neither."""
GROUND = "ground"
"""Folder of what is kept, beside the pseudo-labels."""
SIGNS = -1, 1
"""Of fluid against the brain's median, in T1 and T2."""
_DEEP_MM = 6.0  # the outer brain is cortex and sulci
_FLUID_MM = 4.0  # wide is no PVS, but a ventricle or a sulcus
_MARGIN_MM = 1.2  # a PVS keeps this far from CSF, as in phantoms
_FEW = 300  # voxels of white matter: of fewer, no smoothness can be measured
_CUT = 0.5  # share of the surface that lies at the array's faces where the brain is cut


class _Measured(BaseModel):
    """What lies beside the map of tissue."""

    fluid: tuple[float, float]
    spread: tuple[tuple[float, float, float], tuple[float, float, float]]
    noise: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Ground:
    """What a scan offers to draw on.

    Attributes
    ----------
    tissue
        (X, Y, Z) uint8, the prepared scan's grid: `WHITE`, `GREY` or 0.
    fluid
        Of T1 and T2: intensity of pure fluid in the normalised scan; 0 of a missing one.
    spread
        Of T1 and T2: standard deviation along each axis, in voxels, of the Gaussian that makes
        white noise as smooth as the scan.
    noise
        Of T1 and T2: standard deviation, in normalised units; 0 of a missing one.
    """

    tissue: NDArray[np.uint8]
    fluid: tuple[float, float]
    spread: tuple[tuple[float, float, float], tuple[float, float, float]]
    noise: tuple[float, float]


def measure(subject: PreparedSubject) -> Ground:
    """Measure a scan; seconds where the template is laid over it."""
    images = subject.images.astype(np.float32)
    size = np.array(subject.voxel_size)
    there = [bool(image.any()) for image in images]
    deep = distance_inside(subject.brain, subject.voxel_size) > _DEEP_MM
    deep = deep if deep.any() else subject.brain
    fluid = [
        sign * fluid_level(sign * image, deep) if has else 0.0
        for sign, image, has in zip(SIGNS, images, there, strict=True)
    ]
    wet = np.logical_and.reduce(
        [
            sign * image > abs(level) / 2
            for sign, image, level, has in zip(SIGNS, images, fluid, there, strict=True)
            if has
        ]
    )
    tissue = _tissue(subject, images, there)
    fluid_space = thick(wet, subject.voxel_size, _FLUID_MM) & subject.brain
    tissue[distance_inside(~fluid_space, subject.voxel_size) <= _MARGIN_MM] = 0
    core = _eroded(tissue == WHITE)
    core = core if np.count_nonzero(core) >= _FEW else _eroded(deep)
    spread, noises = [], []
    for image, has in zip(images, there, strict=True):
        measured = has and np.count_nonzero(core) >= _FEW
        wide = smoothness(image, core, size) / FWHM / size if measured else np.zeros(3)
        x, y, z = np.nan_to_num(wide).tolist()
        spread.append((x, y, z))
        noises.append(noise(image, core) if measured else 0.0)
    return Ground(tissue, (fluid[0], fluid[1]), (spread[0], spread[1]), (noises[0], noises[1]))


def kept(folder: Path, subject: PreparedSubject) -> Ground:
    """Open what was measured of a scan, or measure it and keep that.

    Raises
    ------
    OSError
        It cannot be read back.
    """
    if (found := load(folder, subject)) is None:
        save(folder, subject.name, measure(subject))
        found = load(folder, subject)
    if found is None:
        raise OSError(None, "cannot be read", str(folder))
    return found


def load(folder: Path, subject: PreparedSubject) -> Ground | None:
    """Open what `save` has written of a scan; None where it is missing, damaged or of another."""
    try:
        about = json_files.read(folder / f"{subject.name}.json", _Measured, "")
        tissue = np.load(folder / f"{subject.name}.npy", mmap_mode="r")
    except (OSError, ValueError, InputError):
        return None
    if tissue.shape != subject.brain.shape or tissue.dtype != np.uint8:
        return None
    return Ground(tissue, about.fluid, about.spread, about.noise)


def save(folder: Path, name: str, ground: Ground) -> None:
    """Write what was measured of a scan; the map is mapped into memory when it is opened."""
    with atomic(folder / f"{name}.npy") as temporary:
        np.save(temporary, ground.tissue)
    about = _Measured(fluid=ground.fluid, spread=ground.spread, noise=ground.noise)
    write_text(folder / f"{name}.json", about.model_dump_json() + "\n")


def _tissue(
    subject: PreparedSubject, images: NDArray[np.float32], there: list[bool]
) -> NDArray[np.uint8]:
    from scipy import ndimage

    from napari_pvs.inference.search_region import search_region
    from napari_pvs.scans.atlas import fit_atlas

    brain, out = np.asarray(subject.brain), np.zeros(subject.brain.shape, np.uint8)
    if not _is_cut(brain):
        whole = raw(subject)
        try:
            atlas = fit_atlas(*whole)
            region = search_region(*whole, atlas)
            out[region & ~atlas.deep_grey] = WHITE
            out[region & ndimage.binary_erosion(atlas.deep_grey)] = GREY
            return out
        except InputError:
            log.warning(
                "The template does not fit %s: PVS are inserted into its white matter alone.",
                subject.name,
            )
    out[_white(images[0] if there[0] else -images[1], brain)] = WHITE
    return out


def _is_cut(brain: NDArray[np.bool_]) -> bool:
    """Whether the field of view ends inside the brain on most sides, as in a cropped scan."""
    faces = sum(np.count_nonzero(brain.take(end, axis)) for axis in range(3) for end in (0, -1))
    return bool(faces > _CUT * 6 * np.count_nonzero(brain) ** (2 / 3))


def _white(bright: NDArray[np.float32], brain: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return white matter as the brightest of three classes of a T1 (Otsu 1979), without specks."""
    from skimage.filters import threshold_multiotsu

    values = bright[brain]
    low, high = np.percentile(values, (1, 99))
    try:
        _, least = threshold_multiotsu(np.clip(values[:: max(1, len(values) // 10**5)], low, high))
    except ValueError:  # fewer than three intensities
        return np.zeros(brain.shape, bool)
    white = (bright > least) & brain
    parts, _ = connected_components(white, 6)
    counts = np.bincount(parts.ravel())
    counts[0] = 0
    return np.asarray((counts >= 0.05 * max(1, counts.max()))[parts] & white)


def _eroded(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from scipy import ndimage

    return np.asarray(ndimage.binary_erosion(mask), bool)
