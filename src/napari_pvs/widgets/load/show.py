"""Shows what a job has loaded, in place of what was there.

Making a layer costs napari a tenth of a second, giving one other voxels a hundredth: the layers of
the scan before are filled anew wherever they fit.
"""

from pathlib import Path
from typing import Any, cast

import numpy as np
from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray

from napari_pvs.jobs import exchange
from napari_pvs.jobs.protocol import Features, Loaded
from napari_pvs.study.bids import StudySubject, label_of
from napari_pvs.widgets.background.idle import Steps
from napari_pvs.widgets.background.process import Result, load_stored
from napari_pvs.widgets.state.autosave import autosave_of
from napari_pvs.widgets.state.session import Session
from napari_pvs.widgets.viewer.canvas import adding, remove
from napari_pvs.widgets.viewer.layers import KEY, LayerData, Role, mask_layer, role_of, scan_layers
from napari_pvs.widgets.viewer.sample import result_layers
from napari_pvs.widgets.viewer.typed import ImageLayer, LabelsLayer, Layer

_NAMES: dict[Role, str] = {"labels": "PVS labels", "reference": "reference PVS"}


def show(session: Session, result: Result[Loaded], study: Path | None = None) -> Steps:
    """Show a scan and its label; the layers of the scan before go.

    Parameters
    ----------
    session
        Of the viewer.
    result
        Of the task ``load scan`` or ``load subject``.
    study
        Where the scan is from; the answer has the subject.

    Returns
    -------
    What the user should know.
    """
    scan = load_stored(result)
    layers = scan_layers(scan, exchange.load_limits(result.path))
    subject = result.answer.subject
    origin = {} if study is None or subject is None else _origin(study, subject)
    if scan.lesions is not None and scan.lesions.any():
        layers.append(mask_layer(scan.lesions, scan, "lesions", "lesions"))
    for role, name in _NAMES.items():
        if (result.path / f"{role}.npy").is_file():
            layer = mask_layer(exchange.load_array(result.path, role), scan, name, role)
            layer[1]["metadata"][KEY] |= origin
            layers.append(layer)
    kept = yield from _replace(session, layers, study, subject)
    return [*result.answer.notes, *kept]


def show_sample(session: Session, result: Result[Features]) -> Steps:
    """Show the synthetic subject of the task ``make sample``, as `show`."""
    return (yield from _replace(session, result_layers(result), None, None))


def _origin(study: Path, subject: StudySubject) -> dict[str, Any]:
    """Return what the metadata of a subject's labels say: of what they are a revision."""
    made = label_of(study, subject)[1]
    if made is None:
        return {"weights_id": None, "corrected_from": None, "loaded": {}}
    weights = made.weights_id if made.origin == "predicted" else None
    return {
        "weights_id": weights,
        "corrected_from": weights,
        "loaded": {study: made.number},
        "author": made.author,
    }


def _replace(
    session: Session, layers: list[LayerData], study: Path | None, subject: StudySubject | None
) -> Steps:
    """Show layers in place of those of the session's scan; return what the user should know."""
    yield from _drafted(session)
    there = session.viewer.layers
    gone, notes = _own(session)
    shown = list(gone)
    try:
        yield from _exchange(session, layers, study, subject, gone, shown)
    except GeneratorExit:
        # left off half-way: one image may be of another scan than the next
        for layer in shown:
            if layer in there:
                there.remove(layer)
        session.set_scan(None)
        session.set_study(None, None)
        raise
    return notes


def _drafted(session: Session) -> Steps:
    """Wait for the draft of what was edited to the last, so that its layer can go."""
    autosave = autosave_of(session)
    autosave.flush()
    while autosave.drafting:
        autosave.flush()
        yield 5  # else the turns would take the processor from what is waited for


def _exchange(
    session: Session,
    layers: list[LayerData],
    study: Path | None,
    subject: StudySubject | None,
    gone: list[Layer],
    shown: list[Layer],
) -> Steps:
    """Let layers go and bring others; what is added is told in ``shown``."""
    viewer = session.viewer
    refilled = _fitting(gone, layers)
    session.set_scan(None)
    session.set_study(study, subject)
    for layer in gone:
        layer.metadata.pop(KEY, None)  # it may live on for a while; the scan must not
        if isinstance(layer, Labels):
            layer.mode = "pan_zoom"  # else the brush comes back with it
            layer.visible = False  # not to be painted on meanwhile, nor to lie on another scan
    for layer in gone:
        if layer not in refilled:
            yield
            remove(viewer, layer)
    for at, (data, meta, kind) in enumerate(layers):
        yield
        place = refilled[at] if refilled else None
        if place is not None and place in viewer.layers:
            _refill(place, data, meta)
            if isinstance(place, Labels):
                session.forget(place)
                yield
                place.visible = True
            session.adopt(place)
            _lock(place)
        else:
            hidden = kind == "image" and layers[at + 1 :] and layers[at + 1][2] == "image"
            layer = (Image if kind == "image" else Labels)(data, visible=not hidden, **meta)
            yield
            shown.append(layer)
            yield from adding(viewer, layer)
            _lock(layer)
    yield
    _show_all(session, anew=bool(refilled))


def _lock(layer: Layer) -> None:
    """Keep the brush out of lesions and references, which nobody saves while they are that."""
    if role_of(layer) in ("lesions", "reference"):
        cast("LabelsLayer", layer).editable = False


def _own(session: Session) -> tuple[list[Layer], list[str]]:
    """Return the layers of the session's scan, but not labels that no file holds, and notes."""
    notes = []
    there = session.viewer.layers
    own = [session.t1, session.t2, *(one.layer for one in session.predictions.values())]
    own += [layer for layer in there if role_of(layer) in ("rater", "lesions")]
    for layer in (session.reference, session.labels):
        if layer is None or role_of(layer) is None:
            continue  # the user's own layer is the user's to remove
        if layer is session.labels and session.save_state.state == "edited":
            layer.visible = False
            notes.append(f"{layer.name!r} is not saved yet; it was hidden. Save or delete it.")
        else:
            own.append(layer)
    for layer in there:  # labels that were put aside, copied, or opened from a file
        of_scan = role_of(layer) in _NAMES or session.fits(layer)
        if of_scan and layer.visible and layer not in own:
            layer.visible = False
            notes.append(f"{layer.name!r} belongs to the previous scan; it was hidden.")
    return [layer for layer in own if layer is not None and layer in there], notes


def _fitting(old: list[Layer], layers: list[LayerData]) -> list[Layer | None]:
    """Return for each new layer the old one that can be filled with it; none, or None for some."""
    by_role = {role_of(layer): layer for layer in old}
    found: list[Layer | None] = []
    for data, meta, kind in layers:
        layer = by_role.get(meta["metadata"][KEY]["role"])
        fits = layer is not None and layer.data.dtype == data.dtype and _upright(layer)
        if kind == "labels":
            # one colour; each label in its own, with a table of them, is left to napari
            fits = fits and isinstance(getattr(layer, "colormap", None), DirectLabelColormap)
            fits = fits and isinstance(meta.get("colormap"), DirectLabelColormap)
        elif not fits:
            return []  # an image that is added now would lie on the labels
        found.append(layer if fits else None)
    return found


def _upright(layer: Layer) -> bool:
    """Whether the user has left the layer in millimetres and unturned."""
    turned = (layer.affine.affine_matrix, np.eye(4)), (layer.rotate, np.eye(3)), (layer.shear, 0)
    metric = all(str(unit) in ("mm", "millimeter") for unit in layer.units)
    return metric and all(np.allclose(now, plain) for now, plain in turned)


def _refill(layer: Layer, data: NDArray[Any], meta: dict[str, Any]) -> None:
    """Let a layer show something else, as if it had just been added."""
    for name in ("scale", "translate"):
        if not np.allclose(getattr(layer, name), meta[name]):
            setattr(layer, name, meta[name])
    if isinstance(layer, Labels):
        layer.editable = False  # which forgets the undo steps
    layer.data = data
    layer.metadata = meta["metadata"]
    if layer.name != meta["name"]:
        layer.name = meta["name"]
    if "contrast_limits" in meta:
        image = cast("ImageLayer", layer)
        image.contrast_limits_range = image.contrast_limits = meta["contrast_limits"]


def _show_all(session: Session, anew: bool) -> None:
    """Show all of the scan, and T2 rather than T1."""
    # T2 shows PVS best, and would hide T1 anyway
    for layer, visible in ((session.t1, session.t2 is None), (session.t2, True)):
        if layer is not None and layer.visible != visible:
            layer.visible = visible
    viewer = session.viewer
    viewer.reset_view()
    if anew:  # as for the first layer
        dims = viewer.dims
        dims.set_current_step(range(dims.ndim), [(steps - 1) // 2 for steps in dims.nsteps])
