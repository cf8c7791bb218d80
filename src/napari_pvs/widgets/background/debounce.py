"""Something that is done once, a moment after it was last asked for."""

from collections.abc import Callable

from qtpy.QtCore import QObject
from superqt.utils import QSignalDebouncer


class Debouncer(QSignalDebouncer):
    """Calls something when nobody has asked for it for a while; ask by `throttle`.

    Parameters
    ----------
    milliseconds
        How long; 0 is the next turn of the event loop.
    call
        What is called.
    parent
        Nothing is called once it is gone.
    """

    def __init__(self, milliseconds: int, call: Callable[[], object], parent: QObject) -> None:
        super().__init__(parent=parent)
        self._call = call
        self.pending = False
        """Whether the call is still to come."""
        self.setTimeout(milliseconds)
        self.triggered.connect(self._on_triggered)

    def throttle(self) -> None:
        """Ask for the call; each time anew it waits as long."""
        self.pending = True
        super().throttle()

    def cancel(self) -> None:
        """Leave the call off."""
        self.pending = False
        super().cancel()

    def _on_triggered(self) -> None:
        self.pending = False
        self._call()
