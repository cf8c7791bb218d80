import csv
import json
import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from napari_pvs.errors import InputError
from napari_pvs.inference import outputs
from napari_pvs.inference.config import SegmentConfig
from napari_pvs.inference.segment import segment
from napari_pvs.scans.regions import Regions, places
from napari_pvs.scans.registration import Registration

TURN = np.array([[0.78, -0.17, 0, -9], [0.17, 0.78, 0, -11], [0, 0, 0.8, -10], [0, 0, 0, 1]])
FLIPPED = np.array([[0, 0, -0.8, 9], [-0.8, 0, 0, 11], [0, 0.8, 0, -10], [0, 0, 0, 1.0]])
PLAIN = np.diag([0.8, 0.8, 0.8, 1])


@pytest.fixture
def inputs(tmp_path, head, tiny_weights):
    """Write a head in some way and return its configuration."""
    head.brain[:9] = False  # so that a flip shows

    def make(affine=PLAIN, kind=np.float32, suffix=".nii.gz", given="T1 T2", t2_affine=None):
        folder = tmp_path / "in"
        folder.mkdir()
        paths = {}
        for name, data in (("T1", head.t1), ("T2", head.t2), ("brain", head.brain)):
            if name not in given and name != "brain":
                continue
            where = t2_affine if name == "T2" and t2_affine is not None else affine
            if suffix == ".mgz":
                image = nib.MGHImage(data.astype(np.float32), where)
            else:
                data = data.astype(np.uint8 if name == "brain" else np.float32)
                image = nib.Nifti1Image(data, where)
                image.set_data_dtype(data.dtype if name == "brain" else kind)
                image.header["descrip"] = b"scanner 7"
                image.header["cal_max"] = 250
                image.header.set_xyzt_units("mm", "sec")
                image.set_sform(where, code=2)
                image.set_qform(where, code=1)
            paths[name] = folder / f"{name}{suffix}"
            nib.save(image, paths[name])
        return SegmentConfig(
            t1=paths.get("T1"),
            t2=paths.get("T2"),
            brain_mask=paths["brain"],
            weights=tiny_weights,
            device="cpu",
            max_width=100,  # an untrained network finds lumps
            threshold=None if given == "T1 T2" else 0.02,
        )

    return make


def shifted(affine):
    """Half a voxel away, and coarser."""
    out = affine.copy()
    out[:3, :3] *= 1.05
    out[:3, 3] += 0.4
    return out


VARIANTS = {
    "plain": {},
    "oblique": {"affine": TURN},
    "flipped": {"affine": FLIPPED},
    "int16 with a slope": {"kind": np.int16, "affine": FLIPPED},
    "uncompressed": {"suffix": ".nii"},
    "mgz": {"suffix": ".mgz", "affine": FLIPPED},
    "T2 on another grid": {"affine": TURN, "t2_affine": shifted(TURN)},
    "T1 only": {"given": "T1"},
    "T2 only": {"given": "T2", "affine": TURN},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_files_lie_where_the_scan_lies(inputs, tmp_path, variant):
    config = inputs(**VARIANTS[variant])
    result = segment(config)
    out = tmp_path / "out"
    outputs.write(result, out, config)
    assert {p.name for p in out.iterdir()} == set(outputs.FILES)
    source = nib.load(config.t1 or config.t2)
    mask, soft, labels = (
        nib.load(out / n) for n in (outputs.MASK, outputs.PROBABILITY, outputs.LABELS)
    )
    for image in (mask, soft, labels):
        assert image.shape == source.shape
        np.testing.assert_allclose(image.affine, source.affine, atol=1e-5)
        if isinstance(source, nib.Nifti1Image):
            for field in ("qform_code", "sform_code", "xyzt_units", "pixdim", "descrip"):
                np.testing.assert_array_equal(image.header[field], source.header[field])
            np.testing.assert_array_equal(image.get_qform(), source.get_qform())
            assert image.header["cal_max"] == 0
    assert mask.get_data_dtype() == np.uint8
    assert labels.get_data_dtype() == np.int32
    mask, soft, labels = (np.asarray(i.dataobj) for i in (mask, soft, labels))
    brain = np.asarray(nib.load(config.brain_mask).dataobj) > 0
    assert set(np.unique(mask)) == {0, 1}
    np.testing.assert_array_equal(mask > 0, labels > 0)
    assert not mask[~brain].any()
    assert not soft[~brain].any()
    assert (soft[mask > 0] >= result.threshold - 1e-4).all()
    assert soft.max() <= 1


def test_table_tells_of_the_label_image(inputs, tmp_path):
    config = inputs(affine=TURN)
    out = tmp_path / "out"
    outputs.write(segment(config), out, config)
    image = nib.load(out / outputs.LABELS)
    labels = np.asarray(image.dataobj)
    soft = nib.load(out / outputs.PROBABILITY).get_fdata()
    with (out / outputs.TABLE).open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [int(r["id"]) for r in rows] == list(range(1, labels.max() + 1))
    for row in rows:
        where = labels == int(row["id"])
        assert int(row["voxels"]) == where.sum()
        volume = where.sum() * abs(np.linalg.det(TURN[:3, :3]))
        assert float(row["volume_mm3"]) == pytest.approx(volume, abs=1e-3)
        centre = nib.affines.apply_affine(image.affine, np.argwhere(where).mean(0))
        place = [float(row[f"{axis}_mm"]) for axis in "xyz"]
        np.testing.assert_allclose(place, centre, atol=2e-3)
        assert float(row["mean_probability"]) == pytest.approx(soft[where].mean(), abs=2e-4)


def test_each_pvs_has_a_region_and_a_side(inputs, tmp_path):
    config, out = inputs(), tmp_path / "out"
    found = segment(config)
    index = np.ones(found.labels.shape, np.uint16)
    sides = np.where(np.arange(index.shape[0]) < index.shape[0] // 2, 1, 2)[:, None, None]
    sides = np.broadcast_to(sides, index.shape).astype(np.uint8)
    regions = Regions(("pons", "medulla"), index, sides, seen=(1.0, 0.0))
    summary = outputs.write(replace(found, regions=regions), out, config, "<p>a page")
    with (out / outputs.TABLE).open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    wanted = places(found.labels, len(found.table), regions)
    assert len(rows) == len(found.table) > 0
    assert [(row["region"], row["side"]) for row in rows] == [("pons", one.side) for one in wanted]
    assert summary["regions"] == {"seen": {"pons": 1.0, "medulla": 0.0}}
    assert (out / outputs.REPORT).read_text() == "<p>a page"
    # a later result without a report does not keep the old one
    outputs.write(found, out, config)
    assert not (out / outputs.REPORT).exists()
    assert {path.name for path in out.iterdir()} == set(outputs.FILES)


@pytest.mark.parametrize("why", ["shape", "place"])
def test_what_is_excluded_is_in_table_and_summary(inputs, tmp_path, why):
    config = inputs()
    found = segment(config)
    one, *others = found.table
    result = replace(found, table=others, excluded={why: (one,)})
    out = tmp_path / "out"
    summary = outputs.write(result, out, config)
    assert summary[f"excluded_by_{why}"] == 1
    assert summary[f"excluded_by_{why}_mm3"] == round(one.volume_mm3, 3)
    with (out / outputs.TABLE).open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["status"] for row in rows] == ["pvs"] * len(others) + [f"excluded by {why}"]
    assert float(rows[-1]["volume_mm3"]) == one.volume_mm3


def test_summary(inputs, tmp_path):
    config = inputs()
    result = segment(config)
    out = tmp_path / "out"
    found = outputs.write(result, out, config)
    assert json.loads((out / outputs.SUMMARY).read_text()) == found
    mask = np.asarray(nib.load(out / outputs.MASK).dataobj)
    assert found["count"] == len(result.table) > 0
    assert found["volume_mm3"] == pytest.approx(mask.sum() * 0.8**3, abs=0.05)
    assert found["brain_volume_mm3"] == pytest.approx(result.scan.brain.sum() * 0.8**3, abs=0.1)
    assert found["voxel_size_mm"] == [0.8, 0.8, 0.8]
    assert found["modalities"] == ["T1", "T2"]
    assert found["weights"] == "tiny"
    assert found["threshold"] == result.threshold
    assert found["versions"]["napari-pvs"]
    assert SegmentConfig.model_validate(found["config"]) == config


def test_nothing_found(inputs, tmp_path):
    config = inputs().model_copy(update={"min_volume": 1e6})
    out = tmp_path / "out"
    outputs.write(segment(config), out, config)
    assert (out / outputs.TABLE).read_text().startswith("id\tvoxels")
    assert len((out / outputs.TABLE).read_text().splitlines()) == 1
    assert json.loads((out / outputs.SUMMARY).read_text())["count"] == 0
    assert not np.asarray(nib.load(out / outputs.MASK).dataobj).any()


def test_what_was_there_is_whole_until_all_of_the_new_is(inputs, tmp_path, monkeypatch):
    config = inputs()
    result = segment(config)
    outputs.write(result, tmp_path / "out", config)
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}

    def fail(*_):
        raise RuntimeError("while drawing")

    monkeypatch.setattr(outputs, "overlay", fail)
    with pytest.raises(RuntimeError, match="while drawing"):
        outputs.write(result, tmp_path / "out", config)
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before
    assert set(before) == set(outputs.FILES)


def test_refuses_to_overwrite(tmp_path):
    (tmp_path / outputs.TABLE).touch()
    with pytest.raises(InputError, match=r"pvs\.tsv exists; add --overwrite"):
        outputs.check_folder(tmp_path, overwrite=False)
    outputs.check_folder(tmp_path, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == [outputs.TABLE]


def test_other_files_do_not_matter(tmp_path):
    (tmp_path / "notes.txt").touch()
    outputs.check_folder(tmp_path, overwrite=False)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_out_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file is a file, not a folder"):
        outputs.check_folder(tmp_path / "file", overwrite=True)
    with pytest.raises(InputError, match="cannot be written"):
        outputs.check_folder(tmp_path / "file" / "inner", overwrite=False)


def test_unwritable_folder(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(outputs.tempfile, "TemporaryFile", refuse)  # a superuser may write anywhere
    with pytest.raises(InputError, match=r"cannot be written \(Permission denied\)"):
        outputs.check_folder(tmp_path, overwrite=False)


def test_checking_leaves_nothing(tmp_path):
    outputs.check_folder(tmp_path / "a" / "b" / "c", overwrite=False)
    assert list(tmp_path.iterdir()) == []


def test_checking_makes_nothing_that_another_job_could_stumble_over(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(outputs.Path, "mkdir", lambda self, **_: made.append(self))
    outputs.check_folder(tmp_path / "results" / "sub-01", overwrite=False)
    assert made == []


def test_a_patient_does_not_reach_the_results(inputs, tmp_path, monkeypatch):
    config = inputs(given="T1")
    folder = tmp_path / "DOE_JANE"
    folder.mkdir()
    given = config.model_copy(update={"t1": folder})
    monkeypatch.setattr(outputs, "convert", lambda path, to: shutil.copy(config.t1, to))
    out = tmp_path / "out"
    out.mkdir()
    assert outputs.names(given) == ("T1w.nii.gz", *outputs.FILES)
    used = outputs.convert_dicom(given, out)
    assert used.t1 == out / "T1w.nii.gz"
    assert outputs.convert_dicom(used, out) == used
    for said in (["--t1", str(folder)], [f"--t1={folder}"]):
        monkeypatch.setattr(outputs.sys, "argv", ["napari-pvs", "segment", *said])
        outputs.write(segment(used), out, used)
        summary = (out / outputs.SUMMARY).read_text()
        assert "DOE" not in summary
        assert "DICOM" in summary
    # other folders are told as they were given
    monkeypatch.setattr(outputs.sys, "argv", ["napari-pvs", "segment", "--out", str(folder)])
    assert outputs._command()[-1] == str(folder)


def test_the_movement_of_a_t2_is_written_and_told(inputs, tmp_path):
    config, out = inputs(), tmp_path / "out"
    result = segment(config)
    assert result.scan.registration is None  # so small a head tells nothing
    moved = Registration(np.diag([1.0, 1, 1, 1]) + np.eye(4, k=3) * 2.5, 2.5, 0.05, 0.3, True, 3.0)
    with_it = replace(result, scan=replace(result.scan, registration=moved))
    outputs.write(with_it, out, config)
    told = json.loads((out / "summary.json").read_text())["t2_registration"]
    np.testing.assert_array_equal(told.pop("to_t1"), moved.to_t1)
    assert told == {
        "shift_mm": 2.5,
        "before": 0.05,
        "after": 0.3,
        "corrected": True,
        "sharpness": 3.0,
    }
    text = (out / outputs.MOVEMENT).read_text()
    # of points of the T1 to the T2, in LPS
    assert "Parameters: 1 0 0 0 1 0 0 0 1 2.5 0 0" in text
    outputs.write(result, out, config)
    assert not (out / outputs.MOVEMENT).exists()
    assert json.loads((out / "summary.json").read_text())["t2_registration"] is None
