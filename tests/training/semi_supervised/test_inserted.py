from pathlib import Path

import numpy as np
import pytest
import torch

from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.data.sampling import Patches
from napari_pvs.training.distributed.world import Share
from napari_pvs.training.run import train
from napari_pvs.training.runs.events import read
from napari_pvs.training.semi_supervised.ground import GREY, WHITE, Ground
from napari_pvs.training.semi_supervised.inserted import InsertedPVS, insert, without_doubt
from napari_pvs.training.state import State

SIZE = np.full(3, 0.8)
GROUND = Ground(np.zeros((1, 1, 1), np.uint8), (-4.0, 6.0), ((0.3,) * 3,) * 2, (0.15, 0.15))


def patch(seed=0, edge=32):
    rng = np.random.default_rng(seed)
    images = rng.normal(0, 0.15, (2, edge, edge, edge)).astype(np.float32)
    images[0] += 0.8
    images[1] -= 0.4
    return images


def inserted(images, tissue=None, pseudo=None, ground=GROUND, number=4, seed=0):
    tissue = np.full(images.shape[1:], WHITE, np.float32) if tissue is None else tissue
    pseudo = np.zeros(images.shape[1:], np.float32) if pseudo is None else pseudo
    rng = np.random.default_rng(seed)
    centre = np.array([16.0, 16, 60])
    return insert(
        images, without_doubt(pseudo, 0.8), tissue, pseudo <= 0.2, ground, SIZE, centre, number, rng
    )


def test_inserted_pvs_are_fluid_in_both_contrasts_and_labelled():
    images = patch()
    out, target = inserted(images)
    pvs = target == 1
    assert 20 < pvs.sum() < 3000
    added = out - images
    assert np.median(added[1][pvs]) > 1.5  # bright on T2
    assert np.median(added[0][pvs]) < -1.0  # dark on T1
    assert np.abs(added[1][pvs]).min() > 0.2  # half of the maximum, of what a rater sees
    assert out.max() <= 10
    assert np.array_equal(images, patch())  # what was drawn from the scan stays


def test_mimics_change_the_scan_and_not_the_target():
    counts = []
    for seed in range(6):
        images = patch(seed)
        out, target = inserted(images, number=6, seed=seed)
        changed = np.abs(out[1] - images[1]) > 1
        counts.append(np.count_nonzero(changed & (target == 0)))
    assert max(counts) > 200


def test_nothing_is_drawn_near_what_the_teacher_sees_or_suspects():
    images, pseudo = patch(), np.zeros((32, 32, 32), np.float32)
    pseudo[14:18, 14:18, 4:28] = 0.95
    pseudo[4:8, 4:8, 4:28] = 0.5
    out, target = inserted(images, pseudo=pseudo, number=8)
    assert (target[14:18, 14:18, 4:28] == 1).all()
    assert (target[4:8, 4:8, 4:28] == -1).all()
    assert np.abs(out - images)[:, 14:18, 14:18, 6:26].max() < 1.0  # no more than blur
    assert (target == 1).sum() > 4 * 4 * 24


def test_only_in_tissue_where_pvs_are():
    images = patch()
    tissue = np.zeros((32, 32, 32), np.float32)
    same, target = inserted(images, tissue=tissue)
    assert same is images
    assert not target.any()
    tissue[:, :, 16:] = GREY
    _, target = inserted(images, tissue=tissue, number=6)
    assert (target == 1).any()
    assert np.argwhere(target == 1)[:, 2].min() >= 14


def test_where_there_is_nothing_to_draw_or_to_draw_into_patches_stay():
    images = patch()
    same, target = inserted(images, number=0)
    assert same is images
    assert not target.any()
    empty = np.zeros_like(images)
    same, target = inserted(empty, number=4)
    assert same is empty
    assert not target.any()


def test_tissue_in_a_far_corner_is_found():
    tissue = np.zeros((32, 32, 32), np.float32)
    tissue[20:, 20:, 20:] = WHITE
    _, target = inserted(patch(), tissue=tissue, number=8)
    pvs = np.argwhere(target == 1)
    assert len(pvs) > 5
    assert pvs.min() >= 18


def test_mimics_keep_to_tissue():
    tissue = np.zeros((32, 32, 32), np.float32)
    tissue[:, :, 26:] = WHITE
    for seed in range(4):
        images = patch(seed)
        out, _ = inserted(images, tissue=tissue, number=12, seed=seed)
        changed = np.abs(out - images).max(axis=(0, 1, 2))
        assert changed[27:].max() > 1
        assert changed[:14].max() < 0.01  # the widest mimic reaches 6 mm, and blur a little more


def test_inserted_pvs_keep_apart(monkeypatch):
    from napari_pvs.training.semi_supervised import inserted as module

    drawn, rule = [], module.rater

    def watched(rasters, *rest):
        drawn.extend(rasters)
        return rule(rasters, *rest)

    monkeypatch.setattr(module, "rater", watched)
    inserted(patch(), number=30)
    assert len(drawn) > 5
    for n, one in enumerate(drawn):
        for other in drawn[:n]:
            apart = np.abs(one.voxels[:, None] - other.voxels[None]).sum(axis=2)
            assert apart.min() > 2


def test_what_a_rater_would_not_see_is_left_out():
    noisy = Ground(GROUND.tissue, GROUND.fluid, GROUND.spread, (50.0, 50.0))
    _, target = inserted(patch(), ground=noisy)
    assert not (target == 1).any()
    assert (target == -1).any()


@pytest.mark.parametrize("missing", [0, 1])
def test_a_missing_modality_stays_missing(missing):
    images = patch()
    images[missing] = 0
    out, target = inserted(images)
    assert not out[missing].any()
    assert (target == 1).any()


def test_outside_the_brain_nothing_appears():
    images = patch()
    images[:, :10] = 0
    tissue = np.full((32, 32, 32), WHITE, np.float32)
    tissue[:11] = 0
    out, _ = inserted(images, tissue=tissue, number=8)
    assert not out[:, :10].any()


def teacher_of(one, ground, **values):
    config = TrainingConfig(study="x", method="m2ss", teacher="inserted", **values)
    teacher = InsertedPVS(State(config, torch.device("cpu")), Path("unused"))
    teacher._scans[one.name] = one, ground
    return teacher


def test_patches_depend_on_seed_and_step_not_on_who_makes_them(cut_out):
    one = cut_out()
    tissue = np.full(one.brain.shape, WHITE, np.uint8)
    ground = Ground(tissue, GROUND.fluid, GROUND.spread, GROUND.noise)
    teacher = teacher_of(one, ground, patch=(32,))
    images = np.stack([one.images[:, i : i + 32, 2:34, 2:34].astype(np.float32) for i in (0, 4)])
    origin = tuple((one.name, (i, 2, 2)) for i in (0, 4))
    pseudo = np.zeros((2, 1, 32, 32, 32), np.float32)
    both = teacher.enrich(Patches(images, pseudo, origin, Share(0, 2, 2)), 7)
    second = teacher.enrich(Patches(images[1:], pseudo[1:], origin[1:], Share(1, 2, 2)), 7)
    np.testing.assert_array_equal(both.images[1:], second.images)
    np.testing.assert_array_equal(both.target[1:], second.target)
    later = teacher.enrich(Patches(images, pseudo, origin, Share(0, 2, 2)), 8)
    assert not np.array_equal(both.images, later.images)
    nobody = teacher.enrich(Patches(images[:0], pseudo[:0], (), Share(2, 2, 2)), 7)
    assert len(nobody.images) == len(nobody.target) == 0


def test_what_is_round_and_wide_is_left_out(cut_out):
    one = cut_out()
    pseudo = np.zeros(one.brain.shape, np.float16)
    away = np.linalg.norm(np.indices(pseudo.shape) - 30, axis=0)
    pseudo[away < 3] = 0.95  # 4.8 mm wide
    pseudo[28:30, 10:12, 20:36] = 0.95  # a tube
    tissue = np.zeros(one.brain.shape, np.uint8)
    ground = Ground(tissue, GROUND.fluid, GROUND.spread, GROUND.noise)
    teacher = teacher_of(one, ground, patch=(32,))
    teacher.pseudo_labels._maps[one.name] = pseudo
    teacher._round[one.name] = teacher._wide(one)
    cut = (slice(6, 38),) * 3
    images = one.images[:, *cut].astype(np.float32)[None]
    patches = Patches(images, pseudo[cut].astype(np.float32)[None, None], ((one.name, (6, 6, 6)),))
    target = teacher.enrich(patches, 0).target[0, 0]
    assert (target[(away < 3)[cut]] == -1).all()
    assert (target[22:24, 4:6, 14:30] == 1).all()


@pytest.mark.usefixtures("small_network")
def test_it_trains_in_the_real_loop(make_study, tmp_path):
    out = tmp_path / "run"
    small = {"epochs": 1, "steps": 2, "batch": 2, "patch": (16,), "warmup": 0, "device": "cpu"}
    study = make_study(4, labelled=2)
    train(TrainingConfig(study=study, method="m2ss", teacher="inserted", **small), out)
    events = read(out / "events.jsonl")
    assert "tissue of unlabelled scans" in [e["name"] for e in events if e["type"] == "phase"]
    assert events[-1]["type"] == "done"
    assert {p.stem for p in (out / "pseudo" / "ground").iterdir()} == {"sub-03", "sub-04"}
