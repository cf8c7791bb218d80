"""How long the viewer stands still: the longest gap of its event loop, phase by phase.

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/event_loop.py [--json FILE]

A real window with the real docks. A timer of 5 ms notes when it is late while a subject of a
synthetic study is loaded, segmented, edited (autosave) and while the study is trained on by the
detached headless process, followed by the Train dock. Beside each stands the same work in
napari's ``thread_worker``, called as a plugin would that has no process of its own. Gaps in ms;
the aim is 50. What the docks do to the viewer itself, such as handing a volume to the graphics
card, is in both. Also the memory of napari after each of --subjects subjects segmented in a row.
"""

import argparse
import contextlib
import gc
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp()  # drafts and settings are not the user's
os.environ["XDG_CONFIG_HOME"] = os.environ["XDG_DATA_HOME"]

import napari
import numpy as np
import psutil
from napari.qt.threading import thread_worker
from qtpy.QtCore import QEventLoop, QObject, Qt, QTimer

from napari_pvs.phantom.cohort import write_cohort
from napari_pvs.phantom.config import PhantomConfig
from napari_pvs.study.bids import StudySubject, subjects
from napari_pvs.training.config import TrainingConfig

AIM_MS = 50
STEP_MS = 5


class Gaps(QObject):
    """Notes how late a timer is that should come every 5 ms."""

    def __init__(self) -> None:
        super().__init__()
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._note)
        self._last = 0.0
        self.gaps: list[float] = []

    def _note(self) -> None:
        now = time.perf_counter()
        self.gaps.append(1000 * (now - self._last))
        self._last = now

    @contextlib.contextmanager
    def during(self, phase: str, kind: str, rows: list[dict[str, Any]]) -> Any:
        """Measure while the body runs, and add a row."""
        live(0.3)  # what came before has its say first
        self.gaps, self._last = [], time.perf_counter()
        begun = self._last
        self._timer.start(STEP_MS)
        yield
        self._timer.stop()
        self._note()
        gaps = np.array(self.gaps)
        rows.append({
            "phase": phase, "kind": kind, "longest": float(gaps.max()),
            "second": float(np.sort(gaps)[-2]) if len(gaps) > 1 else 0.0,
            "late": int((gaps > AIM_MS).sum()), "seconds": time.perf_counter() - begun,
        })  # fmt: skip
        print(f"  {phase}, {kind}: {rows[-1]['longest']:.0f} ms", flush=True)


def main() -> None:
    """Parse, measure, print."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--subjects", type=int, default=20, help="Segmented in a row.")
    arguments.add_argument("--seconds", type=float, default=30, help="Of training, each way.")
    arguments.add_argument("--size", type=float, nargs=3, default=(140.8, 192.0, 153.6),
                           metavar="MM", help="Field of view of the subjects.")  # fmt: skip
    arguments.add_argument("--no-threads", action="store_true", help="The docks alone.")
    arguments.add_argument("--json", type=Path)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder) / "study"
        print("Making three subjects …", flush=True)
        three = {"subjects": 3, "labelled": 3}
        full = PhantomConfig(**three, field_of_view=tuple(given.size), pvs=(60, 200))
        write_cohort(full, study)
        # tiny, and of its own: training is to last, not to learn
        small = Path(folder) / "small"
        write_cohort(PhantomConfig(**three, field_of_view=(64, 64, 48), pvs=(20, 20)), small)
        load_before = os.getloadavg()
        viewer = napari.Viewer(show=True)
        viewer.window.resize(1280, 860)
        try:
            rows, memory = measure(viewer, study, small, given)
        finally:
            viewer.close()
    report(rows, memory, load_before)
    if given.json:
        about = {"machine": platform.platform(), "cpus": os.cpu_count(), "load": load_before}
        about["versions"] = {n: version(n) for n in ("napari", "qtpy", "numpy", "torch")}
        given.json.parent.mkdir(parents=True, exist_ok=True)
        content = {**about, "rows": rows, "memory_mb": memory}
        given.json.write_text(json.dumps(content, indent=1) + "\n")


def measure(viewer: Any, study: Path, small: Path, given: Any) -> tuple[list[Any], list[float]]:
    """Go through the phases by the docks, then by threads, then segment many."""
    rows: list[dict[str, Any]] = []
    gaps = Gaps()
    docks = {
        name: viewer.window.add_plugin_dock_widget("napari-pvs", name, tabify=at > 0)[1]
        for at, name in enumerate(("Load", "Segment", "Correct", "Train"))
    }
    load, segment = docks["Load"], docks["Segment"]
    first, second, *_ = people = subjects(study)
    live(1)
    with gaps.during("idle", "docks", rows):
        live(3)
    # shaders are compiled and modules imported once
    for phase, one in (("first load", second), ("load", first)):
        with gaps.during(phase, "docks", rows):
            load.load_subject(one)
            until(load._job.ended)
    with gaps.during("segment", "docks", rows):
        segment.run_it()
        until(segment._job.ended)
    if load.session.prediction is None:
        raise RuntimeError(segment.notice.text())
    load.session.new_labels()
    load.session.copy_prediction()
    with gaps.during("autosave", "docks", rows):
        edit(load.session, load.autosave)
    with gaps.during("train", "docks", rows):
        train_detached(small, given.seconds)
    memory = [resident()]
    for number in range(given.subjects):
        load.load_subject(people[number % len(people)])
        until(load._job.ended)
        segment.run_it()
        until(segment._job.ended)
        live(0.2)
        memory.append(resident())
        print(f"  {number + 1} segmented: {memory[-1]:.0f} MB", flush=True)
    load.session.viewer.layers.clear()
    live(0.2)
    memory.append(resident())
    if not given.no_threads:  # last: they bring the network's libraries into this process
        by_threads(viewer, gaps, first, small, given.seconds, rows)
    return rows, memory


def edit(session: Any, autosave: Any) -> None:
    """Edit, five times, each followed by a pause in which it is saved."""
    for number in range(5):
        with done(autosave.told) as told:
            session.labels.data_setitem(corner(number), 1)
            told()


def corner(number: int) -> tuple[Any, ...]:
    """A voxel that is no PVS yet."""
    return np.array([5]), np.array([5]), np.array([5 + number])


def train_detached(study: Path, seconds: float) -> None:
    """Train for a while by the process that the Train dock starts, and stop it."""
    from napari_pvs.widgets import launch

    run = launch.start(config_of(study))
    until_true(lambda: launch.began(run))
    live(seconds)
    with told_to_stop(run):
        until_true(lambda: not launch.alive(run))


@contextlib.contextmanager
def told_to_stop(run: Path, after: float = 0) -> Any:
    """Tell a run to stop, again and again: it does not hear it before it has begun."""
    from napari_pvs.training import control

    begun, timer = time.monotonic(), QTimer()

    def tell() -> None:
        if time.monotonic() - begun > after and run.is_dir():
            control.tell(run, "stop")

    timer.timeout.connect(tell)
    timer.start(1000)
    yield
    timer.stop()


def by_threads(
    viewer: Any, gaps: Gaps, subject: StudySubject, small: Path, seconds: float, rows: list[Any]
) -> None:
    """Do the same work by the same functions in `thread_worker`."""
    from napari_pvs.inference.config import SegmentConfig
    from napari_pvs.inference.predictor import Predictor
    from napari_pvs.inference.segment import segment_scan
    from napari_pvs.scans.scan import load_scan
    from napari_pvs.study.labels import LabelStore
    from napari_pvs.training import control, trainer
    from napari_pvs.widgets.layers import mask_layer, scan_layers

    def work(call: Callable[..., Any], *values: Any) -> Any:
        """Call it in a thread; return what it returns."""
        answers: list[Any] = []
        worker = thread_worker(call)(*values)
        worker.returned.connect(answers.append)
        with done(worker.finished) as finished:
            worker.start()
            finished()
        return answers[0]

    viewer.layers.clear()
    with gaps.during("load", "thread_worker", rows):
        scan = work(load_scan, subject.t1, subject.t2, subject.brain)
        for data, meta, _ in scan_layers(scan):
            viewer.add_image(data, **meta)
    with gaps.during("segment", "thread_worker", rows):
        config = SegmentConfig()
        result = work(lambda: segment_scan(scan, config, Predictor(None), lambda *_: None))
        data, meta, _ = mask_layer(result.labels > 0, scan, "mask", "prediction")
        layer = viewer.add_labels(data, **meta)

    def save(labels: Any) -> None:
        store = LabelStore(small.with_name("drafts"), "sub-01")
        like = {"author": "a", "origin": "drawn", "state": "draft"}
        store.save(scan.to_source(labels), scan.source, **like)

    with gaps.during("autosave", "thread_worker", rows):
        for number in range(5):
            layer.data_setitem(corner(number), 1)
            live(1.5)
            labels = layer.data.transpose(2, 1, 0)[:, ::-1].copy()
            work(save, labels)
    # signals are for the main thread
    control.Control.stopped_by_signals = lambda self: contextlib.nullcontext()
    run = small / "run-by-thread"
    with gaps.during("train", "thread_worker", rows), told_to_stop(run, seconds):
        work(trainer.train, config_of(small), run)


def config_of(study: Path) -> TrainingConfig:
    """A run that goes on until it is stopped."""
    return TrainingConfig(study=study, device="cpu", epochs=10_000, steps=10, batch=4)


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
def done(signal: Any) -> Any:
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


def resident() -> float:
    """Memory of this process alone, MB."""
    gc.collect()
    return psutil.Process().memory_info().rss / 1e6


def report(rows: list[Any], memory: list[float], load: tuple[float, ...]) -> None:
    """Print the tables."""
    print(f"\nload before: {load[0]:.1f} on {os.cpu_count()} CPUs; gaps in ms, aim {AIM_MS}")
    print(f"{'phase':<12}{'by':<15}{'longest':>8}{'next':>8}{'> aim':>7}{'seconds':>9}")
    for row in rows:
        print(f"{row['phase']:<12}{row['kind']:<15}{row['longest']:>8.0f}{row['second']:>8.0f}"
              f"{row['late']:>7}{row['seconds']:>9.1f}")  # fmt: skip
    if len(memory) > 2:
        print(f"memory, MB: {memory[0]:.0f} before; {memory[1]:.0f} after the first subject, "
              f"{max(memory):.0f} at most, {memory[-2]:.0f} after the last of {len(memory) - 2}, "
              f"{memory[-1]:.0f} without layers")  # fmt: skip


if __name__ == "__main__":
    main()
