"""Cross-validation on the workers of a dask cluster."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_pvs.errors import InputError
from napari_pvs.training.crossval.jobs import Job, run_job

log = logging.getLogger(__name__)
_RETRIES = 3


def run(jobs: Sequence[Job], scheduler: Any) -> None:
    """Run jobs in parallel; if a worker is lost, another resumes its job from the checkpoint.

    Parameters
    ----------
    jobs
        From `jobs.plan`. All workers must see their folders and the study.
    scheduler
        Address of a dask scheduler, or a cluster such as ``LocalCluster`` or dask-jobqueue's
        ``SLURMCluster``.

    Raises
    ------
    InputError
        dask.distributed is not installed, or there is no scheduler at the address.
    """
    try:
        import distributed
    except ImportError as error:
        raise InputError(
            "dask.distributed is not installed; run: pip install 'napari-pvs[cluster]'"
        ) from error
    try:
        client: Any = distributed.Client(scheduler)  # type: ignore[no-untyped-call]
    except OSError as error:
        raise InputError(
            f"no dask scheduler answers at {scheduler}; start one, or leave out --scheduler."
        ) from error
    with client:
        left = [job for job in jobs if not job.done]
        futures = client.map(_alone, left, retries=_RETRIES, pure=False)
        done: Any
        for done in distributed.as_completed(futures):  # type: ignore[no-untyped-call]
            log.info("%s", done.result())


def _alone(job: Job) -> Path:
    """Run a job in a process without other jobs, which would share its random numbers."""
    from distributed import get_worker

    worker: Any = get_worker()
    if worker.state.nthreads > 1:
        raise InputError(
            f"the dask worker {worker.address} has {worker.state.nthreads} threads and would train "
            "several runs in one process; start workers with one thread (--nthreads 1)."
        )
    return run_job(job)
