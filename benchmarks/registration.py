"""How well a T2 is put on its T1, and whether that of another person is told.

    python benchmarks/registration.py [--heads 16] [--movements 3] [--seed 0] [--jobs 2]
        [--anatomy MAP ...] [--real FOLDER] [--cache FOLDER]

Each pair is a synthetic head whose T2 was moved by 0 to 10 mm in any direction and turned by 0 to
10 degrees around any axis (both uniform), behind its header's back; by default there are 48 pairs.
The residual is the largest distance in the brain between where `scans.registration.find` puts a
point and where it belongs. Sites take turns, so the voxels have 0.7 to 1 mm, and some
scans are of 3 to 5 mm slices, interpolated; every second head is made of the label maps that
are given, if any. The first movement again with a T2 of 4.5 mm slices in its own voxels, and with
one that shows 60 mm of the head. *In place*: as it is.

The T2 of another person is that of the next head but one (of the same template or of another map),
centred on the brain. Of real scans, ``FOLDER`` has the names listed in `REAL`.
"""

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import records
from numpy.typing import NDArray

from napari_pvs.errors import InputError
from napari_pvs.phantom import sites
from napari_pvs.phantom.cohort import make
from napari_pvs.phantom.config import PhantomConfig
from napari_pvs.scans import registration
from napari_pvs.scans.brain import brain_mask
from napari_pvs.scans.checks import Placed
from napari_pvs.scans.dicom import read_image
from napari_pvs.scans.grid import Grid, resample

SITES = ("A", "B", "C", "D")
SLICES_MM, SLAB_MM = 4.5, 60.0
REAL = {
    "p07": ("ljubljana_p07_T1.nii.gz", "ljubljana_p07_T2.nii.gz"),
    "studyforrest": ("studyforrest_T1.nii.gz", None),
    "elderly": ("elderly_T1.nii.gz", None),
    "PS11": ("openneuro_ds004230_PS11_norm.mgz", None),
    "m2307": (None, "m2307_T2.nii.gz"),
    "clinical": (None, "clinical_T2.nii.gz"),
}


@dataclass(frozen=True, eq=False)
class Head:
    """T1, T2 or both, and the brain of whichever there is."""

    name: str
    t1: Placed | None
    t2: Placed | None
    brain: NDArray[np.bool_]

    @property
    def centre(self) -> NDArray[np.float64]:
        """Of the brain, RAS+ mm."""
        affine = (self.t1 or self.t2).grid.affine
        return np.argwhere(self.brain).mean(0) @ affine[:3, :3].T + affine[:3, 3]


def main() -> None:
    """Make, move, measure, print."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--heads", type=int, default=16)
    arguments.add_argument("--movements", type=int, default=3)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--jobs", type=int, default=2)
    arguments.add_argument("--anatomy", type=Path, nargs="*", default=[])
    arguments.add_argument("--real", type=Path)
    arguments.add_argument("--cache", type=Path, help="Folder that keeps the heads.")
    given = arguments.parse_args()
    rows: list[dict] = []
    work = partial(block, given.seed, given.anatomy, given.cache, given.movements)
    blocks = np.array_split(np.arange(given.heads), max(1, given.heads // 4))
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        for found in pool.map(work, blocks):
            rows += found
            print(f"{len(rows)} measurements", flush=True)
    summary(rows)
    if given.real:
        rows += real(given.real, given.seed)
    told = summary(rows)
    print(records.keep("registration", {"seed": given.seed, "summary": told, "rows": rows}))


def block(
    seed: int, maps: list[Path], cache: Path | None, movements: int, numbers: NDArray[np.intp]
) -> list[dict]:
    """Measure some heads; the T2 of another person is that of another head of them."""
    heads = [phantom(int(at), seed, maps, cache) for at in numbers]
    rows = []
    for at, head in zip(numbers, heads, strict=True):
        rng = np.random.default_rng((seed, int(at)))
        rows.append(measured("in place", head, head.t2, np.eye(4)))
        for number in range(movements):
            two, true = displaced(head, rng)
            rows.append(measured("moved", head, two, true))
            if number == 0:
                rows.append(measured("moved, thick slices", head, thick(two), true))
                rows.append(measured("moved, part of the head", head, part(two, rng), true))
    for head, another in zip(heads, heads[2:] + heads[:2], strict=True):
        rows.append(other("another phantom", head, another))
    return rows


def phantom(at: int, seed: int, maps: list[Path], cache: Path | None) -> Head:
    """Make a whole head (if the anatomy has one) without misregistration, with few PVS."""
    for name, site in sites.SITES.items():
        sites.SITES[name] = site.model_copy(update={"misregistration": (0.0, 1e-9)})
    number, mapped = at // 2, bool(maps and at % 2)
    anatomy = (maps[number % len(maps)],) if mapped else ()
    site = SITES[number % len(SITES)]
    config = PhantomConfig(
        subjects=1, seed=seed + number, sites=(site,), anatomy=anatomy, head=True, pvs=(20, 60)
    )
    name = f"{'head' if mapped else 'icbm'}_{seed + number}"
    kept = None if cache is None else cache / f"{name}.npz"
    if kept is not None and kept.exists():
        stored = np.load(kept)
        t1, t2, affine, brain = (stored[key] for key in ("t1", "t2", "affine", "brain"))
    else:
        one = make(config, 0)
        t1, t2, affine, brain = one.t1, one.t2, one.affine, one.brain
        if kept is not None:
            np.savez(kept, t1=t1, t2=t2, affine=affine, brain=brain)
    grid = Grid(t1.shape, affine)
    return Head(f"{name}, site {site}", Placed("T1", t1, grid), Placed("T2", t2, grid), brain)


def displaced(head: Head, rng: np.random.Generator) -> tuple[Placed, NDArray[np.float64]]:
    """Return the T2 of a head that has moved, and the matrix of the movement."""
    axis, way = rng.normal(size=(2, 3))
    degrees, mm = rng.uniform(0, 10, 2)
    matrix = np.eye(4)
    matrix[:3, :3] = turn(axis / np.linalg.norm(axis), np.deg2rad(degrees))
    matrix[:3, 3] = head.centre - matrix[:3, :3] @ head.centre + mm * way / np.linalg.norm(way)
    grid = head.t2.grid
    return replace(head.t2, data=resample(head.t2.data, matrix @ grid.affine, grid, 3)), matrix


def turn(axis: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    """Rodrigues' formula."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def thick(image: Placed) -> Placed:
    """Average slices along the third axis, without interpolating back."""
    many = round(SLICES_MM / image.grid.voxel_size[2])
    slices = image.data.shape[2] // many
    data = image.data[..., : slices * many].reshape(*image.data.shape[:2], slices, many).mean(-1)
    affine = image.grid.affine.copy()
    affine[:3, 3] += affine[:3, 2] * (many - 1) / 2
    affine[:3, 2] *= many
    return replace(image, data=data, grid=Grid(data.shape, affine))


def part(image: Placed, rng: np.random.Generator) -> Placed:
    """Cut a slab out of the middle half of an image."""
    length = image.data.shape[2]
    many = round(SLAB_MM / image.grid.voxel_size[2])
    start = int(rng.integers(length // 4, max(3 * length // 4 - many, length // 4 + 1)))
    box = (slice(0, image.data.shape[0]), slice(0, image.data.shape[1]), slice(start, start + many))
    return replace(image, data=image.data[box], grid=image.grid.cropped(box))


def measured(kind: str, head: Head, two: Placed, truth: NDArray[np.float64]) -> dict:
    """Align, and compare with the truth."""
    start = time.perf_counter()
    row: dict = {"kind": kind, "head": head.name, "moved": largest(head, truth, np.eye(4))}
    try:
        found = registration.find(head.t1, two, head.brain)
    except InputError as error:
        times = float(str(error).partition("agree only ")[2].split()[0])
        return row | {
            "refused": True, "seconds": time.perf_counter() - start, "sharpness": times,
        }  # fmt: skip
    seconds = time.perf_counter() - start
    row |= {"refused": False, "seconds": seconds}
    if found is None:
        return row | {"residual": row["moved"], "corrected": False}
    residual = largest(head, np.linalg.inv(found.to_t1), truth)
    told = {
        "shift": found.shift_mm,
        "before": found.before,
        "after": found.after,
        "sharpness": found.sharpness,
    }
    return row | told | {"residual": residual, "corrected": found.corrected}


def largest(head: Head, one: NDArray[np.float64], two: NDArray[np.float64]) -> float:
    """Largest distance in the brain between two movements of its points, mm."""
    affine, away = head.t1.grid.affine, one - two
    points = np.argwhere(head.brain)[::97] @ affine[:3, :3].T + affine[:3, 3]
    return float(np.linalg.norm(points @ away[:3, :3].T + away[:3, 3], axis=1).max())


def other(kind: str, head: Head, another: Head) -> dict:
    """Give a head the T2 of another, centred on its brain."""
    affine = another.t2.grid.affine.copy()
    affine[:3, 3] += head.centre - another.centre
    two = replace(another.t2, grid=Grid(another.t2.grid.shape, affine))
    return measured(kind, head, two, np.eye(4)) | {"with": another.name}


def real(folder: Path, seed: int) -> list[dict]:
    """Move the T2 of the one real pair ten times, and pair all others wrongly."""
    heads = [real_head(folder, name, *files) for name, files in REAL.items()]
    pair = heads[0]
    rows = [measured("real pair, in place", pair, pair.t2, np.eye(4))]
    # how it really lies is not known: what is measured is whether the same place is found again
    own = registration.find(pair.t1, pair.t2, pair.brain)
    start = np.linalg.inv(own.to_t1)
    for at in range(10):
        two, true = displaced(pair, np.random.default_rng((seed, 1000 + at)))
        rows.append(measured("real pair, moved", pair, two, true @ start))
    for one in (head for head in heads if head.t1):
        two = (head for head in heads if head.t2 and head is not one)
        rows += [other("another person, real", one, head) for head in two]
    return rows


def real_head(folder: Path, name: str, t1: str | None, t2: str | None) -> Head:
    """Read a real head; its brain is that of the T1, or of the T2."""
    one, two = (None if file is None else placed(folder / file) for file in (t1, t2))
    first = one or two
    data = (one.data, None) if one else (None, two.data)
    return Head(name, one, two, brain_mask(*data, first.grid))


def placed(path: Path) -> Placed:
    """Read an image."""
    volume = read_image(path)
    return Placed.turned(path.name, np.asarray(volume.data, np.float32), volume.affine)


def summary(rows: list[dict]) -> list[dict]:
    """Print and return a row for each kind."""
    print(
        "kind\tn\tmoved by\tresidual mm: median\tp95\tworst\t≤ 0.4 mm\trefused\t"
        "sharpness\t"
        "seconds: median\tworst"
    )
    out = []
    for kind in dict.fromkeys(row["kind"] for row in rows):
        some = [row for row in rows if row["kind"] == kind]
        left = np.array([row["residual"] for row in some if "residual" in row])
        spent = np.array([row["seconds"] for row in some])
        told = {
            "kind": kind,
            "n": len(some),
            "moved": float(np.mean([row["moved"] for row in some])),
            "median": float(np.median(left)) if len(left) else None,
            "p95": float(np.percentile(left, 95)) if len(left) else None,
            "worst": float(left.max()) if len(left) else None,
            "within": float((left <= 0.4).sum() / len(some)),
            "refused": sum(row["refused"] for row in some),
            "sharpness": [f(row.get("sharpness", np.nan) for row in some) for f in (min, max)],
            "seconds": float(np.median(spent)),
            "slowest": float(spent.max()),
        }
        out.append(told)
        cells = (told[k] for k in ("moved", "median", "p95", "worst"))
        numbers = "\t".join("–" if cell is None else f"{cell:.2f}" for cell in cells)
        share = f"{told['within']:.0%}\t{told['refused']}"
        sharp = "-".join(f"{value:.2f}" for value in told["sharpness"])
        seconds = f"{told['seconds']:.2f}\t{told['slowest']:.2f}"
        print(kind, len(some), numbers, share, sharp, seconds, sep="\t")
    return out


if __name__ == "__main__":
    main()
