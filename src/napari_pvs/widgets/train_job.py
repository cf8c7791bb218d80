"""Jobs of the Train dock: those of `worker`, answered by `train_service`."""

from napari_pvs.widgets.worker import Job


class TrainJob(Job):
    """One request to the Train dock's helper process."""

    module = "napari_pvs.widgets.train_service"
