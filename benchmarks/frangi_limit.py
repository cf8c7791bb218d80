"""Measure how far a ridge filter gets on the synthetic cohort: the floor for every network.

Run it with ``python benchmarks/frangi_limit.py --subjects 8 [--anatomy MAP ...]``. Frangi's filter
(MICCAI 1998; alpha = beta = .5) marks bright tubes on T2 inside the true white matter and basal
ganglia, so that no mimic outside counts against it. Its threshold is chosen with the truth in hand,
once for the cohort and once for each subject: no real use of the filter can do better. Prints for
each set of scales and both usual choices of gamma the DSC, mean ± SD over subjects.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_pvs.phantom.cohort import make
from napari_pvs.phantom.config import PhantomConfig
from napari_pvs.phantom.subject import Subject
from napari_pvs.scans.masks import bounding_box

Values = NDArray[np.float32]

SCALES_MM = (0.5, 0.6, 0.7, 0.8, 1.0)
SETS = ((0.5,), (0.6,), (0.7,), (0.8,), (1.0,), (0.6, 0.8), (0.7, 1.0), (0.6, 0.7, 0.8, 1.0))
GAMMAS = ("half of largest", "small")
"""Half of the largest Hessian norm (scikit-image), or a tenth of it: strength saturates early."""
THRESHOLDS = np.geomspace(1e-4, 1, 400)


def ridges(image: Values, region: NDArray[np.bool_], sigma: NDArray[np.float64]) -> list[Values]:
    """Return Frangi's tubeness of bright ridges for each gamma, at the voxels of ``region``.

    ``sigma`` is in voxels. Derivatives are scaled to 1/mm² x sigma², as Lindeberg's.
    """
    hessian = np.empty((int(region.sum()), 3, 3), np.float32)
    for i in range(3):
        for j in range(i, 3):
            order = [0, 0, 0]
            order[i] += 1
            order[j] += 1
            second = ndimage.gaussian_filter(image, sigma, order)[region]
            hessian[:, i, j] = hessian[:, j, i] = second * sigma[i] * sigma[j]
    values = np.linalg.eigvalsh(hessian)
    values = np.take_along_axis(values, np.abs(values).argsort(1), 1)
    first, second, third = values.T
    floor = np.float32(1e-10)
    plate = np.square(second) / np.maximum(np.square(third), floor)
    blob = np.square(first) / np.maximum(np.abs(second * third), floor)
    norm = np.square(values).sum(1)
    shape = (1 - np.exp(-2 * plate)) * np.exp(-2 * blob)
    shape[(second > 0) | (third > 0)] = 0
    largest = np.sqrt(norm.max())
    return [shape * (1 - np.exp(-norm / (2 * (k * largest) ** 2))) for k in (0.5, 0.05)]


def responses(subject: Subject) -> tuple[dict[tuple[float, int], Values], NDArray[np.bool_]]:
    """Return the filter at every scale and gamma inside the habitat, and the truth there."""
    box = bounding_box(subject.habitat, margin=6)
    region = subject.habitat[box]
    image = subject.t2[box] / np.median(subject.t2[subject.habitat])
    voxel_size = np.diag(subject.affine)[:3]
    out = {}
    for scale in SCALES_MM:
        for gamma, response in enumerate(ridges(image, region, scale / voxel_size)):
            out[scale, gamma] = response
    return out, subject.instances[box][region] > 0


def curve(response: Values, truth: NDArray[np.bool_]) -> tuple[float, NDArray[np.float64]]:
    """Return the DSC at the subject's best threshold, and at each of `THRESHOLDS`."""
    order = np.argsort(-response)
    hits = np.r_[0, np.cumsum(truth[order])]
    dsc = 2 * hits / np.maximum(np.arange(len(hits)) + hits[-1], 1)
    marked = len(response) - np.searchsorted(response[order][::-1], THRESHOLDS)
    return float(dsc.max()), dsc[marked]


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--subjects", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sites", nargs="+", default=["A"])
    parser.add_argument("--anatomy", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    config = PhantomConfig(
        subjects=options.subjects,
        labelled=0,
        seed=options.seed,
        sites=tuple(options.sites),
        anatomy=tuple(options.anatomy),
    )
    found: dict[tuple[tuple[float, ...], int], list[tuple[float, NDArray[np.float64]]]] = {}
    for index in range(options.subjects):
        start = time.process_time()
        subject = make(config, index)
        single, truth = responses(subject)
        for scales in SETS:
            for gamma in range(len(GAMMAS)):
                response = np.maximum.reduce([single[scale, gamma] for scale in scales])
                found.setdefault((scales, gamma), []).append(curve(response, truth))
        best = max(rows[-1][0] for rows in found.values())
        print(
            f"subject {index + 1}: {subject.anatomy}, {len(subject.table)} PVS, "
            f"{100 * truth.mean():.2f} % of its habitat, best DSC {best:.3f} "
            f"({time.process_time() - start:.0f} s CPU)",
            flush=True,
        )
    print(f"{'scales, mm':<22}{'gamma':<18}{'one threshold':<16}{'best per subject':<18}")
    for (scales, gamma), rows in found.items():
        own = np.array([best for best, _ in rows])
        curves = np.stack([each for _, each in rows])
        shared = curves[:, curves.mean(0).argmax()]
        name = " ".join(map(str, scales))
        print(
            f"{name:<22}{GAMMAS[gamma]:<18}{shared.mean():.3f} ± {shared.std():.3f}   "
            f"{own.mean():.3f} ± {own.std():.3f}"
        )


if __name__ == "__main__":
    main()
