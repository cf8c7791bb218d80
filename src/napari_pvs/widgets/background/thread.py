"""One thread for what must not make the viewer wait; its answers arrive in the viewer's thread."""

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any

from qtpy.QtCore import QCoreApplication, QEvent, QObject, Signal

from napari_pvs.errors import InputError


def application() -> QCoreApplication:
    """Return Qt's application, which is there wherever widgets are."""
    found = QCoreApplication.instance()
    if found is None:
        raise RuntimeError("Qt has no application yet")
    return found


class Post(QObject):
    """Brings calls from threads into the viewer's.

    It lives as long as napari: a signal that a thread emits while its object is deleted crashes.
    """

    _sent = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._sent.connect(self._call)

    def send(self, call: Callable[[], None]) -> None:
        """Have something called in the viewer's thread, in its turn."""
        self._sent.emit(call)

    def _call(self, call: Callable[[], None]) -> None:
        call()


@cache
def post() -> Post:
    """Return the only one; the viewer's thread asks first."""
    return Post()


class Background:
    """Does one thing after the other. What was begun is finished, even when Python ends.

    Parameters
    ----------
    parent
        Answers stop when it is gone.
    """

    def __init__(self, parent: QObject) -> None:
        self._thread = ThreadPoolExecutor(1, "napari-pvs")
        self._post, self._over = post(), False
        parent.destroyed.connect(self._end)

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
            self._post.send(partial(self._deliver, answer))

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
        if not self._over:
            answer()

    def _end(self, _: Any = None) -> None:
        self._over = True


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
