"""The documentation's pictures of the plugin, from a real window.

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/screenshots.py --out docs/images

Makes three synthetic subjects, loads one from the study, segments it with the starter weights,
reviews and measures the labels, by the docks' own buttons, trains a while on three small subjects
more, and writes ``plugin-*.png``. Look at each. ``--docks FOLDER`` writes each dock alone too, all
of it, in a column as narrow as it may be.

    xvfb-run -a -s "-screen 0 1920x1080x24" python benchmarks/screenshots.py --workspace

writes ``workspace-*.png`` alone: the workspace at 1366x768 and 1920x1080, dark and light, with a
PVS under review, with a comparison, with two raters' labels being adjudicated, and with each dock;
``--scan T1 T2`` shows your own scan, not a synthetic subject; ``--raters`` goes to the two raters
at once. QT_SCALE_FACTOR=1.5 draws all for a finer screen.
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

# the user's settings, preferences, drafts and recent studies are left alone
os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp()
os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp()) / "settings.yaml")

import cc3d
import napari
import numpy as np
from napari.settings import get_settings
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QScrollArea, QWidget

from napari_pvs.phantom.cohort import write_cohort
from napari_pvs.phantom.config import PhantomConfig
from napari_pvs.scans.nifti import read_labels
from napari_pvs.study.bids import subjects
from napari_pvs.study.labels import LabelStore
from napari_pvs.widgets.background.process import Job
from napari_pvs.widgets.dock import WIDTH
from napari_pvs.widgets.workspace.dock import Workspace

WINDOWS = ((1366, 768), (1920, 1080))
TRAINING = {
    "epochs": 40,
    "steps": 10,
    "batch": 4,
    "patch": (24,),
    "warmup": 5,
    "validate_every": 2,
    "learning_rate": 0.005,
}


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--out", type=Path, default=Path("docs/images"))
    arguments.add_argument("--theme", default="dark", choices=("dark", "light"))
    arguments.add_argument("--size", type=float, nargs=3, default=(140.8, 192.0, 80.0),
                           metavar="MM", help="Field of view of the subjects.")  # fmt: skip
    arguments.add_argument("--docks", type=Path, help="Where each dock goes alone.")
    arguments.add_argument("--workspace", action="store_true", help="The workspace alone.")
    arguments.add_argument("--scan", type=Path, nargs=2, metavar=("T1", "T2"),
                           help="What the workspace shows.")  # fmt: skip
    arguments.add_argument("--raters", action="store_true",
                           help="Of the workspace, the two raters alone.")  # fmt: skip
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.workspace:
        viewer = napari.Viewer(show=True)
        try:
            work(viewer, given.out, given.scan, given.raters)
        finally:
            viewer.close()
        return
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder) / "study"
        write_cohort(
            PhantomConfig(subjects=3, labelled=1, field_of_view=tuple(given.size), pvs=(60, 200)),
            study,
        )
        get_settings().appearance.theme = given.theme
        viewer = napari.Viewer(show=True)
        viewer.window.resize(1280, 860)
        try:
            drive(viewer, study, given.out, given.docks)
        finally:
            viewer.close()


def drive(viewer: napari.Viewer, study: Path, out: Path, alone: Path | None) -> None:
    """Work through the docks as a user would, with a picture of each."""
    docks = {}
    for name in ("Load", "Segment", "Correct", "Train", "Metrics"):
        holder, dock = viewer.window.add_plugin_dock_widget("napari-pvs", name, tabify=bool(docks))
        holder.hide()  # the names on five tabs would be cut off
        docks[name] = holder, dock
    load, segment, correct, train, metrics = (docks[name][1] for name in docks)
    main_window = docks["Load"][0].parent()

    def picture(name: str) -> None:
        holder, dock = docks[name]
        holder.show()
        main_window.resizeDocks([holder], [WIDTH + 24], Qt.Orientation.Horizontal)
        settle(dock)
        save(viewer.screenshot(canvas_only=False, flash=False), out / f"plugin-{name.lower()}.png")
        if alone is not None:
            save_alone(dock, alone / f"dock-{name.lower()}.png")
        holder.hide()

    load.open_study(study)
    wait(lambda: len(load.subjects.table.rows) == 3 and not any_job(load.subjects))
    load.load_subject(load.subjects.table.rows[0].subject)
    wait(lambda: not load.busy)
    subject = load.session.subject
    viewer.dims.set_point(0, float(np.mean(viewer.dims.range[0][:2])))
    picture("Load")

    segment.run_it()
    wait(lambda: not segment.busy)
    segment.copy_it()
    picture("Segment")

    queue = correct.queue
    wait(lambda: queue.queue is not None)
    queue.move_on()
    wait(lambda: queue.item is not None)
    viewer.scene.camera.zoom /= 2  # its surroundings, too
    picture("Correct")

    truth = read_labels(subject.label)
    assert load.session.array(load.session.labels).shape == truth.shape
    if load.session.reference is None:
        metrics.open_reference(subject.label)
        wait(lambda: not metrics.busy)
    wait(lambda: metrics.agreement is not None)
    metrics.measures.missed.selectRow(0)
    picture("Metrics")

    viewer.reset_view()
    train.open_study(small_study(study.with_name("small")))
    train.form.unfold()
    for name, value in TRAINING.items():
        train.form.fields[name].set(value)
    wait(lambda: train.use.text().startswith("Trains") or train.cost.kind == "error")
    train.start_run()
    try:
        wait(lambda: len(train.view.watch.course.validation) >= 6 or not train.view.live)
        picture("Train")
    finally:
        train.view.stop_run.click()
        wait(lambda: not train.view.live)


def work(viewer: napari.Viewer, out: Path, scan: list[Path] | None, raters: bool) -> None:
    """Go from step to step in the workspace, with pictures in each window and theme."""
    window = viewer.window._qt_window
    window.setGeometry(0, 0, *WINDOWS[0])
    _, space = viewer.window.add_plugin_dock_widget("napari-pvs", "Workspace")
    wait(lambda: bool(space.docks))

    def picture(name: str) -> None:
        for width, height in WINDOWS:
            for theme in ("dark", "light"):
                viewer.theme = theme
                window.setGeometry(0, 0, width, height)
                QTest.qWait(2500)
                save(
                    viewer.screenshot(canvas_only=False, flash=False),
                    out / f"workspace-{name}-{width}x{height}-{theme}.png",
                )

    if not raters:
        one_rater(space, picture, scan)
    adjudicate(viewer, space, picture)


def one_rater(space: Workspace, picture: Callable[[str], None], scan: list[Path] | None) -> None:
    """Load, segment, review and measure a scan."""
    load, segment, correct = (space.docks[name][1] for name in ("Load", "Segment", "Correct"))
    if scan is None:
        load.load_sample()
    else:
        load.take(scan)
        load.load_rows()
    wait(lambda: not load.busy and space.session.scan is not None)
    QTest.qWait(1000)
    picture("load")
    space.go("Segment")
    segment.run_it()
    wait(lambda: not segment.busy)
    segment.copy_it()
    space.go("Review")
    wait(lambda: correct.queue.queue is not None)
    correct.queue.move_on()
    wait(lambda: space.session.focus is not None)
    picture("review")
    planes = space.docks["Planes"][1].planes
    reference = space.session.reference
    # without a known truth, stricter labels stand for another rater's
    planes.compare(space.session.prediction.layer if reference is None else reference)
    if reference is None:
        segment.threshold.setValue(min(segment.threshold.value() + 0.2, 0.95))
    wait(lambda: planes.counts is not None)
    planes.set_zoom(2.5)
    space.go("Measure")
    picture("compare")
    planes.compare(None)


def adjudicate(viewer: napari.Viewer, space: Workspace, picture: Callable[[str], None]) -> None:
    """Decide between two raters of a study."""
    load, correct = (space.docks[name][1] for name in ("Load", "Correct"))
    with tempfile.TemporaryDirectory() as folder:
        load.open_study(two_raters(Path(folder) / "study"))
        wait(lambda: len(load.subjects.table.rows) == 1 and not any_job(load.subjects))
        load.load_subject(load.subjects.table.rows[0].subject)
        wait(lambda: not load.busy)
        space.go("Train")
        train = space.docks["Train"][1]
        wait(lambda: bool(train.use.text()) or train.cost.kind == "error")
        picture("train")
        space.go("Review")
        wait(lambda: correct.raters.decide.isEnabled())
        correct.raters.decide.click()
        wait(lambda: correct.queue.disputed is not None and bool(correct.queue.pending))
        for _ in range(3):
            correct.queue.move_on()
            correct.queue.yes()
        viewer.scene.camera.zoom /= 2  # its surroundings, too
        area = correct.findChild(QScrollArea)
        area.ensureWidgetVisible(correct.raters, 0, 40)
        picture("raters")
        load.load_sample()  # the study goes
        wait(lambda: not load.busy)


def two_raters(root: Path) -> Path:
    """Write a subject and the labels of two raters, each of whom misses some PVS."""
    config = PhantomConfig(
        subjects=1, labelled=1, field_of_view=(140.8, 192.0, 80.0), pvs=(60, 200)
    )
    write_cohort(config, root)
    (subject,) = subjects(root)
    truth = read_labels(subject.label)
    parts, count = cc3d.connected_components(truth.data > 0, connectivity=26, return_N=True)
    store = LabelStore(root, subject.name)
    for author, missed in (("ann", 7), ("bob", 5)):
        seen = [number for number in range(1, count + 1) if number % missed]
        store.save(np.isin(parts, seen), truth, author=author, origin="drawn")
    return root


def settle(dock: QWidget) -> None:
    """Wait until a dock looks the same for a while; a run that goes on changes it all the time."""
    before = None
    for _ in range(10):
        QTest.qWait(600)
        now = dock.grab().toImage()
        if now == before:
            return
        before = now


def save_alone(dock: QWidget, path: Path) -> None:
    """Write a picture of all that a dock holds, in a column as narrow as it may be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    area = dock.findChild(QScrollArea)
    column, width = area.widget(), WIDTH - area.verticalScrollBar().sizeHint().width()
    column.resize(width, column.layout().totalHeightForWidth(width))
    column.grab().save(str(path))


def small_study(root: Path) -> Path:
    """Write labelled subjects that are learnt from quickly."""
    write_cohort(
        PhantomConfig(subjects=3, labelled=3, field_of_view=(64, 64, 48), pvs=(30, 60)), root
    )
    return root


def any_job(widget: object) -> bool:
    return any(job.running for job in widget.findChildren(Job))


def wait(done: Callable[[], bool]) -> None:
    """Let the window live until something is done."""
    while not done():
        QTest.qWait(50)


def save(picture: np.ndarray, path: Path) -> None:
    """Write a picture in 256 colours."""
    octree = Image.Quantize.FASTOCTREE  # keeps the few pixels of a PVS in their own colour
    Image.fromarray(picture[..., :3]).quantize(256, octree, dither=Image.Dither.NONE).save(
        path, optimize=True
    )
    print(f"{path} {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
