from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from napari_pvs.errors import InputError
from napari_pvs.phantom.anatomy import (
    BASAL_GANGLIA,
    Anatomy,
    Tissue,
    atrophied,
    from_codes,
    icbm152,
    read_anatomy,
)


def test_codes_become_tissues(codes: NDArray[np.int32], head: Anatomy) -> None:
    for members, tissue in (
        ((2, 41), Tissue.WHITE_MATTER),
        ((3,), Tissue.CORTEX),
        ((12,), Tissue.STRIATUM),
        ((13,), Tissue.PALLIDUM),
        ((10,), Tissue.THALAMUS),
        ((4, 24), Tissue.CSF),
        ((8,), Tissue.CEREBELLAR_CORTEX),
        ((7,), Tissue.CEREBELLAR_WHITE_MATTER),
        ((0,), Tissue.AIR),
    ):
        np.testing.assert_array_equal(head.tissue == tissue, np.isin(codes, members))


def test_brain_holds_the_ventricles_but_not_the_csf_around(
    codes: NDArray[np.int32], head: Anatomy
) -> None:
    np.testing.assert_array_equal(head.ventricles, codes == 4)
    assert head.brain[codes == 4].all()
    assert head.brain[codes == 3].all()
    assert head.brain[codes == 24].mean() < 0.05


def test_without_head_crops_to_the_brain() -> None:
    brain = np.zeros((60, 60, 60), bool)
    brain[25:35, 5:35, 25:55] = True
    tissue = brain.astype(np.uint8)
    small = Anatomy("x", tissue, brain, brain).without_head()
    assert small.tissue.shape == small.brain.shape == small.ventricles.shape == (30, 45, 45)
    assert small.brain.sum() == brain.sum()


def test_any_orientation_gives_the_same_anatomy(
    codes: NDArray[np.int32], head: Anatomy, tmp_path: Path
) -> None:
    flipped = codes[::-1].transpose(2, 0, 1).astype(np.int16)
    affine = np.zeros((4, 4))
    affine[0, 1], affine[1, 2], affine[2, 0], affine[3, 3] = -1, 1, 1, 1
    nib.save(nib.Nifti1Image(flipped, affine), tmp_path / "turned.nii.gz")
    read = read_anatomy(tmp_path / "turned.nii.gz")
    assert read.name == "turned"
    np.testing.assert_array_equal(read.tissue, head.tissue)


def test_fine_maps_are_brought_to_1_mm(codes: NDArray[np.int32], tmp_path: Path) -> None:
    fine = codes[:96, :, :].astype(np.uint8)
    path = tmp_path / "thin.nii"
    nib.save(nib.Nifti1Image(fine, np.diag([1.25, 1, 1, 1])), path)
    assert read_anatomy(path).tissue.shape == (120, *codes.shape[1:])


def test_refuses_what_is_no_head(tmp_path: Path) -> None:
    path = tmp_path / "mask.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((20, 20, 20), np.uint8), np.eye(4)), path)
    with pytest.raises(InputError, match=r"mask\.nii\.gz is not a label map of a head"):
        read_anatomy(path)
    with pytest.raises(InputError, match="does not exist"):
        read_anatomy(tmp_path / "none.nii.gz")


def test_refuses_an_image_of_intensities(codes: NDArray[np.int32], tmp_path: Path) -> None:
    path = tmp_path / "t1.nii.gz"
    nib.save(nib.Nifti1Image(codes[:20] * np.float32(1.37), np.eye(4)), path)
    with pytest.raises(InputError, match=r"t1\.nii\.gz"):
        read_anatomy(path)


def test_template_has_plausible_volumes() -> None:
    anatomy = icbm152()
    litres = np.bincount(anatomy.tissue.ravel(), minlength=len(Tissue)) / 1e6
    assert 0.40 < litres[Tissue.WHITE_MATTER] < 0.75
    assert 0.50 < litres[Tissue.CORTEX] < 1.00
    assert 0.012 < litres[Tissue.STRIATUM] < 0.045
    assert 0.002 < litres[Tissue.PALLIDUM] < 0.010
    assert 0.008 < litres[Tissue.THALAMUS] < 0.030
    assert 0.06 < litres[Tissue.CEREBELLAR_CORTEX] < 0.20
    assert 0.010 < anatomy.ventricles.sum() / 1e6 < 0.06
    assert not anatomy.tissue[~anatomy.brain].any()
    assert (anatomy.tissue[anatomy.ventricles] == Tissue.CSF).all()
    # both halves alike
    ganglia = np.isin(anatomy.tissue, BASAL_GANGLIA)
    left, right = ganglia[:98].sum(), ganglia[99:].sum()
    assert 0.9 < left / right < 1.1


def test_atrophy_widens_the_ventricles_at_the_tissues_cost(head: Anatomy) -> None:
    wide = atrophied(head, 3.0)
    assert atrophied(head, 0.2) is head
    assert wide.ventricles.sum() > 1.5 * head.ventricles.sum()
    assert wide.ventricles[head.ventricles].all()
    grown = wide.ventricles & ~head.ventricles
    assert (wide.tissue[grown] == Tissue.CSF).all()
    np.testing.assert_array_equal(wide.brain, head.brain)
    cortex = [(a.tissue == Tissue.CORTEX).sum() for a in (head, wide)]
    assert cortex[1] == cortex[0]


def test_vessels_of_the_map_are_tissue(codes: NDArray[np.int32]) -> None:
    """Drawn as fluid, they would be PVS without a label."""
    with_vessels = codes.copy()
    box = np.s_[70:74, 55:58, 40:46]
    with_vessels[box] = 62
    assert set(np.unique(codes[box])) <= {12, 41}
    found = from_codes(with_vessels, "head", "head.nii.gz").tissue[box]
    assert set(np.unique(found)) <= {Tissue.WHITE_MATTER, Tissue.STRIATUM}
