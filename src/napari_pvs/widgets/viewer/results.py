"""napari's reader of what ``napari-pvs segment`` wrote."""

from collections.abc import Callable, Sequence
from pathlib import Path

from napari_pvs.inference.results import results_at, written
from napari_pvs.scans.names import stem_of
from napari_pvs.scans.nifti import read_labels, read_volume
from napari_pvs.widgets.viewer.layers import KEY, LayerData, volume_layer


def folder_reader(folder: Path) -> Callable[[str | Sequence[str]], list[LayerData]] | None:
    """Return what reads a folder; None where it holds no results."""
    if results_at(folder) is None:
        return None
    return lambda _: layers_of(folder)


def layers_of(folder: Path) -> list[LayerData]:
    """Make layers of a results folder: its scan, if that is still there, its map, its PVS.

    Each PVS is a label of its number, and the features of the layer are its row of ``pvs.tsv``.
    They are no scan of the plugin's yet, which would need the brain; see the Load dock.

    Raises
    ------
    InputError
        As `written`, or a file cannot be read.
    """
    found = written(folder)
    files = () if found.scan is None else (found.scan.t1, found.scan.t2)
    scans = [
        volume_layer(read_volume(file), stem_of(file), "image")
        for file in files
        if file is not None
    ]
    for _, meta, _ in scans[:-1]:
        meta["visible"] = False  # T2 shows PVS best, and would hide T1
    chances = read_volume(found.probability, constant=True)
    made = [
        volume_layer(chances, "PVS probability", "image"),
        volume_layer(read_labels(found.labels), "PVS", "labels"),
    ]
    made[0][1].update(visible=False, contrast_limits=(0.0, 1.0))
    made[1][1]["features"] = {"index": found.table["id"]} | found.table
    for _, meta, _ in made:  # hidden from a blind rater, and known where they are corrected
        meta["metadata"][KEY] |= {"weights_id": found.key, "corrected_from": found.key}
    for _, meta, _ in (*scans, *made):
        meta["metadata"][KEY]["results"] = folder
    return [*scans, *made]
