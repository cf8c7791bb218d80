"""Do the docks stay quick with hundreds of subjects and thousands of PVS?

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/crowded_docks.py

A real window with the Load, Segment, Correct and Metrics docks. A study of --subjects subjects with
long names is listed, filtered and sorted; then a made-up brain of 176x192x240 voxels with --pvs PVS
is corrected, reviewed and measured. Printed is the longest gap of the event loop in each phase (ms,
the aim is 50), and how long the phase took until all was shown. Kept in
``results/crowded-docks.json``.
"""

import argparse
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp()  # drafts and settings are not the user's
os.environ["XDG_CONFIG_HOME"] = os.environ["XDG_DATA_HOME"]

import napari
import nibabel as nib
import numpy as np
from gaps import AIM_MS, Gaps, live, table, until, until_true
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from records import keep
from scenes import scene

from napari_pvs.scans.display import display_index
from napari_pvs.widgets.state.prediction import Prediction, make_layer
from napari_pvs.widgets.viewer.layers import mask_layer, scan_layers


def main() -> None:
    """Parse, measure, print."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--subjects", type=int, default=500)
    arguments.add_argument("--pvs", type=int, default=5000)
    given = arguments.parse_args()
    rows: list[dict[str, Any]] = []
    gaps = Gaps()
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        study = crowd(Path(folder) / "study", given.subjects)
        viewer = napari.Viewer(show=True)
        viewer.window.resize(1280, 860)
        try:
            docks = {
                name: viewer.window.add_plugin_dock_widget("napari-pvs", name, tabify=at > 0)[1]
                for at, name in enumerate(("Load", "Segment", "Correct", "Metrics"))
            }
            live(1)
            listing(docks["Load"], study, gaps, rows)
            correcting(viewer, docks, given.pvs, gaps, rows)
        finally:
            viewer.close()
    print(f"\nload before: {load_before:.1f} on {os.cpu_count()} CPUs; ms, aim {AIM_MS}")
    print(table(rows))
    counts = {"subjects": given.subjects, "pvs": given.pvs}
    keep("crowded-docks", {**counts, "load_before": load_before, "gaps_ms": rows})


def crowd(study: Path, count: int) -> Path:
    """Make a study of small scans, half of them labelled, with names as long as some are."""
    rng = np.random.default_rng(0)
    one = study.parent / "one.nii.gz"
    mask = study.parent / "mask.nii.gz"
    noise = rng.normal(100, 9, (16, 16, 16)).astype(np.float32)
    nib.save(nib.Nifti1Image(noise, np.eye(4)), one)
    nib.save(nib.Nifti1Image((noise > 115).astype(np.uint8), np.eye(4)), mask)
    for number in range(count):
        name = f"sub-longitudinalcohort{number:06d}site{number % 7}scanner{number % 3}"
        for path, source in (
            (study / name / "anat" / f"{name}_T1w.nii.gz", one),
            (study / name / "anat" / f"{name}_T2w.nii.gz", one),
            (study / f"derivatives/labels/{name}/anat/{name}_desc-pvs_mask.nii.gz", mask),
        ):
            if source is one or number % 2:
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, path)
    return study


def listing(load: Any, study: Path, gaps: Gaps, rows: list[dict[str, Any]]) -> None:
    """Open the study; filter, sort and walk through its list."""
    subjects = load.subjects
    with gaps.during("list", "docks", rows):
        load.open_study(study)
        until(subjects.listed)
        until_true(lambda: all(r.count is not None for r in subjects.table.rows if r.subject.label))
    with gaps.during("filter", "docks", rows):
        for text in ("site3", "reference", "new", ""):
            subjects.search.setText(text)
            live(0.05)
    with gaps.during("sort", "docks", rows):
        for column in range(4):
            subjects.table.sortByColumn(column, Qt.SortOrder.DescendingOrder)
            live(0.05)
    with gaps.during("list again", "docks", rows):
        load.refresh.click()
        until(subjects.listed)


def correcting(
    viewer: Any, docks: dict[str, Any], pvs: int, gaps: Gaps, rows: list[dict[str, Any]]
) -> None:
    """Show, review, edit and measure labels with many PVS."""
    scan, probability, label, missing = scene(pvs)
    correct, session = docks["Correct"], docks["Correct"].session
    for data, meta, _ in scan_layers(scan):
        viewer.add_image(data, **meta)
    layer = viewer.add_layer(make_layer(scan, "prediction"))
    session.add_prediction(Prediction("b", "b", probability, scan.grid, layer, 0.5, 1.0, 2.8))
    data, meta, _ = mask_layer(label, scan, "PVS labels", "labels")
    reference, told, _ = mask_layer(np.roll(label, 1, 0), scan, "reference", "reference")
    viewer.add_labels(reference, **told)
    live(1)
    docks["Correct"].parentWidget().raise_()
    with gaps.during("labels", "docks", rows):
        viewer.add_labels(data, **meta)
        until_true(lambda: correct.queue.queue is not None and bool(correct.queue.queue.items))
    print(f"  {len(correct.table.table.rows)} PVS, {len(correct.queue.queue.items)} to review")
    with gaps.during("review", "docks", rows):
        correct.queue.move_on()
        for _ in range(10):
            correct.queue.yes()
            live(0.1)
    with gaps.during("click", "docks", rows):
        for point in missing[:5]:
            correct.clicker.click("add", display_index(point, scan))
            live(0.3)
    with gaps.during("queue follows", "docks", rows):
        live(4)
    with gaps.during("walk the table", "docks", rows):
        pvs_table = correct.table.table
        pvs_table.setFocus()
        for _ in range(20):
            QTest.keyClick(pvs_table, Qt.Key.Key_Down)
            live(0.02)
    with gaps.during("sort PVS", "docks", rows):
        for column in range(4):
            pvs_table.sortByColumn(column, Qt.SortOrder.DescendingOrder)
            live(0.05)
    docks["Metrics"].parentWidget().raise_()
    with gaps.during("measure", "docks", rows):
        for number in range(5):
            session.labels.data_setitem(tuple(np.array([i]) for i in (9, 9, 9 + number)), 1)
            live(0.4)
    docks["Segment"].parentWidget().raise_()
    with gaps.during("threshold", "docks", rows):
        for value in (0.4, 0.45, 0.5, 0.55):
            docks["Segment"].threshold.setValue(value)
            live(0.2)


if __name__ == "__main__":
    main()
