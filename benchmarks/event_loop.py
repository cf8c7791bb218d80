"""How long the viewer stands still: the longest gap of its event loop, phase by phase.

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/event_loop.py

A real window with the real docks. A timer of 5 ms notes when it is late while subjects of a
synthetic study are loaded, segmented, edited (autosave) and while a study is trained on by the
detached headless process, which the Train dock follows. Beside each stands the same work in
napari's ``thread_worker``, called as a plugin would that has no process of its own, and what
napari needs alone: the same layers added to a viewer without our docks, voxels set in one. In each
viewer the first layer of a kind is a phase of its own: programs of the graphics card are compiled
then. Gaps in ms; the aim is 50. ``processor`` is the most that the viewer's own thread worked in
one gap, ``collection`` the longest full collection of Python's garbage.

Also the memory of napari after each of --subjects subjects segmented in a row. The result is kept
in `results/event-loop.json`.
"""

import argparse
import contextlib
import gc
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp()  # drafts and settings are not the user's
os.environ["XDG_CONFIG_HOME"] = os.environ["XDG_DATA_HOME"]

import napari
import numpy as np
import psutil
from gaps import AIM_MS, Gaps, done, live, table, until, until_true
from napari.qt.threading import thread_worker
from qtpy.QtCore import QTimer
from records import keep

from napari_pvs.phantom.cohort import write_cohort
from napari_pvs.phantom.config import PhantomConfig
from napari_pvs.scans.scan import Scan, load_scan
from napari_pvs.study.bids import StudySubject, subjects
from napari_pvs.training.config import TrainingConfig

Row = dict[str, Any]


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
        load_before = os.getloadavg()[0]
        viewer = napari.Viewer(show=True)
        viewer.window.resize(1280, 860)
        try:
            rows, memory = measure(viewer, study, small, given)
        finally:
            viewer.close()
    print(f"\nload before: {load_before:.1f} on {os.cpu_count()} CPUs; ms, aim {AIM_MS}")
    print(table(rows))
    print("memory, MB:", ", ".join(f"{told} {size:.0f}" for told, size in memory.items()))
    keep("event-loop", {"load_before": load_before, "gaps_ms": rows, "memory_mb": memory})


def measure(
    viewer: Any, study: Path, small: Path, given: Any
) -> tuple[list[Row], dict[str, float]]:
    """Go through the phases alone, by the docks and by threads, and segment many between."""
    rows: list[Row] = []
    gaps = Gaps()
    first, second, third = people = subjects(study)
    alone(viewer, gaps, load_scan(first.t1, first.t2, first.brain), rows)
    docks = {
        name: viewer.window.add_plugin_dock_widget("napari-pvs", name, tabify=at > 0)[1]
        for at, name in enumerate(("Load", "Segment", "Correct", "Metrics", "Train"))
    }
    load, segment = docks["Load"], docks["Segment"]
    load.open_study(study)
    until(load.subjects.listed)
    live(1)
    with gaps.during("idle", "docks", rows):
        live(3)
    for phase, one in (("first load", second), ("load", first)):
        with gaps.during(phase, "docks", rows):
            load.load_subject(one)
            until(load._job.ended)
            live(0.5)
    for phase, one in (("first segment", first), ("segment", third)):
        if load.session.subject != one:
            load.load_subject(one)
            until(load._job.ended)
        with gaps.during(phase, "docks", rows):
            segment.run_it()
            until(segment._job.ended)
            live(0.5)
        if load.session.prediction is None:
            raise RuntimeError(segment.notice.text())
    with gaps.during("copy to labels", "docks", rows):
        load.session.new_labels()
        live(0.5)
        load.session.copy_prediction()
        live(1)
    with gaps.during("autosave", "docks", rows):
        edit(load.session, load.autosave)
    with gaps.during("train", "docks", rows):
        train_detached(docks["Train"], small, given.seconds)
    memory = {"before": resident()}
    for number in range(1, given.subjects + 1):
        load.load_subject(people[number % len(people)])
        until(load._job.ended)
        segment.run_it()
        until(segment._job.ended)
        live(0.2)
        memory[str(number)] = resident()
        print(f"  {number} segmented: {memory[str(number)]:.0f} MB", flush=True)
    viewer.layers.clear()
    live(0.2)
    memory["without layers"] = resident()
    if not given.no_threads:  # last: they bring the network's libraries into this process
        by_threads(viewer, gaps, first, small, given.seconds, rows)
    return rows, memory


def alone(viewer: Any, gaps: Gaps, scan: Scan, rows: list[Row]) -> None:
    """Let napari show a scan and a mask, and set voxels, with nothing of ours in the window."""
    from napari_pvs.widgets.viewer.layers import mask_layer, scan_layers

    (t1, t1_meta, _), (t2, t2_meta, _) = scan_layers(scan)
    mask, mask_meta, _ = mask_layer(scan.t2 > np.percentile(scan.t2, 99), scan, "mask", "reference")
    for prefix in ("first ", ""):
        viewer.layers.clear()
        with gaps.during(f"{prefix}load", "napari alone", rows):
            for data, meta in ((t1, t1_meta), (t2, t2_meta)):
                viewer.add_image(data, **{**meta, "metadata": {}})
                live(0.5)
        with gaps.during(f"{prefix}segment", "napari alone", rows):
            layer = viewer.add_labels(mask, **{**mask_meta, "metadata": {}})
            live(0.5)
    with gaps.during("autosave", "napari alone", rows):
        for number in range(5):
            layer.data_setitem(corner(number), 1)
            live(1)
    viewer.layers.clear()


def edit(session: Any, autosave: Any) -> None:
    """Edit, five times, each followed by a pause in which it is saved."""
    for number in range(5):
        with done(autosave.told) as told:
            session.labels.data_setitem(corner(number), 1)
            told()


def corner(number: int) -> tuple[Any, ...]:
    """A voxel that is no PVS yet."""
    return np.array([5]), np.array([5]), np.array([5 + number])


def train_detached(dock: Any, study: Path, seconds: float) -> None:
    """Train for a while by the process that the Train dock starts and follows, and stop it."""
    from napari_pvs.training.runs import process
    from napari_pvs.training.runs.status import runs

    dock.open_study(study)
    run = process.start(config_of(study))
    dock.view.set_runs(runs(study), run)
    until_true(lambda: process.began(run))
    live(seconds)
    with told_to_stop(run):
        until_true(lambda: not process.alive(run))


@contextlib.contextmanager
def told_to_stop(run: Path, after: float = 0) -> Any:
    """Tell a run to stop, again and again: it does not hear it before it has begun."""
    from napari_pvs.training.runs import control

    begun, timer = time.monotonic(), QTimer()

    def tell() -> None:
        if time.monotonic() - begun > after and run.is_dir():
            control.tell(run, "stop")

    timer.timeout.connect(tell)
    timer.start(1000)
    yield
    timer.stop()


def by_threads(
    viewer: Any, gaps: Gaps, subject: StudySubject, small: Path, seconds: float, rows: list[Row]
) -> None:
    """Do the same work by the same functions in `thread_worker`."""
    from napari_pvs.inference.config import SegmentConfig
    from napari_pvs.inference.predictor import Predictor
    from napari_pvs.inference.segment import segment_scan
    from napari_pvs.study.labels import LabelStore
    from napari_pvs.training.run import train
    from napari_pvs.training.runs import control
    from napari_pvs.widgets.viewer.layers import mask_layer, scan_layers

    def work(call: Callable[..., Any], *values: Any) -> Any:
        """Call it in a thread; return what it returns."""
        answers: list[Any] = []
        worker = thread_worker(call)(*values)
        worker.returned.connect(answers.append)
        with done(worker.finished) as finished:
            worker.start()
            finished()
        return answers[0]

    with gaps.during("load", "thread_worker", rows):
        scan = work(load_scan, subject.t1, subject.t2, subject.brain)
        for data, meta, _ in scan_layers(scan):
            viewer.add_image(data, **meta)
    with gaps.during("segment", "thread_worker", rows):
        config = SegmentConfig()
        result = work(lambda: segment_scan(scan, config, Predictor(None), lambda *_: None))
        data, meta, _ = mask_layer(result.labels > 0, scan, "mask", "prediction")
        layer = viewer.add_labels(data, **meta)

    drafts = small.with_name("drafts")
    drafts.mkdir()

    def save(labels: Any) -> None:
        store = LabelStore(drafts, "sub-01")
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
        work(train, config_of(small), run)


def config_of(study: Path) -> TrainingConfig:
    """A run that goes on until it is stopped."""
    return TrainingConfig(study=study, device="cpu", epochs=10_000, steps=10, batch=4)


def resident() -> float:
    """Memory of this process alone, MB."""
    gc.collect()
    return psutil.Process().memory_info().rss / 1e6


if __name__ == "__main__":
    main()
