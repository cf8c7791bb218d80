import numpy as np
import pytest
import torch

from napari_pvs.study.bids import subjects
from napari_pvs.training.data.prepared import load as prepare
from napari_pvs.training.effect import MOST, Effect, load, looked_at, save, volumes
from napari_pvs.training.whole_scan import reader

CPU = torch.device("cpu")


def test_volumes_of_what_is_found(make_study, tiny_model):
    (one,) = (prepare(subject) for subject in subjects(make_study(1, labelled=0)))
    found = reader(tiny_model, CPU)(one)
    (volume,) = volumes(tiny_model, lambda _: 0.5, [one], CPU).values()
    assert volume == pytest.approx((found >= 0.5).sum() * 0.8**3)
    assert volumes(tiny_model, lambda _: 1.1, [one], CPU) == {"sub-01": 0}


def test_as_many_scans_as_are_looked_at():
    assert looked_at([]) == []
    assert looked_at(list(range(5))) == list(range(5))
    some = looked_at(list(range(100)))
    assert (len(some), some[0], some[-1]) == (MOST, 0, 99)
    assert np.diff(some).min() >= 8


def test_it_is_kept(tmp_path, caplog):
    path = tmp_path / "unlabelled.json"
    assert load(path) == Effect()
    effect = Effect(before={"a": 1.0, "b": 3.0}, after={"a": 2.0, "b": 4.0, "c": 9.0})
    assert effect.means == (2.0, 3.0, 2)
    assert Effect(before={"a": 1.0}).means is None
    save(path, effect)
    assert load(path) == effect
    path.write_text("{")
    assert load(path) == Effect()
    assert "what was found before is not known" in caplog.text
