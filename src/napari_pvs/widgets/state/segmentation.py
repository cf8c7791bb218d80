"""TODO."""

from typing import Any

import numpy as np
from napari.layers import Labels

from napari_pvs.inference.config import SegmentConfig
from napari_pvs.jobs import exchange
from napari_pvs.scans.display import to_display
from napari_pvs.scans.scan import Scan
from napari_pvs.widgets.background.idle import Steps
from napari_pvs.widgets.state.prediction import Prediction, make_layer
from napari_pvs.widgets.state.session import shown_subject
from napari_pvs.widgets.viewer.canvas import adding


def copy_to_labels(session: Any) -> str:
    """Bring the newest prediction into the labels, and go on with these; return what was done."""
    changed = session.copy_prediction()
    session.prediction.layer.visible = False  # it would lie under its copy
    session.viewer.layers.selection.active = session.labels  # which keys, and Ctrl+Z, work on
    if not changed:
        return "Your labels hold all of it already, apart from what you have changed."
    return f"{changed} voxels of {session.labels.name!r} changed; Ctrl+Z takes it back."


def request_for(session: Any, config: SegmentConfig) -> dict[str, Any]:
    """Return the service's ``segment`` request for the session's scan."""
    request = {"verb": "segment", "config": config.model_dump(mode="json")}
    subject = shown_subject(session)
    if subject is not None:  # of a scan from elsewhere the study keeps nothing
        request["study"] = str(session.study)
        request["subject"] = subject.name
    return request


def showing(session: Any, scan: Scan, config: SegmentConfig, result: Any) -> Steps:
    """Show what a ``segment`` request has found, as the session's newest prediction.

    Parameters
    ----------
    session, scan, config
        Of which scan of which viewer, and how it was made.
    result
        A `worker.Result`.

    Returns
    -------
    The `Prediction`; None if the scan is gone.
    """
    answer = result.answer
    key, name = answer["weights_id"], answer["weights"]
    before = session.predictions.get(key)
    for other in session.predictions.values():
        other.layer.visible = False
    mask = exchange.load_array(result.path, "mask")
    if before is None:
        layer = make_layer(scan, f"PVS by {name} ({key[:6]})", mask)
        yield
        if session.scan is not scan:
            return None
        yield from _adding(session, scan, layer)
    else:
        layer = before.layer
        layer.data[...] = to_display(mask)
        layer.visible = True
        layer.refresh(extent=False)
        yield
    if session.scan is not scan or layer not in session.viewer.layers:
        return None
    prediction = Prediction(
        weights_id=key,
        weights=name,
        probability=exchange.load_array(result.path, "probability"),
        grid=scan.grid,
        layer=layer,
        threshold=answer["threshold"],
        min_volume=config.min_volume,
        max_width=config.max_width,
        file=config.weights,
        folder=result.folder,
        box=tuple(slice(*part) for part in answer["box"]),
        part=np.load(result.path / "part.npy", mmap_mode="r"),
        count=answer["count"],
        volume_mm3=answer["volume_mm3"],
    )
    session.add_prediction(prediction)
    return prediction


def _adding(session: Any, scan: Scan, layer: Labels) -> Steps:
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
