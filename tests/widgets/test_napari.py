"""Reader, writers and sample data through napari itself."""

import importlib
import os
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import napari_pvs
from napari_pvs.errors import InputError
from napari_pvs.inference import components

pytest.importorskip("napari")
if sys.platform == "linux" and not os.environ.get("DISPLAY"):
    pytest.skip("no display; run under xvfb-run", allow_module_level=True)

from napari.layers import Image, Labels

AFFINES = {
    "RAS": nib.affines.from_matvec(np.diag([0.8, 0.9, 1.2]), (-5, 3, 9)),
    "LPS": nib.affines.from_matvec(np.diag([-0.8, -0.9, 1.2]), (5, 3, 9)),
    "PIR": nib.affines.from_matvec([[0, 0, 1.2], [-0.8, 0, 0], [0, -0.9, 0]], (1, 2, 3)),
    "oblique": nib.affines.from_matvec(nib.eulerangles.euler2mat(0.2, -0.1, 0.15), (4, 5, 6)),
}
SHAPE = (12, 10, 8)


@pytest.fixture
def files(tmp_path):
    """Write an image and a label map in each orientation, the oblique one also as MGH."""
    rng = np.random.default_rng(4)
    labels = np.zeros(SHAPE, np.int32)
    labels[2:6, 3:7, 2:6] = 5
    labels[7:9, 3:7, 2:6] = 1012
    paths = []
    for name, affine in AFFINES.items():
        image = rng.normal(300, 90, SHAPE).astype(np.float32)
        kinds = [(".nii.gz", nib.Nifti1Image)]
        if name == "oblique":
            kinds.append((".mgz", nib.MGHImage))
        for suffix, kind in kinds:
            for data, word in ((image, "T1w"), (labels, "dseg")):
                path = tmp_path / f"{name}_{word}{suffix}"
                kind(data, affine).to_filename(path)
                paths.append(path)
    return paths


def same_file(one, other):
    a, b = nib.load(one), nib.load(other)
    assert a.shape == b.shape
    assert a.get_data_dtype() == b.get_data_dtype()
    np.testing.assert_array_equal(a.affine, b.affine)
    np.testing.assert_array_equal(np.asarray(a.dataobj), np.asarray(b.dataobj))


def test_an_older_napari_is_refused_in_words(monkeypatch):
    from napari_pvs import widgets

    monkeypatch.setattr("importlib.metadata.version", lambda _: "0.8.0")
    with pytest.raises(ImportError, match=r"needs napari 0\.9 or newer, and this is 0\.8\.0; run"):
        importlib.reload(widgets)


def test_the_manifest_is_valid_and_every_command_exists():
    from npe2 import PluginManifest

    manifest = PluginManifest.from_file(Path(napari_pvs.__file__).with_name("napari.yaml"))
    manifest.validate_imports()
    assert manifest.name == "napari-pvs"
    (reader,) = manifest.contributions.readers
    assert reader.filename_patterns == ["*.nii", "*.nii.gz", "*.mgz"]
    assert reader.accepts_directories


def test_a_results_folder_opens_by_the_menu(make_napari_viewer, head_files, tmp_path, monkeypatch):
    from napari._qt.dialogs.qt_reader_dialog import QtReaderDialog
    from qtpy.QtWidgets import QFileDialog

    from napari_pvs.inference import outputs
    from napari_pvs.inference.config import SegmentConfig
    from napari_pvs.inference.segment import Segmentation
    from napari_pvs.scans.scan import load_scan

    t1, t2, brain = head_files
    scan = load_scan(t1, t2, brain)
    labels = np.zeros(scan.grid.shape, np.int32)
    labels[5:8, 5, 5], labels[12, 12:14, 12] = 1, 2
    found = components.table(labels, labels > 0, scan.grid)
    made = Segmentation(
        scan, labels.astype(np.float32) / 2, labels, found, 0.5, {"method": "frangi"}
    )
    outputs.write(made, tmp_path / "results", SegmentConfig(t1=t1, t2=t2, brain_mask=brain))
    viewer = make_napari_viewer()
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path / "results"))
    asked = []

    def choose(dialog):  # napari's own reader takes any folder
        asked.append(dialog.windowTitle())
        dialog.deleteLater()
        return "napari-pvs", False

    monkeypatch.setattr(QtReaderDialog, "get_user_choices", choose)
    viewer.window._qt_viewer._open_folder_dialog()
    assert asked == ["Choose reader"]
    assert [layer.name for layer in viewer.layers] == ["t1", "t2", "PVS probability", "PVS"]
    assert viewer.layers["PVS"].features["voxels"].tolist() == [3, 2]


def test_files_opened_and_saved_are_the_same_files(make_napari_viewer, files, tmp_path):
    viewer = make_napari_viewer()
    layers = viewer.open(files, plugin="napari-pvs")
    assert len(layers) == len(files)
    for path, layer in zip(files, layers, strict=True):
        assert isinstance(layer, Labels if "dseg" in path.name else Image)
        assert layer.axis_labels == ("superior", "posterior", "right")
        assert {str(unit) for unit in layer.units} == {"millimeter"}
        out = tmp_path / f"saved_{path.name}"
        written = layer.save(str(out), plugin="napari-pvs")
        assert [Path(p) for p in written] == [out]
        same_file(out, path)


def test_the_first_view_is_axial_with_anterior_up_and_right_on_the_right(
    make_napari_viewer, tmp_path
):
    # one bright voxel at the most anterior, superior right corner of a file in odd axes
    data = np.random.default_rng(5).normal(100, 10, SHAPE).astype(np.float32)
    affine = AFFINES["PIR"]
    corners = [
        (i, j, k) for i in (0, SHAPE[0] - 1) for j in (0, SHAPE[1] - 1) for k in (0, SHAPE[2] - 1)
    ]
    data[max(corners, key=lambda c: nib.affines.apply_affine(affine, c).sum())] = 999
    nib.Nifti1Image(data, affine).to_filename(tmp_path / "corner.nii")
    viewer = make_napari_viewer()
    (layer,) = viewer.open(tmp_path / "corner.nii", plugin="napari-pvs")
    assert viewer.dims.displayed == (1, 2)
    assert viewer.scene.camera.orientation2d == ("down", "right")
    top = np.argwhere(layer.data == 999)[0]
    assert top.tolist() == [layer.data.shape[0] - 1, 0, layer.data.shape[2] - 1]


def test_correcting_labels_in_the_viewer_is_what_is_saved(make_napari_viewer, files, tmp_path):
    viewer = make_napari_viewer()
    path = next(p for p in files if p.name == "oblique_dseg.nii.gz")
    (layer,) = viewer.open(path, plugin="napari-pvs")
    layer.fill((3, 1, 1), 7)
    changed = layer.data == 7
    assert changed.any()
    viewer.layers.save(str(tmp_path / "corrected"), plugin="napari-pvs")
    saved = nib.load(tmp_path / "corrected.nii.gz")
    np.testing.assert_array_equal(saved.affine, nib.load(path).affine)
    assert (np.asarray(saved.dataobj) == 7).sum() == changed.sum()


def test_new_labels_on_a_scan_lie_on_its_voxels(make_napari_viewer, files, tmp_path):
    viewer = make_napari_viewer()
    path = next(p for p in files if p.name == "LPS_T1w.nii.gz")
    (image,) = viewer.open(path, plugin="napari-pvs")
    viewer._new_labels()
    labels = viewer.layers[-1]
    assert isinstance(labels, Labels)
    labels.data_setitem((np.array([2]), np.array([3]), np.array([4])), 1)
    labels.save(str(tmp_path / "new.nii.gz"), plugin="napari-pvs")
    saved, scan = nib.load(tmp_path / "new.nii.gz"), nib.load(path)
    (index,) = np.argwhere(np.asarray(saved.dataobj))
    there = np.linalg.inv(scan.affine) @ saved.affine @ [*index, 1]
    np.testing.assert_allclose(there, np.rint(there), atol=1e-5)
    assert scan.get_fdata()[tuple(np.rint(there[:3]).astype(int))] == image.data[2, 3, 4]


def test_wrong_files_show_their_sentence(make_napari_viewer, tmp_path):
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"no scan")
    viewer = make_napari_viewer()
    with pytest.raises(InputError, match=r"truncated or damaged; copy it again"):
        viewer.open(broken, plugin="napari-pvs")
    layer = viewer.add_image(np.zeros((5, 6)), name="flat")
    with pytest.raises(InputError, match=r"the layer 'flat' has 2 axes"):
        layer.save(str(tmp_path / "flat.nii.gz"), plugin="napari-pvs")
    assert not (tmp_path / "flat.nii.gz").exists()


def test_the_sample_opens_from_the_menu_while_the_viewer_goes_on(make_napari_viewer):
    from qtpy.QtCore import QTimer

    from napari_pvs.widgets.state.session import session_of

    viewer = make_napari_viewer()
    beats = []
    timer = QTimer()
    timer.timeout.connect(lambda: beats.append(len(viewer.layers)))
    timer.start(10)
    t1, t2, pvs = viewer.open_sample("napari-pvs", "synthetic_subject")
    timer.stop()
    assert beats.count(0) > 20  # its process took seconds
    assert [layer.name for layer in viewer.layers] == ["T1", "T2", "reference PVS"]
    assert t1.data.shape == t2.data.shape == pvs.data.shape
    session = session_of(viewer)
    assert (session.t1, session.t2, session.reference) == (t1, t2, pvs)
    assert session.scan.brain.any()
    assert isinstance(pvs, Labels)
    assert pvs.data.any()
    # pointing at a PVS tells what it is
    world = pvs.data_to_world(np.argwhere(pvs.data)[0])
    viewer.dims.set_point(0, world[0])
    assert "diameter_mm" in pvs.get_status(world, world=True)["value"]


def test_docks_of_a_viewer_share_a_session_and_its_keys(make_napari_viewer, qtbot, head_files):
    from qtpy.QtCore import Qt

    from napari_pvs.scans.scan import load_scan
    from napari_pvs.widgets.viewer.layers import scan_layers

    viewer = make_napari_viewer()
    docks = [
        viewer.window.add_plugin_dock_widget("napari-pvs", name)[1]
        for name in ("Load", "Segment", "Correct", "Metrics")
    ]
    for data, meta, _ in scan_layers(load_scan(*head_files)):
        viewer.add_image(data, **meta)
    session = docks[0].session
    assert all(dock.session is session for dock in docks)
    assert session.t2 is viewer.layers[-1]
    # a key of the viewer, whichever layer is active
    session.t1.visible = False
    viewer.layers.selection.active = session.t2
    qtbot.keyClick(viewer.window._qt_viewer, Qt.Key.Key_T)
    assert (session.t1.visible, session.t2.visible) == (True, False)


def test_two_viewers_do_not_disturb_each_other(make_napari_viewer, head_files, qtbot):
    first, second = make_napari_viewer(), make_napari_viewer()
    docks = [
        viewer.window.add_plugin_dock_widget("napari-pvs", "Load")[1] for viewer in (first, second)
    ]
    docks[0].take(head_files[:2])
    docks[0].rows["brain"].give(head_files[2])
    docks[0].load_rows()
    docks[1].take(head_files[:1])
    docks[1].load_rows()
    with qtbot.waitSignal(docks[0]._job.ended, timeout=300_000):
        second.close()  # in the middle of its work
    assert len(first.layers) == 2
    assert docks[0].session.scan is not None
