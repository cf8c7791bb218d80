"""Work for the viewer's thread in small steps, so that the viewer stays responsive in between."""

from collections.abc import Generator
from contextlib import suppress
from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal

Steps = Generator[Any, None, Any]
"""Work that yields wherever the viewer may take a turn, and may be abandoned there. A number that
it yields is a pause in ms, for work that waits for something else."""


class IdleWork(QObject):
    """Runs one step in each turn of the event loop.

    Parameters
    ----------
    steps
        The work. An exception ends it, and is raised in the event loop.
    parent
        Owner; once it is gone, the rest is abandoned.
    """

    ended = Signal()
    """The work is done, or a step failed. Not sent after `stop`."""

    def __init__(self, steps: Steps, parent: QObject) -> None:
        super().__init__(parent)
        self._steps: Steps | None = steps
        self._running = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._next)
        self._timer.start(0)

    def stop(self) -> None:
        """Abandon the rest."""
        self._timer.stop()
        steps, self._steps = self._steps, None
        if steps is not None and not self._running:  # a step may stop itself
            steps.close()

    def _next(self) -> None:
        # a step can run the event loop itself, as a dialog does
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
                with suppress(RuntimeError):  # the parent may have been deleted in a step's dialog
                    self._timer.start(pause or 0)  # events that came meanwhile go first
            else:
                self.stop()
                self.ended.emit()
