"""What better weights changed, in words."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("napari")

from qtpy.QtCore import QObject, Signal

from napari_pvs.inference.config import SegmentConfig
from napari_pvs.jobs import exchange, tasks
from napari_pvs.jobs.protocol import Changes, Improve, Segment, Segmented
from napari_pvs.scans.scan import Scan
from napari_pvs.widgets.train.offer import Offer, told


@pytest.mark.parametrize(
    ("before", "said"), [(800.0, "1,000 mm³, was 800 (+25 %)"), (0.0, "1,000 mm³, was 0. ")]
)
def test_in_words(before, said):
    text = told(Changes(added=3, removed=1, before_mm3=before, now_mm3=1000.0))
    assert text.startswith("3 PVS added, 1 removed; ")
    assert said in text
    assert text.endswith("Shift+T toggles the previous one.")


def test_what_changed_is_counted_per_pvs(tmp_path, head, tiny_weights, monkeypatch):
    scan = Scan.from_arrays(head.t1, head.t2, np.diag([0.8, 0.8, 0.8, 1]), head.brain)
    exchange.save_scan(tmp_path, scan)
    before, now = (np.zeros(scan.grid.shape, np.uint8) for _ in range(2))
    before[5, 5, 5:9] = before[12, 12, 5:9] = 1
    now[5, 5, 6:12] = now[9, 9, 5:7] = now[18, 18, 5:7] = 1
    exchange.save_array(tmp_path, "before", before)

    found = Segmented(0.5, ((0, 1), (0, 1), (0, 1)), 3, 1.0, "another one's", "tiny")

    def segment(request, folder, say):
        exchange.save_array(folder, "mask", now)
        return found

    monkeypatch.setattr(tasks, "segment", segment)
    request = Improve(segment=Segment(scan=tmp_path, config=SegmentConfig(weights=tiny_weights)))
    answer = tasks.improve(request, tmp_path, lambda *_: None)
    voxel = 0.8**3
    assert answer.changes == Changes(
        added=2,
        removed=1,
        before_mm3=pytest.approx(8 * voxel),
        now_mm3=pytest.approx(10 * voxel),
    )
    assert answer.segmented is found
    assert answer.dsc is None  # even better weights came meanwhile, so it is not known


class Signals(QObject):
    published, changed, prediction_changed, scan_changed = (Signal() for _ in range(4))


def test_weights_that_are_gone_are_not_offered(qtbot, tmp_path, tiny_weights):
    signals = Signals()
    watch = SimpleNamespace(
        published=signals.published,
        changed=signals.changed,
        weights=tmp_path / "gone",
        best=(0.5, 1),
    )
    session = SimpleNamespace(
        prediction_changed=signals.prediction_changed,
        scan_changed=signals.scan_changed,
        scan=object(),
        prediction=None,
        blind=False,
    )
    offer = Offer(SimpleNamespace(session=session, busy=False), watch)
    qtbot.addWidget(offer)
    signals.published.emit()  # an error would fail the test
    watch.weights = tiny_weights
    signals.published.emit()
    qtbot.waitUntil(lambda: not offer.isHidden(), timeout=60_000)
    assert "validation DSC 0.50" in offer.text.text()
    watch.best = (None, 2)  # of a run without labels
    signals.published.emit()
    told = "The run has weights, adapted without labels; their accuracy is unknown."
    qtbot.waitUntil(lambda: offer.text.text() == told, timeout=60_000)
    session.blind = True  # predictions are hidden
    signals.prediction_changed.emit()
    assert offer.isHidden()
