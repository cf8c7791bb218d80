"""Brings what an earlier session has left back into the labels."""

import numpy as np

from napari_pvs.scans.masks import voxels_of
from napari_pvs.widgets.edits import put
from napari_pvs.widgets.kept import Offer
from napari_pvs.widgets.layers import to_display
from napari_pvs.widgets.notes import note_origin, set_parent
from napari_pvs.widgets.session import Session


def restore(session: Session, offer: Offer) -> None:
    """Let the labels of a session hold what is offered, as one step that can be undone."""
    layer = session.labels or session.new_labels()
    labels = np.ascontiguousarray(to_display(offer.labels))
    if labels.max(initial=0) > np.iinfo(layer.data.dtype).max:
        labels = labels > 0
    where = voxels_of(layer.data != labels)
    if offer.revision.origin == "corrected":
        note_origin(layer, offer.revision.weights_id)
    set_parent(layer, offer.root, offer.revision.number)
    if len(where[0]):
        put(layer, where, labels[where].astype(layer.data.dtype))
