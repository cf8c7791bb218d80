from pathlib import Path

import numpy as np
import pytest
import torch

from napari_pvs.network.config import NetworkConfig
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.data.sampling import Patches
from napari_pvs.training.semi_supervised.consistency import ramp
from napari_pvs.training.semi_supervised.teacher import make_teacher
from napari_pvs.training.state import State
from napari_pvs.training.step import StepLoss
from napari_pvs.training.step import compute as compute_with

CPU = torch.device("cpu")


pytestmark = pytest.mark.usefixtures("small_network")


def state(**values):
    return State(TrainingConfig(study="x", steps=10, **({"method": "m2ss"} | values)), CPU)


def compute(state, labelled, unlabelled) -> StepLoss:
    return compute_with(state, make_teacher(state, Path("unused")), labelled, unlabelled)


def patches(seed=0, target=True, count=2):
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((count, 2, 16, 16, 16)).astype(np.float32)
    label = (images[:, :1] > 1.5).astype(np.float32)
    origin = tuple((f"sub-0{n + 1}", (n, n, n)) for n in range(count))
    return Patches(images, label if target else None, origin)


def test_labels_alone():
    loss, said, _ = compute(state(), patches(), None)
    assert loss.requires_grad
    assert said == {"supervised": said["loss"], "loss": float(loss.detach())}


def test_the_same_step_computes_the_same():
    for values in ({}, {"recipe": "paper"}):
        one = compute(state(**values), patches(), patches(1, values == {}))[1]
        two = compute(state(**values), patches(), patches(1, values == {}))[1]
        assert one == two


def test_unlabelled_patches_count_by_weight_and_ramp():
    one = state(warmup=1, ramp_up=4, consistency_weight=2.0)
    one.progress.step = 20  # one epoch after the warm-up
    said = compute(one, patches(), patches(1))[1]
    share = 2.0 * ramp(1.0, 4)
    assert said["loss"] == pytest.approx(said["supervised"] + share * said["unsupervised"])
    assert 0 < said["selected_pvs"] < said["selected"] <= 1
    literal = state(recipe="paper")
    said = compute(literal, patches(), patches(1, target=False))[1]
    assert said["loss"] == pytest.approx(said["supervised"] + said["unsupervised"])


def test_the_network_s_own_pseudo_label_leaves_batch_statistics_alone():
    one = state(recipe="paper", unlabelled_batch=2)
    compute(one, patches(), patches(1, target=False))
    assert one.model.training
    counts = {b.num_batches_tracked.item() for b in one.model.modules() if hasattr(b, "momentum")}
    assert counts == {1}  # the labelled and the changed patches, together


def test_a_scan_without_pseudo_label_teaches_nothing():
    unlabelled = patches(1)
    unlabelled.target[:] = -1
    said = compute(state(consistency="cross-entropy"), patches(), unlabelled)[1]
    assert said["selected"] == said["unsupervised"] == 0


@pytest.mark.parametrize("which", ["labelled", "unlabelled"])
def test_names_the_patch_whose_loss_is_not_finite(which):
    labelled, unlabelled = patches(), patches(1)
    spoilt = labelled if which == "labelled" else unlabelled
    spoilt.images[1] = np.inf
    one = state(augment=False, view="noise", modality_dropout=0)
    one.model.eval()  # so that one patch does not spoil the others
    found = compute(one, labelled, unlabelled)
    kind = "unlabelled patch" if which == "unlabelled" else "patch"
    assert found.where == f" on the {kind} of sub-02 that starts at voxel (1, 1, 1)"


@pytest.mark.parametrize("native", [True, False])
def test_bfloat16_changes_little_and_keeps_weights_and_gradients_float32(native, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    found = {}
    for precision in ("full", "auto"):
        one = state(precision=precision, patch=(16,))
        loss, said, _ = compute(one, patches(), patches(1))
        loss.backward()
        assert {p.grad.dtype for p in one.model.parameters()} == {torch.float32}
        found[precision] = said["loss"]
    assert (found["full"] == found["auto"]) != native
    assert found["auto"] == pytest.approx(found["full"], rel=0.02)


@pytest.mark.parametrize("edge", [8, 16, 24, 32, 48])
def test_gradients_of_every_layer_point_where_those_of_float32_do(edge, monkeypatch):
    """Rounded, but no garbage as bfloat16 gives on a level of two voxels (torch 2.13)."""
    monkeypatch.setattr(TrainingConfig, "network", NetworkConfig())
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.standard_normal((2, 2, edge, edge, edge)).astype(np.float32))
    wanted = (images[:, :1] > 1.5).float()
    gradients = {}
    for precision in ("full", "auto"):
        one = state(precision=precision, patch=(edge,))
        for _ in range(3):  # what is not set differs from time to time
            one.model.zero_grad()
            with one.autocast():
                logits = one.model(images).float()
            torch.nn.functional.binary_cross_entropy_with_logits(logits, wanted).backward()
        gradients[precision] = {n: p.grad for n, p in one.model.named_parameters()}
    for name, expected in gradients["full"].items():
        found = gradients["auto"][name].flatten()
        assert torch.nn.functional.cosine_similarity(found, expected.flatten(), 0) > 0.8, name
        assert float(found.norm()) == pytest.approx(float(expected.norm()), rel=0.3)


def test_unlabelled_patches_alone():
    loss, said, _ = compute(state(warmup=0, ramp_up=0, consistency_weight=1.0), None, patches(1))
    assert loss.requires_grad
    assert said["loss"] == pytest.approx(said["unsupervised"])
    assert "supervised" not in said
    spoilt = patches(1)
    spoilt.images[1] = np.inf
    one = state(view="noise")
    one.model.eval()
    assert compute(one, None, spoilt).where.startswith(" on the unlabelled patch of sub-02")


@pytest.mark.parametrize(("statistics", "passes"), [("scan", 2), ("fixed", 1)])
def test_a_labelled_and_an_unlabelled_scan_have_statistics_of_their_own(statistics, passes):
    one = state(statistics=statistics, warmup=0)
    compute(one, patches(), patches(1))
    counts = {b.num_batches_tracked.item() for b in one.model.modules() if hasattr(b, "momentum")}
    assert counts == {passes}


def test_the_network_as_teacher_takes_the_statistics_of_the_scan():
    one = state(teacher="network", statistics="scan", warmup=0, unlabelled_batch=2)
    compute(one, patches(), patches(1, target=False))
    assert one.model.training
    counts = {b.num_batches_tracked.item() for b in one.model.modules() if hasattr(b, "momentum")}
    assert counts == {3}  # the labelled patches, the unlabelled ones, and these changed
