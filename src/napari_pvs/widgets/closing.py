"""Asks before a window closes whose edits could not be saved."""

import weakref
from typing import Any

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QMessageBox, QWidget

from napari_pvs.widgets.autosave import Autosave
from napari_pvs.widgets.plain_text import as_it_is
from napari_pvs.widgets.session import Session

LONGEST_S = 10.0
"""How long closing waits for a last draft."""


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
        self._session, self._autosave = weakref.ref(session), weakref.ref(autosave)
        window.installEventFilter(self)

    def eventFilter(self, watched: Any, event: Any) -> bool:  # Qt's name
        """Stop a close event where edits would be lost."""
        session, autosave = self._session(), self._autosave()
        if event.type() != QEvent.Type.Close or session is None or autosave is None:
            return False
        if not session.unsaved():
            return False
        autosave.settle(LONGEST_S)
        names = [layer.name for layer in session.unsaved()]
        if not names or lose(watched, names):
            return False
        event.ignore()
        return True
