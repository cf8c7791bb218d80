"""A thread for work that would block the viewer; results arrive in the viewer's thread."""

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import TypeVar

from qtpy.QtCore import QCoreApplication, QEvent, QObject, Signal

from napari_pvs.errors import InputError

T = TypeVar("T")


def application() -> QCoreApplication:
    """Return Qt's application, which exists if there are widgets."""
    found = QCoreApplication.instance()
    if found is None:
        raise RuntimeError("Qt has no application yet")
    return found


class Post(QObject):
    """Calls functions in the viewer's thread on behalf of other threads.

    Lives as long as napari: a thread that emits a signal of a deleted object crashes.
    """

    _sent = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._sent.connect(self._call)

    def send(self, call: Callable[[], None]) -> None:
        """Queue a call for the viewer's thread."""
        self._sent.emit(call)

    def _call(self, call: Callable[[], None]) -> None:
        call()


@cache
def post() -> Post:
    """Return the one instance; the viewer's thread must be the first to ask."""
    return Post()


class Background:
    """Runs calls one after another; a call that has begun is finished even if Python exits.

    Parameters
    ----------
    parent
        Owner; once it is gone, results are dropped.
    """

    def __init__(self, parent: QObject) -> None:
        self._thread = ThreadPoolExecutor(1, "napari-pvs")
        self._post, self._over = post(), False
        parent.destroyed.connect(self._end)

    def submit(
        self,
        call: Callable[[], T],
        good: Callable[[T], None],
        bad: Callable[[str], None] | None = None,
    ) -> None:
        """Run a call in the thread.

        Parameters
        ----------
        call
            Must touch neither Qt nor napari.
        good
            Receives the result, in the viewer's thread.
        bad
            Receives the sentence of an `InputError`, or the system's message if a file or folder
            is missing or not accessible. Other exceptions are reported too, and raised in the
            viewer's thread.
        """

        def run() -> None:
            try:
                answer = partial(good, call())
            except Exception as error:
                answer = partial(_told, error, bad)
            self._post.send(partial(self._deliver, answer))

        self._thread.submit(run)

    def marker(self) -> Callable[[], None]:
        """Return a function that waits for all calls submitted so far; for another thread."""
        done = self._thread.submit(lambda: None)
        return lambda: done.result()

    def catch_up(self, seconds: float) -> None:
        """Wait up to this long for all submitted calls, and deliver their results."""
        with contextlib.suppress(TimeoutError):
            self._thread.submit(lambda: None).result(seconds)
        # what a thread emits is posted to a helper object of the Qt binding, not to this one
        QCoreApplication.sendPostedEvents(None, QEvent.Type.MetaCall.value)

    def wait(self) -> None:
        """Wait for all submitted calls and accept no more."""
        self._thread.shutdown()

    def _deliver(self, answer: Callable[[], None]) -> None:
        if not self._over:
            answer()

    def _end(self, _: object = None) -> None:
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
