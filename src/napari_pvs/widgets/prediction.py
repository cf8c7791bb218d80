"""A probability map and its mask in the viewer, which follows threshold and smallest volume."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from napari_pvs.inference.components import drop_round, label
from napari_pvs.inference.config import SegmentConfig
from napari_pvs.scans.grid import Grid
from napari_pvs.scans.masks import Box
from napari_pvs.scans.scan import Scan
from napari_pvs.widgets import exchange
from napari_pvs.widgets.adding import adding
from napari_pvs.widgets.layers import from_display, mask_layer, to_display
from napari_pvs.widgets.service import likely
from napari_pvs.widgets.shown import shown_subject
from napari_pvs.widgets.turns import Steps


@dataclass(eq=False)
class Prediction:
    """What one network (or baseline) says about the session's scan.

    Attributes
    ----------
    weights_id
        First 12 digits of the weights' SHA-256, or the baseline's name.
    weights
        Name of the weights, for people.
    probability
        float32 (X, Y, Z) on the scan's grid; read-only.
    grid
        Of the scan.
    layer
        Its mask, uint8, read-only for the user: correct a copy of it.
    threshold, min_volume, max_width
        How the mask was made; change it by `cut`.
    file
        The weights' file; None for the starter's.
    folder
        What keeps a map on disk for as long as the prediction lives.
    box, part
        `likely` voxels, and the probability there; computed where not given, with the mask.
    count, volume_mm3
        PVS of the mask.
    """

    weights_id: str
    weights: str
    probability: NDArray[np.float32]
    grid: Grid
    layer: Labels
    threshold: float
    min_volume: float
    max_width: float | None
    file: Path | None = None
    folder: Any = None
    box: Box | None = None
    part: NDArray[np.float32] | None = None
    count: int = 0
    volume_mm3: float = 0.0

    def __post_init__(self) -> None:
        if self.box is None:
            self.box = likely(self.probability, self.threshold)
            self.part = np.ascontiguousarray(self.probability[self.box])
            self.cut(self.threshold, self.min_volume)

    def cut(self, threshold: float, min_volume: float) -> None:
        """Make the mask anew: what `inference.segment.components` finds in the map.

        Parameters
        ----------
        threshold
            Smallest probability of a PVS, from `service.LOWEST` on.
        min_volume
            Smallest PVS, mm³.
        """
        self.threshold, self.min_volume = threshold, min_volume
        labels = label(self.part, threshold, min_volume, self.grid.voxel_volume)
        labels = drop_round(labels, self.grid.voxel_size, self.max_width)
        self.count = int(labels.max(initial=0))
        mask = labels > 0
        self.volume_mm3 = float(np.count_nonzero(mask)) * self.grid.voxel_volume
        from_display(self.layer.data)[self.box] = mask
        self.layer.refresh(extent=False)


def make_layer(scan: Scan, name: str, mask: NDArray[np.uint8] | None = None) -> Labels:
    """Make the layer of a prediction, which can be looked at but not painted on.

    Parameters
    ----------
    scan
        Of what.
    name
        What the layer list shows.
    mask
        On the scan's grid; empty where None.
    """
    found = np.zeros(scan.grid.shape, np.uint8) if mask is None else mask
    data, meta, _ = mask_layer(found, scan, name, "prediction")
    layer = Labels(data, **meta)
    layer.editable = False
    return layer


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
