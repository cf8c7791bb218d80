"""Anatomies: FreeSurfer-coded label maps, deformed and sampled onto a scan's grid.

There are two sources: any FreeSurfer or SynthSeg label map (NIfTI or MGH), and the ICBM152 template
that comes with nilearn (T1, grey and white matter at 1 mm).
"""

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_pvs.errors import InputError
from napari_pvs.scans.grid import Grid, resample, to_ras, with_voxel_size
from napari_pvs.scans.masks import bounding_box, fill_holes
from napari_pvs.scans.nifti import read_labels


class Tissue(IntEnum):
    """Tissues that differ in intensity."""

    AIR = 0
    WHITE_MATTER = 1
    CORTEX = 2
    STRIATUM = 3
    PALLIDUM = 4
    THALAMUS = 5
    HIPPOCAMPUS = 6
    CSF = 7
    CEREBELLAR_WHITE_MATTER = 8
    CEREBELLAR_CORTEX = 9
    BRAINSTEM = 10
    SOFT_TISSUE = 11
    BONE = 12
    FAT = 13


BASAL_GANGLIA = (Tissue.STRIATUM, Tissue.PALLIDUM)
_VESSELS = (30, 62)
"""FreeSurfer's "vessel": wide PVS below the putamen, as a rule."""
_VENTRICLES = (4, 5, 14, 15, 43, 44, 72, 213, 31, 63)
_TISSUE_OF_CODE: dict[Tissue, tuple[int, ...]] = {
    # 25 and 57 are lesions, 77-79 hypointensities: the phantom has its own
    Tissue.WHITE_MATTER: (2, 41, 25, 57, 77, 78, 79, 85, 192, *range(250, 256), 5001, 5002),
    Tissue.CORTEX: (3, 42, *range(1000, 3000), *range(11100, 12176), 19, 20, 55, 56),
    Tissue.STRIATUM: (11, 12, 26, 50, 51, 58),
    Tissue.PALLIDUM: (13, 52),
    Tissue.THALAMUS: (9, 10, 28, 48, 49, 60, 136, 137, 163, 164),
    Tissue.HIPPOCAMPUS: (17, 18, 53, 54, 27, 59, 80),
    Tissue.CSF: (24, 257, 118, 122, *_VENTRICLES),
    Tissue.CEREBELLAR_WHITE_MATTER: (7, 46),
    Tissue.CEREBELLAR_CORTEX: (8, 47, 172, 173, 174),
    Tissue.BRAINSTEM: (16, 170, 171, 175),
    Tissue.BONE: (515, 165, 514, 502),
    Tissue.FAT: (511, 516, 258),
}


@dataclass(frozen=True)
class Anatomy:
    """One head at 1 mm.

    Attributes
    ----------
    name
        Where it comes from, for the truth files.
    tissue
        (X, Y, Z) uint8 of `Tissue`, RAS+, 1 mm isotropic.
    ventricles
        (X, Y, Z) bool, the CSF inside the brain.
    brain
        (X, Y, Z) bool, brain tissue with its sulci and ventricles.
    """

    name: str
    tissue: NDArray[np.uint8]
    ventricles: NDArray[np.bool_]
    brain: NDArray[np.bool_]

    def without_head(self) -> "Anatomy":
        """Return the brain alone, in a box with a margin of 10 voxels."""
        box = bounding_box(self.brain, margin=10)
        return Anatomy(self.name, self.tissue[box], self.ventricles[box], self.brain[box])


def read_anatomy(path: Path) -> Anatomy:
    """Read a FreeSurfer-coded label map and resample it to 1 mm RAS+.

    Raises
    ------
    InputError
        It is not a label map of a head: too little white matter or cortex.
    """
    volume = read_labels(path)
    codes, affine = to_ras(volume.data, volume.affine)
    grid = Grid(codes.shape, affine)
    if not np.allclose(grid.voxel_size, 1, atol=0.01):
        fine = with_voxel_size(grid, (1.0, 1.0, 1.0))
        codes = resample(codes, affine, fine, order=0)
    return from_codes(np.asarray(codes).astype(np.int32), Path(path).name.split(".")[0], path)


def from_codes(codes: NDArray[np.int32], name: str, source: Path | str) -> Anatomy:
    """Make an anatomy from FreeSurfer codes on a 1 mm RAS+ grid; ``source`` is for the errors."""
    lookup = np.zeros(max(int(codes.max()) + 1, 13000), np.uint8)
    lookup[500:600] = Tissue.SOFT_TISSUE  # SynthSeg's extra-cerebral codes
    for kind, members in _TISSUE_OF_CODE.items():
        lookup[list(members)] = kind
    tissue = _without_vessels(lookup[np.clip(codes, 0, None)], np.isin(codes, _VESSELS))
    volumes = np.bincount(tissue.ravel(), minlength=len(Tissue))
    if volumes[Tissue.WHITE_MATTER] < 1e5 or volumes[Tissue.CORTEX] < 1e5:
        raise InputError(
            f"{source} is not a label map of a head (FreeSurfer codes 2, 3, 41, 42 …); "
            "give a FreeSurfer or SynthSeg segmentation."
        )
    solid = (tissue > Tissue.AIR) & (tissue < Tissue.SOFT_TISSUE) & (tissue != Tissue.CSF)
    ventricles = np.isin(codes, _VENTRICLES)
    brain = _close(solid | ventricles, 4)
    return Anatomy(name, tissue, ventricles, brain)


def _without_vessels(tissue: NDArray[np.uint8], vessels: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Fill vessels with the nearest solid tissue.

    Drawn as fluid, they would be PVS that no label has.
    """
    if not vessels.any():
        return tissue
    box = bounding_box(vessels, margin=10)
    inside, hole = tissue[box].copy(), vessels[box]
    solid = ~hole & (inside > Tissue.AIR) & (inside < Tissue.SOFT_TISSUE) & (inside != Tissue.CSF)
    if solid.any():
        nearest = ndimage.distance_transform_edt(
            ~solid, return_distances=False, return_indices=True
        )
        inside[hole] = inside[tuple(each[hole] for each in nearest)]
    out = tissue.copy()
    out[box] = inside
    return out


def atrophied(anatomy: Anatomy, mm: float) -> Anatomy:
    """Widen the ventricles by ``mm``, at the expense of tissue."""
    if mm < 0.5:
        return anatomy
    import edt

    box = bounding_box(anatomy.brain, margin=2)
    tissue, ventricles = anatomy.tissue.copy(), anatomy.ventricles.copy()
    inside = tissue[box]
    gives = (inside == Tissue.WHITE_MATTER) | (inside == Tissue.STRIATUM)
    wider = gives & (edt.edt(~_lateral(anatomy, box)) <= mm)
    inside[wider] = Tissue.CSF
    ventricles[box] |= wider
    return Anatomy(anatomy.name, tissue, ventricles, anatomy.brain)


def _lateral(anatomy: Anatomy, box: tuple[slice, slice, slice]) -> NDArray[np.bool_]:
    """Return the ventricles in the upper half of the brain: the lateral ones, not the fourth."""
    ventricles = anatomy.ventricles[box].copy()
    ventricles[:, :, : ventricles.shape[2] * 2 // 5] = False
    return ventricles


def _close(mask: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    """Close a mask by a ball (in voxels) and fill its holes."""
    import edt

    box = bounding_box(mask, margin=radius + 2)
    grown = _near(mask[box], radius)
    closed = edt.edt(grown) > radius
    out = np.zeros_like(mask)
    out[box] = fill_holes(closed | mask[box])
    return out


def icbm152() -> Anatomy:
    """Return nilearn's ICBM152 2009a template, divided into tissues by its probability maps."""
    from napari_pvs.scans.template import load_template

    template = load_template()
    grey, white, deep = template.gm, template.wm, template.deep_grey
    brain = template.t1 > 0
    x, y, z = (
        (np.arange(n) + origin).reshape([-1 if a == axis else 1 for a in range(3)])
        for axis, (n, origin) in enumerate(zip(brain.shape, template.affine[:3, 3], strict=True))
    )
    x = np.abs(x)
    fluid = np.clip(1 - grey - white, 0, 1)
    tissue = np.where(white > grey, Tissue.WHITE_MATTER, Tissue.CORTEX).astype(np.uint8)
    tissue[fluid > np.maximum(grey, white)] = Tissue.CSF
    central = (x < 40) & (y > -50) & (y < 38) & (z > -20) & (z < 32) & ~template.infratentorial
    ventricles = np.asarray(ndimage.binary_opening(central & (tissue == Tissue.CSF)), bool)
    # around the ventricles, partial volume of white matter and CSF looks like grey matter
    rim = _near(ventricles, 3) & (tissue == Tissue.CORTEX) & ~deep
    tissue[rim] = np.where(template.t1[rim] > 0.6, Tissue.WHITE_MATTER, Tissue.CSF)
    solid = deep & (tissue != Tissue.CSF)
    tissue[solid] = Tissue.STRIATUM
    # an ellipsoid along the internal capsule; thalamus behind the genu, medial of the capsule
    along, across = 0.6 * (x - 19.5) - 0.8 * (y + 5), 0.8 * (x - 19.5) + 0.6 * (y + 5)
    tissue[solid & ((along / 11) ** 2 + (across / 5) ** 2 + (z / 7) ** 2 < 1)] = Tissue.PALLIDUM
    tissue[solid & (y < 0) & (x < 10 - 0.6 * y)] = Tissue.THALAMUS
    solid = template.infratentorial & (tissue != Tissue.CSF)
    # the averaged white matter of the cerebellum is faint
    tissue[solid] = np.where(
        2 * white[solid] > grey[solid],
        Tissue.CEREBELLAR_WHITE_MATTER,
        Tissue.CEREBELLAR_CORTEX,
    )
    # in front of the fourth ventricle, which the medulla leaves downwards and backwards
    stem = (x < 18) & (y > -42 - 0.4 * np.clip(-35 - z, 0, None))
    tissue[solid & stem] = Tissue.BRAINSTEM
    tissue[~brain] = Tissue.AIR
    return Anatomy("icbm152", tissue, ventricles & brain, brain)


def _near(mask: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    import edt

    return np.asarray(edt.edt(~mask) <= radius)
