"""Judge segmentations on real scans that nobody has labelled.

    python benchmarks/real.py --data DIR [--weights FILE ...] [--visible FILE] [--json FILE]
                              [--page FILE.png] [--scans NAME ...] [--within brain]

``DIR/real`` holds the scans of `SUBJECTS`. Each file of weights (the starter weights where none is
given), Frangi's filter and a detector of bright spots are compared. No reference exists for these
scans; what can be measured without one:

- PVS picked by eye (``results/visible_pvs.tsv`` beside this file, or ``--visible``): found where a
  marked voxel lies within `FOUND_MM` of the listed one. Rows of the kind "not" are sulci, lesions,
  ventricles and the like, marked wrongly by the same rule; "doubtful" ones count neither way. All
  were picked from enlarged slices, moved to the extremum beside them and checked in three planes,
  before any mark on them was seen; those that came with the data are "first list".
- Places drawn at random from what the starter weights marked, with the statistics of batch norm
  that they have and with those of the scan (`pool.py`), and judged by eye without knowing which:
  how many PVS and how many that are none are marked. The share of PVS among them is what of the
  marks can be trusted, outside the list above.
- What finding costs, so that weights are compared that are calibrated differently: the most PVS,
  listed and drawn, that any threshold finds while no more than so many places are marked that are
  none (`BUDGETS`).
- Contrast of each mark: its peak against the median of a shell 2-5 mm around it, inside the brain,
  without other marks and fluid, in units of the shell's median absolute deviation (MAD). Visible is
  a peak of more than 3 MAD, bright on T2 and dark on T1, in every image given. Ends of sulci stand
  out too, so that marks outside the other `regions` and lesions are counted on their own.
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
import hashlib
import inspect
import json
import pickle
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import edt
import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.special import expit

from napari_pvs.inference.classical import FRANGI_THRESHOLD
from napari_pvs.inference.config import SegmentConfig, Within
from napari_pvs.inference.predictor import Predictor
from napari_pvs.inference.search_region import search_region
from napari_pvs.inference.segment import baseline, components, segment_scan
from napari_pvs.phantom.tubes import STEP_MM, Tube, rasterise
from napari_pvs.scans.atlas import Atlas, fit_atlas
from napari_pvs.scans.masks import Box, bounding_box
from napari_pvs.scans.scan import Scan, load_scan
from napari_pvs.scans.signal import fluid_level, smoothness

if TYPE_CHECKING:
    from PIL import Image

Mask = NDArray[np.bool_]
Values = NDArray[np.float32]
Labels = NDArray[np.int32]

FOUND_MM = 1.5
LIST = Path(__file__).parent / "results" / "visible_pvs.tsv"
FIRST = "first list"
DRAWN = "drawn from the marks of weights, checked in three planes without an outline"
"""How the places of `pool.py` were picked."""
BUDGETS = (3, 6, 9, 12)
"""Places that are none, of those listed and drawn on a scan, that may be marked."""
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
    rows: list[dict[str, str]]
    """Of the list of places."""
    scan: Scan = field(init=False)
    box: Box = field(init=False)
    scores: dict[tuple[Any, ...], Values] = field(default_factory=dict)
    """Of the other detectors, which do not change with the weights."""

    def read_scan(self) -> None:
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

    def image(self, name: str) -> NDArray[Any]:
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
        return {
            kind: CONTRASTS[kind] * fluid_level(CONTRASTS[kind] * image, self.deep)
            for kind, image in self.images.items()
        }

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
        return self.image(name) > 0 if name else None

    @cached_property
    def regions(self) -> dict[str, Mask]:
        """See `regions`."""
        return regions(self)

    @cached_property
    def put(self) -> "tuple[Scan, list[Inserted]]":
        """The scan with inserted PVS, and these."""
        return insert(self, self.voxels(row for row in self.rows if row["how"] != DRAWN))

    def listed(self, kind: str, drawn: bool = False) -> list[dict[str, str]]:
        """Rows of the list of one kind, pvs or not: those picked, or those drawn from marks."""
        return [row for row in self.rows if row["kind"] == kind and drawn == (row["how"] == DRAWN)]

    def voxels(self, rows: Iterable[dict[str, str]]) -> NDArray[np.intp]:
        """Voxels of rows of the list, in the part that is looked at."""
        listed = [[int(row[axis]) for axis in "xyz"] for row in rows]
        return np.array(listed, np.intp).reshape(-1, 3) - self.corner

    def given(self, kinds: Iterable[str], inserted: bool = False) -> Scan:
        """Return the scan, or the one with inserted PVS, with some of its contrasts."""
        scan = self.put[0] if inserted else self.scan
        t1, t2 = (i if k in kinds else None for k, i in (("T1", scan.t1), ("T2", scan.t2)))
        return replace(scan, t1=t1, t2=t2)

    def score(self, of: "Scorer", kinds: tuple[str, ...], inserted: bool = False) -> Values:
        """Score map of a detector."""
        key = of.__name__, *kinds, inserted
        if key not in self.scores:
            self.scores[key] = of(self.given(kinds, inserted), self.habitat)
        return self.scores[key]


def cached(folder: Path, person: Person) -> Path:
    """File that keeps what is derived from a person's scan by this code with this list."""
    known = repr((person.subject, str(person.folder), person.rows)) + MADE_BY
    return (
        folder / f"{person.subject.name}-{hashlib.sha256(known.encode()).hexdigest()[:12]}.pickle"
    )


def load(person: Person, cache: Path | None) -> Person:
    """Take what an earlier run has derived, or read the scan."""
    if cache and (path := cached(cache, person)).is_file():
        with path.open("rb") as stream:
            return pickle.load(stream)
    person.read_scan()
    return person


def keep(person: Person, cache: Path) -> None:
    """Write what was derived, and delete what older code or another list had."""
    cache.mkdir(parents=True, exist_ok=True)
    path = cached(cache, person)
    for old in cache.glob(f"{person.subject.name}-*.pickle"):
        if old != path:
            old.unlink()
    part = path.with_suffix(".part")
    with part.open("wb") as stream:
        pickle.dump(person, stream, protocol=5)
    part.replace(path)


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
        return _labelled(person.image(path))
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


Scorer = Callable[[Scan, Mask], Values]
"""Scores a scan inside its white matter and basal ganglia."""
CONFIG = SegmentConfig()


class Network:
    """What ``napari-pvs segment`` does with weights."""

    def __init__(self, weights: Path | None, within: Within = CONFIG.within) -> None:
        self.config = CONFIG.model_copy(update={"within": within})
        self.predictor = Predictor(weights)
        self.probability = np.empty(0, np.float32)
        self.marks: dict[tuple[str, ...], int] = {}

    def __call__(self, person: Person, kinds: tuple[str, ...], inserted: bool = False) -> Labels:
        """Mark PVS."""
        found = segment_scan(person.given(kinds, inserted), self.config, self.predictor)
        if not inserted:
            self.probability = found.probability
            self.marks[(person.subject.name, *kinds)] = int(found.labels.max())
        return found.labels


class Above:
    """What a detector scores above a threshold, or as many marks as a network has."""

    def __init__(self, scorer: Scorer, threshold: float | None, like: Network) -> None:
        self.scorer, self.threshold, self.like = scorer, threshold, like
        self.matched: dict[tuple[str, ...], float] = {}

    def __call__(self, person: Person, kinds: tuple[str, ...], inserted: bool = False) -> Labels:
        """Mark PVS."""
        score = person.score(self.scorer, kinds, inserted)
        threshold = self.threshold
        if threshold is None:
            key = person.subject.name, *kinds
            if key not in self.matched:
                self.matched[key] = self._match(person, score, self.like.marks[key])
            threshold = self.matched[key]
        return components(score, threshold, person.scan.grid, CONFIG)

    @staticmethod
    def _match(person: Person, score: Values, wanted: int) -> float:
        """Lower the threshold until as many are marked as wanted, or no more come."""
        best, least, stale = 1.0, np.inf, 0
        for threshold in np.geomspace(score.max(), score.max() / 200, 30):
            count = int(components(score, threshold, person.scan.grid, CONFIG).max())
            stale = 0 if abs(count - wanted) < least else stale + 1
            if not stale:
                best, least = float(threshold), abs(count - wanted)
            if stale > 4:
                break
        return best


Method = Network | Above


def frangi(scan: Scan, inside: Mask) -> Values:
    """Frangi's vesselness as the product computes it."""
    return baseline(scan, "frangi", inside)[0]


def spots(scan: Scan, inside: Mask) -> Values:
    """White top-hat of T2 and of inverted T1, in robust standard deviations."""
    import SimpleITK as sitk

    parts = []
    radius = [round(SPOT_MM / edge) for edge in scan.grid.voxel_size[::-1]]
    for sign, image in ((-1, scan.t1), (1, scan.t2)):
        if image is not None:
            bright = sitk.GetImageFromArray(sign * image)
            hat = sitk.GetArrayFromImage(sitk.WhiteTopHat(bright, radius, sitk.sitkBall))
            values = hat[inside]
            middle = np.median(values)
            spread = 1.4826 * np.median(np.abs(values - middle)) or values.std()  # whole numbers
            parts.append((hat - middle) / spread)
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
    busy = spots(person.scan, person.habitat) > 3.5
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

MADE_BY = "".join(
    inspect.getsource(each)
    for each in (Person, regions, fluid_level, smoothness, insert, _tube, _drawn, frangi, spots)
)
"""Code that makes what the cache keeps, as it was when this file was read."""


def measured(person: Person) -> dict[str, Any]:
    """What was measured on the scan itself, each intensity in units of `Person.images`."""
    white = ndimage.binary_erosion(person.habitat & ~person.atlas.deep_grey & ~person.fluid)
    return {
        "voxel_mm": person.size.round(3).tolist(),
        "fluid": {kind: round(value, 2) for kind, value in person.csf.items()},
        "fwhm_mm": {
            kind: smoothness(image, white, person.size).round(2).tolist()
            for kind, image in person.images.items()
        },
        "inserted": len(person.put[1]),
        "region_ml": {
            name: round(float(mask.sum() * person.size.prod() / 1000), 1)
            for name, mask in (*person.regions.items(), ("habitat", person.habitat))
        },
    }


def cases(person: Person) -> list[tuple[str, ...]]:
    """T1, T2 and both, as far as a person has them."""
    kinds = tuple(person.images)
    return [(kind,) for kind in kinds] + ([kinds] if len(kinds) > 1 else [])


def read_list(path: Path) -> dict[str, list[dict[str, str]]]:
    """Rows of the list of places, by scan."""
    out = defaultdict(list)
    with path.open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            out[row["scan"]].append({"kind": "pvs", "how": FIRST} | row)
    return out


def judge(person: Person, kinds: tuple[str, ...], method: Method) -> tuple[dict[str, Any], Labels]:
    """Everything that one method does on one scan, but its agreement with another's."""
    labels = method(person, kinds)
    size = person.size
    mask = labels > 0
    images = {kind: person.images[kind] for kind in kinds}
    marks = contrasts(labels, images, person.scan.brain, person.fluid, size)
    there = person.voxels(person.listed("pvs"))
    absent = person.voxels(person.listed("not"))
    first = person.voxels(row for row in person.listed("pvs") if row["how"] == FIRST)
    total = max(1, int(mask.sum()))
    shares = {name: float(mask[region].sum() / total) for name, region in person.regions.items()}
    aside = beside_tissue(labels, person)
    if person.lesion is not None:
        shares["lesion"] = float(mask[person.lesion].sum() / total)

    def hit(places: NDArray[np.int64]) -> list[int]:
        return [int(near(mask, places, size, FOUND_MM).sum()), len(places)]

    out: dict[str, Any] = {
        "marks": int(labels.max()),
        "volume_mm3": round(float(mask.sum() * size.prod()), 1),
        "visible": hit(there),
        "visible_first": hit(first),
        "not_pvs": hit(absent),
        "drawn": {kind: hit(person.voxels(person.listed(kind, True))) for kind in ("pvs", "not")},
        "contrast": {
            "share": _share([mark.least > VISIBLE_MAD for mark in marks]),
            "elsewhere": _share([m.least > VISIBLE_MAD for m in marks if m.id not in aside]),
            "share_3sd": _share([mark.least > VISIBLE_MAD * 1.4826 for mark in marks]),
            "median_mad": float(np.median([m.least for m in marks])) if marks else None,
            "by_image": {
                kind: _share([mark.contrast[kind] > VISIBLE_MAD for mark in marks])
                for kind in kinds
            },
        },
        "where": {name: round(share, 4) for name, share in shares.items()},
    }
    if isinstance(method, Network):
        out["probability"] = [
            round(float(around(method.probability, point, size).max()), 3) for point in there
        ]
        out["threshold"] = method.predictor.card.threshold_for(kinds)
        out["cost"] = cost(method.probability, person)
    tubes = person.put[1]
    after = method(person, kinds, inserted=True) > 0
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


def cost(probability: Values, person: Person) -> dict[str, list[float] | None]:
    """PVS found, of how many, and the threshold, for each of `BUDGETS`; None where none fits."""
    places = {
        kind: np.concatenate([person.voxels(person.listed(kind, drawn)) for drawn in (False, True)])
        for kind in ("pvs", "not")
    }
    of, out = len(places["pvs"]), dict.fromkeys(map(str, BUDGETS))
    for threshold in expit(np.linspace(4, -4, 33)):  # falling: the highest of equally good ones
        mask = components(probability, threshold, person.scan.grid, CONFIG) > 0
        pvs, wrong = (near(mask, at, person.size, FOUND_MM).sum() for at in places.values())
        for budget in BUDGETS:
            best = out[str(budget)]
            if wrong <= budget and (best is None or pvs > best[0]):
                out[str(budget)] = [int(pvs), of, round(float(threshold), 3)]
    return out


def beside_tissue(labels: Labels, person: Person) -> set[int]:
    """Ids of marks of which half or more is in a region where no PVS is, or that touch a lesion."""
    shut = np.logical_or.reduce(list(person.regions.values()))
    size = np.bincount(labels.ravel())
    out = np.flatnonzero(2 * np.bincount(labels[shut], minlength=len(size)) >= size)
    if person.lesion is not None:
        out = np.union1d(out, labels[person.lesion])
    return set(out.tolist())


def around(
    image: Values, point: NDArray[np.intp], size: NDArray[np.float64], reach: float = FOUND_MM
) -> Values:
    """Values within a reach in mm of a voxel."""
    steps = np.ceil(reach / size).astype(int)
    offsets = np.stack(
        np.meshgrid(*(np.arange(-n, n + 1) for n in steps), indexing="ij"), -1
    ).reshape(-1, 3)
    close = np.square(offsets * size).sum(1) <= reach**2 + 1e-6
    where = np.clip(point + offsets[close], 0, np.array(image.shape) - 1)
    return image[tuple(where.T)]


def hits(
    tubes: list[Inserted], before: Mask, after: Mask, size: NDArray[np.float64]
) -> list[dict[str, Any]]:
    """For each tube: marked before, found after, and the share of its length that is marked."""
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


# --- pictures

_CROP_MM, _ENLARGED, _MOST = 24, 6, 12
_WINDOW = {"T1": (-4.0, 2.5), "T2": (-2.0, 5.0)}


def tile(
    images: dict[str, Values],
    point: NDArray[np.intp],
    size: NDArray[np.float64],
    outlined: Mask | None,
    text: str,
) -> "Image.Image":
    """Three planes through a voxel, one row for each contrast; marks are outlined in yellow."""
    from PIL import Image, ImageDraw

    side = _CROP_MM * _ENLARGED
    out = Image.new("RGB", (3 * (side + 2), len(images) * (side + 2) + 14))
    draw = ImageDraw.Draw(out)
    draw.text((1, 1), text, fill="white")
    reach = np.ceil(_CROP_MM / 2 / size).astype(int) + 4  # the spline sees the crop alone
    first = np.maximum(point - reach, 0)
    crop = tuple(slice(a, b) for a, b in zip(first, point + reach + 1, strict=True))
    point = point - first
    outlined = None if outlined is None else outlined[crop]
    for row, (kind, image) in enumerate((k, i[crop]) for k, i in images.items()):
        low, high = _WINDOW[kind]
        for column, across in enumerate((2, 1, 0)):
            axes = [axis for axis in range(3) if axis != across]
            span = np.arange(side) / _ENLARGED - (side - 1) / 2 / _ENLARGED
            u, v = (point[a] + span / size[a] for a in axes)
            at = np.empty((3, side, side))
            at[axes[0]], at[axes[1]], at[across] = u[None, :], v[::-1, None], point[across]
            values = ndimage.map_coordinates(image, at, order=3, mode="nearest")
            grey = np.clip((values - low) / (high - low) * 255, 0, 255).astype(np.uint8)
            rgb = np.repeat(grey[..., None], 3, -1)
            if outlined is not None:
                mark = ndimage.map_coordinates(outlined.astype(np.uint8), at, order=0) > 0
                rgb[mark & ~ndimage.binary_erosion(mark)] = (255, 220, 0)
            corner = column * (side + 2), 14 + row * (side + 2)
            out.paste(Image.fromarray(rgb), corner)
            x, y = corner[0] + side // 2, corner[1] + side // 2
            for dx, dy in ((0, 1), (0, -1), (1, 0), (-1, 0)):  # ticks at the edges, on its axes
                far, end = side // 2 - 8, side // 2 - 1
                draw.line((x + dx * far, y + dy * far, x + dx * end, y + dy * end), fill="cyan")
    return out


def sheet(tiles: "list[Image.Image]", path: Path, columns: int = 3) -> None:
    """Write tiles of one size as a page."""
    from PIL import Image

    if not tiles:
        return
    wide, high = tiles[0].size
    rows = -(-len(tiles) // columns)
    out = Image.new("RGB", (columns * (wide + 6), rows * (high + 6)), (40, 40, 60))
    for number, each in enumerate(tiles):
        out.paste(each, (number % columns * (wide + 6), number // columns * (high + 6)))
    out.save(path)


def pages(path: Path, person: Person, kinds: tuple[str, ...], labels: Labels) -> None:
    """Write a page of what was found, missed and is doubtful (marks of least contrast)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = {kind: person.images[kind] for kind in kinds}
    size, mask = person.size, labels > 0
    listed = person.listed("pvs")
    points = person.voxels(listed)
    found = near(mask, points, size, FOUND_MM)
    marks = contrasts(labels, images, person.scan.brain, person.fluid, size)
    doubtful = sorted(marks, key=lambda mark: mark.least)
    clear = sorted(marks, key=lambda mark: -mark.least)
    wrong = person.listed("not")
    places = person.voxels(wrong)
    groups = {
        "found": [(p, "found") for p, hit in zip(points, found, strict=True) if hit],
        "missed": [(p, "missed") for p, hit in zip(points, found, strict=True) if not hit],
        "doubtful": [
            (np.array(m.centre), f"doubtful, {m.least:.1f} MAD, {m.voxels} voxels")
            for m in doubtful
            if m.least <= VISIBLE_MAD * 1.4826
        ],
        "clearest": [
            (np.array(m.centre), f"clear, {m.least:.1f} MAD, {m.voxels} voxels") for m in clear
        ],
        "no PVS": [
            (p, f"marked: {row['where']}")
            for row, p, hit in zip(wrong, places, near(mask, places, size, FOUND_MM), strict=True)
            if hit
        ],
    }
    for name, items in groups.items():
        tiles = [
            tile(images, point, size, mask, f"{text} {tuple((point + person.corner).tolist())}")
            for point, text in items[:_MOST]
        ]
        stem = f"{path.stem}-{person.subject.name}-{name.replace(' ', '-')}"
        sheet(tiles, path.with_name(f"{stem}.png"))


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


def at_cost(best: list[float] | None) -> str:
    return "-" if best is None else f"{best[0]}/{best[1]} at {best[2]:.2f}"


def tables(found: dict[str, dict[str, Any]]) -> None:
    """Print one table per measure; rows are methods, columns scans."""
    scans = list(next(iter(found.values()))["scans"])

    def table(title: str, cell: Callable[[dict[str, Any]], str]) -> None:
        rows = [(name, [cell(each["scans"][s]) for s in scans]) for name, each in found.items()]
        show(title, scans, rows)

    table(f"Visible PVS found (a marked voxel within {FOUND_MM} mm)", lambda r: of(r["visible"]))
    table("The same, of the first list", lambda r: of(r["visible_first"]))
    if any(r["not_pvs"][1] for each in found.values() for r in each["scans"].values()):
        table("Marked although it is no PVS (same rule)", lambda r: of(r["not_pvs"]))
    for kind, name in (("pvs", "PVS"), ("not", "no PVS")):
        title = f"Marked, of places drawn from marks of the starter weights: {name}"
        table(title, lambda r, k=kind: of(r["drawn"][k]))
    for budget in BUDGETS:
        title = f"Most PVS found, listed and drawn, with {budget} places marked that are none"
        table(title, lambda r, b=str(budget): at_cost(r.get("cost", {}).get(b)))
    if any("probability" in r for each in found.values() for r in each["scans"].values()):
        table(
            "Median of the largest probability within 1.5 mm of visible PVS (threshold)",
            lambda r: (
                f"{np.median(r['probability']):.2f} ({r['threshold']:.2f})"
                if r.get("probability")
                else "-"
            ),
        )
    table("Marks", lambda r: str(r["marks"]))
    table("Volume, mm³", lambda r: f"{r['volume_mm3']:.0f}")
    table("Marks with visible contrast (> 3 MAD)", lambda r: percent(r["contrast"]["share"]))
    table(
        "The same, of marks in white matter and basal ganglia that touch no lesion",
        lambda r: percent(r["contrast"]["elsewhere"]),
    )
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
    parser.add_argument("--visible", type=Path, default=LIST, help="list of places")
    parser.add_argument("--within", choices=get_args(Within), default=CONFIG.within)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--page", type=Path, help="PNG of enlarged crops of the first weights")
    parser.add_argument("--scans", nargs="+", help="names of SUBJECTS; all where none is given")
    parser.add_argument(
        "--cache", type=Path, help="folder that keeps what does not depend on weights"
    )
    parser.add_argument("--alone", action="store_true", help="weights only, no other detector")
    given = parser.parse_args()
    folder = given.data / "real"
    listed = read_list(given.visible)
    networks: dict[str, Network] = {}
    for path in given.weights or [None]:
        network = Network(path, given.within)
        name = f"{path.stem if path else 'starter'} ({network.predictor.weights_id[:6]})"
        networks[name] = network
    methods: dict[str, Method] = dict(networks)
    if not given.alone:
        first = next(iter(networks.values()))
        methods["Frangi, as many marks"] = Above(frangi, None, first)
        methods["Frangi, default .08"] = Above(frangi, FRANGI_THRESHOLD, first)
        methods["bright spots"] = Above(spots, SPOT_THRESHOLD, first)
    found: dict[str, dict[str, Any]] = {name: {"scans": {}, "agreement": {}} for name in methods}
    about: dict[str, Any] = {}
    for subject in SUBJECTS:
        if given.scans and subject.name not in given.scans:
            continue
        started = time.process_time()
        person = load(Person(subject, folder, listed.get(subject.listed, [])), given.cache)
        about[subject.name] = measured(person)
        print(
            f"{subject.name}: {time.process_time() - started:.0f} s of processor time", flush=True
        )
        for name, method in methods.items():
            marked: dict[str, Labels] = {}
            for kinds in cases(person):
                result, labels = judge(person, kinds, method)
                found[name]["scans"][f"{subject.name} {'+'.join(kinds)}"] = result
                marked["+".join(kinds)] = labels
            if len(marked) == 3:
                pairs = (("T1", "T2"), ("T1", "T1+T2"), ("T2", "T1+T2"))
                found[name]["agreement"][subject.name] = {
                    f"{a} and {b}": agreement(marked[a], marked[b], person.size) for a, b in pairs
                }
            if given.page and method is next(iter(networks.values())):
                pages(given.page, person, kinds, labels)
            print(f"  {name}: {time.process_time() - started:.0f} s", flush=True)
        if given.cache:
            keep(person, given.cache)
    tables(found)
    if given.json:
        from records import command, machine

        out = {"command": command(), "machine": machine(), "scans": about, "measured": found}
        given.json.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
