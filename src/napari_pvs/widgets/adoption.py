"""Taking layers that come for what they say they are, and letting go of those that are deleted."""

from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels, Layer

from napari_pvs.errors import InputError
from napari_pvs.widgets import collection
from napari_pvs.widgets.layers import require_grid
from napari_pvs.widgets.notes import KEY, role_of

if TYPE_CHECKING:  # a session imports this
    from napari_pvs.widgets.session import Session

LINKED = (
    "affine", "depiction", "interpolation2d", "interpolation3d", "rotate", "scale", "shear",
    "translate",
)  # fmt: skip
"""What T1 and T2 have in common: their place, and how voxels are drawn. Each has its own contrast,
opacity and visibility."""


def adopt(session: "Session", layer: Layer) -> None:
    """Take a layer that says what it is: a scan opened as sample data, a duplicate not."""
    role = role_of(layer)
    scan = layer.metadata.get(KEY, {}).get("scan")
    if role in ("T1", "T2") and scan is not None and isinstance(layer, Image):
        if scan is not session.scan:
            if session.scan is not None and session.left.get(id(scan)) is scan:  # an old copy
                return
            session.set_scan(scan)
        slot = role.lower()
        if getattr(session, slot) is None:
            setattr(session, slot, layer)
            _link(session)
            session.scan_changed.emit()
    elif not isinstance(layer, Labels):  # a copy that was made an image
        return
    elif role == "reference" and session.reference is None and _fits(session, layer):
        session.set_reference(layer)
    elif role == "labels" and session.labels is None and _fits(session, layer):
        session.set_labels(layer)


def let_go(session: "Session", layer: Any) -> None:
    """Leave the place of a deleted layer empty."""
    collection.let_go(layer)
    if layer is session.labels:
        session.set_labels(None)
    if layer is session.reference:
        session.set_reference(None)
    gone = [key for key, one in session.predictions.items() if one.layer is layer]
    for key in gone:
        del session.predictions[key]
    if gone:
        session.prediction_changed.emit()
    if layer is session.t1 or layer is session.t2:
        session.t1 = None if layer is session.t1 else session.t1
        session.t2 = None if layer is session.t2 else session.t2
        if session.t1 is None and session.t2 is None:
            session.set_scan(None)
        else:
            session.scan_changed.emit()


def _fits(session: "Session", layer: Layer) -> bool:
    if session.scan is None:
        return False
    try:
        require_grid(layer, session.scan)
    except InputError:
        return False
    return True


def _link(session: "Session") -> None:
    """Let what is done to the place of T1 be done to T2; napari unlinks what is deleted."""
    layers = session.viewer.layers
    if session.t1 in layers and session.t2 in layers:
        layers.link_layers([session.t1, session.t2], LINKED)
