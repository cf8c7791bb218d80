"""How long one waits for the first sign: ``napari-pvs --help``, and the docks in napari.

    xvfb-run -a python benchmarks/start_up.py [--repeats 9]

``--help`` and its like are whole processes, from the call to their end, beside an empty Python. The
docks are opened one after the other in a napari that is up and shown, each with its imports, until
Qt has nothing left to do; none may import PyTorch. What a dock's imports share counts for the first
that needs it; what napari takes for as many empty docks stands beside. Each repeat is a process of
its own, after one that fills the disk's cache. Median, range, and seconds of the processor, which
other work on the machine does not stretch; kept in `results/start-up.json`.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import processes
import records

DOCKS = ("Load", "Segment", "Correct", "Train", "Metrics")
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "napari-pvs --help": ["-m", "napari_pvs", "--help"],
    "napari-pvs --version": ["-m", "napari_pvs", "--version"],
    "napari-pvs segment --help": ["-m", "napari_pvs", "segment", "--help"],
    "napari-pvs train --help": ["-m", "napari_pvs", "train", "--help"],
}
AIMS = {"napari-pvs --help": 0.3, "all docks": 0.3}
OURS, EMPTY = "ours", "empty"


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--repeats", type=int, default=9)
    arguments.add_argument("--docks", choices=(OURS, EMPTY), help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.docks:
        docks(given.docks)
        return
    rows: dict[str, dict[str, Any]] = {}
    for name, command in COMMANDS.items():
        runs = [once([sys.executable, *command]) for _ in range(given.repeats + 1)]
        rows[name] = row(runs[1:])
    for kind in (EMPTY, OURS):
        command = [sys.executable, __file__, "--docks", kind]
        answers = [processes.ask(command) for _ in range(given.repeats + 1)]
        failed = [run["failed"] for run in answers if "failed" in run]
        if failed:
            raise SystemExit(f"the docks: {failed[0]}")
        for name in answers[0]:
            rows[name] = row([tuple(run[name]) for run in answers[1:]])
    print("what\tmedian s\trange\tCPU s\taim")
    for name, one in rows.items():
        span = f"{one['low']:.2f}-{one['high']:.2f}"
        numbers = f"{one['seconds']:.2f}\t{span}\t{one['cpu']:.2f}"
        print(name, numbers, AIMS.get(name, ""), sep="\t")
    print(records.keep("start-up", rows))


def row(runs: list[tuple[float, float]]) -> dict[str, float]:
    """Median and range of wall-clock seconds, median of the processor's."""
    wall, cpu = zip(*runs, strict=True)
    middle = statistics.median
    return {"seconds": middle(wall), "low": min(wall), "high": max(wall), "cpu": middle(cpu)}


def once(command: list[str]) -> tuple[float, float]:
    """Wall-clock and processor seconds of a process."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu


def docks(kind: str) -> None:
    """Open napari, then each dock, or as many with nothing in them; print seconds as JSON."""
    # the user's settings are neither read nor changed
    os.environ["XDG_DATA_HOME"] = os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp()
    marks = [mark()]
    import napari
    from qtpy.QtWidgets import QApplication, QWidget

    viewer = napari.Viewer(show=True)
    settle(QApplication)
    marks.append(mark())
    before = set(sys.modules)
    for name in DOCKS:
        tabify = name != DOCKS[0]
        if kind == OURS:
            viewer.window.add_plugin_dock_widget("napari-pvs", name, tabify=tabify)
        else:
            viewer.window.add_dock_widget(QWidget(), name=name, tabify=tabify)
        settle(QApplication)
        marks.append(mark())
    heavy = ("torch", "openvino", "matplotlib", "SimpleITK", "nilearn", "skimage")
    new = sorted({name.partition(".")[0] for name in set(sys.modules) - before})
    print("imported by the docks:", ", ".join(n for n in new if n in heavy), file=sys.stderr)
    if "torch" in sys.modules:
        raise SystemExit("the docks have imported torch")
    names = ("napari alone", *(f"dock {name}" for name in DOCKS))
    spent = {
        name: (end[0] - start[0], end[1] - start[1])
        for name, start, end in zip(names, marks, marks[1:], strict=False)
    }
    whole = (marks[-1][0] - marks[1][0], marks[-1][1] - marks[1][1])
    if kind == OURS:
        spent["all docks"] = whole
    else:
        spent = {"as many empty docks": whole}
    viewer.close()
    print(json.dumps(spent))


def mark() -> tuple[float, float]:
    """Now, by the clock and by the processor."""
    return time.perf_counter(), time.process_time()


def settle(application: Any) -> None:
    """Let Qt do what is due; three rounds, as events make events."""
    for _ in range(3):
        application.processEvents()


if __name__ == "__main__":
    main()
