"""The sample data, with a small subject in place of the real one."""

import numpy as np
import pytest

from napari_pvs.phantom import cohort
from napari_pvs.phantom.subject import Subject
from napari_pvs.widgets.viewer.layers import layer_volume
from napari_pvs.widgets.viewer.sample import synthetic_subject


@pytest.fixture
def subject(monkeypatch):
    rng = np.random.default_rng(3)
    shape = (10, 12, 14)
    affine = np.diag([0.8, 0.8, 0.8, 1])
    affine[:3, 3] = -3.6, -4.4, -5.2
    instances = np.zeros(shape, np.int32)
    instances[2:4, 3:5, 4:9] = 1
    instances[6:8, 3:5, 4:9] = 2
    one = {"region": "WM", "length_mm": 4.0, "diameter_mm": 1.1, "volume_mm3": 3.8, "voxels": 20}
    unseen = {"id": 3} | one | {"voxels": 0}
    made = Subject(
        t1=rng.random(shape, np.float32),
        t2=rng.random(shape, np.float32),
        affine=affine,
        brain=np.ones(shape, bool),
        ventricles=np.zeros(shape, bool),
        habitat=np.ones(shape, bool),
        fraction=(instances > 0).astype(np.float32),
        instances=instances,
        table=[{"id": 1} | one, {"id": 2} | one | {"region": "BG"}, unseen],
        site="A",
        anatomy="none",
    )
    monkeypatch.setattr(cohort, "make", lambda config, index: made)
    return made


def test_two_scans_and_their_pvs_on_one_grid(subject, monkeypatch):
    qtpy = pytest.importorskip("qtpy.QtCore")
    monkeypatch.setattr(qtpy.QCoreApplication, "instance", lambda: None)  # no window waits
    layers = synthetic_subject()
    assert [(meta["name"], kind) for _, meta, kind in layers] == [
        ("T1", "image"),
        ("T2", "image"),
        ("reference PVS", "labels"),
    ]
    originals = (subject.t1, subject.t2, subject.instances)
    for (data, meta, _), original in zip(layers, originals, strict=True):
        assert meta["translate"] == layers[0][1]["translate"]
        volume = layer_volume(data, meta)
        np.testing.assert_array_equal(volume.data, original)
        np.testing.assert_array_equal(volume.affine, subject.affine)
    assert list(layers[2][1]["features"]["region"]) == ["WM", "BG"]
    assert list(layers[2][1]["features"]["index"]) == [1, 2]
