import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from napari_pvs.errors import InputError
from napari_pvs.network.weights import load
from napari_pvs.scans.nifti import read_labels, write_like
from napari_pvs.study.bids import subjects
from napari_pvs.study.labels import LabelStore
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.crossval import jobs as crossval
from napari_pvs.training.crossval import report
from napari_pvs.training.crossval.jobs import plan, run, run_job
from napari_pvs.training.methods import METHODS
from napari_pvs.training.run import train
from napari_pvs.training.runs.events import read
from napari_pvs.workers import Workers

pytestmark = pytest.mark.usefixtures("small_network")


def config(study, **values):
    small = {"epochs": 2, "steps": 2, "batch": 2, "patch": (8,), "warmup": 1, "device": "cpu"}
    return TrainingConfig(study=study, **(small | values))


def test_everybody_is_tested_once_and_by_nobody_who_knew_them(make_study, tmp_path):
    study = make_study(13, labelled=11)
    jobs = plan(config(study), tmp_path / "cv", folds=5, seeds=2)
    assert len(jobs) == 4 * 5 * 2
    assert len({job.out for job in jobs}) == len(jobs)
    for method in METHODS:
        for seed in (0, 1):
            own = [j for j in jobs if j.config.method == method and j.config.seed == seed]
            tested = [name for job in own for name in job.roles.test]
            assert sorted(tested) == [f"sub-{n:02d}" for n in range(1, 12)]
    for job in jobs:
        parts = [job.roles.train, job.roles.validation, job.roles.test]
        assert sorted(n for part in parts for n in part) == [f"sub-{n:02d}" for n in range(1, 12)]
        assert len(job.roles.validation) == 1
        assert job.roles.unlabelled == ("sub-12", "sub-13")
    same_fold = {j.roles for j in jobs if j.fold == 2}
    assert len(same_fold) == 1  # all methods and seeds see the same subjects


def test_end_to_end_and_again(make_study, tmp_path, monkeypatch):
    study, out = make_study(5, labelled=3), tmp_path / "cv"
    label = study / "derivatives/labels/sub-02/anat/sub-02_desc-pvs_mask.nii.gz"
    truth = study / "derivatives/truth/sub-02/anat/sub-02_desc-pvs_probseg.nii.gz"
    known = read_labels(label)
    fraction = (known.data * 0.9).astype(np.float32)
    fraction[tuple(np.argwhere(known.data)[0])] = 0.4  # the one voxel that is doubtful
    write_like(truth, fraction, known.geometry(), scaled=True)
    given = (config(study), out, ("supervised-mono", "m2ss"), 3, 1)
    jobs, begun = plan(*given), []
    run(jobs, begun.append)
    assert begun == jobs
    assert not (study / "derivatives" / "napari-pvs" / "roles.json").exists()
    rows = report.collect(jobs)
    assert {(r.method, r.subject) for r in rows} == {
        (m, f"sub-0{n}") for m in ("supervised-mono", "m2ss") for n in (1, 2, 3)
    }
    text = report.report(rows)
    assert "| supervised-mono |" in text
    assert "| m2ss |" in text
    assert "DSC of m2ss minus supervised-mono" in text
    assert "Oracle ceiling of the DSC: 0.99" in text
    monkeypatch.setattr(crossval, "run_job", lambda job: begun.append(job))
    run(plan(*given))  # nothing is left
    assert begun == jobs
    shutil.rmtree(jobs[2].out)
    run(plan(*given))
    assert begun[len(jobs) :] == [jobs[2]]


def test_a_killed_run_is_resumed(make_study, tmp_path, monkeypatch):
    study = make_study(3)
    (job, *_) = plan(config(study), tmp_path / "cv", ("supervised-mono",), 3, 1)
    job.out.mkdir(parents=True)  # killed at once
    (job.out / "config.json").write_text(job.config.model_dump_json())
    (job.out / "split.json").write_text("{")
    path = run_job(job)
    assert [one["subject"] for one in json.loads(path.read_text())] == list(job.roles.test)
    path.unlink()  # killed before the scores
    before = (job.out / "checkpoint.safetensors").stat().st_mtime_ns
    run_job(job)
    assert path.is_file()
    assert (job.out / "checkpoint.safetensors").stat().st_mtime_ns == before


def test_labels_that_come_or_change_wait_for_the_next_one(make_study, tmp_path):
    study = make_study(5, labelled=4)
    labels = study / "derivatives" / "labels"

    def place(number):
        name = f"sub-{number:02d}"
        return labels / name / "anat" / f"{name}_desc-pvs_mask.nii.gz"

    given = (config(study, epochs=3), tmp_path / "cv", ("m2ss",), 3, 1)
    jobs = plan(*given)
    place(5).parent.mkdir(parents=True)
    shutil.copy(place(4), place(5))
    store = LabelStore(study, "sub-01")
    whole = read_labels(place(1))
    store.save(whole.data * 0, whole.geometry(), author="a", origin="drawn", state="final")
    assert {s.name: s.revision for s in subjects(study)}["sub-01"] is not None
    assert plan(*given) == jobs
    assert jobs[0].roles.unlabelled == ("sub-05",)
    run(jobs)
    for job in jobs:
        assert not [e for e in read(job.out / "events.jsonl") if e["type"] == "data_added"]
        scores = json.loads((job.out / "scores.json").read_text())
        assert all(one["count_reference"] for one in scores)
    place(2).unlink()
    shutil.copy(place(3), place(2))
    with pytest.raises(InputError, match=r"label of sub-02 .* has changed since"):
        plan(*given)
    shutil.rmtree(study / "sub-02")
    with pytest.raises(InputError, match="sub-02 is no longer in"):
        plan(*given)


def test_scans_without_labels_are_asked_for_before_anything_is_trained(make_study, tmp_path):
    study = make_study(4, labelled=4)
    with pytest.raises(InputError, match=r"every scan of .* is labelled"):
        plan(config(study), tmp_path / "cv", folds=4)
    assert len(plan(config(study), tmp_path / "cv", ("supervised-multi",), folds=4)) == 12


def test_a_plan_of_before_is_understood(make_study, tmp_path, monkeypatch):
    study, out = make_study(4, labelled=3), tmp_path / "cv"
    first = plan(config(study), out, folds=3)
    held = json.loads((out / "crossval.json").read_text())
    del held["config"]["threshold_scans"]  # it came later
    held["config"] |= {"patch": held["config"]["patch"][0], "study": "study"}
    (out / "crossval.json").write_text(json.dumps(held))
    monkeypatch.chdir(tmp_path)
    assert plan(config("study"), Path("cv"), folds=3) == first  # workers may be elsewhere


def test_nobody_is_tested_by_weights_that_learned_from_them(make_study, tmp_path):
    study, out = make_study(5, labelled=4), tmp_path / "cv"
    first, *_ = plan(config(study), out, ("m2ss",), 4, 1)
    run_job(first)
    weights = first.out / "best.safetensors"
    with pytest.raises(
        InputError, match=r"best.safetensors has been trained on sub-0. of .* tests"
    ):
        plan(config(study, weights=weights), tmp_path / "other", ("m2ss",), 4, 1)
    members = config(study, teacher="ensemble", members=(weights,))
    with pytest.raises(InputError, match=r"has been trained on sub-0"):
        plan(members, tmp_path / "other", ("m2ss",), 4, 1)
    # in a run of its own, who was learned from does not validate
    again = tmp_path / "again"
    train(config(study, method="m2ss", weights=weights), again)
    split = json.loads((again / "split.json").read_text())
    assert not set(split["validation"]) & set(first.roles.train)
    learned = load(again / "best.safetensors")[1].training["learned"]
    assert set(learned) == {*split["train"], *split["unlabelled"], *first.roles.train, "sub-05"}


def test_an_ensemble_is_looked_at_before_anything_is_trained(make_study, tmp_path):
    members = (tmp_path / "typo.safetensors",)
    given = config(make_study(3, labelled=2), method="m2ss", teacher="ensemble", members=members)
    with pytest.raises(InputError, match=r"typo.safetensors do not exist"):
        train(given, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_methods_and_seeds_may_be_added(make_study, tmp_path):
    study, out = make_study(4, labelled=3), tmp_path / "cv"
    first = plan(config(study), out, ("supervised-multi",), folds=3, seeds=1)
    grown = plan(config(study), out, ("supervised-multi", "m2ss"), folds=3, seeds=2)
    assert len(grown) == 12
    assert [job for job in grown if job.out in {one.out for one in first}] == first
    for fewer in ({"methods": ("m2ss",), "seeds": 2}, {"seeds": 1}):
        with pytest.raises(InputError, match=r"another cross-validation.*may be added"):
            plan(config(study), out, **{"folds": 3} | fewer)


def test_refuses(make_study, tmp_path):
    study = make_study(4, labelled=3)
    with pytest.raises(
        InputError, match=r"4 folds need at least as many labelled persons.* has 3: .*use 3 folds"
    ):
        plan(config(study), tmp_path / "cv", folds=4)
    with pytest.raises(InputError, match=r"two more than are tested in one.* has 3: label more"):
        plan(config(study), tmp_path / "cv", folds=2)
    with pytest.raises(InputError, match=r"magic.*choose from supervised-mono"):
        plan(config(study), tmp_path / "cv", ("magic",), 3)
    plan(config(study), tmp_path / "cv", folds=3)
    plan(config(study), tmp_path / "cv", folds=3)
    with pytest.raises(InputError, match="contains another cross-validation"):
        plan(config(study, epochs=3), tmp_path / "cv", folds=3)
    (tmp_path / "cv" / "crossval.json").write_text("[")
    with pytest.raises(InputError, match=r"crossval.json is damaged"):
        plan(config(study), tmp_path / "cv", folds=3)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes").touch()
    with pytest.raises(InputError, match="other exists and is not a cross-validation"):
        plan(config(study), tmp_path / "other", folds=3)
    with pytest.raises(InputError, match="no run of this cross-validation has finished yet"):
        report.collect(plan(config(study), tmp_path / "new", folds=3))


def test_not_under_torchrun(make_study, tmp_path, monkeypatch):
    jobs = plan(config(make_study(3)), tmp_path / "cv", ("supervised-multi",), 3, 1)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="start it without torchrun"):
        run(jobs)


def test_several_runs_at_a_time(make_study, tmp_path):
    said = []
    jobs = jobs_of(make_study(3), tmp_path / "cv", epochs=1)
    run(jobs, said.append, Workers(2))
    assert said == jobs
    assert {row.subject for row in report.collect(jobs)} == {"sub-01", "sub-02", "sub-03"}


def test_a_run_that_fails_elsewhere_is_told(make_study, tmp_path):
    jobs = jobs_of(make_study(3), tmp_path / "cv")
    for path in (config(tmp_path / "study").study / "derivatives").rglob("*pvs_mask.nii.gz"):
        path.unlink()
    with pytest.raises(InputError, match=r"label of sub-0. .* has changed since"):
        run(jobs, workers=Workers(2))


def jobs_of(study, out, **values):
    return plan(config(study, **values), out, ("supervised-mono",), folds=3, seeds=1)


@pytest.mark.filterwarnings("default")  # dask's own
def test_a_lost_worker_costs_a_retry(make_study, tmp_path):
    """On a real local dask cluster, one of whose workers is killed."""
    pytest.importorskip("distributed")
    from distributed import LocalCluster

    jobs = jobs_of(make_study(3), tmp_path / "cv", epochs=4)
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"
    ) as local:

        def kill_one():
            while not any((job.out / "checkpoint.safetensors").exists() for job in jobs):
                time.sleep(0.02)
            worker = next(iter(local.workers.values()))
            os.kill(worker.pid, signal.SIGKILL)
            killed.append(worker)

        killed = []
        killer = threading.Thread(target=kill_one, daemon=True)
        killer.start()
        run(jobs, workers=Workers(scheduler=local))
        killer.join(60)
    assert killed
    assert all(job.done for job in jobs)


@pytest.mark.filterwarnings("default")
def test_a_worker_that_would_mix_runs_is_refused(make_study, tmp_path):
    pytest.importorskip("distributed")
    from distributed import LocalCluster

    jobs = jobs_of(make_study(3), tmp_path / "cv", epochs=1)
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=2, dashboard_address=None, host="127.0.0.1"
        ) as local,
        pytest.raises(InputError, match=r"worker tcp.* has 2 threads .*\(--nthreads 1\)"),
    ):
        run(jobs, workers=Workers(scheduler=local))
    assert not any(job.out.exists() for job in jobs)


def test_nobody_answers(make_study, tmp_path, monkeypatch):
    dask = pytest.importorskip("dask")
    pytest.importorskip("distributed")
    jobs = jobs_of(make_study(3), tmp_path / "cv", epochs=1)
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(InputError, match=r"no dask scheduler answers at tcp://127.0.0.1:9"),
    ):
        run(jobs, workers=Workers(scheduler="tcp://127.0.0.1:9"))
