"""All subjects of a study are segmented, and what is there stays."""

from pathlib import Path

import numpy as np
import pytest

from napari_pvs.errors import InputError
from napari_pvs.inference.config import SegmentConfig
from napari_pvs.inference.segment import segment_scan
from napari_pvs.scans.nifti import read_labels
from napari_pvs.scans.scan import load_scan
from napari_pvs.study import predictions
from napari_pvs.study.bids import subjects
from napari_pvs.study.labels import LabelStore
from napari_pvs.study.predictions import Predicted, keep, segment_study
from napari_pvs.workers import Workers


@pytest.fixture
def config(tiny_weights):
    return SegmentConfig(weights=tiny_weights, device="cpu", backend="torch", max_width=99)


def test_each_subject_gets_a_draft_and_labels_stay(make_study, config):
    study = make_study(3, labelled=1)
    reference = read_labels(subjects(study)[0].label).data
    told = list(segment_study(study, config))
    assert [(one.name, one.total, one.why) for one in told] == [
        (f"sub-0{n}", 3, "") for n in (1, 2, 3)
    ]
    for one, subject in zip(told, subjects(study), strict=True):
        made = LabelStore(study, one.name).predicted()
        assert (made.state, made.origin, made.number) == ("draft", "predicted", 1)
        assert made.author == "napari-pvs, tiny"
        scan = load_scan(subject.t1, subject.t2, subject.brain)
        expected = segment_scan(scan, config)
        saved = LabelStore(study, one.name).load(made).data
        np.testing.assert_array_equal(saved > 0, scan.to_source(expected.labels > 0))
        assert one.count == len(expected.table) > 0
        assert one.volume_mm3 == pytest.approx(np.count_nonzero(saved) * 0.8**3)
    assert [one.state for one in subjects(study)] == ["reference", "segmented", "segmented"]
    np.testing.assert_array_equal(read_labels(subjects(study)[0].label).data, reference)
    # again
    assert list(segment_study(study, config)) == [Predicted(one.name, 3) for one in told]
    other = config.model_copy(update={"threshold": 0.9})
    assert [one.count is None for one in segment_study(study, other, again=True)] == [False] * 3
    assert LabelStore(study, "sub-02").predicted().number == 2


def test_a_scan_that_cannot_be_used_keeps_nobody_else_back(make_study, config):
    study = make_study(3, labelled=0)
    (study / "sub-02" / "anat" / "sub-02_T1w.nii.gz").write_bytes(b"no image")
    one, two, three = segment_study(study, config)
    assert "sub-02_T1w.nii.gz" in two.why
    assert two.count is None
    assert one.count > 0 < three.count
    assert LabelStore(study, "sub-02").predicted() is None


def test_what_cannot_begin_is_refused(make_study, config, tmp_path):
    with pytest.raises(InputError, match="method frangi segments single scans"):
        next(segment_study(make_study(1), SegmentConfig(method="frangi")))
    with pytest.raises(InputError, match="is not a folder; give a BIDS dataset"):
        next(segment_study(tmp_path / "nowhere", config))
    absent = config.model_copy(update={"weights": tmp_path / "absent.safetensors"})
    with pytest.raises(InputError, match=r"absent.safetensors do not exist"):
        next(segment_study(tmp_path / "study", absent))


def test_the_same_mask_is_kept_once(make_study, config):
    study = make_study(1, labelled=0)
    (one,) = subjects(study)
    result = segment_scan(load_scan(one.t1, one.t2, one.brain), config)
    keep(result, study, one.name)
    keep(result, study, one.name)
    assert LabelStore(study, one.name).predicted().number == 1
    store = LabelStore(study, one.name)
    store.path(store.predicted()).write_bytes(b"damaged")
    keep(result, study, one.name)
    assert store.predicted().number == 2
    assert store.load(store.predicted()).data.any()


def test_a_disk_that_cannot_read_one_scan_keeps_nobody_else_back(make_study, config, monkeypatch):
    from napari_pvs.study import predictions

    read = predictions.scan_of

    def failing(subject, device, **more):
        if subject.name == "sub-02":
            raise OSError(5, "Input/output error", str(subject.t1))
        return read(subject, device, **more)

    monkeypatch.setattr(predictions, "scan_of", failing)
    one, two, three = segment_study(make_study(3, labelled=0), config)
    assert one.count is not None
    assert three.count is not None
    assert two.why.endswith(
        "sub-02_T1w.nii.gz cannot be read (Input/output error); check that it "
        "is there and its permissions."
    )


def test_workers_that_were_started_elsewhere_find_everything(make_study, config, monkeypatch):
    study = make_study(1, labelled=1)
    monkeypatch.chdir(study.parent)
    weights = study.parent / "mine.safetensors"
    weights.write_bytes(config.weights.read_bytes())
    given, seen = config.model_copy(update={"weights": Path(weights.name)}), []

    def each(call, items, _):
        seen.extend([*call.args, *items])
        return iter(())

    monkeypatch.setattr(predictions, "each", each)
    with pytest.raises(ValueError, match="shorter"):
        list(segment_study(Path(study.name), given, workers=Workers(2)))
    root, config, _, _, one = seen
    paths = [root, config.weights, one.t1, one.t2, one.label]
    assert all(path.is_absolute() and path.exists() for path in paths)


def test_two_processes_make_the_same_masks(make_study, config):
    study = make_study(3, labelled=0)
    (study / "sub-02" / "anat" / "sub-02_T1w.nii.gz").write_bytes(b"no image")
    one = list(segment_study(study, config))
    before = {name: LabelStore(study, name).predicted() for name in ("sub-01", "sub-03")}
    known, *_ = segment_study(study, config, workers=Workers(2))
    assert known.count is None
    assert list(segment_study(study, config, again=True, workers=Workers(2))) == one
    for name, revision in before.items():  # an equal mask is not saved again
        assert LabelStore(study, name).predicted() == revision
