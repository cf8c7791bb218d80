"""Single PVS and the voxels that a rater is asked about."""

import numpy as np

from napari_pvs.correction.items import Focus

SHAPE = (30, 30, 30)


def test_a_focus_holds_just_its_voxels():
    voxels = np.array([4, 5]), np.array([6, 6]), np.array([7, 9])
    focus = Focus.of("item", voxels)
    assert focus.centre == (4.5, 6, 8)
    assert focus.mask.shape == (2, 1, 3)
    assert all(map(np.array_equal, focus.voxels, voxels))
