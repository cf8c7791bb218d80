"""One thread for what must not make the viewer wait; its answers arrive in the viewer's thread."""

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from qtpy.QtCore import QCoreApplication, QEvent, QObject, Signal

from napari_pvs.errors import InputError


class Background(QObject):
    """Does one thing after the other. What was begun is finished, even when Python ends.

    Parameters
    ----------
    parent
        Answers stop when it is gone.
    """

    _returned = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._thread = ThreadPoolExecutor(1, "napari-pvs")
        self._returned.connect(self._deliver)

    def submit(
        self,
        call: Callable[[], Any],
        good: Callable[[Any], None],
        bad: Callable[[str], None] | None = None,
    ) -> None:
        """Call something in the thread.

        Parameters
        ----------
        call
            Touches neither Qt nor napari.
        good
            Gets what it returns.
        bad
            Gets the sentence of an `InputError`, or of the system where a file or folder is gone
            or refuses. Other exceptions are told too, and raised in the viewer's thread.
        """

        def run() -> None:
            try:
                answer = partial(good, call())
            except Exception as error:
                answer = partial(_told, error, bad)
            with contextlib.suppress(RuntimeError):  # the viewer is closed
                self._returned.emit(answer)

        self._thread.submit(run)

    def marker(self) -> Callable[[], None]:
        """Return what waits until all is done that was asked for before; for another thread."""
        done = self._thread.submit(lambda: None)
        return lambda: done.result()

    def catch_up(self, seconds: float) -> None:
        """Wait here, no longer than that, until all is done that was asked for, and deliver it."""
        with contextlib.suppress(TimeoutError):
            self._thread.submit(lambda: None).result(seconds)
        # what a thread emits goes to a helper of Qt's binding, not to this object
        QCoreApplication.sendPostedEvents(None, QEvent.Type.MetaCall.value)

    def wait(self) -> None:
        """Wait until all is done; what comes later is not taken."""
        self._thread.shutdown()

    def _deliver(self, answer: Callable[[], None]) -> None:
        answer()


def _told(error: Exception, bad: Callable[[str], None] | None) -> None:
    if bad is None:
        raise error
    if isinstance(error, InputError):
        text = str(error)
    elif isinstance(error, OSError):
        text = f"{error.filename or 'a file'}: {error.strerror or error}."
    else:
        text = f"{type(error).__name__}: {error or 'no more is known'}."
    bad(text[0].upper() + text[1:])
    if not isinstance(error, (InputError, OSError)):  # a bug keeps its traceback
        raise error
