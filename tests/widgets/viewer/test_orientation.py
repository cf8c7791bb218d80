"""Upright planes, and which side is where."""

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.components import ViewerModel

from napari_pvs.widgets.viewer.orientation import (
    POSTERIOR,
    RIGHT,
    SUPERIOR,
    Turn,
    Upright,
    letters,
    turn_of,
    upright,
)

PLANES = {
    "axial": (POSTERIOR, RIGHT, "RLAP"),
    "coronal": (SUPERIOR, RIGHT, "RLSI"),
    "sagittal": (SUPERIOR, POSTERIOR, "APSI"),
}


@pytest.fixture
def viewer():
    viewer = ViewerModel()
    viewer.add_image(np.zeros((6, 7, 8)))
    return viewer


@pytest.mark.parametrize("name", PLANES)
def test_superior_or_anterior_is_up_and_the_patients_right_on_the_left(name):
    rows, columns, expected = PLANES[name]
    assert "".join(letters(rows, columns, upright(rows, columns, radiological=True))) == expected
    mirrored = upright(rows, columns, radiological=False)
    assert "".join(letters(rows, columns, mirrored)) == expected.replace("RL", "LR")


def test_rolling_the_axes_shows_each_plane_upright_and_comes_back(viewer, parent):
    keeper = Upright(viewer, parent, radiological=True)
    seen = []
    for _ in range(4):
        rows, columns = viewer.dims.order[-2:]
        seen.append("".join(letters(rows, columns, turn_of(viewer))))
        viewer.dims.roll()
    assert seen == ["RLAP", "APSI", "RLSI", "RLAP"]
    keeper.radiological = False
    assert turn_of(viewer) == Turn("up", "right")  # sagittal again
    assert turn_of(viewer) == upright(SUPERIOR, POSTERIOR, radiological=False)


def test_a_transposed_view_stays_as_the_user_wants_it(viewer, parent):
    Upright(viewer, parent, radiological=True)
    viewer.dims.transpose()
    assert viewer.dims.order == (0, 2, 1)
    viewer.dims.transpose()
    assert "".join(letters(1, 2, turn_of(viewer))) == "RLAP"


def test_the_head_is_not_mirrored_in_3d(viewer, parent):
    Upright(viewer, parent, radiological=True)
    for _ in range(3):
        viewer.dims.ndisplay = 3
        order = list(viewer.dims.order)
        odd = order in ([0, 2, 1], [1, 0, 2], [2, 1, 0])
        away = str(viewer.scene.camera.orientation[0]) == "away"
        assert turn_of(viewer) == Turn("down", "right")
        assert away == odd
        viewer.dims.ndisplay = 2
        viewer.dims.roll()
    assert "".join(letters(1, 2, turn_of(viewer))) == "RLAP"
