import logging
import math
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from napari_pvs.network.config import NetworkConfig
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.data.prepared import PreparedSubject
from napari_pvs.training.data.sampling import Patches
from napari_pvs.training.semi_supervised.alignment import burden
from napari_pvs.training.semi_supervised.teachers import Network, RunningMean
from napari_pvs.training.state import State
from napari_pvs.training.validation import THRESHOLDS

SHAPE = (24, 22, 20)
SCANS = 3
BOTH = pytest.mark.parametrize("kind", [Network, RunningMean])


@pytest.fixture(autouse=True)
def small_network(monkeypatch):
    tiny = property(lambda self: NetworkConfig(widths=(4, 8), scale_width=2))
    monkeypatch.setattr(TrainingConfig, "network", tiny)


@pytest.fixture
def make(tmp_path):
    """Function of a class and fields of the configuration that makes a teacher."""

    def run(kind, **values):
        defaults = {"epochs": 9, "steps": 4, "warmup": 2, "refresh": 3, "ramp_up": 4}
        values = {"patch": (8,), "precision": "full"} | defaults | values
        config = TrainingConfig(study="x", method="m2ss", **values)
        state = State(config, torch.device("cpu"))
        for network in (state.model, state.ema):  # sure of some voxels, as if it had learnt
            torch.nn.init.normal_(network.head.weight, generator=generator())
            torch.nn.init.zeros_(network.head.bias)
        return kind(state, tmp_path)

    return run


def subject(name, label=None):
    rng = np.random.default_rng(len(name))
    brain = np.ones(SHAPE, bool)
    images = rng.normal(size=(2, *SHAPE)).astype(np.float16)
    where = np.argwhere(brain if label is None else label)[:5].astype(np.int16)
    return PreparedSubject(name, images, label, brain, (0.8, 0.8, 0.8), where, (0, 0, 0))


@pytest.fixture
def cohort():
    label = np.zeros(SHAPE, bool)
    label[10:13, 10:12, 8:14] = True
    return SimpleNamespace(  # of a Cohort
        train=[subject("sub-1", label)],
        validation=[subject("sub-22", label)],
        unlabelled=[subject(f"sub-{'3' * n}") for n in range(3, 3 + SCANS)],
    )


class Events:
    def __init__(self):
        self.said = []

    def write(self, kind, **values):
        self.said.append((kind, values))


def bumps(seed=0):
    """Unlabelled patches whose images are bright where their pseudo-label is high."""
    rng = np.random.default_rng(seed)
    target = rng.random((6, 1, 8, 8, 8), dtype=np.float32)
    return Patches(np.repeat(4 * target, 2, 1) + 0.5, target, ())


def generator():
    return torch.Generator().manual_seed(0)


def test_noise_leaves_the_pseudo_label_where_it_was(make):
    teacher, patches = make(RunningMean, view="noise"), bumps()
    seen, pseudo = teacher.view(patches, generator())
    np.testing.assert_array_equal(pseudo, patches.target)
    noise = seen.numpy() - patches.images
    assert noise.std() == pytest.approx(1, abs=0.05)
    assert noise.mean() == pytest.approx(0, abs=0.05)


def test_an_augmented_patch_turns_with_its_pseudo_label(make):
    teacher, patches = make(RunningMean, view="augment", modality_dropout=0.0), bumps()
    before = patches.target.copy()
    seen, pseudo = (one.numpy() for one in teacher.view(patches, generator()))
    assert not np.array_equal(pseudo, before)  # some were flipped
    for image, one, old in zip(seen, pseudo, before, strict=True):
        np.testing.assert_array_equal(np.sort(one.ravel()), np.sort(old.ravel()))
        for channel in image:
            assert np.corrcoef(channel.ravel(), one.ravel())[0, 1] > 0.9


def test_one_modality_is_hidden_from_the_network_as_often_as_is_wanted(make):
    teacher = make(RunningMean, view="augment", modality_dropout=0.99)
    seen, _ = teacher.view(bumps(), generator())
    blank = [(image == 0).flatten(1).all(1).tolist() for image in seen]
    assert sum(sum(one) for one in blank) >= 5
    assert [True, True] not in blank


@BOTH
def test_unlabelled_patches_count_more_and_more_after_the_warm_up(make, kind):
    """From exp(-5) of the weight to all of it, along exp(-5 (1 - t)²); Laine and Aila, 2017."""
    teacher = make(kind, consistency_weight=0.5)
    logits = torch.linspace(-2, 2, 512).reshape(1, 1, 8, 8, 8).requires_grad_()
    pseudo = (logits > 1).float()
    for epochs, share in ((2, math.exp(-5)), (4, math.exp(-5 / 4)), (6, 1), (8, 1)):
        teacher.state.progress.step = 4 * epochs
        loss, said = teacher.loss(logits, pseudo)
        assert float(loss.detach()) == pytest.approx(0.5 * share * said["unsupervised"])
        assert said["selected"] == 1
        assert said["selected_pvs"] == pytest.approx(float(pseudo.mean()))
        assert said["unsupervised"] > 0
        assert loss.requires_grad


@BOTH
def test_a_step_has_as_many_unlabelled_patches_as_is_wanted(make, kind):
    assert make(kind, unlabelled_batch=5).batch(TrainingConfig(study="x", unlabelled_batch=3)) == 3


def test_the_network_learns_from_all_scans_after_the_warm_up(make, cohort):
    teacher = make(Network)
    assert list(teacher.scans(7, cohort)) == []
    assert teacher.scans(8, cohort) == cohort.unlabelled
    assert teacher.target is None  # it is made of the patch


def test_the_network_is_asked_without_being_changed(make):
    teacher = make(Network, view="noise")
    before = {name: tensor.clone() for name, tensor in teacher.state.model.state_dict().items()}
    _, pseudo = teacher.view(bumps(), generator())
    assert not pseudo.requires_grad
    assert 0 < float(pseudo.min()) <= float(pseudo.max()) < 1
    assert teacher.state.model.training
    for name, tensor in teacher.state.model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_the_running_mean_needs_the_pseudo_labels_of_its_patches(make):
    with pytest.raises(ValueError, match="without their pseudo-labels"):
        make(RunningMean).view(Patches(bumps().images, None, ()), generator())


def test_pseudo_labels_are_made_when_they_are_due(make, cohort, caplog):
    teacher, events, looks = make(RunningMean, align=False), Events(), []

    def prepare(epoch, new=True):
        looks.clear()
        events.said.clear()
        teacher.prepare(epoch, cohort, events, lambda: looks.append(1), new=new)
        return len(looks)

    assert prepare(1) == 0  # the warm-up
    assert events.said == []
    assert teacher.scans(8, cohort) == []
    assert prepare(2) == SCANS
    voxels = sum(len(one.foreground) for one in teacher.pseudo_labels.subjects)
    assert events.said == [
        ("phase", {"name": "pseudo-labels", "epoch": 2}),
        ("pseudo_labels", {"scans": SCANS, "pvs_voxels": voxels}),
    ]
    assert voxels > 0
    assert list(teacher.scans(7, cohort)) == []
    assert teacher.scans(8, cohort) == teacher.pseudo_labels.subjects != []
    found = teacher.target(cohort.unlabelled[0])
    assert found.shape == SHAPE
    assert [prepare(epoch) for epoch in (3, 4)] == [0, 0]
    assert prepare(5) == SCANS  # the network has learnt since
    assert prepare(5, new=False) == 0  # a run that was resumed in the epoch has them
    kept = np.array(teacher.target(cohort.unlabelled[0]))

    again = make(RunningMean, align=False)  # another process
    teacher = again
    assert prepare(6, new=False) == 0
    np.testing.assert_array_equal(again.target(cohort.unlabelled[0]), kept)

    shutil.rmtree(again.pseudo_labels.folder)
    teacher = make(RunningMean, align=False)
    with caplog.at_level(logging.WARNING):
        assert prepare(6, new=False) == SCANS
    assert "pseudo-labels are missing; making them again" in caplog.text


def test_new_pseudo_labels_are_shifted_by_the_threshold_in_use(make, cohort):
    def share(threshold):
        teacher = make(RunningMean, align=False)
        teacher.state.progress.threshold = threshold
        teacher.prepare(2, cohort, Events(), lambda: None, new=True)
        return np.mean([(teacher.target(s) > 0.5).mean() for s in cohort.unlabelled])

    shares = [share(threshold) for threshold in (0.3, 0.5, 0.7)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > shares[-1]


@BOTH
def test_a_validation_may_choose_thresholds_that_find_a_likely_share(make, cohort, kind):
    looks = []

    def allowed(teacher, epoch):
        looks.clear()
        return teacher.allowed(THRESHOLDS, epoch, cohort, lambda: looks.append(1))

    assert allowed(make(kind, align=False), 5) is None
    assert looks == []
    teacher = make(kind, align=True)
    found = allowed(teacher, 5)
    assert len(looks) == SCANS
    assert found.shape == THRESHOLDS.shape
    assert found.dtype == bool
    assert found.any()
    assert not found.all()
    # the scans that are predicted for the validation are not predicted again for pseudo-labels
    teacher.prepare(5, cohort, Events(), lambda: looks.append(1), new=True)
    assert len(looks) == SCANS
    plain = teacher.pseudo_labels.folder / "plain"
    assert not plain.exists() or not list(plain.iterdir())


def test_pseudo_labels_have_the_share_of_pvs_that_labels_tell(make, cohort):
    def share(**values):
        teacher = make(RunningMean, **values)
        teacher.prepare(2, cohort, Events(), lambda: None, new=True)
        return np.mean([(teacher.target(s) > 0.5).mean() for s in cohort.unlabelled])

    least, most = burden([*cohort.train, *cohort.validation], len(cohort.unlabelled))
    assert least / 1.5 < share(align=True) < most * 1.5
    assert share(align=False) > 2 * most
