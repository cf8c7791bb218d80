"""A segmentation of the session's scan: what is asked of the job, and how its answer is shown."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from napari_pvs.inference.config import SegmentConfig
from napari_pvs.jobs import exchange
from napari_pvs.jobs.protocol import OpenResults, Segment, Segmented
from napari_pvs.scans.display import to_display
from napari_pvs.scans.scan import Scan
from napari_pvs.widgets.background.idle import Steps
from napari_pvs.widgets.background.process import Result, scan_folder
from napari_pvs.widgets.state.prediction import Prediction, make_layer
from napari_pvs.widgets.state.session import Session
from napari_pvs.widgets.viewer.canvas import adding
from napari_pvs.widgets.viewer.typed import LabelsLayer

COPY_TIP = (
    "Copy the mask shown into your labels, as one undo step. Voxels that you have edited are kept."
)


def copy_to_labels(session: Session) -> str:
    """Bring the newest prediction into the labels, and go on with these; return what was done."""
    changed = session.copy_prediction()
    labels = session.require_labels()
    if session.prediction is not None:
        session.prediction.layer.visible = False  # it would lie under its copy
    session.viewer.layers.selection.active = labels  # which keys, and Ctrl+Z, work on
    if not changed:
        return "Your labels match the prediction already, apart from your edits."
    return f"Copied to {labels.name!r}: {changed:,} voxels changed. Ctrl+Z undoes it."


def request_for(session: Session, scan: Scan, config: SegmentConfig) -> Callable[[Path], Segment]:
    """Return what makes the request to segment the session's scan, in the job's folder.

    In a study the mask is saved as a draft of the subject that is shown now.
    """
    subject = session.shown_subject
    study, name = (None, None) if subject is None else (session.study, subject.name)

    def request(folder: Path) -> Segment:
        return Segment(scan=scan_folder(scan, folder), config=config, study=study, subject=name)

    return request


def results_request(scan: Scan, path: Path) -> Callable[[Path], OpenResults]:
    """Return what makes the request to open results of a scan, in the job's folder."""

    def request(folder: Path) -> OpenResults:
        return OpenResults(scan=scan_folder(scan, folder), path=path)

    return request


def showing(
    session: Session, scan: Scan, config: SegmentConfig, result: Result[Segmented]
) -> Steps:
    """Show what a segmentation found, as the session's newest prediction.

    Parameters
    ----------
    session, scan, config
        Of which scan of which viewer, and how it was made.
    result
        Of the job.

    Returns
    -------
    The `Prediction`; None if the scan is gone.
    """
    answer = result.answer
    key, name = answer.weights_id, answer.weights
    before = session.predictions.get(key)
    for other in session.predictions.values():
        other.layer.visible = False
    mask = exchange.load_array(result.path, "mask")
    if before is None:
        layer = make_layer(scan, f"PVS by {name} ({key[:6]})", mask)
        layer.visible = not session.blind
        yield
        if session.scan is not scan:
            return None
        yield from _adding(session, scan, layer)
    else:
        layer = before.layer
        layer.data[...] = to_display(mask)
        layer.visible = not session.blind
        layer.refresh(extent=False)
        yield
    if session.scan is not scan or layer not in session.viewer.layers:
        return None
    x, y, z = (slice(*side) for side in answer.box)
    prediction = Prediction(
        weights_id=key,
        weights=name,
        probability=exchange.load_array(result.path, "probability"),
        grid=scan.grid,
        layer=layer,
        threshold=answer.threshold,
        min_volume=config.min_volume,
        max_width=config.max_width,
        file=config.weights,
        folder=result.folder,
        box=(x, y, z),
        part=np.load(result.path / "part.npy", mmap_mode="r"),
        count=answer.count,
        volume_mm3=answer.volume_mm3,
        within=config.within,
        excluded_by_place=answer.excluded_by_place,
    )
    session.add_prediction(prediction)
    return prediction


def _adding(session: Session, scan: Scan, layer: LabelsLayer) -> Steps:
    """Add the layer of a prediction; it goes if its scan does, or if this is left off."""
    viewer = session.viewer
    active = viewer.layers.selection.active
    whole = False
    try:
        # who corrects goes on, with the same keys and tool
        yield from adding(viewer, layer, active if active is session.labels else None)
        yield
        whole = session.scan is scan
    finally:
        if not whole and layer in viewer.layers:
            viewer.layers.remove(layer)  # nothing else would: it is no prediction of a session yet
