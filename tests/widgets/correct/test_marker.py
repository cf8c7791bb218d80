"""The ring around the PVS under review, as it is drawn."""

import os
import sys

import numpy as np
import pytest

pytest.importorskip("napari")
if sys.platform == "linux" and not os.environ.get("DISPLAY"):
    pytest.skip("no display; run under xvfb-run", allow_module_level=True)

from napari_pvs.widgets.correct.review_queue import Marker
from napari_pvs.widgets.state.session import session_of
from napari_pvs.widgets.viewer.layers import scan_layers


def test_the_ring_is_drawn_near_its_voxel_and_nothing_elsewhere(make_napari_viewer, pvs_scan):
    viewer = make_napari_viewer(show=True)
    for data, meta, _ in scan_layers(pvs_scan):
        viewer.add_image(data, **meta)
    session = session_of(viewer)

    def picture():
        return viewer.screenshot(flash=False)

    def go(slices):
        here = np.array(layer.data_to_world((point[0] + slices, *point[1:])))
        viewer.dims.set_point(range(3), here)

    layer, point = session.t2, tuple(n // 2 for n in session.t2.data.shape)
    marker = Marker(session)
    for slices, seen in ((0, True), (2, True), (6, False), (-6, False)):
        go(slices)
        without = picture()
        marker.show(layer, point)
        ring = picture()
        assert (ring != without).any() == seen, slices
        marker.clear()
        assert (picture() == without).all()
