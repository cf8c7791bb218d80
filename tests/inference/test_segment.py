import numpy as np
import pytest

from napari_pvs.errors import InputError, InputWarning
from napari_pvs.inference import segment as module
from napari_pvs.inference.config import SegmentConfig
from napari_pvs.inference.predictor import Predictor
from napari_pvs.inference.segment import segment, segment_scan
from napari_pvs.scans.scan import Scan


@pytest.fixture
def config(head_files, tiny_weights):
    t1, t2, brain = head_files
    # an untrained network finds lumps: without a limit on their width
    return SegmentConfig(
        t1=t1, t2=t2, brain_mask=brain, weights=tiny_weights, device="cpu", max_width=100
    )


def test_from_files(config, tiny_weights, head):
    calls = []
    result = segment(config, lambda *c: calls.append(c))
    predictor = Predictor(tiny_weights, "cpu")
    card = predictor.card
    assert calls == [(1, 1)]
    assert result.threshold == card.threshold
    assert result.scan.modalities == ("T1", "T2")
    assert result.probability.shape == head.brain.shape
    above = result.probability >= np.float32(card.threshold)
    assert 0 < (result.labels > 0).sum() <= above.sum()
    assert not (result.labels > 0)[~above].any()
    assert len(result.table) == result.labels.max() > 1
    assert min(row.volume_mm3 for row in result.table) >= 1
    assert result.origin == {
        "method": "network",
        "weights": "tiny",
        "weights_id": predictor.weights_id,
        "architecture": "M2SS-PVS",
        "backend": predictor.backend.name,
        "precision": predictor.backend.precision,
        "device": "cpu",
        "within": "brain",  # it is too small to lay a template over
    }


def test_pvs_are_kept_where_they_can_be(config, head, monkeypatch):
    half = head.brain.copy()
    half[: len(half) // 2] = False
    monkeypatch.setattr(module, "plausible", lambda *_: half)
    found = segment(config)
    everywhere = segment(config.model_copy(update={"within": "brain"}))
    assert (found.origin["within"], everywhere.origin["within"]) == ("tissue", "brain")
    kept, lost = everywhere.labels[found.mask], everywhere.labels[everywhere.mask & ~found.mask]
    assert len(np.unique(kept)) == len(found.table) > 1
    assert len(np.unique(lost)) == len(found.excluded["place"]) > 1
    assert not np.intersect1d(kept, lost).size  # each stays or goes whole
    assert not found.probability[everywhere.mask & ~found.mask].any()
    np.testing.assert_array_equal(found.probability[found.mask],
                                  everywhere.probability[found.mask])  # fmt: skip
    ids = [row.id for row in (*found.table, *found.excluded["place"])]
    assert ids == list(range(1, len(everywhere.table) + 1))
    assert sum(row.voxels for row in found.excluded["place"]) == np.count_nonzero(lost)
    # what is left out does not depend on the threshold that is chosen
    lower = segment(config.model_copy(update={"threshold": found.threshold / 2}))
    np.testing.assert_array_equal(lower.probability, found.probability)
    assert not (found.mask & ~lower.mask).any()


def test_a_brain_that_the_template_does_not_fit_is_searched_everywhere(config, monkeypatch):
    def refuse(*_):
        raise InputError("the template does not fit the brain.")

    monkeypatch.setattr(module, "plausible", refuse)
    with pytest.warns(InputWarning, match=r"everywhere in the brain: the template does not fit"):
        found = segment(config)
    assert found.origin["within"] == "brain"
    assert found.scan.warnings[-1].startswith("PVS were looked for everywhere")


def test_threshold_and_smallest_volume(config):
    base = segment(config)
    lower = segment(config.model_copy(update={"threshold": base.threshold / 2}))
    assert lower.threshold == base.threshold / 2
    assert (lower.labels > 0).sum() > (base.labels > 0).sum()
    large = segment(config.model_copy(update={"min_volume": 3.0}))
    assert [r.volume_mm3 for r in large.table] == [
        r.volume_mm3 for r in base.table if r.volume_mm3 >= 3
    ]


def test_a_scan_in_memory_with_a_predictor_that_is_kept(config, head, tiny_weights):
    scan = Scan.from_arrays(head.t1, head.t2, np.diag([0.8, 0.8, 0.8, 1]), head.brain)
    again = segment_scan(scan, SegmentConfig(max_width=100), Predictor(tiny_weights, "cpu"))
    np.testing.assert_array_equal(again.labels, segment(config).labels)


def test_backends_agree(config):
    pytest.importorskip("openvino")
    config = config.model_copy(update={"precision": "full"})
    results = [
        segment(config.model_copy(update={"backend": name})) for name in ("torch", "openvino")
    ]
    assert [r.origin["backend"] for r in results] == ["torch", "openvino"]
    difference = np.abs(results[0].probability - results[1].probability).max()
    print(f"max difference {difference:.1e}")  # noqa: T201
    assert difference < 1e-3


def test_a_baseline_needs_no_weights(config, monkeypatch, tmp_path):
    def half(scan, method):
        assert method == "frangi"
        return np.where(scan.brain, 0.5, 0).astype(np.float32), 0.4

    monkeypatch.setattr(module, "baseline", half)
    absent = {"method": "frangi", "weights": tmp_path / "absent.safetensors"}
    result = segment(config.model_copy(update=absent))
    assert result.threshold == 0.4
    assert result.origin == {"method": "frangi"}
    assert len(result.table) == 1
    # what shape excludes is no PVS, and is listed all the same
    left_out = segment(config.model_copy(update=absent | {"max_width": 2.8}))
    assert left_out.table == []
    assert not left_out.labels.any()
    assert left_out.excluded["shape"] == tuple(result.table)


def test_no_scan():
    with pytest.raises(InputError, match=r"no scan was given.*--t1.*--t2"):
        segment(SegmentConfig())


def test_weights_are_checked_before_the_scan_is_read(config, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "load_scan", lambda *_: pytest.fail("the slow part"))
    with pytest.raises(InputError, match="do not exist"):
        segment(config.model_copy(update={"weights": tmp_path / "absent.safetensors"}))


def test_missing_scan(config, tmp_path):
    with pytest.raises(InputError, match=r"absent.nii does not exist"):
        segment(config.model_copy(update={"t2": tmp_path / "absent.nii"}))
