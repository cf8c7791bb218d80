import numpy as np
import pytest

from napari_pvs.errors import InputError, InputWarning
from napari_pvs.scans.grid import Grid
from napari_pvs.scans.pvs import read_on, read_pvs


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
