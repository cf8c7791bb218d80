import os
import tracemalloc
import warnings
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_pvs.errors import InputError, InputWarning
from napari_pvs.scans.nifti import read_labels, read_volume, write_like
from napari_pvs.scans.scan import Scan, load_scan

DATA = Path(os.environ.get("NAPARI_PVS_DATA", Path(__file__).parents[3] / "shared" / "data"))
real = pytest.mark.skipif(not (DATA / "real").is_dir(), reason=f"no data in {DATA}")
SHAPE = (12, 14, 16)
LPS = np.array([[-1.0, 0, 0, 5], [0, -1, 0, 6], [0, 0, 1, -7], [0, 0, 0, 1]])


@pytest.fixture
def head():
    """T1, T2 and brain of a box of white and grey matter with a tenth of fluid, and a cortex."""
    rng = np.random.default_rng(0)
    tissue = rng.choice(3, size=SHAPE, p=[0.1, 0.4, 0.5])
    noise = rng.normal(0, 5, (2, *SHAPE))
    brain = np.zeros(SHAPE, bool)
    brain[2:-2, 2:-2, 2:-2] = True
    cortex = brain.copy()
    cortex[3:-3, 3:-3, 3:-3] = False
    tissue[cortex] = np.minimum(tissue[cortex], 1)
    t1 = np.array([30.0, 61, 100])[tissue] + noise[0]
    t2 = np.array([240.0, 127, 100])[tissue] + noise[1]
    return t1.astype(np.float32), t2.astype(np.float32), brain


def save(path, data, affine=LPS):
    data = data.astype(np.uint8) if data.dtype == bool else data
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


@pytest.fixture
def files(tmp_path, head):
    return [
        save(tmp_path / f"{n}.nii", a) for n, a in zip(("t1", "t2", "brain"), head, strict=True)
    ]


def test_loads_in_ras_and_goes_back(files, head, tmp_path):
    scan = load_scan(*files)
    assert scan.modalities == ("T1", "T2")
    assert scan.warnings == ()
    assert nib.aff2axcodes(scan.grid.affine) == ("R", "A", "S")
    np.testing.assert_array_equal(scan.t1, head[0][::-1, ::-1])
    np.testing.assert_array_equal(scan.brain, head[2][::-1, ::-1])
    assert scan.t1.flags.c_contiguous
    np.testing.assert_array_equal(scan.to_source(scan.t2), head[1])
    write_like(tmp_path / "out.nii.gz", scan.to_source(scan.brain), scan.source)
    out = nib.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(out.dataobj, head[2])
    np.testing.assert_array_equal(out.affine, LPS)
    with pytest.raises(ValueError, match="shape"):
        scan.to_source(scan.t1[1:])


def test_the_same_grid_in_other_axes_is_not_interpolated(files, head, tmp_path):
    turned = nib.as_closest_canonical(nib.Nifti1Image(head[1], LPS))
    nib.save(turned, tmp_path / "turned.nii")
    scan = load_scan(files[0], tmp_path / "turned.nii", files[2])
    np.testing.assert_array_equal(scan.t2, head[1][::-1, ::-1])


def test_one_modality(files):
    for t1, t2, names in ((files[0], None, ("T1",)), (None, files[1], ("T2",))):
        scan = load_scan(t1, t2, files[2])
        assert scan.modalities == names
        channels = scan.normalised()
        assert channels.shape == (2, *SHAPE)
        assert channels.dtype == np.float32
        assert [bool(c.any()) for c in channels] == [t1 is not None, t2 is not None]
        assert not channels[:, ~scan.brain].any()


def test_from_arrays_is_the_same_scan(files, head):
    a, b = load_scan(*files), Scan.from_arrays(*head[:2], LPS, head[2])
    np.testing.assert_array_equal(a.normalised(), b.normalised())
    assert a.grid.same_as(b.grid)
    np.testing.assert_array_equal(b.to_source(b.t1), head[0])
    with pytest.raises(ValueError, match="different shapes"):
        Scan.from_arrays(head[0], head[1][1:], LPS, head[2])
    with pytest.raises(InputError, match="neither"):
        Scan.from_arrays(None, None, LPS)


def test_volumes_on_two_grids_without_files(files, head):
    volumes = [read_volume(path) for path in files[:2]]
    loaded = load_scan(*files)
    scan = Scan.from_volumes(*volumes, read_labels(files[2]))
    np.testing.assert_array_equal(scan.normalised(), loaded.normalised())
    assert scan.source.path == files[0]
    # the same T2, its rows a voxel further to the left and never a file
    affine = volumes[1].affine @ nib.affines.from_matvec(np.eye(3), (-1, 0, 0))
    moved = replace(volumes[1], data=np.roll(volumes[1].data, 1, 0), affine=affine, path=None)
    scan = Scan.from_volumes(volumes[0], moved, read_labels(files[2]))
    np.testing.assert_allclose(scan.t2[scan.brain], loaded.t2[scan.brain], rtol=1e-5)
    far = replace(moved, affine=affine @ nib.affines.from_matvec(np.eye(3), (300, 0, 0)))
    with pytest.raises(InputError, match=r"the T2 does not overlap with .*t1\.nii"):
        Scan.from_volumes(volumes[0], far)
    with pytest.raises(InputError, match="neither"):
        Scan.from_volumes(None, None)


def test_mask_and_t2_on_other_grids(files, head, tmp_path):
    part = save(tmp_path / "t2_part.nii", head[1][:, :, :12])
    with pytest.warns(InputWarning, match=r"t2_part\.nii covers 8\d% of the brain"):
        scan = load_scan(files[0], part, files[2])
    assert len(scan.warnings) == 1
    assert not scan.brain[:, :, 12:].any()
    fine = head[2].repeat(2, 0).repeat(2, 1).repeat(2, 2)
    affine = LPS @ nib.affines.from_matvec(np.eye(3) / 2, [-0.25] * 3)
    scan = load_scan(files[0], None, save(tmp_path / "fine.nii", fine, affine))
    np.testing.assert_array_equal(scan.to_source(scan.brain), head[2])


def test_none_given():
    with pytest.raises(InputError, match="neither a T1 nor a T2"):
        load_scan(None, None)


def test_no_overlap(files, head, tmp_path):
    far = LPS.copy()
    far[0, 3] += 300
    with pytest.raises(InputError, match=r"far\.nii does not overlap with .*t1\.nii"):
        load_scan(files[0], save(tmp_path / "far.nii", head[1], far), files[2])
    with pytest.raises(InputError, match=r"mask\.nii does not overlap"):
        load_scan(files[0], None, save(tmp_path / "mask.nii", head[2], far))


def test_empty_mask(files, head, tmp_path):
    with pytest.raises(InputError, match=r"mask\.nii is empty"):
        load_scan(files[0], None, save(tmp_path / "mask.nii", np.zeros(SHAPE, bool)))


def test_no_contrast(files, head, tmp_path):
    flat = np.where(head[2], 5, head[0]).astype(np.float32)
    with pytest.raises(InputError, match=r"flat\.nii has no contrast"):
        load_scan(save(tmp_path / "flat.nii", flat), None, files[2])


@pytest.mark.parametrize(
    ("order", "match"),
    [((1, 0), "may be swapped"), ((0, 0), "same image"), ((1, None), "looks like a T2"),
     ((None, 0), "looks like a T1")],
)  # fmt: skip
def test_wrong_contrast(files, order, match):
    given = [None if i is None else files[i] for i in order]
    with pytest.warns(InputWarning, match=match):
        scan = load_scan(*given, files[2])
    assert len(scan.warnings) == 1


@pytest.mark.parametrize(
    ("size", "match"), [((1, 1, 2.5), "most PVS need about 1 mm"), ((0.5, 0.5, 1.5), "elongated")]
)
def test_coarse_voxels(head, size, match):
    with pytest.warns(InputWarning, match=match):
        Scan.from_arrays(head[0], None, np.diag([*size, 1]), head[2])


def test_warnings_of_the_file_are_kept(files, head, tmp_path):
    nib.save(nib.Nifti1Image(head[0], None), tmp_path / "a.nii")
    mask = save(tmp_path / "b.nii", head[2], nib.load(tmp_path / "a.nii").affine)
    with pytest.warns(InputWarning, match="sform"):
        scan = load_scan(tmp_path / "a.nii", None, mask)
    assert "sform" in scan.warnings[0]


def test_a_displaced_brain_mask_is_doubted(bent, tmp_path):
    t2 = save(tmp_path / "t2.nii", bent.t2, bent.grid.affine)
    told = []
    for name, mask in (("own.nii", bent.brain), ("moved.nii", np.roll(bent.brain, 4, 1))):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InputWarning)
            scan = load_scan(None, t2, save(tmp_path / name, mask, bent.grid.affine))
        told.append(" ".join(scan.warnings))
    assert "give the brain mask of this scan" not in told[0]
    assert "moved.nii" in told[1]
    assert "give the brain mask of this scan" in told[1]


@real
def test_real_scans_are_stripped_and_not_doubtful():
    folder = DATA / "real"
    scan = load_scan(folder / "ljubljana_p07_T1.nii.gz", folder / "ljubljana_p07_T2.nii.gz")
    assert scan.warnings == ()
    assert scan.brain.sum() == 1135151
    assert load_scan(folder / "openneuro_ds004230_PS11_norm.mgz", None).warnings == ()


@pytest.mark.filterwarnings("ignore::napari_pvs.errors.InputWarning")
def test_files_are_freed_as_they_are_brought_onto_the_grid(tmp_path):
    """The scan is 9 bytes a voxel, of T1, T2 and mask in the files' own order 12."""
    rng = np.random.default_rng(0)
    brain = np.zeros((64, 64, 64), bool)
    brain[16:48, 16:48, 16:48] = True
    images = (*rng.normal(100, 20, (2, *brain.shape)).astype(np.int16), brain)
    paths = [save(tmp_path / f"{n}.nii", image) for n, image in enumerate(images)]
    load_scan(*paths)  # imports
    tracemalloc.start()
    try:
        load_scan(*paths)
        assert tracemalloc.get_traced_memory()[1] < 15 * brain.size
    finally:
        tracemalloc.stop()
