"""Bringing what a job has loaded into the viewer, in place of what was there."""

import contextlib
import gc
from collections.abc import Iterator
from typing import Any

from napari_pvs.widgets import exchange
from napari_pvs.widgets.layers import KEY, LayerData, mask_layer, role_of, scan_layers
from napari_pvs.widgets.sample import sample_layers
from napari_pvs.widgets.session import Session
from napari_pvs.widgets.worker import Result, load_stored

_NAMES = {"labels": "PVS labels", "reference": "reference PVS"}


def show(session: Session, result: Result) -> list[str]:
    """Show a scan and its label; the layers of the scan before go.

    Parameters
    ----------
    session
        Of the viewer.
    result
        Of the service's ``load``.

    Returns
    -------
    What the user should know.
    """
    notes = [*result.answer["notes"], *clear(session)]
    scan = load_stored(result)
    layers = scan_layers(scan, exchange.load_limits(result.path))
    for role, name in _NAMES.items():
        if (result.path / f"{role}.npy").is_file():
            layers.append(mask_layer(exchange.load_array(result.path, role), scan, name, role))
    _add(session, layers)
    return notes


def show_sample(session: Session, result: Result) -> list[str]:
    """Show the synthetic subject of the service's ``sample``, as `show`."""
    notes = clear(session)
    scan = load_stored(result)
    limits = exchange.load_limits(result.path)
    instances = exchange.load_array(result.path, "reference")
    _add(session, sample_layers(scan, instances, result.answer["features"], limits))
    return notes


def clear(session: Session) -> list[str]:
    """Remove the layers of the session's scan, but not labels that no file holds.

    Returns
    -------
    What the user should know.
    """
    notes = []
    gone = [session.t1, session.t2, *(one.layer for one in session.predictions.values())]
    for layer in (session.reference, session.labels):
        if layer is None or role_of(layer) is None:
            continue  # the user's own layer is the user's to remove
        if layer is session.labels and session.kept.state == "edited":
            layer.visible = False
            notes.append(
                f"The layer {layer.name!r} is in no file yet, so it stays, hidden; save or delete "
                "it."
            )
        else:
            gone.append(layer)
    session.set_scan(None)
    layers = session.viewer.layers
    with _without_collection():
        for layer in gone:
            if layer is not None and layer in layers:
                layers.remove(layer)
                layer.metadata.pop(KEY, None)  # it may live on for a while; the scan must not
    return notes


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Keep the whole process's garbage from being collected while layers go.

    napari does that for each of them, and the viewer stands still for a good part of a second
    each time. What is frozen is passed over; Python collects it later, in its own time.
    """
    if gc.get_freeze_count():  # somebody else does this; it is theirs to end
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _add(session: Session, layers: list[LayerData]) -> None:
    viewer: Any = session.viewer
    for data, meta, kind in layers:
        (viewer.add_image if kind == "image" else viewer.add_labels)(data, **meta)
    if session.t1 is not None and session.t2 is not None:
        session.t1.visible = False  # T2 shows PVS best, and would hide it anyway
    viewer.reset_view()
