"""How well length and diameter of PVS are known from their voxels, on synthetic PVS.

    python benchmarks/lengths.py [--subjects 8] [--seed 2100]

Each PVS of a synthetic cohort is measured in its own voxels (those of the default label rule) by
`inference.shape.rod` and `inference.shape.curved_lengths`, and beside them by scikit-image's
`axis_major_length`, the ellipsoid's that papers on PVS report, and by the longest path along its
skeleton (`skeletonize`) plus one voxel; the diameter is that of the cylinder of the length and the
PVS's volume, of the rod and of the ellipsoid.
Printed are, by number of voxels, the mean error, its SD and the correlation with the tube that was
drawn: curved, and with ends that are too thin for the label rule. A single voxel has no
`axis_major_length`, and is left out of its rows, and so is a PVS that is in pieces in its label
from those of the two lengths along its course.
"""

import argparse
import csv
import tempfile
from pathlib import Path

import numpy as np
import records
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree
from skimage.measure import regionprops
from skimage.morphology import skeletonize

from napari_pvs.inference.shape import curved_lengths, moments, rod
from napari_pvs.phantom.cohort import write_cohort
from napari_pvs.phantom.config import PhantomConfig
from napari_pvs.scans.grid import Grid
from napari_pvs.scans.nifti import read_labels

BINS = ((1, 4), (4, 8), (8, 16), (16, 10_000), (1, 10_000))


def main() -> None:
    """Make, measure, print."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--subjects", type=int, default=8)
    arguments.add_argument("--seed", type=int, default=2100)
    arguments.add_argument("--sites", nargs="+", default=["A"])
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config = PhantomConfig(
            subjects=given.subjects, labelled=given.subjects, seed=given.seed, sites=given.sites
        )
        write_cohort(config, Path(folder) / "cohort")
        tables = sorted(Path(folder).glob("cohort/derivatives/truth/*/anat/*_seg-PVS_dseg.tsv"))
        rows = np.concatenate([measured(table) for table in tables])
    print("voxels\tPVS\tmeasure\tby\ttrue mean\terror\tSD\tr")
    kept = []
    for low, high in BINS:
        some = rows[(rows[:, 0] >= low) & (rows[:, 0] < high)]
        for name, true, columns in (
            ("length mm", 1, {"rod": 3, "curved": 7, "axis_major_length": 5, "skeleton": 8}),
            ("diameter mm", 2, {"rod": 4, "axis_major_length": 6}),
        ):
            for by, column in columns.items():
                known = some[np.isfinite(some[:, column])]
                off = known[:, column] - known[:, true]
                r = np.corrcoef(known[:, column], known[:, true])[0, 1]
                told = {
                    "voxels": f"{low}-{high - 1}", "pvs": len(known), "measure": name, "by": by,
                    "true": known[:, true].mean(), "error": off.mean(), "sd": off.std(), "r": r,
                }  # fmt: skip
                kept.append(told)
                numbers = f"{told['true']:.2f}\t{told['error']:+.2f}\t{told['sd']:.2f}\t{r:.2f}"
                print(told["voxels"], len(known), name, by, numbers, sep="\t")
    print(records.keep("lengths", {"seed": given.seed, "rows": kept}))


def measured(table: Path) -> np.ndarray:
    """Measure the PVS of a subject: a row for each.

    Voxels, true length and diameter, the rod's, the ellipsoid's, curved length, skeleton's length.
    """
    with table.open() as file:
        tubes = {int(row["index"]): row for row in csv.DictReader(file, delimiter="\t")}
    volume = read_labels(table.with_name(table.name.replace(".tsv", ".nii.gz")))
    grid = Grid(volume.data.shape, volume.affine)
    found = moments(volume.data, grid.affine[:3, :3])
    where = np.stack(np.unravel_index(found.voxels, volume.data.shape), axis=-1)
    curved = curved_lengths(where, found.ids, grid.affine[:3, :3])
    rows = []
    for region in regionprops(volume.data, spacing=grid.voxel_size):
        room = found.sizes[region.label] * grid.voxel_volume
        axis = region.axis_major_length or np.nan  # of a single voxel it is 0
        tube = tubes[region.label]
        rows.append((
            found.sizes[region.label], float(tube["length_mm"]), float(tube["diameter_mm"]),
            *rod(found.variances[region.label, 2], room), axis, np.sqrt(4 * room / (np.pi * axis)),
            curved[region.label], along_skeleton(region.image, np.array(grid.voxel_size)),
        ))  # fmt: skip
    return np.array(rows)


def along_skeleton(mask: np.ndarray, size: np.ndarray) -> float:
    """Measure the longest path on the skeleton, plus a voxel; nan if it is in pieces."""
    points = np.argwhere(skeletonize(np.pad(mask, 1)))
    if len(points) < 2:
        return float(size.mean())
    pairs = cKDTree(points).query_pairs(1.8, output_type="ndarray")
    away = np.linalg.norm((points[pairs[:, 0]] - points[pairs[:, 1]]) * size, axis=1)
    graph = coo_matrix((away, pairs.T), shape=(len(points),) * 2)
    longest = float(dijkstra(graph, directed=False).max()) + float(size.mean())
    return longest if np.isfinite(longest) else np.nan


if __name__ == "__main__":
    main()
