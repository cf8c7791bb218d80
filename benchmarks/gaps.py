"""How late a timer of the event loop is, and what lets it run; for `event_loop`."""

import contextlib
import gc
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from qtpy.QtCore import QEventLoop, QObject, Qt, QTimer

AIM_MS = 50
STEP_MS = 5


class Gaps(QObject):
    """Notes how late a timer is that should come every 5 ms.

    Beside the time on the clock stands the processor time of the viewer's thread: on a busy
    machine, a gap without it is another process's turn. What Python's full collections of
    garbage took is noted too.
    """

    def __init__(self) -> None:
        super().__init__()
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._note)
        self._last = self._last_cpu = self._collecting = 0.0
        self.gaps: list[float] = []
        self.busy: list[float] = []
        self.collections: list[float] = []
        gc.callbacks.append(self._on_collection)

    @contextlib.contextmanager
    def during(self, phase: str, kind: str, rows: list[dict[str, Any]]) -> Iterator[None]:
        """Measure while the body runs, and add a row; times in ms."""
        live(0.3)  # what came before has its say first
        self.gaps, self.busy, self.collections = [], [], []
        begun = self._last = time.perf_counter()
        self._last_cpu = time.thread_time()
        self._timer.start(STEP_MS)
        yield
        self._timer.stop()
        self._note()
        gaps = np.array(self.gaps)
        rows.append({
            "phase": phase, "by": kind, "longest": float(gaps.max()),
            "next": float(np.sort(gaps)[-2]) if len(gaps) > 1 else 0.0,
            "over_aim": int((gaps > AIM_MS).sum()), "processor": max(self.busy),
            "collection": max(self.collections, default=0.0),
            "seconds": time.perf_counter() - begun,
        })  # fmt: skip
        print(f"  {phase}, {kind}: {gaps.max():.0f} ms", flush=True)

    def _note(self) -> None:
        now, cpu = time.perf_counter(), time.thread_time()
        self.gaps.append(1000 * (now - self._last))
        self.busy.append(1000 * (cpu - self._last_cpu))
        self._last, self._last_cpu = now, cpu

    def _on_collection(self, phase: str, about: dict[str, int]) -> None:
        if phase == "start":
            self._collecting = time.perf_counter()
        elif about["generation"] == 2:
            self.collections.append(1000 * (time.perf_counter() - self._collecting))


def table(rows: list[dict[str, Any]]) -> str:
    """Lay the rows out."""
    lines = [f"{'phase':<16}{'by':<15}{'longest':>8}{'next':>7}{'> aim':>7}{'processor':>11}"
             f"{'collection':>12}{'seconds':>9}"]  # fmt: skip
    lines += [
        f"{r['phase']:<16}{r['by']:<15}{r['longest']:>8.0f}{r['next']:>7.0f}{r['over_aim']:>7}"
        f"{r['processor']:>11.0f}{r['collection']:>12.0f}{r['seconds']:>9.1f}"
        for r in rows
    ]
    return "\n".join(lines)


def live(seconds: float) -> None:
    """Let the window live for a while."""
    loop = QEventLoop()
    QTimer.singleShot(round(1000 * seconds), loop.quit)
    loop.exec()


def until(signal: Any) -> None:
    """Let the window live until a signal."""
    loop = QEventLoop()
    signal.connect(loop.quit)
    loop.exec()


@contextlib.contextmanager
def done(signal: Any) -> Iterator[Callable[[], Any]]:
    """Give what waits for a signal, also where it came before that was called."""
    loop, came = QEventLoop(), []

    def note(*_: Any) -> None:
        came.append(1)
        loop.quit()

    signal.connect(note)
    yield lambda: None if came else loop.exec()
    signal.disconnect(note)


def until_true(condition: Callable[[], bool]) -> None:
    """Let the window live until something is so."""
    while not condition():
        live(0.1)
