import json
import warnings
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from napari_pvs.errors import InputError, InputWarning
from napari_pvs.scans import registration
from napari_pvs.scans import scan as scan_module
from napari_pvs.scans.checks import Placed
from napari_pvs.scans.grid import Grid, resample
from napari_pvs.scans.registration import Registration, find, moved, write_movement
from napari_pvs.scans.scan import Scan, load_scan

EDGE = 2.0
SHAPE = (64, 72, 60)


def make_head(seed):
    """T1, T2 and brain: an ellipsoid of smooth folds, others for each seed."""
    rng = np.random.default_rng(seed)
    folds = ndimage.gaussian_filter(rng.normal(size=SHAPE), 2.0)
    tissue = np.digitize(folds / folds.std(), (-0.6, 0.5))
    middle = (np.array(SHAPE) - 1) / 2
    place = (np.indices(SHAPE).T - middle).T
    brain = sum((axis / half) ** 2 for axis, half in zip(place, middle - 8, strict=True)) < 1
    images = []
    for contrast in ((30.0, 61, 100), (240.0, 127, 100)):
        image = np.where(brain, np.array(contrast)[tissue], 10)
        images.append(ndimage.gaussian_filter(image, 0.6) + rng.normal(0, 4, SHAPE))
    grid = Grid(SHAPE, np.diag([EDGE, EDGE, EDGE, 1]))
    named = zip(("one.nii", "two.nii"), images, strict=True)
    one, two = (Placed(name, image.astype(np.float32), grid) for name, image in named)
    return one, two, brain


@pytest.fixture(scope="module")
def head():
    return make_head(0)


def movement(seed=1, degrees=7.0, mm=6.0):
    """From where a point lies in the T1 to where it lies in the moved T2."""
    rng = np.random.default_rng(seed)
    axis, way = rng.normal(size=(2, 3))
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(degrees)
    matrix = np.eye(4)
    matrix[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    centre = (np.array(SHAPE) - 1) / 2 * EDGE
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre + mm * way / np.linalg.norm(way)
    return matrix


def displaced(two, matrix):
    return replace(two, data=resample(two.data, matrix @ two.grid.affine, two.grid, 3))


def residual(found, matrix, brain):
    """Largest distance in the brain between found and true places, mm."""
    away = np.linalg.inv(found.to_t1) - matrix
    points = np.argwhere(brain)[::53] * EDGE
    return np.linalg.norm(points @ away[:3, :3].T + away[:3, 3], axis=1).max()


@pytest.mark.parametrize(("seed", "degrees", "mm"), [(1, 7, 6), (2, 10, 10), (3, 0, 10), (4, 3, 0)])
def test_a_moved_t2_is_put_back(head, seed, degrees, mm):
    one, two, brain = head
    matrix = movement(seed, degrees, mm)
    found = find(one, displaced(two, matrix), brain)
    assert found.corrected
    assert residual(found, matrix, brain) < 0.4
    points = np.argwhere(brain) * EDGE
    away = np.linalg.norm(points @ (matrix - np.eye(4))[:3, :3].T + matrix[:3, 3], axis=1).max()
    assert found.shift_mm == pytest.approx(away, abs=0.5)
    assert found.before < 0.8 * found.after
    turn = found.to_t1[:3, :3]
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)


def test_a_t2_in_place_stays_there(head):
    one, two, brain = head
    found = find(one, two, brain)
    assert not found.corrected
    assert found.shift_mm < 0.3
    assert found.before == found.after
    assert found.sharpness > 1.3 * registration.SHARP
    np.testing.assert_array_equal(found.to_t1, np.eye(4))
    assert found.told("one", "two") == []


def test_less_than_half_a_voxel_is_left_alone_and_told_nobody(head):
    one, two, brain = head
    found = find(one, displaced(two, movement(5, 0, 0.7)), brain)
    assert not found.corrected
    assert found.shift_mm == pytest.approx(0.7, abs=0.3)


def test_the_same_scans_give_the_same_bits(head):
    one, two, brain = head
    two = displaced(two, movement())
    first, second = (find(one, two, brain) for _ in range(2))
    np.testing.assert_array_equal(first.to_t1, second.to_t1)
    assert first.after == second.after


def test_another_person_is_refused(head):
    one, _, brain = head
    with pytest.raises(InputError, match=r"two\.nii does not fit one\.nii.*person.*--register off"):
        find(one, make_head(9)[1], brain)


def thick(two, many):
    slices = SHAPE[2] // many
    data = two.data[..., : slices * many].reshape(*SHAPE[:2], slices, many).mean(-1)
    affine = two.grid.affine.copy()
    affine[2, 2] *= many
    affine[2, 3] += EDGE * (many - 1) / 2
    return Placed(two.name, data, Grid(data.shape, affine))


def test_thick_slices_are_registered_and_of_another_person_only_told(head):
    one, two, brain = head
    matrix = movement(6, 5, 5)
    found = find(one, thick(displaced(two, matrix), 2), brain)
    assert found.corrected
    assert residual(found, matrix, brain) < 0.8
    found = find(one, thick(make_head(9)[1], 2), brain)
    assert any("check that both show the same head" in text for text in found.told("one", "two"))


def test_part_of_the_head_is_registered_or_too_little_of_it_is_not(head):
    one, two, brain = head
    matrix = movement(7, 5, 5)
    whole = displaced(two, matrix)

    def slab(start, stop):
        box = (slice(0, SHAPE[0]), slice(0, SHAPE[1]), slice(start, stop))
        return Placed(two.name, whole.data[box], whole.grid.cropped(box))

    found = find(one, slab(20, 44), brain)
    assert found.corrected
    assert residual(found, matrix, brain) < 0.6
    assert find(one, slab(0, 9), brain) is None


def test_what_cannot_be_compared_is_not(head):
    one, two, brain = head
    assert find(one, replace(two, data=np.full(SHAPE, 3.0, np.float32)), brain) is None
    assert find(one, two, np.zeros(SHAPE, bool)) is None
    speck = np.zeros(SHAPE, bool)
    speck[30:34, 30:34, 30:34] = True
    assert find(one, two, speck) is None


def test_a_movement_is_kept_as_json(head):
    one, two, brain = head
    found = find(one, displaced(two, movement()), brain)
    back = Registration.from_json(json.loads(json.dumps(found.as_json())))
    np.testing.assert_array_equal(back.to_t1, found.to_t1)
    assert back.as_json() == found.as_json()


def test_other_tools_read_the_movement(head, tmp_path):
    import SimpleITK as sitk

    one, two, brain = head
    two = displaced(two, movement())
    found = find(one, two, brain)
    write_movement(found, tmp_path / "movement.tfm")
    images = []
    for image in (one, two):
        made = sitk.GetImageFromArray(np.ascontiguousarray(image.data.T))
        made.SetSpacing([EDGE] * 3)
        made.SetDirection([-1, 0, 0, 0, -1, 0, 0, 0, 1])  # RAS+ in ITK's LPS
        images.append(made)
    transform = sitk.ReadTransform(str(tmp_path / "movement.tfm"))
    theirs = sitk.GetArrayFromImage(sitk.Resample(images[1], images[0], transform)).T
    placed = moved(two, found)
    ours = resample(placed.data, placed.grid.affine, one.grid, 1)
    inner = ndimage.binary_erosion(brain, iterations=2)
    np.testing.assert_allclose(theirs[inner], ours[inner], rtol=1e-3, atol=0.1)


@pytest.fixture
def files(head, tmp_path):
    one, two, brain = head
    two = displaced(two, movement())
    paths = [tmp_path / name for name in ("one.nii", "two.nii", "brain.nii")]
    for path, data in zip(paths, (one.data, two.data, brain.astype(np.uint8)), strict=True):
        nib.save(nib.Nifti1Image(data, one.grid.affine), path)
    return paths


def test_a_scan_is_loaded_registered_and_says_so(head, files):
    with pytest.warns(InputWarning, match=r"two\.nii lay up to \d+\.\d mm off .*one\.nii and was"):
        scan = load_scan(*files)
    assert len(scan.warnings) == 1
    assert scan.registration.corrected
    inner = ndimage.binary_erosion(head[2], iterations=3)
    assert np.corrcoef(scan.t2[inner], head[1].data[inner])[0, 1] > 0.95
    np.testing.assert_array_equal(scan.t1, head[0].data)


def test_off_leaves_it_where_its_header_says(head, files):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        scan = load_scan(*files, register="off")
    assert scan.registration is None
    np.testing.assert_array_equal(scan.t2, nib.load(files[1]).get_fdata(dtype=np.float32))
    assert any("--register auto" in str(one.message) for one in told)


def test_a_known_registration_is_not_found_again(files, monkeypatch):
    with pytest.warns(InputWarning):
        scan = load_scan(*files)
    monkeypatch.setattr(scan_module, "find", lambda *_: pytest.fail("it is known"))
    with pytest.warns(InputWarning, match="was registered"):
        again = load_scan(*files, register=scan.registration)
    np.testing.assert_array_equal(again.t2, scan.t2)


def test_arrays_on_one_grid_are_never_moved(head):
    one, two, brain = head
    two = displaced(two, movement())
    with pytest.warns(InputWarning):
        scan = Scan.from_arrays(one.data, two.data, one.grid.affine, brain)
    assert scan.registration is None
    np.testing.assert_array_equal(scan.t2, two.data)


def test_a_t2_of_too_little_brain_is_used_as_it_is_and_that_is_told(head, tmp_path):
    one, two, brain = head
    images = {"one": one.data, "two": two.data[..., 29:32], "brain": brain.astype(np.uint8)}
    shift = one.grid.affine @ nib.affines.from_matvec(np.eye(3), (0, 0, 29))
    for name, data in images.items():
        affine = shift if name == "two" else one.grid.affine
        nib.save(nib.Nifti1Image(data, affine), tmp_path / f"{name}.nii")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        scan = load_scan(*(tmp_path / f"{name}.nii" for name in images))
    assert scan.registration is None
    assert any("shows too little of the brain to tell" in text for text in scan.warnings)
