"""Runs on a real local dask cluster; one of its workers is killed."""

import os
import signal
import threading
import time

import pytest

from napari_pvs.errors import InputError
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.crossval import cluster
from napari_pvs.training.crossval.jobs import plan

pytest.importorskip("distributed")


def jobs_of(study, out, **values):
    small = {"steps": 2, "batch": 2, "patch": (8,), "warmup": 0, "device": "cpu"}
    config = TrainingConfig(study=study, **(small | values))
    return plan(config, out, ("supervised-mono",), folds=3, seeds=1)


@pytest.mark.filterwarnings("default")  # dask's own
def test_a_lost_worker_costs_a_retry(make_study, tmp_path):
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
        cluster.run(jobs, local)
        killer.join(60)
    assert killed
    assert all(job.done for job in jobs)


@pytest.mark.filterwarnings("default")
def test_a_worker_that_would_mix_runs_is_refused(make_study, tmp_path):
    from distributed import LocalCluster

    jobs = jobs_of(make_study(3), tmp_path / "cv", epochs=1)
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=2, dashboard_address=None, host="127.0.0.1"
        ) as local,
        pytest.raises(InputError, match=r"worker tcp.* has 2 threads .*\(--nthreads 1\)"),
    ):
        cluster.run(jobs, local)
    assert not any(job.out.exists() for job in jobs)


def test_nobody_answers(make_study, tmp_path, monkeypatch):
    import dask

    jobs = jobs_of(make_study(3), tmp_path / "cv", epochs=1)
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(InputError, match=r"no dask scheduler answers at tcp://127.0.0.1:9"),
    ):
        cluster.run(jobs, "tcp://127.0.0.1:9")
