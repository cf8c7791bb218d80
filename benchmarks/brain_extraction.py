"""Compare ways to find the brain in T1 and T2 of whole heads simulated from label maps.

Run it with ``python benchmarks/brain_extraction.py --anatomy DIR``, where DIR holds label maps of
whole heads with FreeSurfer codes (5xx extra-cerebral, as SynthSeg's training labels). Prints for
each method its Dice against the brain of the labels (tissue, ventricles and sulci), the share of
brain tissue it kept, the share of it that is skull, scalp or air, and its time.

The rows named phantom go the way of ``napari-pvs segment`` from one scan alone, on a subject that
``napari-pvs phantom --head`` makes at site B (1 mm) with all of the head in the field of view; for
them the subject's brain mask takes the place of the tissue.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from nilearn.datasets import load_mni152_brain_mask, load_mni152_template
from numpy.typing import NDArray
from scipy import ndimage

from napari_pvs.phantom.cohort import make
from napari_pvs.phantom.config import PhantomConfig
from napari_pvs.scans.brain import brain_mask, deepbet_mask, t1_like
from napari_pvs.scans.grid import Grid, to_ras
from napari_pvs.scans.masks import bounding_box

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

WHITE = (2, 41, 7, 46, 16, 28, 60, 85)
DEEP = (10, 11, 12, 13, 26, 49, 50, 51, 52, 58)
FLUID = (4, 5, 14, 15, 24, 43, 44, 72)
# Of the other tissues, T1 and T2 with white matter at 1.
EXTRA = {
    502: (0.5, 0.2),  # vessels
    506: (0.25, 2.4),  # eyes
    507: (0.85, 0.8),  # fat and muscle
    508: (1.2, 1.3),  # orbital fat
    509: (0.5, 1.6),  # nasal mucosa
    511: (0.8, 0.9),  # skin
    512: (0.6, 0.8),
    514: (0.5, 0.6),  # dura and sinuses
    515: (0.12, 0.12),  # skull
    516: (0.9, 0.9),  # marrow
    530: (0.7, 0.9),  # optic nerves
}


def simulate(labels: NDArray[np.int32], seed: int) -> tuple[Image, Image, Mask]:
    """Return T1, T2 and brain of a whole head at 1 mm, with bias field, blur and Rician noise."""
    rng = np.random.default_rng(seed)
    t1 = np.where(labels > 0, 0.61, 0.0)
    t2 = np.where(labels > 0, 1.27, 0.0)
    for codes, one, two in ((WHITE, 1.0, 1.0), (DEEP, 0.76, 1.02), (FLUID, 0.25, 2.4)):
        where = np.isin(labels, codes)
        t1[where], t2[where] = one, two
    for code, (one, two) in EXTRA.items():
        t1[labels == code], t2[labels == code] = one, two
    # Fat and muscle share one label: mix them in clumps.
    soft = np.isin(labels, (507, 511))
    clumps = ndimage.gaussian_filter(rng.standard_normal(labels.shape, dtype=np.float32), 3)
    clumps /= clumps.std()
    t1[soft] *= np.clip(1 + 0.3 * clumps[soft], 0.4, 1.8)
    t2[soft] *= np.clip(1 + 0.4 * clumps[soft], 0.3, 2.2)
    images = []
    for image in (t1, t2):
        bias = ndimage.gaussian_filter(rng.standard_normal(labels.shape, dtype=np.float32), 40)
        image = ndimage.gaussian_filter(image, 0.6) * np.exp(0.1 * bias / bias.std())
        noise = rng.standard_normal((2, *labels.shape), dtype=np.float32) / 25
        images.append((500 * np.hypot(image + noise[0], noise[1])).astype(np.float32))
    tissue = (labels > 0) & (labels < 500) & (labels != 24)
    closed = ndimage.distance_transform_edt(~tissue) <= 3
    brain = ndimage.binary_fill_holes(ndimage.distance_transform_edt(closed) > 3)
    return images[0], images[1], np.asarray(brain | tissue)


def plain(image: Image, grid: Grid) -> Mask:
    """Run deepbet as it is."""
    return deepbet_mask(image, "cpu")


def inverted(image: Image, grid: Grid) -> Mask:
    """Run deepbet on the image with its intensities turned upside down within the head."""
    top = np.percentile(image, 99.5)
    head = ndimage.binary_fill_holes(image > 0.1 * top)
    return deepbet_mask(np.where(head, top - image.clip(max=top), 0), "cpu")


def folded(image: Image, grid: Grid) -> Mask:
    """Run deepbet on the image with its bright side folded down about white matter."""
    return deepbet_mask(t1_like(image), "cpu")


def template(image: Image, grid: Grid) -> Mask:
    """Carry the ICBM152 brain mask over by an affine registration (mutual information)."""
    icbm, mask = load_mni152_template(resolution=1), load_mni152_brain_mask(resolution=1)
    fixed, moving = _itk(np.asarray(icbm.dataobj), icbm.affine), _itk(image, grid.affine)
    start = sitk.CenteredTransformInitializer(
        fixed,
        moving,
        sitk.AffineTransform(3),
        sitk.CenteredTransformInitializerFilter.MOMENTS,
    )
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(48)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.1, 1)
    near = ndimage.binary_dilation(np.asarray(mask.dataobj) > 0, iterations=4)
    method.SetMetricFixedMask(_itk(near.astype(np.float32), icbm.affine) > 0.5)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 1e-3, 200)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([4, 2, 0])
    method.SetInitialTransform(start, inPlace=True)
    method.Execute(fixed, moving)
    carried = sitk.Resample(
        _itk(np.asarray(mask.dataobj, np.float32), icbm.affine), moving, start.GetInverse()
    )
    return sitk.GetArrayFromImage(carried).T > 0.5


def _itk(data: NDArray[np.floating], affine: NDArray[np.float64]) -> sitk.Image:
    # Both worlds stay RAS+, which is all that a registration between them needs.
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.T, dtype=np.float32))
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(steps.tolist())
    image.SetDirection((affine[:3, :3] / steps).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image


METHODS: dict[str, tuple[str, Callable[[Image, Grid], Mask]]] = {
    "T1  deepbet": ("T1", plain),
    "T2  deepbet": ("T2", plain),
    "T2  deepbet, inverted": ("T2", inverted),
    "T2  deepbet, bright side folded": ("T2", folded),
    "T2  ICBM152 mask, affine": ("T2", template),
}
ALONE: dict[str, tuple[str, Callable[[Image, Grid], Mask]]] = {
    "T1 only, whole head (phantom)": ("T1", lambda image, grid: brain_mask(image, None, grid)),
    "T2 only, whole head (phantom)": ("T2", lambda image, grid: brain_mask(None, image, grid)),
}


@dataclass(frozen=True)
class Head:
    """A head whose brain is known."""

    images: dict[str, Image]
    grid: Grid
    brain: Mask
    tissue: Mask
    beyond: Mask


def from_labels(path: Path, seed: int) -> Head:
    """Simulate a head by `simulate`."""
    file = nib.load(path)
    labels = to_ras(np.asarray(file.dataobj), file.affine)[0]
    labels = np.pad(labels[bounding_box(labels > 0)], 10)
    t1, t2, brain = simulate(labels, seed)
    tissue = (labels > 0) & (labels < 500) & (labels != 24)
    beyond = (labels == 0) | (labels > 500)
    return Head({"T1": t1, "T2": t2}, Grid(labels.shape, np.eye(4)), brain, tissue, beyond)


def from_phantom(path: Path, seed: int) -> Head:
    """Make a subject of the synthetic cohort with its skull and scalp."""
    config = PhantomConfig(
        subjects=1,
        labelled=0,
        seed=seed,
        anatomy=(path,),
        sites=("B",),
        head=True,
        field_of_view=(200, 240, 220),
    )
    subject = make(config, 0)
    grid = Grid(subject.t1.shape, subject.affine)
    images = {"T1": subject.t1, "T2": subject.t2}
    return Head(images, grid, subject.brain, subject.brain, ~subject.brain)


def main() -> None:
    """Print one line for each head and method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--anatomy", type=Path, required=True)
    parser.add_argument("--heads", type=int, default=3)
    parser.add_argument("--rows", default="", help="only methods whose name holds this")
    options = parser.parse_args()
    print(f"{'head':<28}{'method':<34}{'Dice':>6}{'kept':>7}{'beyond':>8}{'s':>7}")
    for seed, path in enumerate(sorted(options.anatomy.glob("*.nii.gz"))[: options.heads]):
        for source, methods in ((from_labels, METHODS), (from_phantom, ALONE)):
            wanted = {name: method for name, method in methods.items() if options.rows in name}
            if not wanted:
                continue
            head = source(path, seed)
            for name, (modality, method) in wanted.items():
                start = time.perf_counter()
                found = method(head.images[modality], head.grid)
                took = time.perf_counter() - start
                dice = 2 * (found & head.brain).sum() / (found.sum() + head.brain.sum())
                kept = (found & head.tissue).sum() / head.tissue.sum()
                wrong = (found & head.beyond).sum() / max(found.sum(), 1)
                print(
                    f"{path.name:<28}{name:<34}{dice:6.3f}{kept:7.3f}{wrong:8.3f}{took:7.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
