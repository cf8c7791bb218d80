import numpy as np
import pytest
import torch

from napari_pvs.inference.predictor import Predictor
from napari_pvs.study.bids import subjects
from napari_pvs.training.data.prepared import load
from napari_pvs.training.validation import THRESHOLDS, Validation, validate

CPU = torch.device("cpu")


def test_measures_at_the_best_threshold(make_study, tiny_model, tiny_weights):
    people = [load(s) for s in subjects(make_study(2))]
    windows = []
    found = validate(tiny_model, people, CPU, lambda: windows.append(1))
    assert len(windows) == 2
    assert set(found.subjects) == {"sub-01", "sub-02"}
    assert found.dsc == pytest.approx(np.mean(list(found.subjects.values())), abs=1e-4)
    # as the predictor finds it
    from napari_pvs.inference.predictor import interior

    predictor = Predictor(tiny_weights, "cpu")
    images = people[0].images.astype(np.float32)
    inside = interior(people[0].brain, people[0].voxel_size)
    mask = predictor.predict_array(images, inside) >= found.threshold
    both = (mask & people[0].label).sum()
    assert 2 * both / (mask.sum() + people[0].label.sum()) == pytest.approx(
        found.subjects["sub-01"],
        abs=2e-3,  # the predictor's weights are half precision
    )


def test_the_threshold_is_chosen_on_more_scans_than_are_validated(make_study, tiny_model):
    first, second, third = (load(s) for s in subjects(make_study(3)))
    third.label[:] = False  # no PVS anywhere: the more that is called one, the worse
    alone = validate(tiny_model, [first], CPU)
    found = validate(tiny_model, [first], CPU, more=[second, third])
    assert set(found.subjects) == {"sub-01"}
    assert found.threshold > alone.threshold
    at = validate(tiny_model, [third, first], CPU, more=[second])
    assert at.threshold == found.threshold
    assert at.subjects["sub-01"] == found.subjects["sub-01"]


def test_wants_labels(make_study, tiny_model):
    people = [load(s) for s in subjects(make_study(1, labelled=0))]
    with pytest.raises(ValueError, match="sub-01 is not labelled"):
        validate(tiny_model, people, CPU)


def test_in_words():
    plain = Validation(0.65, 0.5, 12.4, 0.4, {"sub-01": 0.5})
    assert str(plain) == "DSC 0.500, AVD 12 %, recall 0.40, threshold 0.65"
    empty = Validation(0.65, 1.0, None, None, {"sub-01": 1.0})
    assert str(empty) == "DSC 1.000, AVD undefined, recall undefined, threshold 0.65"


def test_the_threshold_is_one_that_is_allowed(make_study, tiny_model):
    first = load(subjects(make_study(1, labelled=1))[0])
    alone = validate(tiny_model, [first], CPU)
    assert validate(tiny_model, [first], CPU, likely=np.ones(len(THRESHOLDS), bool)) == alone
    only = np.arange(len(THRESHOLDS)) == 0
    lowest = validate(tiny_model, [first], CPU, likely=only)
    assert lowest.threshold == THRESHOLDS[0]
    others = validate(tiny_model, [first], CPU, likely=alone.threshold != THRESHOLDS)
    assert others.threshold != alone.threshold
    assert others.dsc <= alone.dsc
