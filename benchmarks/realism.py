"""Draw real scans' intensities, noise and PVS beside those of phantoms.

    python benchmarks/realism.py --data DIR --cohort STUDY --out FILE.png

``DIR/real`` holds scans without labels (those of ``benchmarks/real.py``), with PVS picked by eye in
``benchmarks/results/visible_pvs.tsv``; ``STUDY`` is a cohort of ``napari-pvs phantom``. Prints and
draws, for T1 and T2: the histogram inside the brain as `Scan.normalised` has it, the noise (median
absolute second difference along the axes, inside the brain), the grain of the basal ganglia (what
lies between Gaussians of 1.2 and 6 mm FWHM there, in robust standard deviations), and the peak of
PVS within one voxel.
"""

import argparse
import csv
import warnings
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_pvs.scans import derivative
from napari_pvs.scans.atlas import fit_atlas
from napari_pvs.scans.scan import Scan, load_scan

REAL = {
    "m2307_T2": (None, "m2307_T2.nii.gz", None),
    "clinical_T2": (None, "clinical_T2.nii.gz", None),
    "ljubljana_p07": ("ljubljana_p07_T1.nii.gz", "ljubljana_p07_T2.nii.gz", None),
    "studyforrest_T1": ("studyforrest_T1.nii.gz", None, None),
    "elderly_T1": ("elderly_T1.nii.gz", None, "elderly_brainmask.nii.gz"),
    "openneuro_ds004230_PS11": ("openneuro_ds004230_PS11_norm.mgz", None, None),
}
VISIBLE = Path(__file__).parent / "results" / "visible_pvs.tsv"
EDGES = {"T1": np.linspace(-4, 2.5, 66), "T2": np.linspace(-3, 9, 121)}
GRAIN_MM = (1.2, 6.0)


@dataclass
class Look:
    """What one modality of one scan looks like."""

    name: str
    density: NDArray[np.float64]
    noise: float
    grain: float
    peaks: NDArray[np.float64]


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--cohort", type=Path, required=True)
    arguments.add_argument("--out", type=Path, required=True)
    given = arguments.parse_args()
    warnings.simplefilter("ignore")
    visible = picked()
    looks: dict[tuple[str, str], list[Look]] = defaultdict(list)
    for name, files in REAL.items():
        t1, t2, mask = (file and given.data / "real" / file for file in files)
        add(looks, "real", name, load_scan(t1, t2, mask), visible.get(name, []))
    for folder in sorted(given.cohort.glob("sub-*")):
        t1, t2 = (folder / "anat" / f"{folder.name}_{kind}w.nii.gz" for kind in ("T1", "T2"))
        truth = given.cohort / "derivatives" / "truth" / folder.name / "anat"
        labels = np.asarray(
            nib.load(truth / derivative.image(folder.name, derivative.NUMBERED)).dataobj
        )
        add(looks, "phantom", folder.name, load_scan(t1, t2), centres(labels))
    report(looks)
    draw(looks, given.out)


def picked() -> dict[str, list[tuple[int, int, int]]]:
    """PVS seen by eye, by scan."""
    out: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    with VISIBLE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if row.get("kind", "pvs") == "pvs":
                out[row["scan"]].append((int(row["x"]), int(row["y"]), int(row["z"])))
    return out


def centres(labels: NDArray[np.integer]) -> list[tuple[int, int, int]]:
    """A labelled voxel in the middle of each PVS."""
    out = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None:
            voxels = np.argwhere(labels[box] == number)
            nearest = np.linalg.norm(voxels - voxels.mean(0), axis=1).argmin()
            x, y, z = voxels[nearest] + [side.start for side in box]
            out.append((int(x), int(y), int(z)))
    return out


def add(
    looks: dict[tuple[str, str], list[Look]],
    kind: str,
    name: str,
    scan: Scan,
    places: list[tuple[int, int, int]],
) -> None:
    """Measure every modality of a scan."""
    inner = ndimage.binary_erosion(scan.brain, iterations=10)
    deep = fit_atlas(scan.t1, scan.t2, scan.brain, scan.grid).deep_grey & inner
    voxel = np.array(scan.grid.voxel_size)
    for modality, image in zip(("T1", "T2"), scan.normalised(), strict=True):
        if modality not in scan.modalities:
            continue
        density, _ = np.histogram(image[scan.brain], EDGES[modality], density=True)
        steps = [np.abs(np.diff(image, 2, axis=a)) for a in range(3)]
        cores = [
            inner[tuple(slice(1, -1) if a == b else slice(None) for b in range(3))]
            for a in range(3)
        ]
        noise = np.mean([np.median(s[c]) for s, c in zip(steps, cores, strict=True)])
        extreme = np.max if modality == "T2" else np.min
        near = [image[tuple(slice(max(0, v - 1), v + 2) for v in place)] for place in places]
        peaks = np.array([extreme(part) for part in near])
        fine, coarse = (
            ndimage.gaussian_filter(image, fwhm / 2.3548 / voxel)[deep] for fwhm in GRAIN_MM
        )
        rest = fine - coarse
        grain = 1.4826 * float(np.median(np.abs(rest - np.median(rest))))
        noise = noise / 0.6745 / np.sqrt(6)
        looks[kind, modality].append(Look(name, density, noise, grain, peaks))


def report(looks: dict[tuple[str, str], list[Look]]) -> None:
    for (kind, modality), scans in sorted(looks.items()):
        noise = [look.noise for look in scans]
        grain = [look.grain for look in scans]
        peaks = np.concatenate([look.peaks for look in scans])
        low, middle, high = np.percentile(peaks, (10, 50, 90)) if len(peaks) else (np.nan,) * 3
        print(
            f"{kind:8} {modality}: {len(scans)} scans, noise {min(noise):.2f} to {max(noise):.2f}, "
            f"grain {min(grain):.2f} to {max(grain):.2f}, "
            f"PVS peak {middle:.1f} (10 to 90 %: {low:.1f} to {high:.1f}, n {len(peaks)})"
        )


def draw(looks: dict[tuple[str, str], list[Look]], out: Path) -> None:
    figure, axes = plt.subplots(2, 4, figsize=(16, 7), layout="constrained")
    for row, modality in zip(axes, ("T1", "T2"), strict=True):
        middles = (EDGES[modality][1:] + EDGES[modality][:-1]) / 2
        noises, grains, peaks = [], [], []
        for kind, colour in (("phantom", "tab:orange"), ("real", "tab:blue")):
            scans = looks[kind, modality]
            for n, look in enumerate(scans):
                row[0].plot(
                    middles,
                    look.density,
                    color=colour,
                    lw=1,
                    alpha=0.7,
                    label=kind if not n else None,
                )
            noises.append([look.noise for look in scans])
            grains.append([look.grain for look in scans])
            peaks.append(np.concatenate([look.peaks for look in scans]))
        row[0].set(title=f"{modality}: intensity in the brain", xlabel="normalised", yscale="log")
        row[0].set_ylim(1e-4)
        row[0].legend()
        for axis, values, title in (
            (row[1], noises, "noise"),
            (row[2], grains, "grain of the basal ganglia"),
            (row[3], peaks, "peak of PVS"),
        ):
            axis.boxplot(values, tick_labels=["phantom", "real"], whis=(5, 95))
            axis.set(title=f"{modality}: {title}", ylabel="normalised")
    figure.savefig(out, dpi=80)


if __name__ == "__main__":
    main()
