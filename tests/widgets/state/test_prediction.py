from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.components import ViewerModel

from napari_pvs.inference.components import LOWEST
from napari_pvs.inference.config import SegmentConfig
from napari_pvs.inference.segment import components
from napari_pvs.jobs import exchange
from napari_pvs.jobs.protocol import Segmented
from napari_pvs.scans.display import from_display
from napari_pvs.scans.scan import Scan
from napari_pvs.study.bids import StudySubject
from napari_pvs.widgets.state import segmentation
from napari_pvs.widgets.state.prediction import Prediction, make_layer
from napari_pvs.widgets.state.segmentation import request_for, showing
from napari_pvs.widgets.state.session import session_of


@pytest.fixture
def scan(head):
    return Scan.from_arrays(head.t1, head.t2, np.diag([0.8, 0.9, 1, 1]), head.brain)


def test_the_mask_is_that_of_the_command_line(scan):
    from scipy import ndimage

    noise = np.random.default_rng(1).normal(size=scan.grid.shape)
    probability = ndimage.gaussian_filter(noise, 1.2)
    probability = ((probability - probability.min()) / np.ptp(probability)).astype(np.float32)
    probability[:6, :, -7:] = probability[:, 20:] = 0
    viewer = ViewerModel()
    layer = viewer.add_layer(make_layer(scan, "p"))
    one = Prediction("id", "w", probability, scan.grid, layer, 0.6, 1, SegmentConfig().max_width)
    results = set()
    for threshold, min_volume in ((0.6, 1), (0.65, 6), (0.65, 0), (0.7, 0), (LOWEST, 2), (0.99, 0)):
        one.cut(threshold, min_volume)
        config = SegmentConfig(min_volume=min_volume)
        labels = components(probability, threshold, scan.grid, config)
        np.testing.assert_array_equal(from_display(layer.data), labels > 0)
        assert (one.count, one.threshold) == (labels.max(), threshold)
        assert one.volume_mm3 == pytest.approx((labels > 0).sum() * 0.72)
        results.add(one.count)
    assert len(results) > 3, results


def test_nothing_found(scan):
    layer = ViewerModel().add_layer(make_layer(scan, "p"))
    nothing = np.zeros(scan.grid.shape, np.float32)
    one = Prediction("id", "w", nothing, scan.grid, layer, 0.5, 0, 2.8)
    assert (one.count, one.volume_mm3, layer.data.any()) == (0, 0, False)


@pytest.mark.parametrize("stopped", [False, True])
def test_of_a_scan_that_goes_meanwhile_no_layer_is_left(scan, tmp_path, stopped):
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((4, 4, 4)))
    session = session_of(viewer)
    session.set_scan(scan)
    exchange.save_array(tmp_path, "mask", np.zeros(scan.grid.shape, np.uint8))
    found = Segmented(0.5, ((0, 1), (0, 1), (0, 1)), 0, 0.0, "0" * 12, "w")
    result = SimpleNamespace(path=tmp_path, answer=found)
    steps = showing(session, scan, SegmentConfig(), result)
    while len(viewer.layers) == 1:
        next(steps)
    session.set_scan(None)
    if stopped:  # as the dock does then
        steps.close()
    else:
        list(steps)
    assert list(viewer.layers) == [image]


def test_nobody_paints_on_a_prediction(scan):
    layer = ViewerModel().add_layer(make_layer(scan, "p"))
    layer.mode = "paint"
    assert layer.mode == "pan_zoom"


def test_of_a_scan_from_elsewhere_the_study_keeps_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(segmentation, "scan_folder", lambda scan, folder: folder)
    viewer = ViewerModel()
    session = session_of(viewer)

    def asked(path):
        session.scan = SimpleNamespace(source=SimpleNamespace(path=path))
        session.study = Path("study")
        session.subject = StudySubject("sub-01", None, Path("sub-01_T2w.nii.gz"), None, None)
        request = request_for(session, session.scan, SegmentConfig())(tmp_path)
        session.scan = None
        return request.study, request.subject

    assert asked(Path("sub-01_T2w.nii.gz")) == (Path("study"), "sub-01")
    for elsewhere in (Path("other_T1w.nii.gz"), None):  # a sample has no file
        assert asked(elsewhere) == (None, None)
