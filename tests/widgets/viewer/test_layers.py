"""Volumes and scans as layers and back."""

from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from napari.layers import Labels, Layer

from napari_pvs.errors import InputError
from napari_pvs.scans.display import AXES, brain_limits, display_index, from_display, grid_index
from napari_pvs.scans.grid import Grid, to_ras
from napari_pvs.scans.nifti import Geometry, Volume
from napari_pvs.scans.scan import Scan
from napari_pvs.widgets.viewer import layers as metadata
from napari_pvs.widgets.viewer.layers import (
    KEY,
    grid_layer,
    layer_array,
    layer_volume,
    mask_layer,
    role_of,
    scan_layers,
    volume_layer,
)

SHAPE = (4, 5, 6)
TILT = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.1, 0.2, -0.15))


def orientations():
    for axes in permutations(range(3)):
        for signs in product((1, -1), repeat=3):
            matrix = np.zeros((4, 4))
            matrix[3, 3] = 1
            for column, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
                matrix[axis, column] = sign * (0.8, 0.9, 1.2)[column]
            matrix[:3, 3] = 3, -20, 11
            yield matrix


def volume(affine, shape=SHAPE, dtype=np.float32):
    data = np.random.default_rng(0).permutation(np.prod(shape)).reshape(shape).astype(dtype)
    like = Geometry.from_affine(shape, affine)
    return Volume(shape=shape, affine=like.affine, header=like.header, data=data)


@pytest.mark.parametrize("tilt", [np.eye(4), TILT], ids=["straight", "oblique"])
def test_every_orientation_comes_back_voxel_for_voxel(tilt):
    for affine in orientations():
        before = volume(tilt @ affine)
        data, meta, kind = volume_layer(before, "x", "image")
        after = layer_volume(data, meta)
        assert kind == "image"
        np.testing.assert_array_equal(after.data, before.data)
        np.testing.assert_array_equal(after.affine, before.affine)
        assert after.shape == before.shape
        assert after.header == before.header


def test_layer_coordinates_are_the_world_in_mm_whatever_the_orientation():
    for affine in orientations():
        before = volume(affine)
        data, meta, _ = volume_layer(before, "x", "image")
        for index in ((0, 0, 0), (3, 1, 2), (1, 4, 5)):
            x, y, z = (affine @ [*index, 1])[:3]
            (place,) = np.argwhere(data == before.data[index])
            shown = np.array(meta["translate"]) + place * meta["scale"]
            np.testing.assert_allclose(shown, (z, -y, x), atol=1e-9)


def test_axes_run_to_superior_posterior_right():
    before = volume(np.diag([1.0, 1, 1, 1]))
    data, meta, _ = volume_layer(before, "x", "image")
    assert meta["axis_labels"] == AXES == ("superior", "posterior", "right")
    assert meta["units"] == ("mm", "mm", "mm")
    # the uppermost row of the lowest slice is the most anterior one, left to right
    np.testing.assert_array_equal(data[0, 0], before.data[:, -1, 0])
    np.testing.assert_array_equal(data[-1, -1], before.data[:, 0, -1])
    assert data.flags.c_contiguous


def test_an_oblique_grid_is_shown_upright_around_its_own_centre():
    before = volume(TILT @ np.diag([0.8, 0.9, 1.2, 1]))
    _, meta, _ = volume_layer(before, "x", "image")
    x, y, z = (before.affine @ [*(np.array(SHAPE) - 1) / 2, 1])[:3]
    np.testing.assert_allclose(meta["scale"], (1.2, 0.9, 0.8))
    middle = np.array(meta["translate"]) + np.array(meta["scale"]) * (np.array(SHAPE[::-1]) - 1) / 2
    np.testing.assert_allclose(middle, (z, -y, x))
    np.testing.assert_array_equal(meta["metadata"][KEY]["source"].affine, before.affine)


def test_a_layer_without_a_file_gets_a_geometry_from_its_transform():
    before = volume(np.array([[0.8, 0, 0, -3], [0, 0.9, 0, 7], [0, 0, 1.2, 5], [0, 0, 0, 1.0]]))
    data, meta, _ = volume_layer(before, "x", "image")
    del meta["metadata"]
    after = layer_volume(data, meta)
    np.testing.assert_allclose(after.affine, before.affine, atol=1e-12)
    np.testing.assert_array_equal(after.data, before.data)
    assert after.path is None


def test_units_of_a_layer_without_a_file():
    data = np.zeros((2, 3, 4), np.uint8)
    microns = layer_volume(data, {"scale": (800.0,) * 3, "units": ("micrometer",) * 3})
    pixels = layer_volume(data, {"scale": (0.8,) * 3, "units": ("pixel",) * 3})
    none = layer_volume(data, {"scale": (0.8,) * 3})
    for made in (microns, pixels, none):
        assert Grid(made.shape, made.affine).voxel_size == pytest.approx((0.8, 0.8, 0.8))


@pytest.mark.parametrize(
    ("data", "meta", "words"),
    [
        (np.zeros((3, 4)), {}, "has 2 axes"),
        (np.zeros((2, 3, 4, 5)), {}, "has 4 axes"),
        (np.zeros((2, 3, 4), complex), {}, "complex128 values"),
        (np.zeros((3, 4, 3)), {"rgb": True}, "colours"),
        ([np.zeros((4, 4, 4)), np.zeros((2, 2, 2))], {"multiscale": True}, "pyramid"),
        (np.zeros((2, 3, 4)), {"affine": TILT}, "rotated or sheared"),
        (np.zeros((2, 3, 4)), {"shear": (0.1, 0, 0)}, "rotated or sheared"),
    ],
)
def test_layers_that_cannot_be_a_volume(data, meta, words):
    with pytest.raises(InputError, match=rf"the layer 'mine' .*{words}.*; "):
        layer_volume(data, {"name": "mine"} | meta)


def test_a_cropped_layer_is_refused_with_both_shapes():
    before = replace(volume(np.eye(4)), path="scan.nii.gz")
    data, meta, _ = volume_layer(before, "x", "image")
    with pytest.raises(InputError, match=r"\(5, 5, 4\) but scan.nii.gz has \(6, 5, 4\)"):
        layer_volume(data[1:], meta)


def scan():
    source = volume(next(iter(orientations())) @ np.diag([-1.0, 1, 1, 1]))
    data, affine = to_ras(source.data, source.affine)
    return Scan(
        t1=data,
        t2=None,
        grid=Grid(data.shape, affine),
        brain=np.ones(data.shape, bool),
        source=source.geometry(),
    ), source


def test_a_scan_becomes_layers_that_are_saved_like_its_file():
    made, source = scan()
    ((data, meta, kind),) = scan_layers(made)
    assert (meta["name"], kind) == ("T1", "image")
    after = layer_volume(data, meta)
    np.testing.assert_array_equal(after.data, source.data)
    np.testing.assert_array_equal(after.affine, source.affine)
    np.testing.assert_array_equal(layer_array(data, made, "T1"), made.t1)
    with pytest.raises(InputError, match="'other' has other voxels than the scan"):
        layer_array(data[1:], made, "other")
    with pytest.raises(ValueError, match="the grid"):
        grid_layer(data[1:], made.grid, made.source, "x", "labels")


@pytest.fixture
def small_scan():
    rng = np.random.default_rng(3)
    images = rng.normal(100, 20, (2, 8, 9, 10)).astype(np.float32)
    brain = np.zeros((8, 9, 10), bool)
    brain[2:-2, 2:-2, 2:-2] = True
    images[:, ~brain] *= 50  # a bright scalp must not set the contrast
    return Scan.from_arrays(*images, np.diag([0.8, 0.8, 0.8, 1]), brain)


def test_layers_of_a_scan_say_what_they_are(small_scan):
    pytest.importorskip("napari")
    from napari.layers import Layer

    t1, t2 = (Layer.create(*layer) for layer in scan_layers(small_scan))
    assert (role_of(t1), role_of(t2)) == ("T1", "T2")
    assert t1.metadata[KEY]["scan"] is small_scan
    expected = brain_limits(small_scan.t1, small_scan.brain, "T1")
    np.testing.assert_allclose(t1.contrast_limits, expected)
    (given, _) = scan_layers(small_scan, {"T1": (1.0, 2.0), "T2": (3.0, 4.0)})
    assert given[1]["contrast_limits"] == (1.0, 2.0)
    mask = Layer.create(*mask_layer(small_scan.brain, small_scan, "m", "reference"))
    assert role_of(mask) == "reference"
    assert mask.data.dtype == np.uint8
    np.testing.assert_array_equal(from_display(mask.data), small_scan.brain)
    assert mask.get_color(1).tolist() == mask.get_color(7).tolist()
    assert mask.get_color(0) is None
    assert role_of(Layer.create(np.zeros((3, 3)), {}, "image")) is None


def test_voxels_of_the_grid_and_of_a_layer(small_scan):
    (data, _, _), _ = scan_layers(small_scan)
    index = (1, 7, 4)
    there = display_index(index, small_scan)
    assert data[there] == small_scan.t1[index]
    assert grid_index(there, small_scan) == index


@pytest.fixture
def shown():
    """A tilted scan as it is shown, and the labels that napari makes over it."""
    before = volume(TILT @ np.diag([-0.8, 0.9, 1.2, 1]))
    data, meta, _ = volume_layer(before, "scan", "image")
    new = {"name": "Labels", "scale": meta["scale"], "translate": meta["translate"]}
    return before, data, meta, new


def test_new_labels_over_a_tilted_scan_lie_where_they_were_drawn(shown):
    before, data, _, new = shown
    painted = np.zeros(data.shape, np.uint8)
    painted[1, 2, 3] = 1
    after = layer_volume(painted, new)
    np.testing.assert_array_equal(after.affine, before.affine)
    np.testing.assert_array_equal(after.data > 0, before.data == data[1, 2, 3])


def test_labels_of_other_voxels_over_a_tilted_scan_are_refused(shown):
    _, data, _, new = shown
    painted = np.zeros([n + 1 for n in data.shape], np.uint8)
    with pytest.raises(
        InputError, match=r"was drawn over .*tilted and shown upright.*Correct dock"
    ):
        layer_volume(painted, new)
    away = new | {"translate": (500.0, 0.0, 0.0)}
    assert layer_volume(painted, away).affine[2, 3] == 500


def test_scans_that_are_tilted_differently_on_the_same_voxels_are_refused(shown):
    before, data, _, new = shown
    centre = before.affine[:3, :3] @ ((np.array(SHAPE) - 1) / 2) + before.affine[:3, 3]
    other = np.linalg.inv(TILT)[:3, :3] @ np.diag([-0.8, 0.9, 1.2])
    affine = np.eye(4)
    affine[:3, :3] = other
    affine[:3, 3] = centre - other @ ((np.array(SHAPE) - 1) / 2)
    second, _, _ = volume_layer(volume(affine), "second", "image")
    with pytest.raises(InputError, match="which are tilted differently; close one"):
        layer_volume(np.zeros(data.shape, np.uint8), new)
    del second  # closed
    layer_volume(np.zeros(data.shape, np.uint8), new)


@pytest.mark.parametrize(
    "change",
    [
        {"translate": (1.0, 0.0, 0.0)},
        {"scale": (2.0, 2.0, 2.0)},
        {"rotate": np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1.0]])},
        {"affine": np.diag([1, 1, 2, 1.0])},
        {"units": ("cm", "cm", "cm")},
    ],
)
def test_a_layer_of_ours_that_was_moved_is_refused(change):
    data, meta, _ = volume_layer(volume(TILT), "x", "labels")
    with pytest.raises(InputError, match="was moved, scaled or turned in napari"):
        layer_volume(data, meta | change)


pytest.importorskip("napari")


def duplicate(layer):
    """As napari does it."""
    return Layer.create(*layer.as_layer_data_tuple())


def test_a_duplicate_has_its_own_notes():
    study = Path("study")
    layer = Labels(np.zeros((2, 3, 4), np.uint8), metadata={KEY: {"loaded": {study: 1}}})
    assert metadata.origin_of(layer) == ("drawn", None)
    copy = duplicate(layer)
    metadata.record_origin(layer, "aaaa")
    metadata.parents_of(layer)[study] = 2
    assert metadata.origin_of(layer) == ("corrected", "aaaa")
    assert metadata.origin_of(copy) == ("drawn", None)
    assert (metadata.parents_of(layer), metadata.parents_of(copy)) == ({study: 2}, {study: 1})
    metadata.set_parent(copy, Path("drafts"), 5)
    assert metadata.parents_of(copy) == {study: 1, Path("drafts"): 5}
    metadata.forget(layer)
    assert metadata.parents_of(layer) == {study: 1}


def test_a_layer_of_the_users_own_has_none():
    layer = Labels(np.zeros((2, 3, 4), np.uint8))
    assert (metadata.role_of(layer), metadata.made_by(layer), metadata.source_of(layer)) == (
        None,
    ) * 3
    assert metadata.parents_of(layer) == {}
    assert KEY not in layer.metadata
