import numpy as np
import pytest

from napari_pvs.errors import InputError, InputWarning
from napari_pvs.scans.grid import Grid
from napari_pvs.scans.pvs import read_on, read_pvs, warn_of_outside

AFFINE = [[0.8, 0, 0, -9], [0, 0.8, 0, -11], [0, 0, 0.8, -10], [0, 0, 0, 1.0]]


def test_a_scan_given_as_a_label_is_told(tmp_path, write_image):
    mask = np.zeros((10, 10, 10), np.uint8)
    mask[:1] = 1  # a tenth
    np.testing.assert_array_equal(read_pvs(write_image(tmp_path / "a.nii.gz", mask)).data, mask)
    mask[:4] = 3
    path = write_image(tmp_path / "b.nii.gz", mask)
    with pytest.warns(InputWarning, match=r"b.nii.gz marks 40% of its voxels, but PVS fill less"):
        np.testing.assert_array_equal(read_pvs(path).data, mask)


def test_a_mask_is_turned_onto_a_scan_and_may_be_off_by_a_rounding(tmp_path, write_image):
    mask = np.zeros((6, 5, 4), np.int16)
    mask[1, 2, 3] = 300
    grid = Grid(mask.shape, np.diag([0.8, 0.8, 1.0, 1.0]))
    turned = grid.affine @ np.array([[-1, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    turned[0, 3] += 0.099
    path = write_image(tmp_path / "a.nii.gz", mask[::-1], turned)
    got = read_on(path, grid, "scan")
    np.testing.assert_array_equal(got, mask)
    assert got.dtype == np.int32
    turned[0, 3] += 0.002
    write_image(path, mask[::-1], turned)
    with pytest.raises(InputError, match=r"a.nii.gz is not on the voxel grid of scan; give"):
        read_on(path, grid, "scan")


def test_what_lies_outside_is_told_with_its_number():
    with pytest.warns(InputWarning, match=r"^205 of 327 voxels lie outside$"):
        warn_of_outside(327, 122, "{} voxels lie outside")
    warn_of_outside(100, 98, "{}")  # a rounding at the surface
    warn_of_outside(0, 0, "{}")
    with pytest.warns(InputWarning, match=r"^3 of 100$"):
        warn_of_outside(100, 97, "{}")


@pytest.mark.filterwarnings("ignore:.* negative numbers, which count as background")
@pytest.mark.parametrize(
    ("values", "kind"),
    [((0, 255), np.uint8), ((0, 256), np.int32), ((-1, 5), np.uint8), ((0, 0), np.uint8)],
)
def test_numbers_of_pvs_keep_their_value(tmp_path, write_image, values, kind):
    mask = np.zeros((6, 5, 4), np.int16)
    mask[1, 2, 3], mask[4, 4, 1] = values
    path = write_image(tmp_path / "a.nii.gz", mask)
    got = read_on(path, Grid(mask.shape, np.array(AFFINE)), "scan")
    np.testing.assert_array_equal(got, mask.clip(0))
    assert got.dtype == kind


def test_a_tenth_of_the_voxels_is_the_most(tmp_path, write_image, recwarn):
    mask = np.zeros((10, 10, 10), np.uint8)
    mask.flat[:100] = 1
    read_pvs(write_image(tmp_path / "a.nii.gz", mask))
    assert not recwarn.list
    mask.flat[100] = 1
    path = write_image(tmp_path / "b.nii.gz", mask)
    with pytest.warns(InputWarning, match="marks 10% of its voxels"):
        read_pvs(path)
