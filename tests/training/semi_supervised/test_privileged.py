from pathlib import Path

import numpy as np
import pytest
import torch

from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.data.sampling import Patches
from napari_pvs.training.semi_supervised.privileged import PrivilegedInsertedPVS
from napari_pvs.training.semi_supervised.teacher import make_teacher
from napari_pvs.training.state import State

pytestmark = pytest.mark.usefixtures("small_network")


def seen(count=400, blank=None, **values):
    config = TrainingConfig(study="x", method="m2ss", teacher="privileged", **values)
    teacher = make_teacher(State(config, torch.device("cpu")), Path("unused"))
    rng = np.random.default_rng(0)
    images = rng.standard_normal((count, 2, 4, 4, 4)).astype(np.float32)
    if blank is not None:
        images[:, blank] = 0
    pseudo = np.zeros((count, 1, 4, 4, 4), np.float32)
    generator = torch.Generator().manual_seed(0)
    shown, _ = teacher.view(Patches(images, pseudo, ()), generator)
    return shown.flatten(2).any(-1).numpy()


@pytest.mark.parametrize("values", [{}, {"view": "noise"}, {"modality_dropout": 0.0}])
def test_of_most_patches_one_contrast_is_seen(values):
    there = seen(**values)
    assert there.any(1).all()
    assert np.mean(there.sum(1) == 1) == pytest.approx(0.75, abs=0.07)
    assert np.mean(there[:, 0]) == pytest.approx(np.mean(there[:, 1]), abs=0.12)


def test_as_many_as_are_wanted():
    assert np.mean(seen(privileged=1.0).sum(1) == 1) == 1
    # never fewer than of labelled patches
    assert np.mean(seen(privileged=0.0).sum(1) == 1) == pytest.approx(0.35, abs=0.07)


def test_a_scan_with_one_contrast_keeps_it():
    there = seen(blank=0, privileged=1.0)
    assert there[:, 1].all()


def test_with_inserted_pvs():
    config = TrainingConfig(study="x", method="m2ss", teacher="inserted-privileged")
    teacher = make_teacher(State(config, torch.device("cpu")), Path("unused"))
    assert isinstance(teacher, PrivilegedInsertedPVS)
    assert "enrich" not in vars(PrivilegedInsertedPVS)  # inherited, as is the view
