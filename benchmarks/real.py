"""Judge segmentations on real scans that nobody has labelled.

    python benchmarks/real.py --data DIR [--weights FILE ...] [--visible FILE] [--json FILE]
                              [--page FILE.png] [--scans NAME ...]

``DIR/real`` holds the scans of `SUBJECTS`. Each file of weights (the starter weights where none is
given), Frangi's filter and a detector of bright spots are compared. No reference exists for these
scans; what can be measured without one:

- PVS picked by eye (``DIR/real/visible_pvs.tsv``, or ``--visible``): found where a marked voxel lies
  within `FOUND_MM` of the listed one. With ``kind`` "not" in the list: places that are no PVS;
  they count as false marks by the same rule.
- Contrast of each mark: its peak against the median of a shell 2-5 mm around it, inside the brain,
  without other marks and fluid, in units of the shell's median absolute deviation (MAD). Visible is
  a peak of more than 3 MAD, bright on T2 and dark on T1, in every image given.
- One person's T1 alone, T2 alone and both: PVS with a partner within `PARTNER_VOXELS` voxels.
- Where the marked volume lies; see `regions`.
- Inserted PVS: tubes of known diameter and fill, at the scan's own fluid intensity and smoothness;
  see `insert`.

Marks are what ``napari-pvs segment`` writes: its threshold, smallest volume and largest width.
Frangi's filter stands there twice: at its default threshold, and at the threshold at which it marks
as many as the first weights do on that scan. Bright spots are a white top-hat (a ball of
`SPOT_MM` radius) of T2 or of inverted T1, in robust standard deviations inside white matter and
basal ganglia, both averaged where both are given, above `SPOT_THRESHOLD`.
"""

import argparse
import csv
import json
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import edt
import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from napari_pvs.inference.config import SegmentConfig
from napari_pvs.inference.predictor import Predictor
from napari_pvs.inference.segment import baseline, components, segment_scan
from napari_pvs.phantom.tubes import STEP_MM, Tube, rasterise
from napari_pvs.scans.atlas import Atlas, fit_atlas
from napari_pvs.scans.masks import Box, bounding_box
from napari_pvs.scans.scan import Scan, load_scan

try:
    from napari_pvs.inference.search_region import search_region
except ImportError:
    from napari_pvs.inference.tissue import search_region

Mask = NDArray[np.bool_]
Values = NDArray[np.float32]
Labels = NDArray[np.int32]

FOUND_MM = 1.5
PARTNER_VOXELS = 2.0
SHELL_MM = (2.0, 5.0)
VISIBLE_MAD = 3.0
SPOT_MM, SPOT_THRESHOLD = 2.5, 4.0
DIAMETERS_MM = (1.0, 1.5, 2.0, 3.0)
FILLS = (0.4, 0.7, 1.0)
LENGTHS_MM = (4.0, 10.0)
PER_KIND = {"white matter": 5, "basal ganglia": 2}
"""Tubes of each diameter and fill that are tried in a scan."""
APART_MM = 6.0
_MARGIN = 8  # voxels around the brain; a start at a multiple of 8 keeps the phase of the pooling
CONTRASTS = {"T1": -1, "T2": 1}


@dataclass
class Subject:
    """One person's images; names are files in ``DIR/real``."""

    name: str
    listed: str
    t1: str | None = None
    t2: str | None = None
    brain: str | None = None
    lesion: str | None = None
    labels: str | None = None


SUBJECTS = (
    Subject("m2307", "m2307_T2", t2="m2307_T2.nii.gz", lesion="m2307_infarct.nii.gz"),
    Subject(
        "p07",
        "ljubljana_p07",
        t1="ljubljana_p07_T1.nii.gz",
        t2="ljubljana_p07_T2.nii.gz",
        lesion="ljubljana_p07_wmlgt.nii.gz",
    ),
    Subject("clinical", "clinical_T2", t2="clinical_T2.nii.gz", lesion="clinical_infarct.nii.gz"),
    Subject("studyforrest", "studyforrest_T1", t1="studyforrest_T1.nii.gz"),
    Subject("elderly", "elderly_T1", t1="elderly_T1.nii.gz", brain="elderly_brainmask.nii.gz"),
    Subject(
        "PS11",
        "openneuro_ds004230_PS11",
        t1="openneuro_ds004230_PS11_norm.mgz",
        labels="openneuro_ds004230_PS11_aparc.a2009s+aseg.mgz",
    ),
)


def canonical(path: Path) -> NDArray[Any]:
    """Read an image in RAS+ order."""
    return np.asanyarray(nib.as_closest_canonical(nib.load(path)).dataobj)


@dataclass
class Person:
    """A subject in memory, with what is derived from its scan once."""

    subject: Subject
    folder: Path
    scan: Scan = field(init=False)
    box: Box = field(init=False)
    vesselness: dict[tuple[int, int], Values] = field(default_factory=dict)
    """By the identity of the images, which live as long as the person."""

    def __post_init__(self) -> None:
        """Read the scan; a whole head's brain is found here."""
        at = {
            kind: self.folder / name if name else None
            for kind, name in vars(self.subject).items()
            if kind in ("t1", "t2", "brain")
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            whole = load_scan(at["t1"], at["t2"], at["brain"])
            self.box = tuple(
                slice(max(0, side.start - _MARGIN) // 8 * 8, side.stop + _MARGIN)
                for side in bounding_box(whole.brain)
            )
            affine = whole.grid.affine.copy()
            affine[:3, 3] += affine[:3, :3] @ self.corner
            t1, t2 = (i if i is None else i[self.box] for i in (whole.t1, whole.t2))
            self.scan = Scan.from_arrays(t1, t2, affine, whole.brain[self.box])

    @property
    def corner(self) -> NDArray[np.intp]:
        """First voxel of the part that is looked at: the brain and a margin around it."""
        return np.array([side.start for side in self.box])

    def read(self, name: str) -> NDArray[Any]:
        """Read another image of the same grid."""
        return canonical(self.folder / name)[self.box]

    @property
    def size(self) -> NDArray[np.float64]:
        """Edges of a voxel in mm."""
        return np.array(self.scan.grid.voxel_size)

    @cached_property
    def atlas(self) -> Atlas:
        """The template on the scan."""
        return fit_atlas(self.scan.t1, self.scan.t2, self.scan.brain, self.scan.grid)

    @cached_property
    def habitat(self) -> Mask:
        """White matter and basal ganglia."""
        scan = self.scan
        return search_region(scan.t1, scan.t2, scan.brain, scan.grid, self.atlas)

    @cached_property
    def images(self) -> dict[str, Values]:
        """Each contrast: 0 at the brain's median, 1.349 between its quartiles, not clipped."""
        out = {}
        for kind, image in (("T1", self.scan.t1), ("T2", self.scan.t2)):
            if image is not None:
                low, middle, high = np.percentile(image[self.scan.brain], (25, 50, 75))
                out[kind] = ((image - middle) / (high - low) * 1.349).astype(np.float32)
        return out

    @cached_property
    def deep(self) -> Mask:
        """The brain without its outer 6 mm."""
        return np.asarray(self.distance_to(~self.scan.brain) > 6)

    def distance_to(self, mask: Mask) -> Values:
        """Millimetres to the nearest voxel of a mask."""
        return edt.edt(~mask, anisotropy=tuple(self.size), black_border=False)

    @cached_property
    def csf(self) -> dict[str, float]:
        """Intensity of pure fluid: quartile on the far side of what is fluid and not at an edge."""
        out = {}
        for kind, image in self.images.items():
            signed = CONTRASTS[kind] * image
            core = ndimage.binary_erosion((signed > 2.5) & self.deep)
            out[kind] = CONTRASTS[kind] * float(np.percentile(signed[core], 75))
        return out

    @cached_property
    def fluid(self) -> Mask:
        """Nearer to fluid than to the brain's median in every contrast."""
        parts = [
            CONTRASTS[kind] * image > abs(self.csf[kind]) / 2 for kind, image in self.images.items()
        ]
        return np.logical_and.reduce(parts) & self.scan.brain

    @cached_property
    def lesion(self) -> Mask | None:
        """Lesions or infarct, by hand."""
        name = self.subject.lesion
        return self.read(name) > 0 if name else None

    @cached_property
    def regions(self) -> dict[str, Mask]:
        """See `regions`."""
        return regions(self)

    def only(self, kinds: Iterable[str], scan: Scan | None = None) -> Scan:
        """Return the scan with some contrasts."""
        scan = scan or self.scan
        return replace(
            scan, t1=scan.t1 if "T1" in kinds else None, t2=scan.t2 if "T2" in kinds else None
        )


def regions(person: Person) -> dict[str, Mask]:
    """Regions where PVS are not looked for, or rarely; each voxel is in one at most.

    PS11 has FreeSurfer's labels. Elsewhere: cerebellum and brainstem from the template after an
    affine registration; ventricles are fluid that is connected, 3 mm thick somewhere and at
    least 15 mm from the brain's outside where that is convex, closed by 3 mm so that choroid
    plexus is in them; cortex is the cerebrum outside white matter and basal ganglia
    (`search_region`) by more than 2 mm and not beside a ventricle; outside is what is no brain in
    the template, widened by 4 mm, or not in the brain mask.
    """
    path = person.subject.labels
    if path:
        return _labelled(person.read(path))
    scan, atlas = person.scan, person.atlas
    brain = scan.brain
    mni = _mni(atlas, brain.shape)
    inside = ndimage.binary_dilation(_template_brain(mni), iterations=1)
    inside = person.distance_to(inside) <= 4
    stem = (np.abs(mni[0]) < 17) & (mni[1] > -44) & atlas.infratentorial
    thick = person.distance_to(~person.fluid) > 1.5
    near = (np.abs(mni[0]) < 45) & (mni[1] > -80) & (mni[1] < 45) & (mni[2] > -25) & (mni[2] < 40)
    depth = person.distance_to(~brain)
    core = thick & near & (depth > 15)
    fluid = person.fluid & near & (depth > 10)
    grown = ndimage.binary_propagation(
        core, mask=fluid & (person.distance_to(core) < 8) if core.any() else core
    )
    closed = person.distance_to(person.distance_to(grown) > 3) > 3 if grown.any() else grown
    ventricles = closed & brain & ~atlas.infratentorial
    cortex = (
        brain
        & atlas.cerebrum
        & ~ventricles
        & ~atlas.deep_grey
        & (person.distance_to(person.habitat) > 2)
        & (person.distance_to(ventricles) > 3)
    )
    out = {
        "outside": ~brain | ~inside,
        "cerebellum": atlas.infratentorial & ~stem,
        "brainstem": stem,
        "ventricles": ventricles,
        "cortex": cortex,
    }
    return _disjoint(out)


def _disjoint(masks: dict[str, Mask]) -> dict[str, Mask]:
    taken = np.zeros(next(iter(masks.values())).shape, bool)
    for name, mask in masks.items():
        masks[name] = mask & ~taken
        taken |= mask
    return masks


def _labelled(labels: NDArray[Any]) -> dict[str, Mask]:
    """Regions of FreeSurfer's aparc+aseg; choroid plexus is with the ventricles."""
    return {
        "outside": labels == 0,
        "cerebellum": np.isin(labels, (7, 8, 46, 47)),
        "brainstem": labels == 16,
        "ventricles": np.isin(labels, (4, 5, 14, 15, 31, 43, 44, 63, 72)),
        "cortex": (labels >= 1000) | np.isin(labels, (3, 42)),
    }


def _mni(atlas: Atlas, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """MNI millimetres of every voxel, (3, X, Y, Z)."""
    index = np.indices(shape, dtype=np.float32)
    out = np.tensordot(atlas.to_mni[:3, :3].astype(np.float32), index, 1)
    return out + atlas.to_mni[:3, 3, None, None, None].astype(np.float32)


def _template_brain(mni: NDArray[np.float32]) -> Mask:
    from napari_pvs.scans.template import load_template

    template = load_template()
    index = mni - template.affine[:3, 3, None, None, None]  # its axes are millimetres
    return ndimage.map_coordinates((template.t1 > 0).astype(np.uint8), index, order=0) > 0


# --- methods


Method = Callable[[Person, Scan], Labels]
CONFIG = SegmentConfig()


class Network:
    """What ``napari-pvs segment`` does with weights."""

    def __init__(self, weights: Path | None) -> None:
        self.predictor = Predictor(weights)
        self.scores: dict[tuple[str, ...], Values] = {}

    def __call__(self, person: Person, scan: Scan) -> Labels:
        """Mark PVS."""
        found = segment_scan(scan, CONFIG, self.predictor)
        if scan.t1 is person.scan.t1 or scan.t2 is person.scan.t2:  # not one with inserted PVS
            self.scores[(person.subject.name, *scan.modalities)] = found.probability
        return found.labels


class Score:
    """A score map above a threshold, fixed or such that the marks are as many as another's."""

    def __init__(
        self,
        score: Callable[[Person, Scan], Values],
        threshold: float | None,
        like: dict[tuple[str, ...], int],
    ) -> None:
        self.score, self.threshold, self.like = score, threshold, like
        self.thresholds: dict[tuple[str, ...], float] = {}

    def __call__(self, person: Person, scan: Scan) -> Labels:
        """Mark PVS."""
        score = self.score(person, scan)
        key = (person.subject.name, *scan.modalities)
        if self.threshold is None and key not in self.thresholds:
            self.thresholds[key] = self.matched(score, self.like[key], scan)
        return components(score, self.thresholds.get(key, self.threshold), scan.grid, CONFIG)

    def matched(self, score: Values, wanted: int, scan: Scan) -> float:
        """Threshold at which as many are marked as wanted; the highest of those nearest."""
        tried = np.geomspace(max(score.max(), 1e-3), max(score.max(), 1e-3) / 400, 20)
        counts = [int(components(score, t, scan.grid, CONFIG).max()) for t in tried]
        return float(tried[np.argmin(np.abs(np.array(counts) - wanted))])


def frangi(person: Person, scan: Scan) -> Values:
    """Frangi's vesselness as the product computes it."""
    key = id(scan.t1), id(scan.t2)
    if key not in person.vesselness:
        person.vesselness[key] = baseline(scan, "frangi", person.habitat)[0]
    return person.vesselness[key]


def spots(person: Person, scan: Scan) -> Values:
    """White top-hat of T2 and of inverted T1, in robust standard deviations."""
    import SimpleITK as sitk

    parts = []
    radius = [round(SPOT_MM / edge) for edge in person.size[::-1]]
    inside = person.habitat
    for sign, image in ((-1, scan.t1), (1, scan.t2)):
        if image is not None:
            bright = sitk.GetImageFromArray(sign * image)
            hat = sitk.GetArrayFromImage(sitk.WhiteTopHat(bright, radius, sitk.sitkBall))
            values = hat[inside]
            middle = np.median(values)
            parts.append((hat - middle) / (1.4826 * np.median(np.abs(values - middle))))
    return np.where(inside, np.mean(parts, axis=0), 0).astype(np.float32)


# --- measures


def near(mask: Mask, points: NDArray[Any], size: NDArray[np.float64], reach: float) -> Mask:
    """Tell for each point, in voxels, whether a voxel of the mask lies within a reach in mm."""
    if not mask.any() or not len(points):
        return np.zeros(len(points), bool)
    tree = cKDTree(np.argwhere(mask) * size)
    distance, _ = tree.query(np.asarray(points) * size, distance_upper_bound=reach + 1e-6)
    return np.isfinite(distance)


@dataclass
class Mark:
    """One marked component."""

    id: int
    centre: tuple[int, int, int]
    voxels: int
    contrast: dict[str, float]
    """Peak minus median of the surroundings, in MAD, positive where the sign is right."""

    @property
    def least(self) -> float:
        """The contrast in the image where it is worst."""
        return min(self.contrast.values())


def contrasts(
    labels: Labels, images: dict[str, Values], brain: Mask, fluid: Mask, size: NDArray[np.float64]
) -> list[Mark]:
    """Measure how far each mark stands out of its surroundings."""
    out = []
    margin = np.ceil(SHELL_MM[1] / size).astype(int) + 1
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        wide = tuple(
            slice(max(0, side.start - m), side.stop + m)
            for side, m in zip(box, margin, strict=True)
        )
        own = labels[wide] == number
        away = edt.edt(~own, anisotropy=tuple(size), black_border=False)
        shell = (away >= SHELL_MM[0]) & (away <= SHELL_MM[1]) & brain[wide]
        clean = shell & (labels[wide] == 0) & ~fluid[wide]
        shell = clean if clean.sum() >= 20 else shell
        found = {}
        for kind, image in images.items():
            values = CONTRASTS[kind] * image[wide]
            around = values[shell]
            middle = np.median(around) if around.size else 0.0
            mad = np.median(np.abs(around - middle)) if around.size else np.inf
            found[kind] = float((values[own].max() - middle) / max(mad, 1e-6))
        index = np.argwhere(own)
        peak = index[np.square(index - index.mean(0)).sum(1).argmin()]
        x, y, z = (int(i + side.start) for i, side in zip(peak, wide, strict=True))
        out.append(Mark(number, (x, y, z), int(own.sum()), found))
    return out


def agreement(one: Labels, two: Labels, size: NDArray[np.float64]) -> dict[str, float]:
    """Share of each one's PVS with a partner in the other, and the ratio of their volumes."""

    def partnered(labels: Labels, other: Labels) -> float:
        if not labels.max() or not other.max():
            return 0.0
        points = np.argwhere(labels > 0)
        distance, _ = cKDTree(np.argwhere(other > 0)).query(points)
        close = np.unique(labels[labels > 0][distance <= PARTNER_VOXELS])
        return len(close) / int(labels.max())

    volumes = int((one > 0).sum()), int((two > 0).sum())
    return {
        "first": partnered(one, two),
        "second": partnered(two, one),
        "volume_ratio": max(volumes) / max(1, min(volumes)),
    }


# --- inserted PVS


@dataclass
class Inserted:
    """A tube that was put into a scan."""

    tube: Tube
    region: str
    diameter: float
    fill: float
    volume: float
    mad: dict[str, float]
    """Peak over the surroundings in MAD, per contrast, in the scan with it."""


def smoothness(image: Values, region: Mask, size: NDArray[np.float64]) -> NDArray[np.float64]:
    """FWHM in mm of the Gaussian that gives noise the correlation of neighbours, per axis.

    Of the image minus its 2 mm mean in the core of white matter. Source: Forman et al., Magnetic
    Resonance in Medicine 1995. 0 to 3 mm.
    """
    rest = image - ndimage.gaussian_filter(image, 3 / size)
    out = []
    for axis, edge in enumerate(size):
        both = region & np.roll(region, -1, axis)
        one, two = rest[both], np.roll(rest, -1, axis)[both]
        ratio = np.var(one - two) / (2 * np.var(rest[region]))  # 1 - correlation
        correlation = np.clip(1 - ratio, 1e-3, 0.99)
        out.append(edge * np.sqrt(-2 * np.log(2) / np.log(correlation)))
    return np.minimum(out, 3.0)


def insert(person: Person, listed: NDArray[Any], seed: int = 0) -> tuple[Scan, list[Inserted]]:
    """Put tubes into a scan.

    Gently curved tubes of `DIAMETERS_MM`, `LENGTHS_MM` long, towards the ventricles in white matter
    and upwards in basal ganglia, at least `APART_MM` apart and away from bright spots and listed
    PVS. A voxel filled by a share f gains f times fill times (fluid - local tissue), blurred by
    the scan's own smoothness, in T1 and T2 alike; fluid is `Person.csf`. Places and
    shapes depend on the scan and the seed alone.
    """
    rng = np.random.default_rng(seed)
    size, shape = person.size, person.scan.grid.shape
    busy = spots(person, person.scan) > 3.5
    busy &= ndimage.uniform_filter(busy.astype(np.float32), 3) > 1.5 / 27
    taken = person.distance_to(busy) < 2.5
    for point in listed:
        taken[tuple(slice(max(0, i - 4), i + 5) for i in point)] = True
    habitat = person.habitat & ~person.fluid
    if person.lesion is not None:
        habitat &= ~person.lesion
    grey = ndimage.binary_erosion(person.atlas.deep_grey) & habitat
    places = {"white matter": habitat & ~person.atlas.deep_grey, "basal ganglia": grey}
    centre = np.array([axis.mean() for axis in np.nonzero(person.regions["ventricles"])]) * size
    tubes: list[tuple[Tube, str, float, float]] = []
    points: list[NDArray[np.float64]] = []
    for region, count in PER_KIND.items():
        allowed = places[region]
        candidates = np.argwhere(allowed & ~taken)
        rng.shuffle(candidates)
        wanted = [(d, f) for d in DIAMETERS_MM[::-1] for f in FILLS for _ in range(count)]
        at = 0
        for diameter, fill in wanted:
            while at < len(candidates):
                start = candidates[at] * size
                at += 1
                towards = centre - start if region == "white matter" else np.array([0.2, 0, 1.0])
                tube = _tube(start, towards, diameter, region, rng)
                index = np.rint(tube.points / size).astype(int)
                if np.any(index < 0) or np.any(index >= shape):
                    continue
                where = tuple(index.T)
                if not allowed[where].all() or taken[where].any():
                    continue
                if (
                    points
                    and cKDTree(np.concatenate(points)).query(tube.points)[0].min() < APART_MM
                ):
                    continue
                tubes.append((tube, region, diameter, fill))
                points.append(tube.points)
                break
    return _drawn(person, tubes)


def _tube(
    start: NDArray[np.float64],
    towards: NDArray[np.float64],
    diameter: float,
    region: str,
    rng: np.random.Generator,
) -> Tube:
    length = max(rng.uniform(*LENGTHS_MM), 2 * diameter)
    direction = towards / np.linalg.norm(towards) + rng.normal(0, 0.25, 3)
    direction /= np.linalg.norm(direction)
    side = np.cross(direction, rng.normal(size=3))
    side /= np.linalg.norm(side)
    s = np.arange(-length / 2, length / 2 + STEP_MM / 2, STEP_MM)
    bend = rng.normal(0, 1 / 40)
    points = start + s[:, None] * direction + (bend * s**2 / 2)[:, None] * side
    taper = 1 - 0.4 * np.abs(2 * np.linspace(0, 1, len(s)) - 1) ** 4
    return Tube(points, taper / taper.mean() * diameter / 2, diameter, length, region)


def _drawn(
    person: Person, tubes: list[tuple[Tube, str, float, float]]
) -> tuple[Scan, list[Inserted]]:
    scan, size, shape = person.scan, person.size, person.scan.grid.shape
    rasters = [rasterise(tube, shape, size) for tube, *_ in tubes]
    core = ndimage.binary_erosion(person.habitat & ~person.atlas.deep_grey & ~person.fluid)
    own = np.zeros(shape, np.int32)
    for number, raster in enumerate(rasters, start=1):
        solid = raster.voxels[raster.fraction >= 0.25 * raster.fraction.max()]
        own[tuple(solid.T)] = number
    changed: dict[str, Values] = {}
    for kind, image in (("T1", scan.t1), ("T2", scan.t2)):
        if image is None:
            continue
        low, middle, high = np.percentile(image[scan.brain], (25, 50, 75))
        csf = middle + person.csf[kind] * (high - low) / 1.349
        added = np.zeros(shape, np.float32)
        for (_, _, _, fill), raster in zip(tubes, rasters, strict=True):
            local = np.median(image[tuple(raster.voxels.T)])
            added[tuple(raster.voxels.T)] += raster.fraction * fill * (csf - local)
        blur = smoothness(image, core, size) / 2.3548 / size
        changed[kind] = image + ndimage.gaussian_filter(added, blur)
    out = replace(scan, t1=changed.get("T1"), t2=changed.get("T2"))
    found = contrasts(own, changed, scan.brain, person.fluid, size)
    mads = {mark.id: mark.contrast for mark in found}
    inserted = [
        Inserted(tube, region, diameter, fill, float(r.fraction.sum() * size.prod()), mads[n])
        for n, ((tube, region, diameter, fill), r) in enumerate(
            zip(tubes, rasters, strict=True), start=1
        )
        if n in mads
    ]
    return out, inserted


# --- the run


def cases(person: Person) -> list[tuple[str, ...]]:
    """T1, T2 and both, as far as a person has them."""
    kinds = tuple(person.images)
    return [(kind,) for kind in kinds] + ([kinds] if len(kinds) > 1 else [])


def read_list(path: Path) -> dict[str, list[dict[str, str]]]:
    """Rows of the list of places, by scan."""
    out = defaultdict(list)
    with path.open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            out[row["scan"]].append(row)
    return out


def voxels(rows: Iterable[dict[str, str]]) -> NDArray[np.intp]:
    """Voxel indices of rows of the list."""
    return np.array([[int(row[a]) for a in "xyz"] for row in rows], np.intp).reshape(-1, 3)


def judge(
    person: Person,
    kinds: tuple[str, ...],
    method: Method,
    rows: list[dict[str, str]],
    put: tuple[Scan, list[Inserted]],
) -> tuple[dict[str, Any], Labels]:
    """Everything that one method does on one scan, but its agreement with another's."""
    started = time.perf_counter()
    labels = method(person, person.only(kinds))
    seconds = time.perf_counter() - started
    size = person.size
    mask = labels > 0
    images = {kind: person.images[kind] for kind in kinds}
    marks = contrasts(labels, images, person.scan.brain, person.fluid, size)
    there = [row for row in rows if row.get("kind", "pvs") != "not"]
    absent = [row for row in rows if row.get("kind", "pvs") == "not"]
    total = max(1, int(mask.sum()))
    shares = {name: float(mask[region].sum() / total) for name, region in person.regions.items()}
    if person.lesion is not None:
        shares["lesion"] = float(mask[person.lesion].sum() / total)
    out = {
        "seconds": round(seconds, 2),
        "marks": int(labels.max()),
        "volume_mm3": round(float(mask.sum() * size.prod()), 1),
        "visible": [
            int(near(mask, voxels(there) - person.corner, size, FOUND_MM).sum()),
            len(there),
        ],
        "not_pvs": [
            int(near(mask, voxels(absent) - person.corner, size, FOUND_MM).sum()),
            len(absent),
        ],
        "contrast": {
            "share": _share([mark.least > VISIBLE_MAD for mark in marks]),
            "share_3sd": _share([mark.least > VISIBLE_MAD * 1.4826 for mark in marks]),
            "median_mad": float(np.median([m.least for m in marks])) if marks else None,
            "by_image": {
                kind: _share([mark.contrast[kind] > VISIBLE_MAD for mark in marks])
                for kind in kinds
            },
        },
        "where": {name: round(share, 4) for name, share in shares.items()},
    }
    changed, tubes = put
    after = method(person, person.only(kinds, changed)) > 0
    out["inserted"] = [
        {
            "region": tube.region,
            "diameter": tube.diameter,
            "fill": tube.fill,
            "mad": round(min(tube.mad[kind] for kind in kinds), 2),
            **hit,
        }
        for tube, hit in zip(tubes, hits(tubes, mask, after, size), strict=True)
    ]
    return out, labels


def hits(
    tubes: list[Inserted], before: Mask, after: Mask, size: NDArray[np.float64]
) -> list[dict[str, Any]]:
    """For each tube: marked before, found after, share of its length, marked volume by true."""
    out = []
    trees = [cKDTree(np.argwhere(mask) * size) if mask.any() else None for mask in (before, after)]
    for each in tubes:
        points = each.tube.points
        reach = FOUND_MM + 1e-6
        old, new = (
            np.full(len(points), np.inf) if tree is None else tree.query(points)[0]
            for tree in trees
        )
        row = {"before": bool((old <= reach).any()), "found": bool((new <= reach).any())}
        row["length"] = round(float((new <= max(1.0, each.diameter / 2)).mean()), 2)
        out.append(row)
    return out


def _share(answers: list[bool]) -> float | None:
    return round(float(np.mean(answers)), 4) if answers else None


def recall(rows: list[dict[str, Any]]) -> tuple[int, int]:
    """Found and all of the tubes where nothing had been marked before."""
    fresh = [row for row in rows if not row["before"]]
    return sum(row["found"] for row in fresh), len(fresh)


# --- tables


def show(title: str, columns: list[str], rows: list[tuple[str, list[str]]]) -> None:
    """Print one table."""
    print(f"\n{title}")
    wide = max(len(name) for name, _ in rows)
    widths = [max(len(c), *(len(r[i]) for _, r in rows)) for i, c in enumerate(columns)]
    print(" " * wide, *(c.rjust(w) for c, w in zip(columns, widths, strict=True)), sep="  ")
    for name, cells in rows:
        print(name.ljust(wide), *(c.rjust(w) for c, w in zip(cells, widths, strict=True)), sep="  ")


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def of(pair: tuple[int, int] | list[int]) -> str:
    return f"{pair[0]}/{pair[1]}" if pair[1] else "-"


def tables(found: dict[str, dict[str, Any]]) -> None:
    """Print one table per measure; rows are methods, columns scans."""
    scans = list(next(iter(found.values()))["scans"])

    def table(title: str, cell: Callable[[dict[str, Any]], str]) -> None:
        rows = [(name, [cell(each["scans"][s]) for s in scans]) for name, each in found.items()]
        show(title, scans, rows)

    table(f"Visible PVS found (a marked voxel within {FOUND_MM} mm)", lambda r: of(r["visible"]))
    if any(r["not_pvs"][1] for each in found.values() for r in each["scans"].values()):
        table("Marked although it is no PVS (same rule)", lambda r: of(r["not_pvs"]))
    table("Marks", lambda r: str(r["marks"]))
    table("Volume, mm³", lambda r: f"{r['volume_mm3']:.0f}")
    table("Marks with visible contrast (> 3 MAD)", lambda r: percent(r["contrast"]["share"]))
    table("Marks with a contrast > 3 x 1.4826 MAD", lambda r: percent(r["contrast"]["share_3sd"]))
    for name in ("lesion", "cerebellum", "brainstem", "ventricles", "cortex", "outside"):
        table(f"Marked volume in: {name}", lambda r, n=name: percent(r["where"].get(n)))
    for person in sorted({s for e in found.values() for s in e["agreement"]}):
        pairs = list(next(iter(found.values()))["agreement"][person])
        rows = []
        for name, each in found.items():
            cells = [each["agreement"][person][pair] for pair in pairs]
            text = "{} / {}, x{:.1f}"
            rows.append(
                (
                    name,
                    [
                        text.format(percent(c["first"]), percent(c["second"]), c["volume_ratio"])
                        for c in cells
                    ],
                )
            )
        show(
            f"{person}: PVS with a partner within two voxels, both ways; volume ratio", pairs, rows
        )
    table("Inserted PVS found", lambda r: of(recall(r["inserted"])))
    keys: tuple[tuple[str, list[tuple[str, Callable[[dict[str, Any]], bool]]]], ...] = (
        ("diameter, mm", [(str(d), lambda r, d=d: r["diameter"] == d) for d in DIAMETERS_MM]),
        ("fill", [(str(f), lambda r, f=f: r["fill"] == f) for f in FILLS]),
        ("region", [(g, lambda r, g=g: r["region"] == g) for g in PER_KIND]),
        (
            "contrast in MAD",
            [
                ("< 3", lambda r: r["mad"] < 3),
                ("3-6", lambda r: 3 <= r["mad"] < 6),
                ("6-12", lambda r: 6 <= r["mad"] < 12),
                ("> 12", lambda r: r["mad"] >= 12),
            ],
        ),
    )
    for what, groups in keys:
        rows = []
        for name, each in found.items():
            every = [row for r in each["scans"].values() for row in r["inserted"]]
            pairs = [recall([row for row in every if test(row)]) for _, test in groups]
            rows.append((name, [f"{percent(a / b if b else None)} of {b}" for a, b in pairs]))
        show(f"Inserted PVS found by {what}, all scans", [name for name, _ in groups], rows)


def main() -> None:
    """Parse the command line, judge, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, action="append", help="again for another file")
    parser.add_argument("--visible", type=Path, help="list of places; DIR/real/visible_pvs.tsv")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--page", type=Path, help="PNG of enlarged crops of the first weights")
    parser.add_argument("--scans", nargs="+", help="names of SUBJECTS; all where none is given")
    parser.add_argument("--alone", action="store_true", help="weights only, no other detector")
    given = parser.parse_args()
    folder = given.data / "real"
    listed = read_list(given.visible or folder / "visible_pvs.tsv")
    counts: dict[tuple[str, ...], int] = {}
    methods: dict[str, Method] = {}
    for path in given.weights or [None]:
        network = Network(path)
        methods[f"{path.stem if path else 'starter'} ({network.predictor.weights_id[:6]})"] = (
            network
        )
    first = next(iter(methods))
    if not given.alone:
        methods["Frangi, as many marks"] = Score(frangi, None, counts)
        methods["Frangi, default .08"] = Score(frangi, 0.08, counts)
        methods["bright spots"] = Score(spots, SPOT_THRESHOLD, counts)
    found: dict[str, dict[str, Any]] = {name: {"scans": {}, "agreement": {}} for name in methods}
    for subject in SUBJECTS:
        if given.scans and subject.name not in given.scans:
            continue
        started = time.perf_counter()
        person = Person(subject, folder)
        rows = listed.get(subject.listed, [])
        put = insert(person, voxels(rows) - person.corner)
        fluid = ", ".join(f"{kind} {value:.1f}" for kind, value in person.csf.items())
        print(
            f"{subject.name}: ready in {time.perf_counter() - started:.0f} s, fluid at {fluid}, "
            f"{len(put[1])} inserted",
            flush=True,
        )
        for name, method in methods.items():
            marked: dict[str, Labels] = {}
            for kinds in cases(person):
                label = f"{subject.name} {'+'.join(kinds)}"
                result, labels = judge(person, kinds, method, rows, put)
                found[name]["scans"][label] = result
                marked["+".join(kinds)] = labels
                if name == first:
                    counts[(subject.name, *kinds)] = result["marks"]
            if len(marked) == 3:
                pairs = (("T1", "T2"), ("T1", "T1+T2"), ("T2", "T1+T2"))
                found[name]["agreement"][subject.name] = {
                    f"{a} and {b}": agreement(marked[a], marked[b], person.size) for a, b in pairs
                }
            print(f"  {name}: done at {time.perf_counter() - started:.0f} s", flush=True)
    tables(found)
    if given.json:
        from records import command, machine

        about = {"command": command(), "machine": machine(), "measured": found}
        given.json.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
