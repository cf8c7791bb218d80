"""A small scan with four PVS, for the parts of the Correct dock."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

TUBES = {
    "sure": (slice(6, 8), slice(6, 8), slice(5, 12)),
    "also sure": (slice(15, 17), slice(6, 8), slice(5, 12)),
    "doubtful": (slice(6, 8), slice(18, 20), slice(10, 18)),
    "missed": (slice(16, 18), slice(18, 20), slice(8, 14)),
}
"""On the scan's grid."""
PROBABILITY = {"sure": 0.97, "also sure": 0.95, "doubtful": 0.6, "missed": 0.4}


@pytest.fixture
def own_folders(tmp_path, monkeypatch) -> Path:
    """Keep the user's own data and settings out of the tests; returns the folder of data."""
    from qtpy.QtCore import QSettings

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    for kind in (QSettings.Format.NativeFormat, QSettings.Format.IniFormat):
        QSettings.setPath(kind, QSettings.Scope.UserScope, str(tmp_path / "config"))
    if not sys.platform.startswith("linux"):
        pytest.skip("the folders of users are redirected on Linux only")
    return Path(os.environ["XDG_DATA_HOME"])


@pytest.fixture
def tubes():
    """The voxels of each PVS on the scan's grid."""
    return TUBES


@pytest.fixture
def pvs_scan(make_head):
    """T1 and T2 of white matter that holds the four."""
    from napari_pvs.scans.scan import Scan

    head = make_head(tubes=0)
    rng = np.random.default_rng(5)
    t1 = np.where(head.brain, 100 + rng.normal(0, 2, head.brain.shape), 0).astype(np.float32)
    t2 = np.where(head.brain, 100 + rng.normal(0, 2, head.brain.shape), 0).astype(np.float32)
    for tube in TUBES.values():
        t1[tube], t2[tube] = 50, 220
    affine = np.diag([0.8, 0.8, 0.8, 1])
    return Scan.from_arrays(t1, t2, affine, head.brain)


@pytest.fixture
def probability(pvs_scan):
    """What a network might say: a dark rim, and in each of the four its own value."""
    found = np.full(pvs_scan.grid.shape, 0.001, np.float32)
    for name, tube in TUBES.items():
        x, y, z = (slice(side.start, side.stop) for side in tube)
        found[x, y, z] = PROBABILITY[name]
        found[x.start, y.start, z.start + 2] += 0.02  # where it is surest
    return found


@pytest.fixture
def open_scan(pvs_scan, own_folders):
    """Function that shows a scan in a viewer and returns its session."""
    from napari.components import ViewerModel

    from napari_pvs.widgets.layers import scan_layers
    from napari_pvs.widgets.session import session_of

    kept = []

    def show(viewer=None, scan=None):
        viewer = ViewerModel() if viewer is None else viewer
        kept.append(viewer)  # sessions do not
        for data, meta, _ in scan_layers(scan or pvs_scan):
            viewer.add_image(data, **meta)
        return session_of(viewer)

    return show


@pytest.fixture
def predict(probability):
    """Function that adds a prediction to a session, and labels made of it."""

    def add(session, labels=True, found=probability):
        from napari_pvs.widgets.prediction import Prediction, add_layer

        layer = add_layer(session.viewer, session.scan, "prediction")
        grid = session.scan.grid
        one = Prediction("aaaabbbbcccc", "tiny", found, grid, layer, 0.5, 1.0, 2.8)
        session.add_prediction(one)
        if labels:
            session.copy_prediction()
            session.labels._undo_history.clear()
        return one

    return add
