"""`import napari_pvs as pvs`: the verbs as functions."""

import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

import napari_pvs as pvs
from napari_pvs.errors import InputError, InputWarning
from napari_pvs.inference import outputs


@pytest.fixture
def options(tiny_weights):
    return {"weights": tiny_weights, "device": "cpu", "threshold": 0.3, "min_volume": 0}


def test_what_there_is_and_that_its_import_loads_nothing():
    code = (
        "import sys, napari_pvs as pvs; print(*pvs.__all__);"
        "assert not {'numpy', 'torch', 'pydantic', 'napari'} & set(sys.modules)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert said.split() == ["count", "evaluate", "load", "segment", "train"]
    with pytest.raises(AttributeError, match="classify"):
        pvs.classify  # noqa: B018


def test_a_scan_to_a_mask_to_measures(head_files, options, tmp_path):
    t1, t2, brain = head_files
    scan = pvs.load(t1, str(t2), brain_mask=brain)
    assert scan.modalities == ("T1", "T2")
    seen = []
    out = tmp_path / "sub-01"
    found = pvs.segment(
        t1, t2, brain_mask=brain, out=out, progress=lambda *done: seen.append(done), **options
    )
    assert seen
    again = pvs.segment(scan=scan, **options)
    np.testing.assert_array_equal(again.labels, found.labels)
    np.testing.assert_array_equal(found.mask, found.probability >= 0.3)
    mask = out / outputs.MASK
    written = np.asanyarray(nib.load(mask).dataobj) > 0
    np.testing.assert_array_equal(found.scan.to_source(found.mask), written)
    (counted,), (of_file,) = pvs.count(found), pvs.count(mask)
    assert counted.burden[0].count == of_file.burden[0].count == len(found.table)
    assert counted.burden[0].volume_percent is not None
    assert pvs.evaluate(mask, str(mask)).scores[0].dsc == 1
    with pytest.warns(InputWarning, match="have the same masks"):
        assert [one.dsc for one in pvs.evaluate(out, mask.parent).scores] == [1]


def test_results_are_not_replaced_unasked(head_files, options, tmp_path):
    (tmp_path / outputs.MASK).write_bytes(b"mine")
    options["brain_mask"] = head_files[2]
    with pytest.raises(InputError, match="overwrite"):
        pvs.segment(head_files[0], out=tmp_path, **options)
    assert (tmp_path / outputs.MASK).read_bytes() == b"mine"
    pvs.segment(head_files[0], out=tmp_path, overwrite=True, **options)
    assert (tmp_path / outputs.SUMMARY).exists()


def test_a_study_is_counted_and_who_is_left_out_is_told(make_study):
    study = make_study(3, labelled=2)
    with pytest.warns(InputWarning, match="sub-03 was not counted: it has no label"):
        counted = pvs.count(study, regions="none")
    assert [one.burden[0].subject for one in counted] == ["sub-01", "sub-02"]


def test_a_run(make_study, tmp_path):
    study = make_study(3)
    best = pvs.train(
        study, tmp_path / "run", method="supervised-mono", epochs=1, steps=1, batch=2, patch=(8,),
        device="cpu",
    )  # fmt: skip
    assert best == tmp_path / "run" / "best.safetensors"
    assert best.exists()


def test_wrong_input(head_files, tmp_path, make_study):
    with pytest.raises(InputError, match="no scan was given"):
        pvs.load()
    with pytest.raises(InputError, match="threshold must be below 1; see SegmentConfig"):
        pvs.segment(head_files[0], threshold=2)
    with pytest.raises(InputError, match="treshold is not known to this version"):
        pvs.segment(head_files[0], treshold=0.5)
    scan = pvs.load(head_files[0], brain_mask=head_files[2])
    with pytest.raises(InputError, match="give one or the other"):
        pvs.segment(head_files[0], scan=scan)
    with pytest.raises(InputError, match="registered when it is loaded"):
        pvs.segment(scan=scan, register_t2="off")
    with pytest.raises(InputError, match="names of regions were given without regions"):
        pvs.count(head_files[2], names=tmp_path / "names.tsv")
    for verb in (pvs.count, lambda path: pvs.evaluate(path, head_files[0])):
        with pytest.raises(InputError, match=r"none\.nii does not exist"):
            verb(tmp_path / "none.nii")
    with pytest.raises(InputError, match="are a file and a folder"):
        pvs.evaluate(tmp_path, head_files[0])
    study = make_study(1)
    with pytest.raises(InputError, match="has its own brain masks"):
        pvs.count(study, brain_mask=head_files[0])
    with pytest.raises(InputError, match="epochs must be at least 1; see TrainingConfig"):
        pvs.train(study, tmp_path / "run", epochs=0)
