"""The ICBM152 template that comes with nilearn, and regions in its MNI space."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pvs.scans.masks import bounding_box

Volume = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]

# Regions in MNI mm, with x as an absolute value. Centres, semi-axes and directions are the mean and
# second moments of the labels of two heads (SynthSeg's training maps 04 and 07, Billot 2023),
# registered to the template by `register`. The last number is the minimum grey matter probability,
# low because the template counts pallidum and lateral thalamus as white matter.
_DEEP_GREY = (
    # caudate
    ((13.5, 8.6, 11.7), (6.8, 11.5, 29.5),
     ((0.92, -0.13, -0.38), (-0.38, -0.56, -0.73), (-0.12, 0.82, -0.57)), 0.3),
    # putamen and pallidum
    ((25.2, -0.2, 0.1), (9.7, 12.8, 21.9),
     ((0.92, 0.33, -0.22), (-0.15, -0.22, -0.96), (-0.37, 0.92, -0.16)), 0.1),
    # accumbens
    ((9.1, 12.1, -6.2), (3.6, 6.8, 10.6),
     ((0.77, -0.24, 0.59), (0.63, 0.15, -0.76), (0.09, 0.96, 0.26)), 0.3),
    # thalamus
    ((12.0, -18.1, 7.3), (10.4, 13.1, 20.6),
     ((0.81, 0.40, -0.44), (0.42, 0.14, 0.90), (-0.42, 0.91, 0.06)), 0.1),
)  # fmt: skip
# Height (z) halfway between the highest infratentorial voxel and the lowest cerebral voxel above
# it, from the same heads; -80 if nothing infratentorial is below. The brainstem ends at its
# junction with the ventral diencephalon.
_TENTORIUM_X = (0.0, 6.0, 12.0, 20.0, 30.0, 40.0, 50.0, 60.0)
_TENTORIUM_Y = (-100.0, -92.0, -84.0, -76.0, -68.0, -60.0, -52.0, -44.0, -36.0, -28.0, -20.0,
                -12.0, -4.0)  # fmt: skip
_TENTORIUM_Z = (
    (-30.0, -30.0, -28.0, -26.0, -26.0, -28.0, -40.0, -80.0),
    (-23.0, -23.0, -19.0, -19.5, -19.5, -22.0, -24.0, -80.0),
    (-17.0, -17.5, -18.0, -18.0, -20.0, -19.5, -20.0, -60.0),
    (-10.0, -12.0, -15.0, -17.0, -19.5, -19.5, -20.0, -40.0),
    (1.0, -5.0, -10.5, -14.5, -17.5, -20.5, -20.5, -40.0),
    (4.0, 2.0, -6.5, -14.0, -18.5, -22.5, -24.5, -40.0),
    (4.0, 2.0, -5.0, -13.5, -20.0, -25.0, -28.0, -60.0),
    (2.0, -2.0, -10.0, -16.5, -23.5, -28.5, -80.0, -80.0),
    (1.0, 0.0, -12.5, -19.5, -26.5, -40.0, -80.0, -80.0),
    (1.0, 1.0, -6.5, -27.0, -80.0, -80.0, -80.0, -80.0),
    (-19.0, -20.0, -20.0, -80.0, -80.0, -80.0, -80.0, -80.0),
    (-26.0, -26.0, -30.0, -80.0, -80.0, -80.0, -80.0, -80.0),
    (-80.0, -80.0, -80.0, -80.0, -80.0, -80.0, -80.0, -80.0),
)

REGIONS = (
    "basal ganglia",
    "thalamus",
    "hippocampus",
    "centrum semiovale",
    "other white matter",
    "midbrain",
    "pons",
    "medulla",
    "cerebellum",
)
"""Numbers 1 to 9 of `load_regions`; docs/concepts/regions.md says where each begins and ends."""
WHITE_MATTER = (4, 5)
"""Of these: regions of white matter, whose cortex is not theirs."""
VENTRICLES = 10
"""The number that the file has for the ventricles."""
_FILE = "icbm152_regions.nii.gz"


@dataclass(frozen=True, eq=False)
class Template:
    """ICBM152 2009a symmetric (Fonov et al., NeuroImage 2011) at 1 mm, as shipped in nilearn.

    ``t1``, ``wm`` and ``gm`` are float32 in 0..1; ``deep_grey`` and ``infratentorial`` are masks;
    ``affine`` takes voxels to MNI millimetres.
    """

    t1: Volume
    wm: Volume
    gm: Volume
    deep_grey: Mask
    infratentorial: Mask
    affine: NDArray[np.float64]


@cache
def load_template() -> Template:
    """Load the template and derive its regions; kept for the life of the process."""
    (t1, affine), (gm, _), (wm, _) = (_shipped(kind) for kind in ("t1", "gm", "wm"))
    axes = (np.arange(n) + origin for n, origin in zip(t1.shape, affine[:3, 3], strict=True))
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    infratentorial = _infratentorial(x, y, z) & (t1 > 0)
    deep_grey = _deep_grey(x, y, z, gm) & ~infratentorial
    return Template(t1, wm, gm, deep_grey, infratentorial, affine)


def _shipped(kind: str) -> tuple[Volume, NDArray[np.float64]]:
    """Read a map of the template from nilearn's folder, its largest value 1, and its affine.

    As `nilearn.datasets.load_mni152_template` and the like do, whose import takes seconds.
    """
    import nibabel as nib

    nilearn = find_spec("nilearn")
    assert nilearn is not None
    assert nilearn.origin is not None
    name = f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz"
    image: Any = nib.load(Path(nilearn.origin).parent / "datasets" / "data" / name)
    values = np.asarray(image.dataobj).astype(np.float32)
    return values / values.max(), np.asarray(image.affine, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class RegionMap:
    """`REGIONS` in the template's space; symmetric, so that sides are told by the sign of x.

    Attributes
    ----------
    index
        uint8 (X, Y, Z), 1 mm: the number of a region everywhere, in the ventricles that of the
        nearest one.
    ventricles
        bool (X, Y, Z).
    corner
        MNI millimetres of the first voxel.
    """

    index: NDArray[np.uint8]
    ventricles: Mask
    corner: NDArray[np.float64]

    def at(self, points: NDArray[Any]) -> tuple[NDArray[np.uint8], Mask]:
        """Return the region at (n, 3) MNI millimetres, and whether it is in a ventricle."""
        last = np.array(self.index.shape) - 1
        where = tuple(np.clip(np.rint(points - self.corner), 0, last).astype(np.intp).T)
        return self.index[where], self.ventricles[where]

    def points(self, every: int) -> list[NDArray[np.float64]]:
        """Return MNI millimetres of each region's voxels: of tissue, every so many of them."""
        template = load_template()
        start = np.rint(self.corner - template.affine[:3, 3]).astype(int)
        box = tuple(slice(a, a + n) for a, n in zip(start, self.index.shape, strict=True))
        white, grey = template.wm[box] > 0.5, template.gm[box] > 0.3
        out = []
        for number in range(1, len(REGIONS) + 1):
            here = (self.index == number) & ~self.ventricles
            here &= white if number in WHITE_MATTER else white | grey
            out.append(np.argwhere(here)[::every] + self.corner)
        return out


@cache
def load_regions() -> RegionMap:
    """Load the regions of the template; kept for the life of the process.

    ``benchmarks/regions.py --make`` made the file, from label maps of heads registered to the
    template.
    """
    import nibabel as nib
    from scipy.ndimage import distance_transform_edt

    with as_file(files("napari_pvs.scans") / _FILE) as path:
        image: Any = nib.load(path)
        index = np.asarray(image.dataobj, dtype=np.uint8).copy()
    ventricles = index == VENTRICLES
    box = bounding_box(ventricles, margin=1)
    nearest = distance_transform_edt(ventricles[box], return_distances=False, return_indices=True)
    index[box] = index[box][tuple(nearest)]
    return RegionMap(index, ventricles, np.array(image.affine[:3, 3], np.float64))


def _deep_grey(x: Volume, y: Volume, z: Volume, gm: Volume) -> Mask:
    """Grey matter (or what is not clearly white) in four ellipsoids per hemisphere."""
    out = np.zeros(gm.shape, dtype=bool)
    # no ellipsoid reaches beyond this box, and all else is most of the template
    far = [max(abs(c[k]) + max(semi) for c, semi, *_ in _DEEP_GREY) for k in range(3)]
    box = tuple(
        slice(near[0], near[-1] + 1)
        for near in (
            np.flatnonzero(np.abs(a.ravel()) <= f) for a, f in zip((x, y, z), far, strict=True)
        )
    )
    gm, inside = gm[box], out[box]
    x, y, z = x[box[0]], y[:, box[1]], z[:, :, box[2]]
    for centre, semi, axes, least in _DEEP_GREY:
        offsets = (np.abs(x) - centre[0], y - centre[1], z - centre[2])
        radius = sum(
            (sum(a * d for a, d in zip(axis, offsets, strict=True)) / length) ** 2
            for axis, length in zip(axes, semi, strict=True)
        )
        inside |= (radius <= 1) & (gm > least)
    return out


def _infratentorial(x: Volume, y: Volume, z: Volume) -> Mask:
    """Below the tentorium, whose height is interpolated between the points of the table."""
    from scipy.interpolate import RegularGridInterpolator

    height = RegularGridInterpolator(
        (_TENTORIUM_Y, _TENTORIUM_X), _TENTORIUM_Z, bounds_error=False, fill_value=-100.0
    )
    return np.asarray(z < height(np.stack(np.broadcast_arrays(y, np.abs(x)), axis=-1)), dtype=bool)
