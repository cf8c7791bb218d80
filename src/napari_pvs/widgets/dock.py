"""The base of the docks: a column that scrolls, the viewer's session, one job at a time."""

import weakref
from collections.abc import Iterator
from typing import Any

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
"""Narrowest dock that still shows everything, pixels."""
SCANS_KEY, PREDICTIONS_KEY = "T", "Shift-T"
LONGEST_S = 10.0
"""How long closing waits for a last draft."""
_SAVING = "saving"


class Dock(QWidget):
    """Base of the docks.

    Parameters
    ----------
    viewer
        As napari hands it to a widget.

    Attributes
    ----------
    notice
        What the dock has to say; a dock puts it where it belongs.
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self.session: Session = session_of(viewer)
        self.autosave = attend(self.session)
        self.notice = Notice()
        self.notice.setParent(self)  # until it is placed
        self.autosave.told.connect(self._on_told)
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
        """End what the dock has started, because it goes."""

    def _on_told(self, kind: str, text: str) -> None:
        """Tell why edits could not be saved, until they are."""
        if kind == "error":
            self.notice.error(text, _SAVING)
        elif kind == "warning":
            self.notice.warn(text, _SAVING)
        else:
            self.notice.take_back(_SAVING)

    def event(self, event: QEvent | None) -> bool:
        """End what was started when napari takes the dock out of its window, or deletes it."""
        if event is not None:
            taken = event.type() == QEvent.Type.ParentChange and self.parent() is None
            if taken or event.type() == QEvent.Type.DeferredDelete:
                self.stop()
        return super().event(event)


class JobDock(Dock):
    """A dock that has work done in a process of its own.

    Attributes
    ----------
    bar
        How the work goes; a dock puts it where it belongs.
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
        """Start a job, in place of one that may be running."""
        self._cancel()
        self._job = job
        return job.start()

    def show_steps(self, steps: Steps) -> None:
        """Show what the job has found, a piece in each turn; for a slot of its `finished`."""
        if self._job is not None:
            self._job.go_on(steps)

    def stop(self) -> None:
        """End the job, because the dock goes."""
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


def blink_scans(session: Session) -> None:
    """Show T1 in place of T2, or T2 in place of T1."""
    _blink(session.t2, session.t1)


def blink_predictions(session: Session) -> None:
    """Show the previous prediction in place of the newest, or the other way round."""
    newest = list(session.predictions.values())[-2:]
    if len(newest) == 2:
        _blink(newest[1].layer, newest[0].layer)


def bind_keys(session: Session) -> None:
    """Bind the keys that blink to the viewer, whichever layer is active."""
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
    """Look after the window of a session's viewer; once is enough."""
    window = getattr(getattr(session.viewer, "window", None), "_qt_window", None)
    if window is not None and window.findChild(Closing) is None:
        Closing(window, session, autosave)


def lose(window: QWidget, names: list[str]) -> bool:
    """Ask whether to close all the same."""
    told = as_it_is(" and ".join(repr(name) for name in names))
    answer = QMessageBox.warning(
        window,
        "Edits that are not saved",
        f"The last edits of {told} are in no file: they could not be saved. The Correct dock tells "
        "why. Close all the same, and lose them?",
        QMessageBox.StandardButton.Discard | QMessageBox.StandardButton.Cancel,
        QMessageBox.StandardButton.Cancel,
    )
    return bool(answer == QMessageBox.StandardButton.Discard)


class Closing(QObject):
    """Keeps a window open while its edits are in no file, unless the user gives them up.

    Parameters
    ----------
    window
        The viewer's; its owner.
    session, autosave
        Of the viewer.
    """

    def __init__(self, window: QWidget, session: Session, autosave: Autosave) -> None:
        super().__init__(window)
        self._window = window
        self._session, self._autosave = weakref.ref(session), weakref.ref(autosave)
        window.installEventFilter(self)

    def eventFilter(self, watched: Any, event: Any) -> bool:
        """Stop a close event where edits would be lost."""
        session, autosave = self._session(), self._autosave()
        if event.type() != QEvent.Type.Close or session is None or autosave is None:
            return False
        if not session.unsaved():
            return False
        autosave.settle(LONGEST_S)
        names = [layer.name for layer in session.unsaved()]
        if not names or lose(self._window, names):
            return False
        event.ignore()
        return True
