"""A call that is made once, a moment after it was last asked for."""

from collections.abc import Callable

from qtpy.QtCore import QObject
from superqt.utils import QSignalDebouncer


class Debouncer(QSignalDebouncer):
    """Makes a call once nobody has asked for it for a while; ask by `throttle`.

    Parameters
    ----------
    milliseconds
        How long to wait; 0 is the next turn of the event loop.
    call
        What is called.
    parent
        Owner; no call is made once it is gone.
    """

    def __init__(self, milliseconds: int, call: Callable[[], object], parent: QObject) -> None:
        super().__init__(parent=parent)
        self.pending = False
        """Whether the call is still to come."""
        self.setTimeout(milliseconds)
        self.triggered.connect(self._reset)
        self.triggered.connect(call)  # Qt's bindings hold methods of widgets weakly

    def throttle(self) -> None:
        """Ask for the call; the wait starts again."""
        self.pending = True
        super().throttle()

    def cancel(self) -> None:
        """Drop the call."""
        self.pending = False
        super().cancel()

    def _reset(self) -> None:
        self.pending = False
