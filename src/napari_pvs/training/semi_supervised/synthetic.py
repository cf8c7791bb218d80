"""Synthetic subjects that look like the unlabelled scans, whose labels are trained on as well.

Without labels, or with few, a network that learns from its own answers forgets. Labels of synthetic
subjects keep it from that (Billot et al., "SynthSeg", Medical Image Analysis 2023, trains on such
alone). Their contrasts, noise, smoothness, slices and voxels are those measured on the scans.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from napari_pvs.errors import InputError
from napari_pvs.files import atomic
from napari_pvs.phantom.acquisition import Contrast, draw_contrasts
from napari_pvs.phantom.anatomy import Anatomy, Tissue, icbm152
from napari_pvs.phantom.config import PhantomConfig
from napari_pvs.phantom.sites import SITES, Range, Site
from napari_pvs.phantom.subject import Subject, make_subject
from napari_pvs.scans.intensity import normalise
from napari_pvs.scans.masks import bounding_box
from napari_pvs.scans.signal import FWHM
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.data.prepared import PreparedSubject
from napari_pvs.training.distributed.world import World
from napari_pvs.training.runs.folder import PSEUDO, SYNTHETIC
from napari_pvs.training.semi_supervised.ground import GROUND, WHITE, Ground, kept

_MEASURED = 4  # unlabelled scans
_DRAWS = 500  # of contrasts, of which those nearest to a scan's are taken
_NEAREST = 5
_SHOWN = 4000  # voxels of the anatomy that stand for all
_ROUND = 1.25  # smoothness across slices over that within them, from which on a scan is 2D
_PARTIAL_MM = 0.7  # standard deviation of the blur that mixes tissues of a label map
_MARGIN_MM = 8.0
_TOLERANCE = 0.2, 0.8  # of white matter and of fluid, in normalised intensities


def subjects(
    out: Path,
    config: TrainingConfig,
    unlabelled: Sequence[PreparedSubject],
    world: World,
    alive: Callable[[], None],
) -> list[PreparedSubject]:
    """Make synthetic subjects, or open those that the run has made before.

    Parameters
    ----------
    out
        The run's folder, where they are kept.
    config
        How many, and the seed of all that is random.
    unlabelled
        What they are to look like: the first few are measured.
    world
        The processes that share the work.
    alive
        Called after each scan that is measured, and each subject that is made.
    """
    names = [f"{SYNTHETIC}-{index + 1:02d}" for index in range(config.synthetic)]
    paths = [out / SYNTHETIC / f"{name}.npz" for name in names]
    missing = world.lead(lambda: [n for n, path in enumerate(paths) if not path.exists()])
    if missing:
        _make(
            out, config.seed, unlabelled[:_MEASURED], {n: paths[n] for n in missing}, world, alive
        )
    return world.in_turn(lambda: [_open(*each) for each in zip(paths, names, strict=True)])


def _make(
    out: Path,
    seed: int,
    scans: Sequence[PreparedSubject],
    paths: Mapping[int, Path],
    world: World,
    alive: Callable[[], None],
) -> None:
    """Make the subjects of these numbers, to look like the scans."""
    anatomy = icbm152()

    def measure(scan: PreparedSubject) -> None:
        kept(out / PSEUDO / GROUND, scan)
        alive()

    world.spread(measure, scans)
    grounds = [kept(out / PSEUDO / GROUND, scan) for scan in scans]
    site = fitted_site(scans, grounds, anatomy)
    extent = np.median([np.multiply(s.brain.shape, s.voxel_size) for s in scans], axis=0)
    x, y, z = np.clip(extent + _MARGIN_MM, 20, 400).tolist()
    phantom = PhantomConfig(field_of_view=(x, y, z))
    shown = tuple(any(bool(scan.images[n].any()) for scan in scans) for n in range(2))

    def make_one(index: int) -> None:
        rng = np.random.default_rng([seed, 5, index])
        _save(paths[index], make_subject(anatomy, site, phantom, rng), shown)
        alive()

    world.spread(make_one, list(paths))


def fitted_site(
    scans: Sequence[PreparedSubject], grounds: Sequence[Ground], anatomy: Anatomy
) -> Site:
    """Return a site whose scans look like these.

    What a scan shows is compared after normalisation, since the units of scans say nothing: where
    white matter and fluid lie between the quartiles of the brain. Contrasts are drawn from those
    of the site "random" and shown on an anatomy; the nearest ones are taken. The signal-to-noise
    ratio follows from the noise, and smoothness and slices are measured.

    Parameters
    ----------
    scans, grounds
        At least one, and what was measured there.
    anatomy
        On which contrasts are shown.
    """
    base, rng = SITES["random"], np.random.default_rng(0)
    drawn = [draw_contrasts(base, rng) for _ in range(_DRAWS)]
    shares = _shares(anatomy, rng)
    found: dict[str, list[float]] = {}
    for at, name in enumerate(("T1", "T2")):
        levels = np.stack([contrasts[name].tissue for contrasts in drawn])
        white, fluid, spread = _normalised(levels, shares)
        for scan, ground in zip(scans, grounds, strict=True):
            inside = np.asarray(ground.tissue) == WHITE
            if not ground.noise[at] or not inside.any():
                continue  # it has no such image, or too little white matter to measure
            seen = float(np.median(scan.images[at][inside].astype(np.float32)))
            off = np.hypot(
                (white - seen) / _TOLERANCE[0], (fluid - ground.fluid[at]) / _TOLERANCE[1]
            )
            for k in np.argsort(off)[:_NEAREST]:
                _add(found, name.lower(), drawn[k][name])
                snr = 1 / (ground.noise[at] * spread[k])
                found.setdefault(f"{name.lower()}_snr", []).append(float(np.clip(snr, 4, 80)))
            widths = np.array(ground.spread[at]) * FWHM
            if np.median(widths) * _ROUND < widths.max():
                edge = scan.voxel_size[int(widths.argmax())]
                found.setdefault("slices", []).append(float(np.clip(widths.max() * edge, 1, 6)))
                widths = np.delete(widths, widths.argmax())
            found.setdefault("smoothing", []).append(float(np.clip(widths.mean(), 0, 3)))
    ranges: dict[str, Range] = {name: (min(seen), max(seen)) for name, seen in found.items()}
    images = sum(bool(level) for ground in grounds for level in ground.noise)
    sizes = np.median([scan.voxel_size for scan in scans], axis=0).round(3).tolist()
    return base.model_copy(
        update={
            **ranges,
            "name": "fitted",
            "voxel_size": tuple((edge, edge) for edge in sizes),
            "sliced": len(found.get("slices", ())) / max(1, images),
        }
    )


def _add(found: dict[str, list[float]], name: str, contrast: Contrast) -> None:
    for field, tissue in (
        ("cortex", Tissue.CORTEX),
        ("deep_grey", Tissue.STRIATUM),
        ("csf", Tissue.CSF),
    ):
        found.setdefault(f"{name}_{field}", []).append(float(contrast.tissue[tissue]))


def _shares(anatomy: Anatomy, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the share of each tissue, (voxels, tissues), in some voxels of the brain."""
    from scipy import ndimage

    places = np.argwhere(anatomy.brain)
    at = tuple(places[rng.integers(len(places), size=_SHOWN)].T)
    out = [
        ndimage.gaussian_filter((anatomy.tissue == tissue).astype(np.float32), _PARTIAL_MM)[at]
        for tissue in Tissue
    ]
    return np.stack(out, axis=1)


def _normalised(
    levels: NDArray[np.float32], shares: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return white matter and fluid after `intensity.normalise`, and the unit, for each contrast.

    ``levels`` are (contrasts, tissues).
    """
    low, middle, high = np.percentile(levels @ shares.T, (25, 50, 75), axis=1)
    unit = np.maximum((high - low) / 1.349, 1e-3)
    white, fluid = (
        (levels[:, tissue] - middle) / unit for tissue in (Tissue.WHITE_MATTER, Tissue.CSF)
    )
    return white, fluid, unit


def _save(path: Path, made: Subject, shown: tuple[bool, ...]) -> None:
    """Write a subject as it is trained on, with the modalities that are ``shown``."""
    box = bounding_box(made.brain, margin=2)
    images = [
        normalise(image, made.brain)[box] if has else np.zeros_like(image[box])
        for image, has in zip((made.t1, made.t2), shown, strict=True)
    ]
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            images=np.stack(images).astype(np.float16),
            brain=made.brain[box],
            label=made.instances[box] > 0,
            voxel_size=np.diag(made.affine)[:3],
            corner=[side.start for side in box],
        )


def _open(path: Path, name: str) -> PreparedSubject:
    try:
        with path.open("rb") as file:  # numpy leaves a damaged file open
            arrays = dict(np.load(file))
        x, y, z = arrays["voxel_size"].tolist()
        a, b, c = arrays["corner"].tolist()
        return PreparedSubject(
            name=name,
            images=arrays["images"],
            label=arrays["label"],
            brain=arrays["brain"],
            voxel_size=(x, y, z),
            foreground=np.argwhere(arrays["label"]).astype(np.int16),
            corner=(a, b, c),
        )
    except (OSError, EOFError, ValueError, KeyError, BadZipFile, zlib.error) as error:
        raise InputError(
            f"{path} is damaged; delete it, and it is made again when the run is resumed."
        ) from error
