"""Cross-validation on the workers of a dask cluster."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_pvs.training.crossval.jobs import Job, run_job
from napari_pvs.workers import connect, require_one_thread

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
    client = connect(scheduler)
    import distributed

    with client:
        left = [job for job in jobs if not job.done]
        futures = client.map(_alone, left, retries=_RETRIES, pure=False)
        done: Any
        for done in distributed.as_completed(futures):  # type: ignore[no-untyped-call]
            log.info("%s", done.result())


def _alone(job: Job) -> Path:
    """Run a job in a process without other jobs, which would share its random numbers."""
    require_one_thread()
    return run_job(job)
