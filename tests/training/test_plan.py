"""What a run would use and cost, against what a run then does."""

import re
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from safetensors.numpy import save_file

from napari_pvs.errors import InputError
from napari_pvs.study.bids import fingerprint, subjects
from napari_pvs.study.roles import read as read_roles
from napari_pvs.study.roles import split
from napari_pvs.training import plan as planning
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.distributed.world import World
from napari_pvs.training.plan import (
    Forecast,
    corrected,
    forecast,
    plan,
    require_memory,
    sentence,
)
from napari_pvs.training.run import train

SMALL = {"epochs": 4, "steps": 3, "batch": 2, "patch": (8,), "device": "cpu"}


def roles_of(study):
    found = subjects(study)
    return found, split(found, known=read_roles(study))


def test_who_takes_part(make_study):
    study = make_study(6, labelled=5)
    _, roles = roles_of(study)
    said = "Trains on 3 labelled scans, validates on 1, keeps 1 for a test"
    assert sentence(roles, None, False) == f"{said}, does not use 1 unlabelled scan."
    assert sentence(roles, 0, True) == (
        "Trains on 3 labelled scans (none new or corrected since the last run) and 1 "
        "unlabelled, validates on 1, keeps 1 for a test."
    )
    assert "(2 new or corrected" in sentence(roles, 2, True)


@pytest.mark.parametrize(
    ("labelled", "warmup", "why"),
    [
        (4, 1, "every scan of"),
        (2, 4, "a warm-up of 4 epochs, and the run has 4; give more --epochs, or a smaller"),
    ],
)
def test_what_cannot_use_unlabelled_scans_is_refused(make_study, tmp_path, labelled, warmup, why):
    study = make_study(4, labelled=labelled)
    given = TrainingConfig(study=study, method="m2ss", **(SMALL | {"warmup": warmup}))
    assert why in plan(given).refused
    with pytest.raises(InputError, match=why):
        train(given, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_was_corrected_since(make_study, make_head, write_image):
    study = make_study(4)
    found, roles = roles_of(study)
    assert corrected(study, found, roles) is None
    run = study / "derivatives" / "runs" / "one"
    run.mkdir(parents=True)
    (run / "config.json").write_text(TrainingConfig(study=study).model_dump_json())
    known = {name: sha[:12] for name, (_, sha) in fingerprint(found).items()}
    labels = {name: f"somewhere/else.nii.gz@{known[name]}" for name in roles.train[1:]}
    write_checkpoint(run, labels)
    assert corrected(study, found, roles) == 1
    drawn = found[[s.name for s in found].index(roles.train[-1])].label
    write_image(drawn, make_head(seed=77).label)
    found, roles = roles_of(study)
    assert corrected(study, found, roles) == 2
    (run / "checkpoint.safetensors").write_bytes(b"damaged")
    assert corrected(study, found, roles) is None


def write_checkpoint(run, labels):
    import json

    about = {"progress": json.dumps({"step": 1, "labels": labels})}
    save_file({"a": np.zeros(1)}, run / "checkpoint.safetensors", metadata=about)


def test_a_plan_and_what_refuses_it(make_study, monkeypatch, tmp_path):
    study = make_study(3)
    made = plan(TrainingConfig(study=study, **SMALL))
    assert made.use == "Trains on 2 labelled scans, validates on 1."
    assert made.cost.startswith("Needs about ")
    assert " on cpu; about " in made.cost
    assert made.refused == ""
    semi = TrainingConfig(study=study, method="m2ss", **SMALL)
    assert plan(semi).use.startswith("Trains on 2 labelled scans and 0 unlabelled")

    monkeypatch.setattr(planning, "_free", lambda device: 2**20)
    tight = plan(TrainingConfig(study=study, **SMALL | {"patch": (16,)}))
    assert "a step needs about" in tight.refused
    assert tight.cost.endswith("GB free on cpu.")
    with pytest.raises(InputError, match=r"weights .* do not exist"):
        plan(TrainingConfig(study=study, weights=tmp_path / "none.safetensors", **SMALL))
    with pytest.raises(InputError, match="sub-77 is not a labelled subject"):
        plan(TrainingConfig(study=study, validation=("sub-77",), **SMALL))


CPU = torch.device("cpu")


def config(**values):
    return TrainingConfig(study="x", **values)


@pytest.fixture
def free(monkeypatch):
    """Function that sets the free memory, in GB."""

    def set_free(gigabytes):
        memory = SimpleNamespace(available=int(gigabytes * 2**30))
        monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)

    return set_free


def needed(**values):
    return forecast(config(**values), CPU).needed


def test_grows_with_what_is_computed():
    one, base = needed(batch=1, patch=(32,)), needed(batch=8, patch=(32,))
    assert needed(batch=15, patch=(32,)) - base == pytest.approx(base - one, rel=0.01)
    assert needed(patch=(64,), batch=8) > 4 * base
    assert needed(method="m2ss", batch=8) > 1.4 * base
    assert needed(method="supervised-mono") < base
    # larger patches of a mixture are fewer
    assert needed(patch=(32, 64)) == pytest.approx(needed(patch=(32,)), rel=0.05)


def test_fits():
    assert Forecast(9, 10).fits
    assert not Forecast(10, 10).fits
    assert Forecast(10, None).fits


def test_proposes_a_batch_that_fits(free):
    free(100)
    require_memory(config(batch=64), CPU)
    free(3)
    said = r"needs about .* GB.*cpu has 3.0 GB free; try a batch of (\d+) \(--batch\)"
    with pytest.raises(InputError, match=said) as refused:
        require_memory(config(batch=64), CPU)
    batch = int(re.search(said, str(refused.value))[1])
    assert 1 <= batch < 64
    require_memory(config(batch=batch), CPU)
    with pytest.raises(InputError, match=said):
        require_memory(config(batch=batch + 1), CPU)
    with pytest.raises(InputError, match=rf"try a batch of {batch} "):
        require_memory(config(batch=100_000), CPU)  # at once
    free(0.5)
    with pytest.raises(InputError, match="choose a smaller --patch"):
        require_memory(config(batch=64), CPU)
    free(0.1)  # one patch of 8 voxels is no batch
    with pytest.raises(InputError, match="choose a smaller --patch"):
        require_memory(config(batch=4, patch=(8,)), CPU)


def test_several_processes_share_a_step_and_the_memory_of_their_machine(free):
    two = World()
    two.size = two.here = 2
    free(8)
    one = forecast(config(batch=5, patch=(32,)), CPU)
    each = forecast(config(batch=5, patch=(32,)), CPU, two)
    base = 2.5 * each.needed - 1.5 * one.needed  # 3 of 5 patches each
    assert base == pytest.approx(520 * 2**20, rel=0.01)
    assert each.free == one.free // 2


def test_a_process_has_at_least_one_whole_patch():
    many = World()
    many.size = 16
    alone = forecast(config(batch=8, patch=(32, 64)), CPU)  # 8 patches of 32, or one of 64
    assert forecast(config(batch=8, patch=(32, 64)), CPU, many) == alone


@pytest.mark.parametrize("method", ["supervised-multi", "m2ss"])
def test_a_larger_batch_needs_no_less(method):
    sizes = [needed(method=method, batch=n, patch=(32, 48, 64)) for n in range(1, 40)]
    assert sizes == sorted(sizes)
