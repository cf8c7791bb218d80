"""Write and read labels and maps of random grids, types and formats; count what does not come back.

    python benchmarks/reliability/round_trips.py --trips 700 --seed 0

Each trip makes a scan with axes in any order and direction, perhaps oblique, as NIfTI-1, NIfTI-2 or
MGH, and a label or a probability on it. These go through the file, through the scan's own RAS+ grid
and back, through the viewer's order, and through a study's revision; each time every voxel must be
what it was, at the same place in space within 0.001 mm.
"""

import argparse
import itertools
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np

ORDERS = [
    (axes, flips)
    for axes in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]


def scan_file(folder: Path, rng: np.random.Generator) -> Path:
    """Write a scan with a random grid and format, and return its path."""
    shape = tuple(int(n) for n in rng.integers(5, 20, 3))
    axes, flips = ORDERS[rng.integers(len(ORDERS))]
    turn = np.zeros((3, 3))
    for column, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
        turn[axis, column] = flip
    if rng.random() < 0.5:
        turn = nib.eulerangles.euler2mat(*rng.uniform(-0.3, 0.3, 3)) @ turn
    affine = nib.affines.from_matvec(turn @ np.diag(rng.uniform(0.4, 2, 3)), rng.normal(0, 60, 3))
    data = rng.normal(300, 90, shape).astype(np.float32)
    kind, ending = [
        (nib.Nifti1Image, ".nii"),
        (nib.Nifti1Image, ".nii.gz"),
        (nib.Nifti2Image, ".nii.gz"),
        (nib.MGHImage, ".mgz"),
    ][rng.integers(4)]
    path = folder / f"scan{ending}"
    nib.save(kind(data, affine), path)
    return path


def same(got: np.ndarray, wanted: np.ndarray, one: np.ndarray, other: np.ndarray) -> bool:
    """Tell whether two arrays are equal, and their affines agree on the corners."""
    corners = np.array([(*c, 1) for c in itertools.product(*((0, n) for n in wanted.shape))])
    apart = np.abs(corners @ (one - other).T).max()
    return got.shape == wanted.shape and np.array_equal(got, wanted) and bool(apart < 1e-3)


def trip(folder: Path, rng: np.random.Generator) -> dict[str, bool]:
    """Go each way once; return which held."""
    from napari_pvs.evaluation.compare import compare_files
    from napari_pvs.scans.display import from_display, to_display
    from napari_pvs.scans.grid import from_ras, to_ras
    from napari_pvs.scans.nifti import SCALE, read_labels, read_volume, write_like
    from napari_pvs.study.labels import LabelStore

    volume = read_volume(scan_file(folder, rng))
    most = int(rng.choice([1, 200, 70_000]))
    label = (rng.integers(1, most + 1, volume.shape) * (rng.random(volume.shape) < 0.05)).astype(
        np.int32
    )
    label.flat[0] = most
    share = rng.random(volume.shape).astype(np.float32)
    held = {}
    path = folder / f"label{rng.choice(['.nii', '.nii.gz'])}"
    write_like(path, label, volume)
    got = read_labels(path)
    held["labels through a file"] = same(got.data, label, got.affine, volume.affine)
    write_like(folder / "share.nii.gz", share, volume, scaled=True)
    soft = read_volume(folder / "share.nii.gz")
    close = np.abs(soft.data - share).max() < 1 / SCALE
    held["probabilities through a file"] = bool(close) and soft.shape == share.shape
    turned, affine = to_ras(label, volume.affine)
    back = from_ras(turned, volume.affine)
    held["through the RAS+ grid"] = np.array_equal(back, label)
    held["through the viewer's order"] = np.array_equal(from_display(to_display(turned)), turned)
    study = folder / "study"
    study.mkdir(exist_ok=True)
    store = LabelStore(study, f"sub-{rng.integers(10**9)}")
    made = store.save(label, volume, author="me", origin="drawn")
    kept = store.load(made)
    held["through a revision"] = same(kept.data, label, kept.affine, volume.affine)
    write_like(folder / "turned.nii.gz", turned, geometry(turned, affine))
    score = compare_files(folder / "turned.nii.gz", path)
    held["evaluated in another axis order"] = score.dsc == 1 and score.volume_predicted_mm3 > 0
    return held


def geometry(array: np.ndarray, affine: np.ndarray) -> object:
    from napari_pvs.scans.nifti import Geometry

    return Geometry.from_affine(array.shape, affine)


def tried(folder: Path, trips: int, rng: np.random.Generator) -> tuple[Counter[str], list[str]]:
    """Return how often each way held, and what is wrong."""
    held: Counter[str] = Counter()
    wrong: list[str] = []
    for number in range(trips):
        with tempfile.TemporaryDirectory(dir=folder) as name, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ways = trip(Path(name), rng)
        held.update(way for way, good in ways.items() if good)
        wrong += [f"trip {number}: {way}" for way, good in ways.items() if not good]
    return held, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trips", type=int, default=700)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        held, wrong = tried(Path(folder), given.trips, np.random.default_rng(given.seed))
    for text in wrong:
        print(text)
    for way, count in held.items():
        print(f"{way}: {count} of {given.trips}")
    total = given.trips * len(held)
    print(f"{total} round trips, {len(wrong)} faults")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
