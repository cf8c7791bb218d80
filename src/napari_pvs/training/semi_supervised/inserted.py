"""Inserted PVS: tubes drawn into unlabelled patches, whose labels are known.

Synthetic lesions put into real scans train as labels do, and those that are drawn on the fly better
than a fixed set (Hu et al., "Label-free liver tumor segmentation", CVPR 2023). Here: phantoms'
tubes, labelled by phantoms' rater, in the scan's own white matter and basal ganglia, with its own
fluid, noise and smoothness, beside what the running mean is sure of.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_pvs.inference.components import label, round_ones
from napari_pvs.phantom.config import PhantomConfig
from napari_pvs.phantom.labels import rater
from napari_pvs.phantom.mimics import blob
from napari_pvs.phantom.tubes import Raster, draw_tube, lognormal, rasterise
from napari_pvs.scans.intensity import CLIP
from napari_pvs.scans.signal import FWHM
from napari_pvs.training.data.cohort import Cohort
from napari_pvs.training.data.prepared import PreparedSubject
from napari_pvs.training.data.sampling import Patches, cube
from napari_pvs.training.runs.events import EventLog
from napari_pvs.training.runs.folder import PSEUDO
from napari_pvs.training.semi_supervised.ground import GREY, GROUND, WHITE, Ground, kept
from napari_pvs.training.semi_supervised.teacher import register
from napari_pvs.training.semi_supervised.teachers import RunningMean
from napari_pvs.training.state import State

Patch = NDArray[np.float32]
_RATER = PhantomConfig()
_PSF = 1.0, 1.5  # FWHM of a scanner's point spread in voxels, which noise does not show
_APART = 2  # voxels between what is inserted and what the teacher sees or suspects
_WIDE_MM = 2.4  # of what is round: the middle one of its axes, see `round_ones`
_ROOM = 60  # voxels of tissue without which nothing is inserted
_MIMICS = 0.5  # for each PVS


class InsertedPVS(RunningMean):
    """The running mean, and PVS drawn into the unlabelled patches.

    A patch's target is 1 where the rater's rule marks an inserted PVS and where the teacher is sure
    of one, 0 where it is sure of none and in the mimics that are inserted too (round lesions and
    sheets), and left out where it doubts, where what it sees is wide and round as lesions are, or
    where an inserted PVS is too faint for a rater.
    """

    def __init__(self, state: State, out: Path) -> None:
        super().__init__(state, out)
        self._folder = out / PSEUDO / GROUND
        self._scans: dict[str, tuple[PreparedSubject, Ground]] = {}
        self._round: dict[str, NDArray[np.bool_]] = {}

    def prepare(
        self,
        epoch: int,
        cohort: Cohort,
        events: EventLog,
        alive: Callable[[], None],
        *,
        new: bool,
    ) -> None:
        """Make pseudo-labels as the running mean does, and measure the scans that have one."""
        super().prepare(epoch, cohort, events, alive, new=new)
        if self.pseudo_labels.due(epoch) or not self._round:
            self._round = {one.name: self._wide(one) for one in self.pseudo_labels.subjects}
        missing = [s for s in self.pseudo_labels.subjects if s.name not in self._scans]
        if not missing:
            return
        events.write("phase", name="tissue of unlabelled scans", epoch=epoch)

        def measure(scan: PreparedSubject) -> None:
            kept(self._folder, scan)
            alive()

        self.state.world.spread(measure, missing)
        self._scans |= {scan.name: (scan, kept(self._folder, scan)) for scan in missing}

    def _wide(self, scan: PreparedSubject) -> NDArray[np.bool_]:
        """Return where the teacher sees what is as wide and round as a lesion."""
        pseudo = self.pseudo_labels.probability(scan)
        if pseudo is None:
            return np.zeros(scan.brain.shape, bool)
        found = label(pseudo, 0.5, 0, float(np.prod(scan.voxel_size)))
        return np.isin(found, round_ones(found, scan.voxel_size, _WIDE_MM))

    def enrich(self, patches: Patches, step: int) -> Patches:
        """Draw PVS and mimics into patches, and make their targets; in the thread that draws."""
        if patches.target is None:
            raise ValueError("the unlabelled patches were drawn without their pseudo-labels")
        config, images, targets = self.state.config, patches.images.copy(), []
        first = patches.share.start if patches.share else 0
        for n, (name, start) in enumerate(patches.origin):
            rng = np.random.default_rng([config.seed, 4, step, first + n])
            target = without_doubt(patches.target[n, 0], config.sure)
            if name in self._scans:
                scan, ground = self._scans[name]
                edge = target.shape[0]
                corner = np.array(start, np.int64) - np.array(scan.corner, np.int64)
                tissue = cube(ground.tissue[None], corner, edge)[0]
                if name in self._round:
                    target[cube(self._round[name][None], corner, edge)[0] > 0] = -1
                free = patches.target[n, 0] <= 1 - config.sure
                number = rng.poisson(config.inserted * (edge / min(config.patch)) ** 3)
                centre = np.array(scan.brain.shape) / 2 - corner
                images[n], target = insert(
                    *(images[n], target, tissue, free, ground, np.array(scan.voxel_size)),
                    *(centre, number, rng),
                )
            targets.append(target)
        target = np.stack(targets)[:, None] if targets else patches.target
        return replace(patches, images=images, target=target)


def without_doubt(pseudo: Patch, sure: float) -> Patch:
    """Return 1 for sure PVS, 0 for sure background and -1 for all between and without a label.

    Examples
    --------
    >>> without_doubt(np.array([0.9, 0.5, 0.1, -1], np.float32), 0.8).tolist()
    [1.0, -1.0, 0.0, -1.0]
    """
    out = np.full(pseudo.shape, -1, np.float32)
    out[pseudo > sure] = 1
    out[(pseudo < 1 - sure) & (pseudo >= 0)] = 0
    return out


def insert(
    images: Patch,
    target: Patch,
    tissue: NDArray[np.float32],
    free: NDArray[np.bool_],
    ground: Ground,
    voxel_size: NDArray[np.float64],
    centre: NDArray[np.float64],
    number: int,
    rng: np.random.Generator,
) -> tuple[Patch, Patch]:
    """Draw PVS and mimics into one patch.

    A voxel of which a share f is fluid gains f times the step from the tissue around to the scan's
    fluid, blurred by the scan's smoothness and a point spread, in T1 and T2 alike.

    Parameters
    ----------
    images
        (2, P, P, P) normalised.
    target
        (P, P, P), from `without_doubt`.
    tissue
        (P, P, P): `WHITE`, `GREY` or 0.
    free
        (P, P, P): where the teacher is sure that there is no PVS.
    ground
        Of the scan.
    voxel_size
        In mm.
    centre
        Voxel of the patch's grid in the middle of the brain, which PVS of white matter point to.
    number
        PVS to draw, as far as there is room.
    rng
        Source of randomness.

    Returns
    -------
    New images and target.
    """
    shape = target.shape
    busy = ndimage.binary_dilation(~free, iterations=_APART)
    allowed = {"WM": (tissue == WHITE) & ~busy, "BG": (tissue == GREY) & ~busy}
    present = [n for n, image in enumerate(images) if image.any()]
    if not number or not present or sum(map(np.count_nonzero, allowed.values())) < _ROOM:
        return images, target
    taken = np.zeros(shape, bool)
    rasters, shares = _draw_tubes(allowed, taken, voxel_size, centre, number, rng)
    fluid = np.zeros((2, *shape), np.float32)  # share of the step to fluid, in T1 and T2
    for raster, share in zip(rasters, shares, strict=True):
        fluid[:, *raster.voxels.T] = raster.fraction * share
    mimics = rng.poisson(_MIMICS * number)
    _draw_mimics(fluid, allowed["WM"] | allowed["BG"], taken, busy, voxel_size, mimics, rng)
    out, psf = images.copy(), rng.uniform(*_PSF) / FWHM
    strengths, spreads = [], []
    for n in present:
        spread = np.hypot(ground.spread[n], psf)
        step = ground.fluid[n] - _level(images[n], tissue)
        added = ndimage.gaussian_filter(fluid[n] * step, spread)
        inside = images[n] != 0  # zeros are outside the brain
        out[n] = np.where(inside, np.clip(images[n] + added, *CLIP), 0)
        steps = [abs(float(np.median(step[*r.voxels.T]))) for r in rasters]
        scale = max(ground.noise[n], 1e-3)
        strengths.append([s * share / scale for s, share in zip(steps, shares, strict=True)])
        spreads.append(spread)
    seen = rater(rasters, list(zip(*strengths, strict=True)), spreads, shape, _RATER, rng)
    target = target.copy()
    for k, raster in enumerate(rasters, start=1):
        at = tuple(raster.voxels.T)
        visible = bool((seen[at] == k).any())
        target[at] = np.where(seen[at] == k, 1, 0 if visible else -1)
    return out, target


def _level(image: Patch, tissue: NDArray[np.float32]) -> Patch:
    """Return the intensity of the tissue around each voxel: that of white matter, or of grey."""
    medians = {
        kind: float(np.median(image[tissue == kind]))
        for kind in (WHITE, GREY)
        if (tissue == kind).any()
    }
    other = medians.get(WHITE, medians.get(GREY, 0.0))
    return np.where(tissue == GREY, medians.get(GREY, other), other).astype(np.float32)


def _draw_tubes(
    allowed: dict[str, NDArray[np.bool_]],
    taken: NDArray[np.bool_],
    voxel_size: NDArray[np.float64],
    centre: NDArray[np.float64],
    number: int,
    rng: np.random.Generator,
) -> tuple[list[Raster], list[float]]:
    """Draw tubes that keep apart, and how much fluid is in each; ``taken`` grows by them."""
    places = {name: np.argwhere(mask) for name, mask in allowed.items()}
    sizes = np.array([len(places["WM"]), len(places["BG"])], float)
    median = lognormal(rng, 1.15, 0.25, 0.7, 2.2)
    rasters: list[Raster] = []
    shares: list[float] = []
    for _ in range(4 * number):
        if len(rasters) == number:
            break
        name = "WM" if rng.random() < sizes[0] / sizes.sum() else "BG"
        place = places[name][rng.integers(len(places[name]))]
        towards = (centre - place) * voxel_size if name == "WM" else np.array([0.2, 0, 1.0])
        direction = towards / (np.linalg.norm(towards) + 1e-6)
        start = (place + rng.uniform(-0.5, 0.5, 3)) * voxel_size
        tube = draw_tube(start, direction, allowed[name], voxel_size, name, rng, median)
        if tube is None:
            continue
        raster = rasterise(tube, taken.shape, voxel_size)
        if not len(raster.voxels) or taken[*raster.voxels.T].any():
            continue
        own = np.zeros(taken.shape, bool)
        own[*raster.voxels.T] = True
        taken |= ndimage.binary_dilation(own, iterations=_APART)
        rasters.append(raster)
        shares.append(float(rng.uniform(*_RATER.fluid)))
    return rasters, shares


def _draw_mimics(
    fluid: NDArray[np.float32],
    allowed: NDArray[np.bool_],
    taken: NDArray[np.bool_],
    busy: NDArray[np.bool_],
    voxel_size: NDArray[np.float64],
    number: int,
    rng: np.random.Generator,
) -> None:
    """Add what a PVS can be told from by its shape or by the other contrast.

    Round lesions, hardly dark on T1 or, from 2.2 mm on, full of fluid; and sheets, as sulci are.
    """
    places = np.argwhere(allowed & ~taken)
    for _ in range(number if len(places) else 0):
        place = places[rng.integers(len(places))]
        kind = rng.integers(3)
        if kind == 0:  # a lesion of white matter
            radii = lognormal(rng, 1.8, 0.4, 1.2, 4) * rng.uniform(0.85, 1.2, 3)
            share = np.array([rng.uniform(0, 0.35), rng.uniform(0.3, 0.9)])
        elif kind == 1:  # a lacune
            radii = rng.uniform(2.2, 4) * rng.uniform(0.85, 1.2, 3)
            share = np.full(2, rng.uniform(0.7, 1.0))
        else:  # a sheet
            radii = np.array([rng.uniform(0.4, 0.7), *rng.uniform(3, 6, 2)])
            share = np.full(2, rng.uniform(0.5, 1.0))
        drawn = blob(taken.shape, place, radii, voxel_size, rng) * ~(taken | busy)
        np.maximum(fluid, share[:, None, None, None].astype(np.float32) * drawn, out=fluid)


register("inserted", InsertedPVS)
