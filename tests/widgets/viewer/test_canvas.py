"""Removing layers in a window that draws."""

import subprocess
import sys

import pytest

pytest.importorskip("napari")

PROGRAM = """
import napari
import numpy as np
from qtpy.QtCore import QEventLoop, QTimer

from napari_pvs.widgets.state.session import session_of

def live():
    loop = QEventLoop()
    QTimer.singleShot(300, loop.quit)
    loop.exec()

viewer = napari.Viewer(show=True)
session_of(viewer)
image = viewer.add_image(np.random.rand(20, 30, 40).astype(np.float32))
for _ in range(2):
    masks = [viewer.add_labels((image.data > 0.9).astype(np.uint8)) for _ in range(2)]
    live()
    for mask in masks:
        viewer.layers.remove(mask)
    live()
    image.data = image.data / 2
    live()
viewer.close()
print("drawn")
"""


def test_layers_removed_in_one_turn_do_not_end_napari(tmp_path):
    # in a process of its own: it would take the tests with it
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    if "could not connect to display" in done.stderr:
        pytest.skip("no display")
    assert (done.returncode, done.stdout.split()[-1:]) == (0, ["drawn"]), done.stderr[-2000:]
