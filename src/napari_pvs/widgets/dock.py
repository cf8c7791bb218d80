"""The base of the docks: a scrolling column, the viewer's session, one job at a time."""

import weakref

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
from napari_pvs.widgets.state.autosave import Autosave, autosave_of
from napari_pvs.widgets.state.session import Session, session_of
from napari_pvs.widgets.viewer.typed import Layer, Viewer

WIDTH = 320
"""Minimum width at which a dock still shows everything, pixels."""
SCANS_KEY, PREDICTIONS_KEY = "T", "Shift-T"
LONGEST_S = 10.0
"""How long closing waits for a last draft."""
_SAVING = "saving"


class Dock(QWidget):
    """Base of the docks, which napari makes with its viewer as ``napari_viewer``.

    Parameters
    ----------
    viewer
        The viewer.

    Attributes
    ----------
    notice
        Messages to the user; each dock places it in its layout.
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self.session: Session = session_of(viewer)
        self.autosave = autosave_of(self.session)  # so that edits are saved whichever dock is open
        self.notice = Notice()
        self.notice.setParent(self)  # until it is placed
        self.autosave.told.connect(self._on_told)
        guard(self.session, self.autosave)
        bind_keys(self.session)
        column = QWidget()
        self.body = QVBoxLayout(column)
        self.body.setContentsMargins(4, 4, 4, 4)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(column)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(area)
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
        Progress of the work; each dock places it in its layout.
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__(viewer)
        self.bar = JobBar(self.notice)
        self.bar.setParent(self)
        self._job: Job | None = None

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


def blink_scans(session: Session) -> None:
    """Switch between T1 and T2."""
    _blink(session.t2, session.t1)


def blink_predictions(session: Session) -> None:
    """Switch between the newest prediction and the previous one."""
    newest = list(session.predictions.values())[-2:]
    if len(newest) == 2:
        _blink(newest[1].layer, newest[0].layer)


def bind_keys(session: Session) -> None:
    """Bind the switching keys to the viewer, so that they work whichever layer is active."""
    viewer = session.viewer
    viewer.bind_key(SCANS_KEY, lambda viewer: blink_scans(session_of(viewer)), overwrite=True)
    viewer.bind_key(
        PREDICTIONS_KEY, lambda viewer: blink_predictions(session_of(viewer)), overwrite=True
    )


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
        f"The last edits of {told} are in no file, because they could not be saved. The Correct "
        "dock says why. Close anyway, and lose them?",
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
        """Stop a close event if edits would be lost."""
        session, autosave = self._session(), self._autosave()
        if event is None or event.type() != QEvent.Type.Close:
            return False
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
