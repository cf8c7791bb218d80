"""Work for the viewer's own thread, in pieces: between two of them the viewer lives."""

from collections.abc import Generator
from contextlib import suppress
from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal

Steps = Generator[Any, None, Any]
"""Work that yields wherever the viewer may have a moment, and can be left off there. A number that
it yields is how long it waits for something else, in ms."""


class IdleWork(QObject):
    """Does one piece in each turn of the event loop.

    Parameters
    ----------
    steps
        The work. What it raises ends it, and is raised in the event loop.
    parent
        The rest is left off when it is gone.
    """

    ended = Signal()
    """All is done, or a piece has failed. Not sent after `stop`."""

    def __init__(self, steps: Steps, parent: QObject) -> None:
        super().__init__(parent)
        self._steps: Steps | None = steps
        self._running = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._next)
        self._timer.start(0)

    def stop(self) -> None:
        """Leave the rest off."""
        self._timer.stop()
        steps, self._steps = self._steps, None
        if steps is not None and not self._running:  # a piece may stop itself
            steps.close()

    def _next(self) -> None:
        # a piece can let the event loop run, as a dialogue does
        if self._steps is None or self._running:
            return
        more, pause = False, None
        self._running = True
        try:
            pause = next(self._steps)
            more = True
        except StopIteration:
            pass
        finally:
            self._running = False
            if self._steps is None:
                pass
            elif more:
                with suppress(RuntimeError):  # in a piece's dialogue the parent may have gone
                    self._timer.start(pause or 0)  # what has become due meanwhile comes first
            else:
                self.stop()
                self.ended.emit()
