import copy

import numpy as np
import pytest
import torch

from napari_pvs.network.m2ss import M2SS
from napari_pvs.network.weights import read
from napari_pvs.study.bids import subjects
from napari_pvs.training.agreement import Reference, agreement, references
from napari_pvs.training.data.prepared import load
from napari_pvs.training.place import Place

CPU = torch.device("cpu")


@pytest.fixture
def scans(make_study):
    return [load(one) for one in subjects(make_study(2, labelled=0))]


@pytest.fixture
def threshold(tiny_weights):
    return read(tiny_weights)[1].threshold


@pytest.fixture
def known(scans, tiny_model, threshold):
    return references(tiny_model, scans, lambda _: threshold, 0.6, CPU)


def test_weights_agree_with_themselves(known, tiny_model, threshold):
    for one in known:
        assert one.pvs.any()
        assert not (one.pvs & ~one.sure).any()
        assert one.sure[one.subject.brain].mean() < 1  # some voxels are doubtful
    found = agreement(tiny_model, known, 1, CPU)
    assert found.dsc > 0.95  # thresholds are steps
    assert found.found > 0.95
    assert found.kept
    assert list(found.subjects) == ["sub-01"]  # the other one is for the threshold alone
    assert found.threshold == found.thresholds["T1+T2"] == pytest.approx(threshold, abs=0.02)
    assert set(found.thresholds) == {"T1", "T2", "T1+T2"}


@pytest.mark.parametrize("shift", [-2.0, 2.0])
def test_the_threshold_marks_as_much_as_the_start_did(known, scans, tiny_model, threshold, shift):
    other = copy.deepcopy(tiny_model)
    with torch.no_grad():
        other.head.bias += shift
    found = agreement(other, known, 2, CPU)
    wanted = 1 / (1 + np.exp(-(np.log(threshold / (1 - threshold)) + shift)))
    assert found.threshold == pytest.approx(wanted, abs=0.02)
    assert found.found > 0.95  # the same voxels, whatever their probability


def test_another_network_agrees_less(known, tiny_model):
    torch.manual_seed(1)
    other = M2SS(tiny_model.config).eval()
    found = agreement(other, known, 2, CPU)
    assert found.dsc < 0.9
    assert not found.kept


def test_what_lies_where_no_pvs_can_be_is_not_compared(
    known, scans, tiny_model, threshold, monkeypatch
):
    def lower(_t1, _t2, brain, _grid):
        out = brain.copy()
        out[: len(out) // 2] = False
        return out

    monkeypatch.setattr("napari_pvs.training.place.plausible", lower)
    limited = references(tiny_model, scans, lambda _: threshold, 0.6, CPU, place=Place("tissue"))
    for one, before in zip(limited, known, strict=True):
        assert 0 < one.pvs.sum() < before.pvs.sum()
        gone = before.pvs & ~one.pvs
        assert not one.sure[gone].any()  # neither sure PVS nor sure none
        np.testing.assert_array_equal(one.sure | gone, before.sure)


def test_scans_without_sure_pvs(known, tiny_model):
    none = np.zeros_like(known[0].pvs)
    empty = [Reference(one.subject, none, one.sure & ~one.pvs, one.marked) for one in known]
    found = agreement(tiny_model, empty, 2, CPU)
    assert found.found is None
    assert found.kept
    assert "no sure PVS" in str(found)
