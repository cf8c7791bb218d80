"""What passes between napari and its helper process comes out as it went in."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from napari_pvs.jobs import exchange
from napari_pvs.scans.display import brain_limits
from napari_pvs.scans.nifti import read_labels, read_volume, write_like
from napari_pvs.scans.regions import Quality, Regions
from napari_pvs.scans.registration import Registration
from napari_pvs.scans.scan import Scan, load_scan

PIR = nib.affines.from_matvec([[0, 0, 1.2], [-0.8, 0, 0], [0, -0.9, 0]], (1, 2, 3))


@pytest.fixture(params=[".nii.gz", "_2.nii", ".mgz"])
def scan(request, head, tmp_path) -> Scan:
    kind = {".nii.gz": nib.Nifti1Image, "_2.nii": nib.Nifti2Image, ".mgz": nib.MGHImage}
    paths = []
    for name in ("t1", "t2", "brain"):
        data = getattr(head, name).astype(np.float32)
        image = kind[request.param](data, PIR)
        if request.param == ".nii.gz":
            image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"by hand"))
        paths.append(tmp_path / f"{name}{request.param}")
        image.to_filename(paths[-1])
    return load_scan(*paths)


def test_a_scan_comes_back_and_is_saved_like_its_file(scan, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    exchange.save_scan(folder, scan)
    back = exchange.load_scan(folder)
    for name in ("t1", "t2", "brain"):
        np.testing.assert_array_equal(getattr(back, name), getattr(scan, name))
        assert type(getattr(back, name)) is np.ndarray
    np.testing.assert_array_equal(back.grid.affine, scan.grid.affine)
    assert back.source.path == scan.source.path
    assert back.warnings == scan.warnings
    for name, one in (("before", scan), ("after", back)):
        suffix = "".join(scan.source.path.suffixes)
        write_like(tmp_path / f"{name}{suffix}", one.to_source(one.brain), one.source)
    first, second = (tmp_path / f"{name}{suffix}" for name in ("before", "after"))
    assert first.read_bytes() == second.read_bytes()
    limits = exchange.load_limits(folder)
    assert limits["T1"] == brain_limits(scan.t1, scan.brain, "T1")


def test_lesions_go_with_their_scan(scan, tmp_path):
    exchange.save_scan(tmp_path, scan)
    assert exchange.load_scan(tmp_path).lesions is None
    lesions = scan.brain & (scan.t2 > np.median(scan.t2))
    exchange.save_scan(tmp_path, replace(scan, lesions=lesions))
    np.testing.assert_array_equal(exchange.load_scan(tmp_path).lesions, lesions)


def test_the_registration_of_a_scan_comes_back(scan, tmp_path):
    exchange.save_scan(tmp_path, scan)
    assert exchange.load_scan(tmp_path).registration is None
    found = Registration(np.eye(4) + 1 / 3, 1.5, 0.1, 0.2, True, 2.5)
    exchange.save_scan(tmp_path, replace(scan, registration=found))
    back = exchange.load_scan(tmp_path).registration
    assert back.as_json() == found.as_json()
    np.testing.assert_array_equal(back.to_t1, found.to_t1)


def test_one_modality(scan, tmp_path):
    one = Scan.from_arrays(None, scan.t2, scan.grid.affine, scan.brain)
    exchange.save_scan(tmp_path, one)
    assert exchange.load_scan(tmp_path).modalities == ("T2",)


def test_a_mapped_array_can_be_painted_on_without_changing_the_file(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    exchange.save_array(tmp_path, "labels", array)
    mapped = exchange.load_array(tmp_path, "labels")
    np.testing.assert_array_equal(mapped, array)
    mapped[0, 0, 0] = 99
    np.testing.assert_array_equal(exchange.load_array(tmp_path, "labels"), array)


def test_volumes_keep_their_axes(scan, tmp_path):
    for read, path in ((read_volume, scan.source.path), (read_labels, scan.source.path)):
        if read is read_labels:
            path = path.with_name(path.name.replace("t1", "brain"))
        volume = read(path)
        exchange.save_volume(tmp_path, "layer_t1", volume)
        back = exchange.load_volume(tmp_path, "layer_t1")
        np.testing.assert_array_equal(back.data, volume.data)
        np.testing.assert_array_equal(back.affine, volume.affine)
        assert (back.shape, back.path) == (volume.shape, volume.path)


def test_regions_come_back(scan, tmp_path):
    shape = scan.grid.shape
    for sides, quality in ((None, None), (np.ones(shape, np.uint8), Quality(0.9, 0.95, 0.8))):
        index = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape) % 3
        regions = Regions(("a", "b"), index, sides, None, (1.0, 0.5), ("doubt",), quality)
        exchange.save_regions(tmp_path, regions)
        again = exchange.load_regions(tmp_path)
        np.testing.assert_array_equal(again.index, index)
        assert (again.sides is None) == (sides is None)
        assert again.tissue is None
        told = (again.names, again.seen, again.doubts, again.quality)
        assert told == (("a", "b"), (1.0, 0.5), ("doubt",), quality)
