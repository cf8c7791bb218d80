"""What a run would use and cost, against what a run then does."""

import numpy as np
import pytest
from safetensors.numpy import save_file

pytest.importorskip("napari")

from napari_pvs.errors import InputError
from napari_pvs.study.bids import fingerprint, subjects
from napari_pvs.study.roles import read as read_roles
from napari_pvs.study.roles import split
from napari_pvs.training import forecast
from napari_pvs.training.config import TrainingConfig
from napari_pvs.widgets.train_plan import corrected, duration, plan, sentence

SMALL = {"epochs": 4, "steps": 3, "batch": 2, "patch": (8,), "device": "cpu"}


def roles_of(study):
    found = subjects(study)
    return found, split(found, known=read_roles(study))


def test_who_takes_part(make_study):
    study = make_study(6, labelled=5)
    _, roles = roles_of(study)
    said = "Learns from 3 labelled scans, validates on 1, leaves 1 for a test"
    assert sentence(roles, None, False) == f"{said}, does not use 1 unlabelled scan."
    assert sentence(roles, 0, True) == (
        "Learns from 3 labelled scans (none new or corrected since the last run) and 1 "
        "unlabelled, validates on 1, leaves 1 for a test."
    )
    assert "(2 new or corrected" in sentence(roles, 2, True)


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
    assert made.use == "Learns from 2 labelled scans, validates on 1."
    assert made.cost.startswith("Needs about ")
    assert " on cpu; about " in made.cost
    assert made.refused == ""
    semi = TrainingConfig(study=study, method="m2ss", **SMALL)
    assert plan(semi).use.startswith("Learns from 2 labelled scans and 0 unlabelled")

    monkeypatch.setattr(forecast, "_free", lambda device: 2**20)
    tight = plan(TrainingConfig(study=study, **SMALL | {"patch": (16,)}))
    assert "a step needs about" in tight.refused
    assert tight.cost.endswith("GB that are free on cpu.")
    with pytest.raises(InputError, match=r"weights .* do not exist"):
        plan(TrainingConfig(study=study, weights=tmp_path / "none.safetensors", **SMALL))
    with pytest.raises(InputError, match="sub-77 is no labelled subject"):
        plan(TrainingConfig(study=study, validation=("sub-77",), **SMALL))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(3, "1 min"), (29 * 60, "29 min"), (3600, "1 h"), (5000, "1 h 25 min"), (9e5, "10 days")],
)
def test_durations(seconds, said):
    assert duration(seconds) == said
