"""Progress of a job, with a button to cancel it."""

from functools import partial

from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QSizePolicy, QVBoxLayout, QWidget

from napari_pvs.widgets.background.process import Job
from napari_pvs.widgets.parts.controls import Button, Notice


class JobBar(QWidget):
    """Text, bar and cancel button, visible only while a job runs.

    If there are several jobs, the most recent one is shown.

    Parameters
    ----------
    notice
        Where failures and cancellation are reported.
    """

    def __init__(self, notice: Notice) -> None:
        super().__init__()
        self._notice = notice
        self._jobs: dict[Job, str] = {}  # with what each is doing
        self.text = Notice()
        self.bar = QProgressBar()
        self.bar.setToolTip("Progress.")
        self.bar.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.cancel = Button("Cancel", "Cancel; what is already shown stays.", self._on_cancel)
        row = QHBoxLayout()
        row.addWidget(self.bar, 1)
        row.addWidget(self.cancel)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.text)
        column.addLayout(row)
        self.hide()

    def follow(self, job: Job, text: str) -> Job:
        """Show the progress of a job until it ends."""
        self._notice.clear()
        self._jobs[job] = text
        job.said.connect(partial(self._on_said, job))
        job.progressed.connect(partial(self._on_progress, job))
        job.failed.connect(self._notice.error)
        job.ended.connect(partial(self._on_end, job))
        self._show()
        self.show()
        return job

    @property
    def _shown(self) -> Job | None:
        return next(reversed(self._jobs), None)

    def _show(self) -> None:
        shown = self._shown
        if shown is not None:
            self.text.say(self._jobs[shown])
        self.bar.setRange(0, 0)

    def _on_said(self, job: Job, text: str) -> None:
        self._jobs[job] = text
        if job is self._shown:
            self.text.say(text)

    def _on_progress(self, job: Job, done: int, total: int) -> None:
        if job is self._shown:
            self.bar.setRange(0, total)
            self.bar.setValue(done)

    def _on_end(self, job: Job) -> None:
        shown = self._shown
        self._jobs.pop(job, None)
        if not self._jobs:
            self.hide()
        elif job is shown:
            self._show()

    def _on_cancel(self) -> None:
        if self._shown is not None:
            self._shown.cancel()
            self._notice.say("Cancelled.")
