"""How long does a rater wait between one PVS and the next?

    xvfb-run -a -s "-screen 0 1366x768x24" python benchmarks/review_speed.py

A real window with the Correct dock and a made-up brain of 176x192x240 voxels. A scripted rater
goes through --pvs PVS by the keyboard alone: J starts, Y accepts what is a tube, N rejects what is
noise, U, M and L lead to others, every tenth decision is undone and made again, C notes on every
twentieth. Timed is each key until the next PVS is outlined and the canvas is drawn. CPU is the time
that the process worked for it, which a busy machine does not stretch. At the end the labels must be
exactly what the decisions make of them. Milliseconds; the aim is 300 for a decision. Kept in
``results/review-speed.json``.
"""

import argparse
import os
import statistics
import tempfile
import time
from typing import Any

os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp()  # drafts and settings are not the user's
os.environ["XDG_CONFIG_HOME"] = os.environ["XDG_DATA_HOME"]

import napari
import numpy as np
from gaps import live, until_true
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from records import keep
from scenes import scene

from napari_pvs.scans.display import from_display
from napari_pvs.widgets.state.prediction import Prediction, make_layer
from napari_pvs.widgets.state.session import session_of
from napari_pvs.widgets.viewer.layers import mask_layer, scan_layers

AIM_MS = 300
KEYS = {name: getattr(Qt.Key, f"Key_{name}") for name in "JYNKBUMLCZ"}


class Rater:
    """Presses keys in a viewer's window, and times them.

    Parameters
    ----------
    viewer
        With the Correct dock.
    dock
        The dock.
    """

    def __init__(self, viewer: Any, dock: Any) -> None:
        self.canvas = viewer.window._qt_viewer.canvas.native
        self.dock = dock
        self.times: dict[str, list[tuple[float, float]]] = {}

    def press(self, key: str, what: str, ctrl: bool = False) -> None:
        """Press a key, and wait until all is shown."""
        held = Qt.KeyboardModifier.ControlModifier if ctrl else Qt.KeyboardModifier.NoModifier
        begun, worked = time.perf_counter(), time.process_time()
        QTest.keyClick(self.canvas, KEYS[key], held)
        QApplication.processEvents()
        self.canvas.repaint()
        spent = time.perf_counter() - begun, time.process_time() - worked
        self.times.setdefault(what, []).append((1000 * spent[0], 1000 * spent[1]))

    def note(self, text: str) -> None:
        """Write a note on what is shown."""
        self.press("C", "note")
        line = self.dock.queue.note
        QTest.keyClicks(line, text)
        QTest.keyClick(line, Qt.Key.Key_Return)


def main() -> None:
    """Parse, review, print."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--pvs", type=int, default=100, help="decisions")
    arguments.add_argument("--in-all", type=int, default=278, help="PVS in the brain")
    given = arguments.parse_args()
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1366, 720)
    load_before = os.getloadavg()[0]
    try:
        dock, truth = desk(viewer, given.in_all)
        rater = Rater(viewer, dock)
        decisions = review(rater, truth, given.pvs)
        check(dock, decisions)
    finally:
        viewer.close()
    rows = [row(what, times) for what, times in rater.times.items()]
    print(f"\nload before: {load_before:.1f} on {os.cpu_count()} CPUs; ms, aim {AIM_MS}")
    print(f"{'key':<12}{'n':>5}{'median':>9}{'95 %':>9}{'longest':>9}{'CPU median':>12}{'95 %':>9}")
    for one in rows:
        print(
            f"{one['what']:<12}{one['n']:>5}{one['ms']:>9.0f}{one['ms_95']:>9.0f}"
            f"{one['longest_ms']:>9.0f}{one['cpu_ms']:>12.0f}{one['cpu_ms_95']:>9.0f}"
        )
    counts = {"pvs": given.pvs, "in_all": given.in_all, "load_before": load_before}
    print(keep("review-speed", {**counts, "aim_ms": AIM_MS, "rows": rows}))


def desk(viewer: Any, count: int) -> tuple[Any, np.ndarray]:
    """Show a brain with its labels: most of the tubes, and some noise; return dock and tubes."""
    scan, probability, label, missing = scene(count)
    tubes = probability > 0.3
    faint = np.zeros(tubes.shape, bool)
    for a, b, c in missing:  # what the network has hardly seen
        faint[a - 2 : a + 4, b - 2 : b + 4, c - 4 : c + 10] = True
    probability = np.where(faint, 0.45 * probability, probability).astype(np.float32)
    rng = np.random.default_rng(1)
    inside = np.argwhere(scan.brain)
    for a, b, c in inside[rng.permutation(len(inside))[: count // 5]].tolist():
        box = (slice(a, a + 2), slice(b, b + 2), slice(c, c + 3))
        if not tubes[a - 3 : a + 5, b - 3 : b + 5, c - 3 : c + 6].any():
            probability[box], label[box] = 0.6, 1
    for data, meta, _ in scan_layers(scan):
        viewer.add_image(data, **meta)
    session = session_of(viewer)
    layer = viewer.add_layer(make_layer(scan, "prediction"))
    prediction = Prediction("bench", "bench", probability, scan.grid, layer, 0.5, 1.0, None)
    session.add_prediction(prediction)
    layer.visible = False
    data, meta, _ = mask_layer(label, scan, "PVS labels", "labels")
    viewer.add_labels(data, **meta)
    dock = viewer.window.add_plugin_dock_widget("napari-pvs", "Correct")[1]
    until_true(lambda: dock.queue.queue is not None and not dock.queue._make_soon.pending)
    live(1)
    return dock, tubes


def review(rater: Rater, truth: np.ndarray, count: int) -> dict[int, tuple[str, Any]]:
    """Decide about so many PVS; return each decision with its voxels on the scan's grid."""
    session, queue = rater.dock.session, rater.dock.queue
    made: dict[int, tuple[str, Any]] = {}
    rater.press("J", "start")
    for number in range(count):
        if number % 7 == 3:
            rater.press("UML"[number % 3], "jump")
        if queue.item is None:
            break
        asked = session.focus.voxels
        verdict = "Y" if truth[asked].mean() > 0.5 else "N"
        if number % 20 == 5:
            rater.note("beside a lacune")
        rater.press(verdict, "decision")
        if number % 10 == 9:
            rater.press("Z", "undo", ctrl=True)
            if not np.array_equal(np.stack(session.focus.voxels), np.stack(asked)):
                raise SystemExit("undo has not brought the PVS back")
            rater.press(verdict, "decision")
        made[number] = verdict, asked
    return made


def check(dock: Any, decisions: dict[int, tuple[str, Any]]) -> None:
    """End with an error unless the labels are what the decisions make of them."""
    mask = from_display(dock.session.labels.data) > 0
    for verdict, voxels in decisions.values():
        if mask[voxels].all() != (verdict == "Y") or mask[voxels].any() != (verdict == "Y"):
            raise SystemExit("the labels are not what was decided")
    if dock.queue.queue.reviewed != len(decisions):
        raise SystemExit(f"{dock.queue.left.text()}, but {len(decisions)} were decided")


def row(what: str, times: list[tuple[float, float]]) -> dict[str, Any]:
    """Median, 95th percentile and longest."""
    wall, cpu = (sorted(one) for one in zip(*times, strict=True))
    return {
        "what": what,
        "n": len(times),
        "ms": round(statistics.median(wall), 1),
        "ms_95": round(float(np.percentile(wall, 95)), 1),
        "longest_ms": round(wall[-1], 1),
        "cpu_ms": round(statistics.median(cpu), 1),
        "cpu_ms_95": round(float(np.percentile(cpu, 95)), 1),
    }


if __name__ == "__main__":
    main()
