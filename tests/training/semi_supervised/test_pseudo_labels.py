import numpy as np
import pytest
import torch

from napari_pvs.study.bids import subjects
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.data.prepared import load
from napari_pvs.training.semi_supervised.pseudo_labels import PseudoLabels, shifted

CPU = torch.device("cpu")


@pytest.fixture
def scans(make_study):
    return [load(s) for s in subjects(make_study(4, labelled=0))]


def config(**values):
    return TrainingConfig(study="x", method="m2ss", **({"warmup": 2, "refresh": 3} | values))


def test_when_they_are_made(tmp_path):
    labels = PseudoLabels(tmp_path, config())
    assert [e for e in range(10) if labels.due(e)] == [2, 5, 8]
    assert [e for e in range(4) if PseudoLabels(tmp_path, config(warmup=0, refresh=1)).due(e)] == [
        0,
        1,
        2,
        3,
    ]


def test_maps_and_places_to_draw_from(tmp_path, scans, tiny_model):
    labels = PseudoLabels(tmp_path / "pseudo", config())
    assert labels.probability(scans[0]) is None
    alive = []
    labels.refresh(2, scans, tiny_model, 0.4, CPU, lambda: alive.append(1))
    assert len(alive) == 4
    assert [s.name for s in labels.subjects] == [s.name for s in scans]
    for plain, ready in zip(scans, labels.subjects, strict=True):
        found = labels.probability(plain)
        assert found.shape == plain.brain.shape
        assert found.dtype == np.float16
        assert not found[~plain.brain].any()
        assert found.any()
        np.testing.assert_array_equal(
            ready.foreground, np.argwhere(found > config().confidence_pvs)
        )


@pytest.mark.parametrize("wanted", [0.002, 0.02, 0.2])
def test_as_much_is_called_pvs_as_is_wanted(tmp_path, scans, tiny_model, wanted):
    labels = PseudoLabels(tmp_path, config())
    labels.refresh(2, scans, tiny_model, 0.4, CPU, lambda: None)
    plain = {s.name: labels.probability(s).astype(np.float32) for s in scans}
    labels.refresh(2, scans, tiny_model, 0.4, CPU, lambda: None, (wanted, wanted))
    shares = [(labels.probability(s) > 0.5).sum() / s.brain.sum() for s in scans]
    most = np.mean([(plain[s.name] > 0).sum() / s.brain.sum() for s in scans])
    assert np.mean(shares) == pytest.approx(min(wanted, most), rel=0.25)
    for scan in scans:  # the order of the voxels stays
        before, after = plain[scan.name], labels.probability(scan).astype(np.float32)
        assert before[after > 0.5].min() >= before[after < 0.5].max()


def test_the_threshold_moves_only_as_far_as_labels_tell(tmp_path, scans, tiny_model):
    labels = PseudoLabels(tmp_path, config())

    def share(burden):
        labels.refresh(2, scans, tiny_model, 0.4, CPU, lambda: None, burden)
        return np.mean([(labels.probability(s) > 0.5).sum() / s.brain.sum() for s in scans])

    own = share(None)
    assert 0 < own < 1
    assert share((own / 2, own * 2)) == own
    assert share((own / 3, own / 2)) == pytest.approx(own / 2, rel=0.25)


def test_scans_are_looked_at_once_for_threshold_and_pseudo_labels(tmp_path, scans, tiny_model):
    def make(labels, epoch, people, before=True):
        looks = []
        if before:
            labels.predict(epoch, people, tiny_model, 0.4, CPU)
        labels.refresh(epoch, people, tiny_model, 0.4, CPU, lambda: looks.append(1), (0.01, 0.02))
        return len(looks), {s.name: np.array(labels.probability(s)) for s in people}

    anew, expected = make(PseudoLabels(tmp_path / "anew", config()), 2, scans, before=False)
    labels = PseudoLabels(tmp_path / "once", config())
    again, found = make(labels, 2, scans)
    assert (anew, again) == (len(scans), 0)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
    assert not list((tmp_path / "once" / "plain").iterdir())
    assert make(labels, 5, scans, before=False)[0] == len(scans)  # the teacher has learnt since
    # one has got its label since
    labels.predict(8, scans, tiny_model, 0.4, CPU)
    looks = []
    labels.refresh(8, scans[1:], tiny_model, 0.4, CPU, lambda: looks.append(1))
    assert len(looks) == len(scans) - 1
    # no new pseudo-labels begin here, and those that are in use stay
    before = np.array(labels.probability(scans[1]))
    shares = labels.predict(9, scans[1:], tiny_model, 0.4, CPU)
    assert shares[0] > shares[100] >= 0
    np.testing.assert_array_equal(labels.probability(scans[1]), before)
    assert labels.reopen(9, scans[1:])
    assert labels.predict(9, [], tiny_model, 0.4, CPU) is None


def test_lost_ones_are_made_anew_in_the_middle_of_a_cycle(tmp_path, scans, tiny_model):
    labels = PseudoLabels(tmp_path, config())
    assert not labels.due(4)
    labels.refresh(4, scans, tiny_model, 0.4, CPU)
    assert all(labels.probability(scan) is not None for scan in scans)
    assert not list((tmp_path / "plain").iterdir())


def test_a_resumed_run_finds_them_again(tmp_path, scans, tiny_model):
    first = PseudoLabels(tmp_path, config())
    first.refresh(5, scans, tiny_model, 0.4, CPU, lambda: None)
    second = PseudoLabels(tmp_path, config())
    assert second.reopen(7, scans)
    for scan in scans:
        np.testing.assert_array_equal(second.probability(scan), first.probability(scan))
    assert not PseudoLabels(tmp_path, config()).reopen(8, scans)  # of epoch 5, not 8
    fewer = PseudoLabels(tmp_path, config())
    assert fewer.reopen(6, scans[:-1])  # one has got its label since
    assert [s.name for s in fewer.subjects] == [s.name for s in scans[:-1]]
    assert not PseudoLabels(tmp_path / "none", config()).reopen(6, scans)
    (tmp_path / "sub-02.npy").write_bytes(b"no")
    assert not PseudoLabels(tmp_path, config()).reopen(6, scans)


def test_few_scans_of_many_each_time_others(tmp_path, scans, tiny_model):
    labels = PseudoLabels(tmp_path, config(refresh_scans=2))
    drawn = []
    for epoch in range(2, 20, 3):
        labels.refresh(epoch, scans, tiny_model, 0.5, CPU, lambda: None)
        drawn.append(tuple(s.name for s in labels.subjects))
        assert len(drawn[-1]) == 2
        left_out = [s for s in scans if s.name not in drawn[-1]]
        assert all(labels.probability(s) is None for s in left_out)
    assert len(set(drawn)) > 1
    labels.refresh(2, scans, tiny_model, 0.5, CPU, lambda: None)
    assert tuple(s.name for s in labels.subjects) == drawn[0]


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.85])
def test_shifted(threshold):
    p = np.linspace(0, 1, 101, dtype=np.float32)
    moved = shifted(p, threshold)
    assert (np.diff(moved) > 0).all()
    assert moved[0] == 0
    assert moved[-1] == 1
    np.testing.assert_array_equal(moved > 0.5001, p > threshold + 1e-4)
    assert shifted(np.float32([threshold]), threshold)[0] == pytest.approx(0.5)


@pytest.mark.parametrize("kind", ["about", "shape", "gone"])
def test_damaged_ones_are_made_again(tmp_path, scans, tiny_model, kind):
    PseudoLabels(tmp_path, config()).refresh(5, scans, tiny_model, 0.4, CPU)
    if kind == "about":
        (tmp_path / "about.json").write_text('{"epoch": "five"}')
    elif kind == "shape":
        np.save(tmp_path / "sub-01.npy", np.zeros((3, 3, 3), np.float16))
    else:
        (tmp_path / "sub-01.npy").unlink()
    labels = PseudoLabels(tmp_path, config())
    assert not labels.reopen(6, scans)
    assert labels.subjects == []
    labels.refresh(6, scans, tiny_model, 0.4, CPU)
    assert len(labels.subjects) == len(scans)


def test_a_pseudo_label_that_cannot_be_written_leaves_the_old_one(
    tmp_path, scans, tiny_model, monkeypatch
):
    labels = PseudoLabels(tmp_path, config())
    labels.refresh(2, scans, tiny_model, 0.4, CPU)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.npy")}

    save = np.save

    def full(path, values):
        if path.parent.name == "plain":  # the prediction that it is made of
            return save(path, values)
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="No space left"):
        labels.refresh(5, scans, tiny_model, 0.4, CPU)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.npy")} == before
