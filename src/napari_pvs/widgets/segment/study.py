"""Segments all subjects of the study that is open."""

from collections.abc import Callable

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_pvs.inference.config import SegmentConfig
from napari_pvs.jobs.protocol import SegmentedSubject, SegmentStudy
from napari_pvs.widgets.background.process import Job
from napari_pvs.widgets.parts.controls import Button, Notice
from napari_pvs.widgets.parts.job_bar import JobBar
from napari_pvs.widgets.state.autosave import Autosave
from napari_pvs.widgets.state.session import Session


class StudyPanel(QWidget):
    """The button, and how far the work is; scans can be loaded and corrected meanwhile.

    Parameters
    ----------
    session, autosave
        Of the viewer.
    notice
        Where failures are told.
    config
        Returns what the form says.
    """

    def __init__(
        self,
        session: Session,
        autosave: Autosave,
        notice: Notice,
        config: Callable[[], SegmentConfig],
    ) -> None:
        super().__init__()
        self._session, self._autosave, self._config = session, autosave, config
        self._job: Job | None = None
        self._refused: list[str] = []
        self._made = self._before = 0
        self.start = Button(
            "Segment all subjects",
            "Segment every subject of the open study that these weights have not segmented yet. "
            "Masks are kept as drafts; labels that anybody has begun are not touched.",
            self.run_it,
        )
        self.text = Notice()
        self.bar = JobBar(notice)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for widget in (self.start, self.bar, self.text):
            column.addWidget(widget)
        session.study_opened.connect(self.check)
        self.check()

    @property
    def busy(self) -> bool:
        """Whether the work goes on."""
        return self._job is not None and self._job.running

    def check(self) -> None:
        """Enable what can be done now."""
        reason = "open a study in the Load dock first." if self._session.opened is None else None
        self.start.allow_if("the study is being segmented." if self.busy else reason)

    def run_it(self) -> None:
        """Segment the study."""
        study = self._session.opened
        if study is None:
            return
        self._autosave.flush()  # a label that was begun is one only on disk
        self._refused, self._made, self._before = [], 0, 0
        self.text.clear()
        self._job = job = Job(SegmentStudy(study=study, config=self._config()), self)
        job.row.connect(self._on_row)
        job.finished.connect(self._on_done)
        job.ended.connect(self.check)
        self.bar.follow(job, "Reading the weights …")
        job.start()
        self.check()

    def stop(self) -> None:
        """End the work, because the dock goes."""
        if self._job is not None:
            self._job.cancel()

    def _on_row(self, one: SegmentedSubject) -> None:
        if one.why:
            self._refused.append(f"{one.name}: {one.why}")
        elif one.count is None:
            self._before += 1
        else:
            self._made += 1
            self._session.study_written.emit()
        done = self._made + self._before + len(self._refused)
        self.text.say(f"{done} of {one.total} done; {one.total - done} to go.")

    def _on_done(self, _: object) -> None:
        said = f"{self._made} segmented"
        if self._before:
            said += f", {self._before} were before"
        if self._refused:
            self.text.warn(f"{said}; {len(self._refused)} not:\n" + "\n".join(self._refused))
        else:
            self.text.say(said + ".")
