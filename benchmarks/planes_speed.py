"""How fast three linked planes follow: slice steps, brush, jumps, at full size in a real window.

    xvfb-run -a -s "-screen 0 1366x768x24" python benchmarks/planes_speed.py

A made-up brain of 176x192x240 voxels of 0.8 mm, T1 and T2, with labels of 2,000 tubes. A step lasts
from the call until all canvases are drawn. Beside it stands the same step in napari's own view
alone, before the planes are open. Medians of repeats, milliseconds; spread is the smallest and the
largest. CPU is the time that the processors worked for it, all threads, which a busy machine does
not stretch; without a GPU it includes drawing by the CPU. Kept in `results/planes-speed.json`.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp()  # drafts are not the user's
os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp()) / "settings.yaml")

import napari
import numpy as np
import records
from qtpy.QtCore import QPointF
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from scenes import scene

from napari_pvs.widgets.planes.stroke import Stroke
from napari_pvs.widgets.state.session import session_of
from napari_pvs.widgets.viewer.canvas import show_voxel
from napari_pvs.widgets.viewer.layers import scan_layers

AIM_MS = 100
AXES = ("axial", "coronal", "sagittal")


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--pvs", type=int, default=2000)
    arguments.add_argument("--repeats", type=int, default=15)
    given = arguments.parse_args()
    rows = measure(given.pvs, given.repeats)
    load = os.getloadavg()[0]
    print(f"load {load:.1f} on {len(os.sched_getaffinity(0))} CPUs; aim {AIM_MS} ms a step")
    print(f"{'what':<32}{'ms':>8}{'spread':>18}{'CPU ms':>8}")
    for row in rows:
        print(f"{row['what']:<32}{row['ms']:>8.1f}{row['low']:>9.1f}-{row['high']:<8.1f}"
              f"{row['cpu']:>8.1f}")  # fmt: skip
    told = {"pvs": given.pvs, "load": round(load, 1), "cpus": len(os.sched_getaffinity(0))}
    print(records.keep("planes-speed", told | {"rows": rows}))


def measure(count: int, repeats: int) -> list[dict[str, Any]]:
    """Time every part in one window."""
    scan, _, label, _ = scene(count)
    viewer = napari.Viewer(show=True)
    viewer.window._qt_window.setGeometry(0, 0, 1366, 768)
    rows = []
    try:
        for data, meta, _ in scan_layers(scan):
            viewer.add_image(data, **meta)
        viewer.layers[0].visible = False  # as the Load dock shows them
        session = session_of(viewer)
        session.new_labels(label)
        QTest.qWait(500)
        rows.append(timed("axial step, napari alone", step(viewer, 0), repeats))
        viewer.window.add_plugin_dock_widget("napari-pvs", "Workspace")
        QTest.qWait(2000)
        dock = next(one for one in QApplication.allWidgets() if type(one).__name__ == "PlanesDock")
        for axis, name in enumerate(AXES):
            rows.append(timed(f"{name} step, three planes", step(viewer, axis), repeats))
        points = iter(np.argwhere(session.labels.data)[::997].tolist())
        rows.append(
            timed(
                "jump to a PVS, all planes",
                lambda: show_voxel(viewer, session.labels, tuple(next(points)), 12.0),
                repeats,
            )
        )
        for axis, name in enumerate(AXES):
            rows.append(timed(f"{name} step, zoomed in", step(viewer, axis), repeats))
        canvas = dock.canvases[0]
        session.labels.mode, session.labels.brush_size = "paint", 3
        stroke, spots = Stroke(session.labels, canvas.axis), iter(range(10**6))

        def paint() -> None:
            stroke.to(canvas.place(QPointF(40 + 7 * next(spots), 60)))

        rows.append(timed("a move of the brush, coronal", paint, repeats))
        stroke.end()
    finally:
        viewer.close()
    return rows


def step(viewer: napari.Viewer, axis: int) -> Callable[[], None]:
    """Return what goes one slice on."""
    return lambda: viewer.dims.set_current_step(axis, viewer.dims.current_step[axis] + 1)


def timed(what: str, call: Callable[[], object], repeats: int) -> dict[str, Any]:
    """Time a call until everything is drawn."""
    walls, works = [], []
    for _ in range(repeats + 2):
        wall, work = time.perf_counter(), time.process_time()
        call()
        for _ in range(3):  # what a turn of the event loop asks for comes in the next
            QApplication.processEvents()
        walls.append(1000 * (time.perf_counter() - wall))
        works.append(1000 * (time.process_time() - work))
    walls, works = walls[2:], works[2:]
    return {
        "what": what,
        "ms": round(statistics.median(walls), 1),
        "low": round(min(walls), 1),
        "high": round(max(walls), 1),
        "cpu": round(statistics.median(works), 1),
    }


if __name__ == "__main__":
    main()
