"""How fast correcting is at full size: clicks, threshold, table, metrics, review and autosave.

    QT_QPA_PLATFORM=offscreen python benchmarks/correct_speed.py

A made-up brain of 176x192x240 voxels of 0.8 mm with 2,000 tubes. The real parts of the Correct dock
are driven, without a window: a click lasts from the call to the changed layer, with the network in
its own process as in napari. Beside them stand the plain scikit-image and SciPy calls that do the
same. Medians of repeats, milliseconds; spread is the smallest and the largest. CPU is the time that
the processors worked for it (all threads, and the network's process), which a busy machine does not
stretch; the ratio is plain CPU time over ours. Kept in `results/correct-speed.json`.
"""

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp()  # drafts are not the user's

import numpy as np
import psutil
import records
from napari.components import ViewerModel
from qtpy.QtCore import QEventLoop, QObject, QTimer
from qtpy.QtWidgets import QApplication
from scenes import SHAPE, scene
from skimage import measure, morphology

from napari_pvs.correction.candidates import Scale, candidates
from napari_pvs.evaluation.compare import score
from napari_pvs.scans.display import to_display
from napari_pvs.widgets.correct.clicks import Clicker
from napari_pvs.widgets.correct.components import Components
from napari_pvs.widgets.correct.pvs_table import PvsTable
from napari_pvs.widgets.correct.review_queue import QueuePanel
from napari_pvs.widgets.metrics.dock import Metrics
from napari_pvs.widgets.state.autosave import autosave_of
from napari_pvs.widgets.state.prediction import Prediction, make_layer
from napari_pvs.widgets.state.session import session_of
from napari_pvs.widgets.viewer.layers import scan_layers

AIMS = {
    "click, network": 300, "click, map": 300, "threshold": 100, "table, 2,000 PVS": 1000,
    "all metrics": 200, "numbers after a stroke": 200,
}  # fmt: skip


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--pvs", type=int, default=2000)
    arguments.add_argument("--repeats", type=int, default=15)
    given = arguments.parse_args()
    application = QApplication([])
    rows = measure_all(given.pvs, given.repeats)
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs")
    head = f"{'what':<28}{'ms':>8}{'spread':>18}{'CPU ms':>8}{'plain':>8}{'CPU':>7}{'ratio':>7}"
    print(head + f"{'aim':>6}")
    for row in rows:
        text = f"{row['what']:<28}{row['ms']:>8.1f}{row['low']:>9.1f}-{row['high']:<8.1f}"
        text += f"{row['cpu']:>8.1f}"
        if "plain" in row:
            ratio = row["plain"]["cpu"] / row["cpu"]
            text += f"{row['plain']['ms']:>8.1f}{row['plain']['cpu']:>7.1f}{ratio:>7.1f}"
        else:
            text += " " * 22
        print(text + f"{AIMS.get(row['what'], ''):>6}")
    print(records.keep("correct-speed", {"pvs": given.pvs, "rows": rows}))
    application.quit()


def measure_all(count: int, repeats: int) -> list[dict[str, Any]]:
    """Make the scene and time every part."""
    scan, probability, label, missing = scene(count)
    viewer = ViewerModel()
    for data, meta, _ in scan_layers(scan):
        viewer.add_image(data, **meta)
    session = session_of(viewer)
    session.new_labels(label)
    owner = QObject()
    rows = []

    # the network: no prediction is there yet
    clicker = Clicker(session, owner)
    clicker.warm()
    wait_for(lambda: clicker._pass is not None and clicker._pass.ready)
    points = [turned(point) for point in missing]
    rows.append(timed("click, network", clicks(clicker, "add", points), repeats, session))

    grid = scan.grid
    layer = viewer.add_layer(make_layer(scan, "prediction"))
    prediction = Prediction("bench", "bench", probability, grid, layer, 0.5, 1.0, 2.8)
    session.add_prediction(prediction)
    rows.append(timed("click, map", clicks(clicker, "add", points), repeats, session))
    probability_was, prediction.probability = probability, np.zeros_like(probability)
    rows.append(timed("click, intensities", clicks(clicker, "add", points), repeats, session))
    prediction.probability = probability_was
    there = [tuple(int(i) for i in p) for p in np.argwhere(session.labels.data)[::997]]
    modes = ("remove", "split", "more", "less")
    rows += [timed(f"click, {m}", clicks(clicker, m, there), repeats, session) for m in modes]

    thresholds = iter(np.tile(np.linspace(0.3, 0.7, 9), 99))
    row = timed("threshold", lambda: prediction.cut(float(next(thresholds)), 1.0), repeats)
    rows.append(row | {"plain": timed("", lambda: plain_cut(probability), 3)})

    components = Components(session, owner)
    queue = QueuePanel(session, components, clicker, autosave_of(session))
    table = PvsTable(session, components, queue)
    mask = session.labels.data > 0
    row = timed("table, 2,000 PVS", components.start, repeats)
    rows.append(row | {"plain": timed("", lambda: plain_table(mask, to_display(probability)), 1)})
    spot = iter(there * 9)

    def edit() -> None:
        session.labels.data_setitem(tuple(np.array([i]) for i in next(spot)), 0)
        components.follow()

    rows.append(timed("table after an edit", edit, repeats))
    shown, volume = to_display(probability), grid.voxel_volume
    scale = Scale(shown, 0.5, volume)
    rows.append(timed("review queue (thread)", lambda: candidates(mask, scale), 3))
    moved, sizes = np.roll(mask, 1, 0), grid.voxel_size  # as prediction and reference differ
    measures = partial(score, mask, moved, sizes, subject="", probability=shown)
    rows.append(timed("all metrics", measures, repeats))

    session.set_reference(layer)
    dock = Metrics(viewer)
    rows.append(timed("numbers after a stroke", strokes(session, dock, there), repeats))
    dock.stop()
    dock.deleteLater()

    autosave = autosave_of(session)
    told: list[str] = []
    autosave.told.connect(lambda kind, text: told.append(text))

    def save() -> None:
        edit()
        told.clear()
        autosave.flush()

    rows.append(timed("autosave, viewer waits", save, 5))

    def saved() -> None:
        save()
        wait_for(lambda: bool(told))

    rows.append(timed("autosave, until on disk", saved, 5))
    clicker.stop()
    table.deleteLater()
    return rows


def clicks(clicker: Clicker, mode: Any, points: list[Any]) -> Callable[[], None]:
    """Return a function that clicks the next point and waits until it is carried out."""
    following = iter(points)

    def one() -> None:
        ended: list[str] = []
        done = clicker.done.connect(lambda *_: ended.append(""))
        failed = clicker.failed.connect(ended.append)
        clicker.click(mode, next(following))
        if not ended:
            wait_for(lambda: bool(ended))
        clicker.done.disconnect(done)
        clicker.failed.disconnect(failed)

    return one


def strokes(session: Any, dock: Metrics, points: list[Any]) -> Callable[[], None]:
    """Return a function that sets a voxel and waits until the Metrics dock shows the numbers."""
    following = iter(points * 9)

    def one() -> None:
        before, point = dock.agreement, next(following)
        value = 1 - int(session.labels.data[point] > 0)
        session.labels.data_setitem(tuple(np.array([i]) for i in point), value)
        wait_for(lambda: dock.agreement is not before)

    return one


def timed(what: str, call: Callable[[], None], repeats: int, session: Any = None) -> dict[str, Any]:
    """Median and spread in ms, after one run; edits are undone in between, untimed."""
    wall, busy = [], []
    for _ in range(repeats + 1):
        begin, work = time.perf_counter(), cpu()
        call()
        wall.append(1000 * (time.perf_counter() - begin))
        busy.append(1000 * (cpu() - work))
        if session is not None:
            session.labels.undo()
    wall, busy = wall[1:], busy[1:]
    middle = statistics.median
    return {
        "what": what, "ms": middle(wall), "low": min(wall), "high": max(wall), "cpu": middle(busy)
    }  # fmt: skip


def cpu() -> float:
    """Seconds that this process and its children have worked."""
    own = psutil.Process()
    total = sum(own.cpu_times()[:2])
    for child in own.children():
        with contextlib.suppress(psutil.Error):
            total += sum(child.cpu_times()[:2])
    return total


def plain_cut(probability: np.ndarray) -> np.ndarray:
    """A mask by scikit-image alone."""
    return morphology.remove_small_objects(
        measure.label(probability >= 0.5, connectivity=3), max_size=1
    )


def plain_table(mask: np.ndarray, probability: np.ndarray) -> dict[str, np.ndarray]:
    """A table by scikit-image alone."""
    wanted = ("label", "area", "centroid", "intensity_mean")
    labels = measure.label(mask, connectivity=3)
    return measure.regionprops_table(labels, probability, properties=wanted)


def turned(point: tuple[int, int, int]) -> tuple[int, int, int]:
    """A voxel of the grid as one of the layer."""
    x, y, z = point
    return z, SHAPE[1] - 1 - y, x


def wait_for(done: Callable[[], bool]) -> None:
    """Let Qt work until something is so."""
    loop, timer = QEventLoop(), QTimer()
    timer.timeout.connect(lambda: loop.quit() if done() else None)
    timer.start(1)
    if not done():
        loop.exec()
    timer.stop()


if __name__ == "__main__":
    main()
