"""One synthetic subject: anatomy, PVS and mimics, acquisition, and the truth of every PVS."""

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_pvs.phantom import labels, mimics
from napari_pvs.phantom.acquisition import Contrast, acquire, draw_acquisition, draw_contrasts
from napari_pvs.phantom.anatomy import BASAL_GANGLIA, Anatomy, Tissue, atrophied
from napari_pvs.phantom.config import PhantomConfig
from napari_pvs.phantom.placement import Image, Placement, smooth_field
from napari_pvs.phantom.sites import Site
from napari_pvs.phantom.tubes import (
    Raster,
    Tube,
    draw_tube,
    lognormal,
    median_diameter,
    rasterise,
    union,
)
from napari_pvs.scans.masks import bounding_box

_SWOLLEN_MM = 1.8  # median diameter; `draw_tube` makes it a quarter more in basal ganglia
_GLIOSIS_MM = 2.0  # standard deviation of the Gaussian by which it fades
_MARGIN_MM = 1.2  # a PVS keeps this far from CSF
_BRIGHT = 0.35  # grain above the tissue, as a share of that below it
_CAPSULE_MM = 6.0  # from ganglia and from cortex
_NARROW = 0.7  # share of subjects with narrow sulci
_SHADE = {"T1": -0.5, "T2": 1.0}  # how texture shows


@dataclass(frozen=True)
class Subject:
    """One synthetic subject on a RAS+ grid.

    Attributes
    ----------
    t1, t2
        Scans, float32.
    affine
        Voxel to world, mm.
    brain
        Brain mask.
    ventricles
        CSF inside the brain, which the benchmark of regions compares with.
    habitat
        White matter and basal ganglia of the cerebrum, where PVS can be.
    fraction
        Share of each voxel inside a PVS, 0-1.
    instances
        PVS number per voxel by the label rule, 0 elsewhere.
    table
        One row per PVS: id, region, length_mm, diameter_mm, volume_mm3, fluid, faded, voxels, x,
        y, z.
    site, anatomy
        What it was made with.
    """

    t1: Image
    t2: Image
    affine: NDArray[np.float64]
    brain: NDArray[np.bool_]
    ventricles: NDArray[np.bool_]
    habitat: NDArray[np.bool_]
    fraction: Image
    instances: NDArray[np.int32]
    table: list[dict[str, float | int | str]]
    site: str
    anatomy: str


class _One(NamedTuple):
    """One PVS: its fluid is a share of what it holds, of which T1 does not show the faded share."""

    tube: Tube
    raster: Raster
    fluid: float
    faded: float

    def shown(self, contrast: str) -> float:
        """Share of fluid that a contrast shows."""
        return self.fluid * (1 - self.faded * (contrast == "T1"))


@dataclass
class _Pvs:
    """All PVS of a subject while they are being placed."""

    fraction: Image
    fluid: dict[str, Image]  # by contrast
    owner: NDArray[np.int32]
    all: list[_One] = field(default_factory=list)
    gliosis: Image | float = 0.0  # share of hyperintensity

    def add(self, one: _One) -> None:
        """Fill a tube's voxels."""
        at = tuple(one.raster.voxels.T)
        self.all.append(one)
        self.fraction[at] = one.raster.fraction
        for contrast, fluid in self.fluid.items():
            fluid[at] = one.raster.fraction * one.shown(contrast)
        self.owner[at] = len(self.all)


def make_subject(
    anatomy: Anatomy, site: Site, config: PhantomConfig, rng: np.random.Generator
) -> Subject:
    """Make one subject; everything random comes from ``rng``."""
    voxel_size = _voxel_size(site, rng)
    anatomy = atrophied(anatomy, rng.uniform(*site.atrophy))
    if not config.head:
        anatomy = anatomy.without_head()
    extent = zip(config.field_of_view, voxel_size, strict=True)
    shape: tuple[int, int, int] = tuple(round(mm / v) for mm, v in extent)
    placement = Placement(anatomy, shape, voxel_size, config, rng)
    contrasts = draw_contrasts(site, rng)
    placed = placement.sample(_channels(anatomy, contrasts, rng))
    brain = _stripped(placed["brain"] > 0.5, voxel_size, site, rng)
    # both vary slowly: kept at every second voxel
    to_ventricle = _distance_to(placed["ventricles"][::2, ::2, ::2] > 0.5, 2 * voxel_size)
    directions = _towards(to_ventricle, 2 * voxel_size)
    ganglia = placed["ganglia"] > 0.5
    white = (placed["white"] > 0.7) & ~ganglia
    near = _near(ganglia)
    regions = _regions(placed, white, ganglia, near, voxel_size)
    pvs = _place_pvs(regions, directions, voxel_size, site, config, rng)
    wmh, lacunes = mimics.lesions(
        white & ~regions["BG"], ganglia, to_ventricle, voxel_size, site, rng
    )
    sulci = _sulci(placed["fold"], placed["sulcus"], rng.spawn(1)[0])
    others = _draw_mimics(
        placed, lacunes, regions["WM"], brain, white | ganglia, directions, voxel_size, rng
    )
    texture, grain = _texture(near, voxel_size, site, rng)
    solid = placed["csf"] < 0.5
    shift = _shift(site, rng)
    scans, taken, steps = {}, [], []
    for name, contrast in contrasts.items():
        image = placed[name]
        image += sulci * (contrast.csf - image)
        image *= np.where(brain & solid, 1 + _SHADE[name] * texture, 1)
        image += np.maximum(wmh, pvs.gliosis) * (contrast.wmh - image) * solid
        others.paint(image, contrast)
        how = draw_acquisition(site, name, voxel_size, rng)
        taken.append(how)
        noise = {k: float(np.hypot(1 / how.snr, _SHADE[name] * v)) for k, v in grain.items()}
        steps.append(_steps(image, pvs, name, contrast.csf, noise))
        image += pvs.fluid[name] * (contrast.csf - image)
        scan = acquire(image, how, site, voxel_size, shift if name == "T2" else np.zeros(3), rng)
        scans[name] = scan if config.head else scan * brain
    affine = np.diag([*voxel_size, 1.0])
    affine[:3, 3] = -(np.array(shape) - 1) / 2 * voxel_size
    instances = _labelled(pvs, steps, [how.spread for how in taken], config, rng)
    return Subject(
        t1=scans["T1"],
        t2=scans["T2"],
        affine=affine,
        brain=brain,
        ventricles=placed["ventricles"] > 0.5,
        habitat=white | ganglia,
        fraction=pvs.fraction,
        instances=instances,
        table=_table(pvs, instances, voxel_size, affine),
        site=site.name,
        anatomy=anatomy.name,
    )


def _regions(
    placed: dict[str, Image],
    white: NDArray[np.bool_],
    ganglia: NDArray[np.bool_],
    near: NDArray[np.bool_],
    voxel_size: NDArray[np.float64],
) -> dict[str, NDArray[np.bool_]]:
    """Return where PVS of white matter and of the basal ganglia can be, away from CSF."""
    inner = _distance_to(placed["csf"] > 0.4, voxel_size) > _MARGIN_MM
    around = near | _capsules(placed["cortex"] > 0.5, ganglia, voxel_size)
    return {
        "WM": white & inner,
        "BG": (ganglia | ((placed["white"] > 0.5) & around)) & inner,
    }


def _shift(site: Site, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw how far T2 lies off T1, in mm."""
    shift = rng.normal(size=3)
    return np.asarray(shift * rng.uniform(*site.misregistration) / np.linalg.norm(shift))


@dataclass
class _Mimics:
    """What is neither tissue nor PVS, as shares of each voxel, 0-1."""

    choroid: Image
    flow: Image
    fluid: Image
    """In lacunes, plaques, clefts and the fissures of the cerebellum."""

    def paint(self, image: Image, contrast: Contrast) -> None:
        image += self.choroid * (contrast.choroid - image)
        image += self.flow * (contrast.vessel - image)
        image += self.fluid * (contrast.csf - image)


def _draw_mimics(
    placed: dict[str, Image],
    lacunes: Image,
    white: NDArray[np.bool_],
    brain: NDArray[np.bool_],
    habitat: NDArray[np.bool_],
    directions: Image,
    voxel_size: NDArray[np.float64],
    rng: np.random.Generator,
) -> _Mimics:
    flow = mimics.vessels(white, directions, voxel_size, rng)
    outside = (placed["csf"] > 0.7) & brain & (placed["ventricles"] < 0.1)
    flow += mimics.vessels(outside, directions, voxel_size, rng, (5, 40), 1.2)
    choroid = mimics.choroid_plexus(placed["ventricles"] > 0.6, voxel_size, rng)
    fissures = mimics.folia(placed["cerebellum"], voxel_size, rng)
    clefts = mimics.clefts(placed["csf"], brain & ~habitat, voxel_size, rng.spawn(1)[0])
    return _Mimics(choroid, flow, np.maximum(np.maximum(lacunes, fissures), clefts))


def _labelled(
    pvs: _Pvs,
    steps: list[list[float]],
    spreads: list[NDArray[np.float64]],
    config: PhantomConfig,
    rng: np.random.Generator,
) -> NDArray[np.int32]:
    """Label PVS by the rule of the config.

    ``steps`` is, for each scan, the contrast of each PVS where it fills a voxel, in units of noise
    and grain; ``spreads`` is how much each scan is smoothed.
    """
    if config.label_rule == "physical":
        return labels.physical(pvs.fraction, pvs.owner, config.label_fraction)
    rasters, by_pvs = [one.raster for one in pvs.all], list(zip(*steps, strict=True))
    return labels.rater(rasters, by_pvs, spreads, pvs.fraction.shape, config, rng.spawn(1)[0])


def _steps(
    image: Image, pvs: _Pvs, contrast: str, csf: float, noise: dict[str, float]
) -> list[float]:
    """Return each PVS against the tissue around it, in units of its region's noise and grain."""
    out = []
    for one in pvs.all:
        step = csf - float(np.median(image[tuple(one.raster.voxels.T)]))
        out.append(abs(step) * one.shown(contrast) / noise[one.tube.region])
    return out


def _stripped(
    brain: NDArray[np.bool_],
    voxel_size: NDArray[np.float64],
    site: Site,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Return the mask that skull stripping would give: the brain, or more in some places."""
    most = rng.uniform(*site.stripping)
    if not most or not brain.any():
        return brain
    field = smooth_field(brain.shape, voxel_size, 40.0, rng)
    margin = most * np.clip(0.5 + 0.5 * field, 0, 2)
    return np.asarray(_distance_to(brain, voxel_size) <= margin, bool)


def _voxel_size(site: Site, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw voxel edges; sites with a range are isotropic, half of the time in-plane only."""
    edges = np.array([rng.uniform(low, high) for low, high in site.voxel_size])
    if any(high > low for low, high in site.voxel_size):
        edges[1] = edges[0]
        if rng.random() < 0.6:
            edges[2] = edges[0]
    return np.asarray(edges.round(3))


def _channels(
    anatomy: Anatomy, contrasts: dict[str, Contrast], rng: np.random.Generator
) -> dict[str, Image]:
    """Return images of the anatomy at 1 mm, to be sampled onto the subject's grid."""
    tissue = anatomy.tissue
    if rng.spawn(1)[0].random() < _NARROW:
        tissue = mimics.closed_sulci(tissue, anatomy.ventricles)
    masks = {
        "white": tissue == Tissue.WHITE_MATTER,
        "ganglia": np.isin(tissue, BASAL_GANGLIA),
        "csf": (tissue == Tissue.CSF) | (tissue == Tissue.AIR),
        "cortex": tissue == Tissue.CORTEX,
        "cerebellum": tissue == Tissue.CEREBELLAR_CORTEX,
        "ventricles": anatomy.ventricles,
        "brain": anatomy.brain,
    }
    out = {name: ndimage.gaussian_filter(m.astype(np.float32), 0.5) for name, m in masks.items()}
    cb_white = (tissue == Tissue.CEREBELLAR_WHITE_MATTER).astype(np.float32)
    out["cerebellum"] += 0.5 * ndimage.gaussian_filter(cb_white, 1.0)
    out["fold"], out["sulcus"] = mimics.folds(tissue, rng)
    outer = (tissue == Tissue.CSF) & ~anatomy.ventricles
    dimmed = _dimmed(tissue.shape, rng)[outer]
    flow = _flow(tissue.shape, rng.spawn(1)[0])[anatomy.ventricles]
    for name, contrast in contrasts.items():
        image = contrast.tissue[tissue]
        image[outer] += dimmed * (contrast.tissue[Tissue.CORTEX] - contrast.csf)
        if name == "T2":
            image[anatomy.ventricles] *= 1 - flow
        out[name] = ndimage.gaussian_filter(image, 0.5)
    return out


def _sulci(fold: Image, share: Image, rng: np.random.Generator) -> Image:
    """Return the share of CSF in sheets of the folds of the cortex, 0.5-2 mm thick."""
    soft = (fold - rng.uniform(0.25, 0.7)) / rng.uniform(0.2, 0.5) + 0.5
    return np.asarray(np.clip(soft, 0, 1) * share, np.float32)


def _flow(shape: tuple[int, int, int], rng: np.random.Generator) -> Image:
    """Return the share of the ventricles' signal lost to flow; none in half of all subjects."""
    if rng.random() < 0.5:
        return np.zeros(shape, np.float32)
    field = smooth_field(shape, np.ones(3), rng.uniform(3, 8), rng)
    return np.asarray(rng.uniform(0.2, 0.8) * np.clip(field - rng.uniform(0, 1), 0, 1), np.float32)


def _dimmed(shape: tuple[int, int, int], rng: np.random.Generator) -> Image:
    """Return the share of cortex in place of CSF in sulci: they are narrow, and their CSF flows."""
    field = smooth_field(shape, np.ones(3), 12.0, rng)
    own = rng.spawn(1)[0]
    beads = own.uniform(0, 0.3) * mimics.beads(shape, own)
    return np.asarray(np.clip(rng.uniform(0.0, 0.6) + 0.2 * field + beads, 0, 0.9), np.float32)


def _place_pvs(
    regions: dict[str, NDArray[np.bool_]],
    directions: Image,
    voxel_size: NDArray[np.float64],
    site: Site,
    config: PhantomConfig,
    rng: np.random.Generator,
) -> _Pvs:
    """Draw PVS that do not touch each other, until the subject's number is reached."""
    shape = regions["WM"].shape
    fluid = {name: np.zeros(shape, np.float32) for name in ("T1", "T2")}
    pvs = _Pvs(np.zeros(shape, np.float32), fluid, np.zeros(shape, np.int32))
    own = rng.spawn(1)[0]
    faded = own.uniform(*site.t1_faded)  # at most
    wanted = _number(config.pvs, rng)
    diameter = median_diameter(wanted) * lognormal(rng, 1.0, config.width, 0.7, 2.2)
    places = {name: np.argwhere(region) for name, region in regions.items()}
    dense = smooth_field(
        shape, voxel_size, 30.0, rng
    )  # PVS are dense in some parts and absent in others
    origins = _perforated_substance(places["BG"])
    ganglia = _draw_ganglia(config, rng)
    clusters = {
        name: [where[rng.integers(len(where))] for _ in range(rng.integers(0, 5)) if len(where)]
        for name, where in places.items()
    }
    for _ in range(20 * wanted):
        if len(pvs.all) == wanted:
            break
        name = "BG" if rng.random() < ganglia.share else "WM"
        crowded = dense if name == "WM" else None
        place = _draw_place(places[name], clusters[name], regions[name], voxel_size, crowded, rng)
        if place is None:
            continue
        swollen, size = False, diameter
        if name == "BG":
            origin = origins[int(place[0] > shape[0] / 2)]
            direction = (place - origin) * voxel_size
            direction = direction / (np.linalg.norm(direction) + 1e-6)
            swollen = own.random() < ganglia.swollen
            size = _SWOLLEN_MM if swollen else diameter * ganglia.wider
        else:
            direction = np.asarray(directions[(slice(None), *(place // 2))], np.float64)
        start = (place + rng.uniform(-0.5, 0.5, 3)) * voxel_size
        tube = draw_tube(start, direction, regions[name], voxel_size, name, rng, size)
        if tube is None:
            continue
        raster = rasterise(tube, shape, voxel_size)
        for _ in range(own.integers(1, 4) if swollen else int(rng.random() < 0.08)):
            tube, raster = _branched(tube, raster, regions[name], voxel_size, rng)
        if not len(raster.voxels) or pvs.fraction[tuple(raster.voxels.T)].any():
            continue
        share = _share(0 if swollen else tube.diameter, config.fluid, rng)
        pvs.add(_One(tube, raster, share, faded * own.random()))
    pvs.gliosis = _gliosis(pvs, ganglia.gliosis, voxel_size)
    return pvs


class _Ganglia(NamedTuple):
    """What a subject's PVS in the basal ganglia are like.

    In a person with many (état criblé), some are wide, short and ragged, and the tissue between
    them is bright on T2.
    """

    share: float  # of all PVS
    wider: float = 1.0
    swollen: float = 0.0  # share of them
    gliosis: float = 0.0


def _draw_ganglia(config: PhantomConfig, rng: np.random.Generator) -> _Ganglia:
    share = rng.uniform(0.1, 0.4)
    own = rng.spawn(1)[0]
    if own.random() >= config.dilated:
        return _Ganglia(share)
    share, wider = own.uniform(0.3, 0.8), own.uniform(1.0, 1.4)
    return _Ganglia(share, wider, own.uniform(0, 0.4), own.uniform(0, 0.8))


def _gliosis(pvs: _Pvs, most: float, voxel_size: NDArray[np.float64]) -> Image | float:
    """Return the share of hyperintensity around PVS of the basal ganglia that crowd or swell."""
    if not most:
        return 0.0
    out = np.zeros_like(pvs.fraction)
    for one in pvs.all:
        if one.tube.region == "BG":
            out[tuple(one.raster.voxels.T)] = one.raster.fraction
    near = ndimage.gaussian_filter(out, _GLIOSIS_MM / voxel_size, truncate=3)
    return np.asarray(most * np.clip(3 * near, 0, 1), np.float32)


def _share(diameter: float, limits: tuple[float, float], rng: np.random.Generator) -> float:
    """Draw the share of fluid in a PVS; what is wide (2.5 mm) holds as much as there can be.

    In a thin one, the vessel takes its part; what is wide and no brighter than half is a lesion.
    """
    low, high = limits
    least = low + (high - low) * float(np.clip((diameter - 1) / 1.5, 0, 1)) * 0.8
    return float(rng.uniform(least, high))


def _draw_place(
    places: NDArray[np.intp],
    clusters: list[NDArray[np.intp]],
    region: NDArray[np.bool_],
    voxel_size: NDArray[np.float64],
    dense: Image | None,
    rng: np.random.Generator,
) -> NDArray[np.intp] | None:
    """Draw the voxel where a PVS begins, more often where ``dense`` is high or in a cluster."""
    if not len(places):
        return None
    place = places[rng.integers(len(places))]
    if clusters and rng.random() < 0.3:  # état criblé
        centre = clusters[rng.integers(len(clusters))]
        place = np.rint(centre + rng.normal(0, 4, 3) / voxel_size).astype(np.intp)
        if not ((place >= 0) & (place < region.shape)).all() or not region[tuple(place)]:
            return None
    elif dense is not None and dense[tuple(place)] < rng.normal():
        return None
    return np.asarray(place, np.intp)


def _branched(
    tube: Tube,
    raster: Raster,
    allowed: NDArray[np.bool_],
    voxel_size: NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[Tube, Raster]:
    """Add a branch to the inner half of a tube; the length counts both."""
    n = len(tube.points)
    at = int(rng.integers(n // 4, n - n // 4))
    along = tube.points[-1] - tube.points[0]
    direction = along / np.linalg.norm(along) + 0.5 * rng.normal(size=3)
    branch = draw_tube(
        tube.points[at], direction, allowed, voxel_size, tube.region, rng, tube.diameter
    )
    if branch is None:
        return tube, raster
    half = slice(len(branch.points) // 2, None)
    branch = Tube(
        branch.points[half], branch.radii[half], branch.diameter, branch.length / 2, tube.region
    )
    whole = replace(tube, length=tube.length + branch.length)
    return whole, union(raster, rasterise(branch, allowed.shape, voxel_size))


def _number(limits: tuple[int, int], rng: np.random.Generator) -> int:
    """Draw how many PVS a subject has, log-uniform."""
    if limits[1] == 0:
        return 0
    # exp(log(n)) may fall short of n by its last bit
    return int(np.exp(rng.uniform(*np.log(np.maximum(limits, 1)))) + 1e-6)


def _perforated_substance(ganglia: NDArray[np.intp]) -> list[NDArray[np.float64]]:
    """Return where the lenticulostriate arteries enter, left and right: below and medial of BG."""
    if not len(ganglia):
        return [np.zeros(3), np.zeros(3)]
    middle = ganglia[:, 0].mean()
    origins = []
    for side in (ganglia[ganglia[:, 0] <= middle], ganglia[ganglia[:, 0] > middle]):
        centre = side.mean(0) if len(side) else ganglia.mean(0)
        height = np.ptp(ganglia[:, 2])
        origins.append(centre + np.array([0.3 * (middle - centre[0]), 0, -1.2 * height]))
    return origins


def _near(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(ndimage.binary_dilation(mask, iterations=2), bool)


def _capsules(
    cortex: NDArray[np.bool_], ganglia: NDArray[np.bool_], voxel_size: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return what lies between ganglia and cortex: external and extreme capsule, and claustrum.

    Perforating arteries pass through, and many of the widest PVS are there, close to the insula.
    """
    out = np.zeros(ganglia.shape, bool)
    if ganglia.any():
        box = bounding_box(ganglia, margin=2 * _CAPSULE_MM / voxel_size + 1)
        near = [_distance_to(mask[box], voxel_size) < _CAPSULE_MM for mask in (ganglia, cortex)]
        out[box] = np.logical_and(*near)
    return out


def _distance_to(mask: NDArray[np.bool_], voxel_size: NDArray[np.float64]) -> Image:
    """Return the distance to a mask in mm; far everywhere if the mask is empty."""
    if not mask.any():
        return np.full(mask.shape, 1e3, np.float32)
    import edt

    return np.asarray(edt.edt(~mask, anisotropy=tuple(voxel_size)), np.float32)


def _towards(distance: Image, voxel_size: NDArray[np.float64]) -> Image:
    """Return unit vectors (3, X, Y, Z) along the gradient of a distance map."""
    smooth = ndimage.gaussian_filter(distance, 3 / voxel_size)
    gradient = np.stack([*np.gradient(smooth, *voxel_size.astype(np.float32))])
    gradient /= np.linalg.norm(gradient, axis=0) + 1e-6
    return np.asarray(gradient, np.float32)


def _texture(
    deep: NDArray[np.bool_],
    voxel_size: NDArray[np.float64],
    site: Site,
    rng: np.random.Generator,
) -> tuple[Image, dict[str, float]]:
    """Draw the relative intensity variation inside tissue: broad, fine, and grain.

    Grain is what is too small to be told apart: iron, vessels, and PVS too thin to be seen. It is
    dark rather than bright, since what is small and bright in a T2 is a PVS. The standard deviation
    of its bright part is returned too, by region; ``deep`` is where the basal ganglia's holds.
    """
    shape = deep.shape
    broad = rng.uniform(0.01, 0.035) * smooth_field(shape, voxel_size, 25.0, rng)
    fine = rng.uniform(*site.texture) * smooth_field(shape, voxel_size, rng.uniform(3, 6), rng)
    own = rng.spawn(1)[0]
    grain = {"WM": own.uniform(*site.grain), "BG": own.uniform(*site.deep_grain)}
    amount = np.where(deep, grain["BG"], grain["WM"]).astype(np.float32)
    small = smooth_field(shape, voxel_size, own.uniform(1.0, 2.2), own)
    small = amount * np.where(small > 0, _BRIGHT * small, small)
    bright = {region: _BRIGHT * deviation for region, deviation in grain.items()}
    return np.asarray(broad + fine + small, np.float32), bright


def _table(
    pvs: _Pvs,
    instances: NDArray[np.int32],
    voxel_size: NDArray[np.float64],
    affine: NDArray[np.float64],
) -> list[dict[str, float | int | str]]:
    voxels = np.bincount(instances.ravel(), minlength=len(pvs.all) + 1)
    rows: list[dict[str, float | int | str]] = []
    for number, (tube, raster, fluid, faded) in enumerate(pvs.all, start=1):
        volume = float(raster.fraction.sum() * voxel_size.prod())
        centre = tube.points.mean(0) + affine[:3, 3]
        rows.append(
            {
                "id": number,
                "region": tube.region,
                "length_mm": round(tube.length, 3),
                "diameter_mm": round(tube.diameter, 3),
                "volume_mm3": round(volume, 3),
                "fluid": round(fluid, 3),
                "faded": round(faded, 3),
                "voxels": int(voxels[number]),
                **{axis: round(float(c), 2) for axis, c in zip("xyz", centre, strict=True)},
            }
        )
    return rows
