"""How a job goes, with a button to cancel it."""

from functools import partial

from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QSizePolicy, QVBoxLayout, QWidget

from napari_pvs.widgets.parts import Button, Notice
from napari_pvs.widgets.worker import Job


class JobBar(QWidget):
    """Text, bar and cancel button; seen only while a job runs.

    Parameters
    ----------
    notice
        Where a failure or the cancellation is told.
    """

    def __init__(self, notice: Notice) -> None:
        super().__init__()
        self._notice = notice
        self._job: Job | None = None
        self.text = Notice()
        self.bar = QProgressBar()
        self.bar.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.cancel = Button("Cancel", "Stop; what was there before stays.", self._on_cancel)
        row = QHBoxLayout()
        row.addWidget(self.bar, 1)
        row.addWidget(self.cancel)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.text)
        column.addLayout(row)
        self.hide()

    def follow(self, job: Job, text: str) -> Job:
        """Show a job until it ends."""
        self._job = job
        self._notice.clear()
        self.text.say(text)
        self.bar.setRange(0, 0)
        job.said.connect(self.text.say)
        job.progressed.connect(self._on_progress)
        job.failed.connect(self._notice.error)
        job.ended.connect(partial(self._on_end, job))
        self.show()
        return job

    def _on_progress(self, done: int, total: int) -> None:
        self.bar.setRange(0, total)
        self.bar.setValue(done)

    def _on_end(self, job: Job) -> None:
        if job is self._job:  # not one that another has replaced
            self._job = None
            self.hide()

    def _on_cancel(self) -> None:
        if self._job is not None:
            self._job.cancel()
            self._notice.say("Cancelled.")
