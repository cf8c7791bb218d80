"""The base of the docks: a scrolling column, the viewer's session, one job at a time."""

import weakref
from collections.abc import Iterator

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import (
    QFormLayout,
    QFrame,
    QGroupBox,
    QMessageBox,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_pvs.widgets.background.idle import Steps
from napari_pvs.widgets.background.process import Job
from napari_pvs.widgets.parts.controls import Notice, as_it_is
from napari_pvs.widgets.parts.job_bar import JobBar
from napari_pvs.widgets.planes.canvas import draw_over
from napari_pvs.widgets.planes.planes import FILL_KEY, HIDE_KEY, planes_of
from napari_pvs.widgets.state.autosave import Autosave, autosave_of
from napari_pvs.widgets.state.recent import recents_of
from napari_pvs.widgets.state.session import Session, session_of
from napari_pvs.widgets.viewer.typed import Layer, Viewer

WIDTH = 320
"""Minimum width at which a dock still shows everything, pixels."""
SCANS_KEY, PREDICTIONS_KEY = "T", "Shift+T"
LINES = 3
"""Room for what a dock has to say; more is scrolled."""
LONGEST_S = 10.0
"""How long closing waits for a last draft."""
_SAVING = "saving"
JOB = "job"
"""Topic of what is said of a job that another scan has ended or outlived."""


class Dock(QWidget):
    """Base of the docks, which napari makes with its viewer as ``napari_viewer``.

    What a dock says goes when another scan is loaded, unless ``about_scan`` is false.

    Parameters
    ----------
    viewer
        The viewer.

    Attributes
    ----------
    notice
        What the dock has to say, below everything else: nothing moves when it speaks.
    stopped
        Whether it has gone away; it may live on until Python collects it.
    """

    about_scan = True

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self.session: Session = session_of(viewer)
        self.autosave = attend(self.session)
        self.notice = Notice()
        self.stopped = False
        self.autosave.told.connect(self._on_told)
        column = QWidget()
        self.body = QVBoxLayout(column)
        self.body.setContentsMargins(4, 4, 4, 4)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(column)
        self.outer = QVBoxLayout(self)
        self.outer.setContentsMargins(0, 0, 0, 0)
        self.outer.setSpacing(2)
        self.outer.addWidget(area)
        self.outer.addWidget(_strip(self.notice))
        scan = self.session.scan
        self._scan = None if scan is None else weakref.ref(scan)
        self.session.scan_changed.connect(self._on_other_scan)
        self.setMinimumWidth(WIDTH)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)

    def group(self, title: str) -> QFormLayout:
        """Add a titled box and return its layout."""
        box = QGroupBox(title)
        form = QFormLayout(box)
        form.setContentsMargins(6, 14, 6, 6)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        self.body.addWidget(box)
        return form

    def stop(self) -> None:
        """End what the dock has started, because the dock is going away."""
        self.stopped = True

    def _on_other_scan(self) -> None:
        """What was said of the scan before holds no longer."""
        scan = None if self.session.scan is None else weakref.ref(self.session.scan)
        other, self._scan = scan != self._scan, scan
        if other and self.about_scan and self.notice.topic not in (_SAVING, JOB):
            self.notice.clear()

    def _on_told(self, kind: str, text: str) -> None:
        """Show why edits could not be saved, until they are."""
        if kind == "error":
            self.notice.error(text, _SAVING)
        elif kind == "warning":
            self.notice.warn(text, _SAVING)
        else:
            self.notice.take_back(_SAVING)

    def event(self, event: QEvent | None) -> bool:
        """Stop when napari takes the dock out of its window or deletes it."""
        if event is not None:
            taken = event.type() == QEvent.Type.ParentChange and self.parent() is None
            if taken or event.type() == QEvent.Type.DeferredDelete:
                self.stop()
        return super().event(event)


class JobDock(Dock):
    """A dock that has work done in a separate process.

    Attributes
    ----------
    bar
        How the work goes, above what the dock has to say.
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__(viewer)
        self.bar = JobBar(self.notice)
        self.outer.insertWidget(1, self.bar)
        self._job: Job | None = None

    @property
    def job(self) -> Job | None:
        """The job that was started last, if it is running."""
        return self._job if self.busy else None

    @property
    def busy(self) -> bool:
        """Whether the dock's job is running."""
        return self._job is not None and self._job.running

    def run(self, job: Job) -> Job:
        """Start a job, cancelling one that may be running."""
        self._cancel()
        self._job = job
        return job.start()

    def show_steps(self, steps: Steps) -> None:
        """Show the job's result piece by piece in idle time; for a slot of its `finished`."""
        if self._job is not None:
            self._job.go_on(steps)

    def stop(self) -> None:
        """End the job, because the dock is going away."""
        super().stop()
        self._cancel()

    def _cancel(self) -> None:
        if self._job is not None:
            self._job.cancel()


def attend(session: Session) -> Autosave:
    """Do what every dock does for its viewer: keep edits, keep planes upright, bind keys."""
    autosave = autosave_of(session)
    guard(session, autosave)
    planes = planes_of(session)
    draw_over(planes)
    recents_of(session)
    bind_keys(session)
    return autosave


def _strip(notice: Notice) -> QScrollArea:
    """Return room for a few lines, which scrolls where they are more and never grows."""
    strip = QScrollArea()
    strip.setWidgetResizable(True)
    strip.setFrameShape(QFrame.Shape.NoFrame)
    strip.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    notice.setAlignment(Qt.AlignmentFlag.AlignTop)
    strip.setWidget(notice)
    strip.setFixedHeight(LINES * notice.fontMetrics().lineSpacing() + 12)
    strip.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return strip


def blink_scans(session: Session) -> None:
    """Switch between T1 and T2."""
    _blink(session.t2, session.t1)


def blink_predictions(session: Session) -> None:
    """Show the previous prediction in place of the current one, and work with it."""
    last = list(session.predictions.values())[-2:]
    if len(last) == 2:
        session.show_prediction(last[0])


def bind_keys(session: Session) -> None:
    """Bind the switching keys to the viewer, so that they work whichever layer is active."""
    viewer = session.viewer
    viewer.bind_key(SCANS_KEY, lambda viewer: blink_scans(session_of(viewer)), overwrite=True)
    viewer.bind_key(
        PREDICTIONS_KEY, lambda viewer: blink_predictions(session_of(viewer)), overwrite=True
    )
    viewer.bind_key(HIDE_KEY, hide_labels, overwrite=True)
    viewer.bind_key(
        FILL_KEY, lambda viewer: planes_of(session_of(viewer)).toggle_fill(), overwrite=True
    )


def hide_labels(viewer: Viewer) -> Iterator[None]:
    """Hide all labels until the key is released."""
    planes = planes_of(session_of(viewer))
    planes.hide(True)
    yield
    planes.hide(False)


def _blink(first: Layer | None, second: Layer | None) -> None:
    if first is not None and second is not None:
        show_second = first.visible
        first.visible, second.visible = not show_second, show_second


def guard(session: Session, autosave: Autosave) -> None:
    """Guard the window of a session's viewer, once."""
    window = getattr(getattr(session.viewer, "window", None), "_qt_window", None)
    if window is not None and window.findChild(Closing) is None:
        Closing(window, session, autosave)


def lose(window: QWidget, names: list[str]) -> bool:
    """Ask whether to close anyway."""
    told = as_it_is(" and ".join(repr(name) for name in names))
    answer = QMessageBox.warning(
        window,
        "Unsaved edits",
        f"The last edits of {told} could not be saved; the Correct dock says why. Close anyway and "
        "lose them?",
        QMessageBox.StandardButton.Discard | QMessageBox.StandardButton.Cancel,
        QMessageBox.StandardButton.Cancel,
    )
    return bool(answer == QMessageBox.StandardButton.Discard)


class Closing(QObject):
    """Keeps a window open while edits are unsaved, unless the user discards them.

    Parameters
    ----------
    window
        The viewer's window, which owns this object.
    session, autosave
        The viewer's.
    """

    def __init__(self, window: QWidget, session: Session, autosave: Autosave) -> None:
        super().__init__(window)
        self._window = window
        self._session, self._autosave = weakref.ref(session), weakref.ref(autosave)
        window.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Stop a close event where edits would be lost."""
        if event is None or event.type() != QEvent.Type.Close or not hasattr(self, "_session"):
            return False  # PySide asks once more when Python's half is gone
        session, autosave = self._session(), self._autosave()
        if session is None or autosave is None:
            return False
        if not session.unsaved():
            return False
        autosave.settle(LONGEST_S)
        names = [layer.name for layer in session.unsaved()]
        if not names or lose(self._window, names):
            return False
        event.ignore()
        return True
