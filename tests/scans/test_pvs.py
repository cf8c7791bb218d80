import numpy as np
import pytest

from napari_pvs.errors import InputWarning
from napari_pvs.scans.pvs import read_pvs


def test_a_scan_given_as_a_label_is_told(tmp_path, write_image):
    mask = np.zeros((10, 10, 10), np.uint8)
    mask[:1] = 1  # a tenth
    np.testing.assert_array_equal(read_pvs(write_image(tmp_path / "a.nii.gz", mask)).data, mask)
    mask[:4] = 3
    path = write_image(tmp_path / "b.nii.gz", mask)
    with pytest.warns(InputWarning, match=r"b.nii.gz marks 40% of its voxels, where PVS fill less"):
        np.testing.assert_array_equal(read_pvs(path).data, mask)
