"""Volumes and scans as napari layers and back, voxel for voxel.

napari's slider walks along the first axis, its rows run down the second and its columns to the
right along the third. So a layer's axes run to superior, posterior and right: the first view is
an axial slice seen from above, anterior up, the patient's right on the right (as in the RAS+
world; radiologists' habit is the mirror image), and the slider climbs. These three directions are
right-handed under napari's camera, so the head is not mirrored in 3D either.

World coordinates are millimetres along these axes: (z, -y, x) of the RAS+ world. napari shows
tilted layers in 2D as if they were not; a tilted grid is therefore shown upright, its centre in
its true place, and the exact affine travels in the layer's metadata.
"""

import gc
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_pvs.errors import InputError
from napari_pvs.scans.display import (
    AXES,
    Limits,
    Modality,
    brain_limits,
    contrast_limits,
    from_display,
    to_display,
)
from napari_pvs.scans.grid import TOLERANCE_MM, Grid, from_ras, overlap, to_ras
from napari_pvs.scans.nifti import Geometry, Volume
from napari_pvs.scans.scan import Scan
from napari_pvs.study.drafts import Parents
from napari_pvs.widgets.viewer.typed import Layer

KEY = "napari_pvs"
"""Where a layer's metadata hold ``{"source": Geometry}``, the file that it is to be saved like,
and what the layer is to the plugin: ``"role"`` and, for T1 and T2, the ``"scan"`` they show.
A layer of the user's own that got the scan's ``"source"`` is ``"adopted"``.
Labels that were loaded as a prediction have its ``"weights_id"``, those of a study the ``"loaded"``
revision, its number by study, or nothing for another tool's file. What was corrected has
``"corrected_from"``: the weights of the prediction that last went into it, None for a label.
What the reader made of a results folder has its path, ``"results"``.
``"author"`` is the rater whose labels they were when they were loaded. What decides between two
raters has ``"adjudicates"``, the numbers of their revisions, and a ``"comment"`` that says so."""
Role = Literal["T1", "T2", "prediction", "labels", "reference", "rater", "lesions"]

_parents: "weakref.WeakKeyDictionary[Layer, Parents]" = weakref.WeakKeyDictionary()


def role_of(layer: Layer) -> Role | None:
    """Tell what a layer is to the plugin, None for a layer of the user's own."""
    role: Role | None = _metadata(layer).get("role")
    return role


def source_of(layer: Layer) -> Geometry | None:
    """Tell the file that a layer is to be saved like; None where that is not known."""
    source: Geometry | None = _metadata(layer).get("source")
    return source


def record_source(layer: Layer, source: Geometry) -> None:
    """Record the scan's file on a layer made on its voxels; a layer of a file keeps its own."""
    if source_of(layer) is None:
        _record(layer, source=source, adopted=True)


def made_by(layer: Layer) -> str | None:
    """Tell which weights have made labels that were loaded as a prediction, by their id."""
    weights: str | None = _metadata(layer).get("weights_id")
    return weights


def results_of(layer: Layer) -> Path | None:
    """Tell the results folder that a layer was read from; None where it was not."""
    folder: Path | None = _metadata(layer).get("results")
    return folder


def record_origin(layer: Layer, weights_id: str | None) -> None:
    """Record that a prediction by these weights, or a label where None, went into the labels."""
    _record(layer, corrected_from=weights_id)


def origin_of(layer: Layer) -> tuple[Literal["drawn", "corrected"], str | None]:
    """Tell how labels were made, and the weights whose prediction last went into them, by id."""
    known = _metadata(layer)
    return "corrected" if "corrected_from" in known else "drawn", known.get("corrected_from")


def author_of(layer: Layer) -> str | None:
    """Tell whose labels a layer was loaded with; None where nobody's, or not from a study."""
    author: str | None = _metadata(layer).get("author")
    return author


def record_adjudication(layer: Layer, numbers: tuple[int, ...], comment: str) -> None:
    """Record that labels decide between the revisions of two raters."""
    _record(layer, adjudicates=numbers, comment=comment)


def adjudication_of(layer: Layer) -> tuple[tuple[int, ...], str]:
    """Tell which revisions labels decide between, none for one rater's own, and a comment."""
    known = _metadata(layer)
    return known.get("adjudicates", ()), known.get("comment", "")


def parents_of(layer: Layer) -> Parents:
    """Return the revisions that labels were made from; whoever saves one adds it."""
    return _parents.setdefault(layer, dict(_metadata(layer).get("loaded", {})))


def set_parent(layer: Layer, root: Path, number: int) -> None:
    """Record that another revision was brought into a layer."""
    _parents[layer] = parents_of(layer) | {root: number}


def forget(layer: Layer) -> None:
    """Forget what was saved from a layer that now shows other labels."""
    _parents.pop(layer, None)


def _metadata(layer: Layer) -> dict[str, Any]:
    known: dict[str, Any] = layer.metadata.get(KEY, {})
    return known


def _record(layer: Layer, **values: Any) -> None:
    layer.metadata[KEY] = _metadata(layer) | values


Kind = Literal["image", "labels"]
COLOURS: dict[str, str] = {
    "prediction": "#ffb000", "labels": "#00c8ff", "reference": "#3ddc64", "rater": "#b79cff",
    "lesions": "#ff9d9d",
}  # fmt: skip
"""Of label layers by role; told apart also by people who do not see red and green apart."""
LayerData = tuple[NDArray[Any], dict[str, Any], str]
_tilted: list[tuple["weakref.ref[NDArray[Any]]", Grid, Geometry]] = []


def grid_layer(
    array: NDArray[Any],
    grid: Grid,
    source: Geometry,
    name: str,
    kind: Kind,
    limits: Limits | None = None,
) -> LayerData:
    """Make a layer of an array on an RAS+ grid.

    Parameters
    ----------
    array
        Shape of ``grid``.
    grid
        RAS+, such as that of a `Scan`.
    source
        The file whose axes, turned to RAS+, are ``grid``; the layer is saved like it.
    name
        What the layer list shows.
    kind
        ``"image"`` or ``"labels"``.
    limits
        Intensities from black to white; `contrast_limits` where None.
    """
    if array.shape != grid.shape:
        raise ValueError(f"array has shape {array.shape}, the grid {grid.shape}")
    shown = _upright(grid)
    x, y, z = shown.affine[:3, 3]
    meta = {
        "name": name,
        "scale": grid.voxel_size[::-1],
        "translate": (float(z), float(-y - grid.voxel_size[1] * (grid.shape[1] - 1)), float(x)),
        "units": ("mm", "mm", "mm"),
        "axis_labels": AXES,
        "metadata": {KEY: {"source": source}},
    }
    # napari hands slices to the graphics card and paints into labels: no views, no negative strides
    data = np.ascontiguousarray(to_display(array))
    if not shown.same_as(grid):
        _remember(data, shown, source)
    if kind == "image":
        meta |= {"colormap": "gray", "contrast_limits": limits or contrast_limits(data)}
    return data, meta, kind


def volume_layer(volume: Volume, name: str, kind: Kind) -> LayerData:
    """Make a layer of a file in memory; `layer_volume` is the way back."""
    data, affine = to_ras(volume.data, volume.affine)
    return grid_layer(data, Grid(data.shape, affine), volume.geometry(), name, kind)


def scan_layers(scan: Scan, limits: dict[str, Limits] | None = None) -> list[LayerData]:
    """Make an image layer of each modality that a scan has, named T1 and T2.

    Parameters
    ----------
    scan
        What to show.
    limits
        Intensities from black to white by modality; `brain_limits` where None.
    """
    layers = []
    images: tuple[tuple[Modality, NDArray[np.float32] | None], ...] = (
        ("T1", scan.t1),
        ("T2", scan.t2),
    )
    for name, image in images:
        if image is not None:
            shown = limits[name] if limits else brain_limits(image, scan.brain, name)
            data, meta, kind = grid_layer(image, scan.grid, scan.source, name, "image", shown)
            meta["metadata"][KEY] |= {"role": name, "scan": scan}
            layers.append((data, meta, kind))
    return layers


def mask_layer(
    labels: NDArray[Any], scan: Scan, name: str, role: Role, colour: str | None = None
) -> LayerData:
    """Make a labels layer in the one colour of its role.

    Parameters
    ----------
    labels
        Mask or label image, shape of the scan's grid.
    scan
        Whose grid and file the layer shares.
    name
        What the layer list shows.
    role
        ``"prediction"``, ``"labels"``, ``"reference"``, ``"lesions"``, or ``"rater"`` for another
        rater's.
    colour
        In place of the role's.
    """
    from napari.utils.colormaps import DirectLabelColormap

    stored = labels.astype(np.uint8) if labels.dtype == bool else labels
    data, meta, kind = grid_layer(stored, scan.grid, scan.source, name, "labels")
    meta["metadata"][KEY] |= {"role": role}
    meta["colormap"] = DirectLabelColormap(
        color_dict={None: colour or COLOURS[role], 0: "transparent"}
    )
    return data, meta, kind


def layer_volume(data: Any, meta: dict[str, Any]) -> Volume:
    """Return what a layer shows, in the axes and geometry of its file.

    A layer that comes from no file of ours gets an RAS+ geometry from its scale, translation and
    units; its axes are taken to be `AXES`, and pixels to be mm.

    Parameters
    ----------
    data, meta
        As in napari's ``layer.as_layer_data_tuple()``.

    Raises
    ------
    InputError
        The layer is not one 3D frame of real numbers, has another shape than its file or was moved
        away from it, or comes from no file and is rotated, sheared, or drawn over a tilted scan on
        other voxels than the scan's.
    """
    name = f"the layer {meta.get('name', '')!r}"
    array = _single_frame(data, meta, name)
    source: Geometry | None = meta.get("metadata", {}).get(KEY, {}).get("source")
    if source is None:
        ras = from_display(array)
        grid = Grid(ras.shape, _ras_affine(array.shape, meta, name))
        source = _drawn_over(grid, name) or Geometry.from_affine(grid.shape, grid.affine)
    else:
        expected = to_display(to_ras(np.broadcast_to(0, source.shape), source.affine)[0]).shape
        if array.shape != expected:
            raise InputError(
                f"{name} has shape {array.shape} but {source.path or 'the scan it belongs to'} has "
                f"{expected}; save a layer that was neither cropped nor resampled."
            )
        ras = from_display(array)
        if not (meta["metadata"][KEY].get("adopted") and _unplaced(meta)):
            _require_unmoved(array.shape, meta, name, source)
    return Volume(
        shape=source.shape,
        affine=source.affine,
        header=source.header,
        path=source.path,
        data=from_ras(ras, source.affine),
    )


def layer_array(data: NDArray[Any], scan: Scan, name: str) -> NDArray[Any]:
    """Return the voxels of a layer that lies on the grid of ``scan``, on that grid.

    Raises
    ------
    InputError
        The shapes differ.
    """
    array = from_display(np.asarray(data)) if np.ndim(data) == 3 else np.asarray(data)
    if array.shape != scan.grid.shape:
        raise InputError(
            f"the layer {name!r} has other voxels than the scan; choose a layer of this scan."
        )
    return array


def require_grid(layer: Layer, scan: Scan) -> None:
    """Refuse a layer that does not lie on the voxels of ``scan``.

    Of a layer that comes from no file of ours only the shape is known.

    Raises
    ------
    InputError
        Its shape differs, its file lies elsewhere, or it is not held in memory.
    """
    layer_array(layer.data, scan, layer.name)
    if not isinstance(layer.data, np.ndarray):
        raise InputError(
            f"the layer {layer.name!r} is read piece by piece; save it as NIfTI and open that file."
        )
    source = source_of(layer)
    if source is None:
        return
    shown, affine = to_ras(np.broadcast_to(0, source.shape), source.affine)
    if not Grid(shown.shape, affine).same_as(scan.grid):
        raise InputError(
            f"the layer {layer.name!r} has as many voxels as the scan, but {source.path or 'it'} "
            "lies in another place; choose a layer of this scan."
        )


def require_scan(layer: Layer, scan: Scan, also: Iterable[Path | None] = ()) -> None:
    """Refuse labels that were made on another scan, whose voxels may lie in the same place.

    Parameters
    ----------
    layer
        The labels.
    scan
        The scan that is shown.
    also
        Other images of the same subject.

    Raises
    ------
    InputError
        They were.
    """
    source = source_of(layer)
    ours = role_of(layer) in ("labels", "reference", "rater") or _metadata(layer).get("adopted")
    if not ours or source is None or source.path is None or scan.source.path is None:
        return
    own = [scan.source.path, *(path for path in also if path is not None)]
    if source.path not in own and source.path.resolve() not in [path.resolve() for path in own]:
        raise InputError(
            f"the layer {layer.name!r} was made on {source.path.name}, not on the scan that is "
            "shown; choose labels of this scan, or export the layer and open the file."
        )


def require_place(layer: Layer, scan: Scan) -> None:
    """Refuse a layer of the scan's voxels that was moved, scaled or turned in napari.

    A layer of the user's own that was never placed lies on its scan all the same.

    Raises
    ------
    InputError
        It was.
    """
    _, meta, _ = layer.as_layer_data_tuple()
    known = _metadata(layer)
    own = "source" not in known or known.get("adopted", False)
    if not (own and _unplaced(meta)):
        _require_unmoved(layer.data.shape, meta, f"the layer {layer.name!r}", scan.source)


def _single_frame(data: Any, meta: dict[str, Any], name: str) -> NDArray[Any]:
    if meta.get("multiscale"):
        raise InputError(f"{name} is a pyramid of resolutions; choose a layer of a single one.")
    if meta.get("rgb"):
        raise InputError(f"{name} holds colours (RGB); choose a layer of one value per voxel.")
    array = np.asarray(data)
    if array.ndim != 3:
        raise InputError(f"{name} has {array.ndim} axes; choose a layer of three.")
    if array.dtype.kind not in "buif":
        raise InputError(f"{name} holds {array.dtype} values; choose a layer of real numbers.")
    return array


def _upright(grid: Grid) -> Grid:
    """Return the grid as which a tilted one is shown: upright, its centre in its true place."""
    half = (np.array(grid.shape) - 1) / 2
    affine = np.diag([*grid.voxel_size, 1.0])
    centre = grid.affine[:3, :3] @ half + grid.affine[:3, 3]
    affine[:3, 3] = centre - affine[:3, :3] @ half
    return Grid(grid.shape, affine)


def _remember(data: NDArray[Any], shown: Grid, source: Geometry) -> None:
    """Remember, as long as its voxels live, what is shown upright though it is tilted.

    napari's own new layers take their place from what is shown, and know nothing of the tilt.
    """
    _tilted[:] = [one for one in _tilted if one[0]() is not None]
    _tilted.append((weakref.ref(data), shown, source))


def _drawn_over(grid: Grid, name: str) -> Geometry | None:
    """Return the file whose tilted scan has just these voxels, as it is shown.

    Raises
    ------
    InputError
        The layer lies on a tilted scan on other voxels, or two scans could be meant.
    """
    if _tilted:
        gc.collect()  # scans of a viewer that was closed are no longer shown
    there = [(shown, source) for data, shown, source in _tilted if data() is not None]
    same = [source for shown, source in there if shown.same_as(grid)]
    if any(Grid(one.shape, one.affine).away(same[0].affine) > TOLERANCE_MM for one in same):
        raise InputError(
            f"{name} lies on the voxels of {same[0].path} and of {same[-1].path}, which are tilted "
            "differently; close one of them, then save."
        )
    over = [source for shown, source in there if overlap(shown, grid) > 0]
    if over and not same:
        raise InputError(
            f"{name} was drawn over {over[0].path or 'a scan'}, which is tilted and shown upright, "
            "on voxels of its own, so its place is not known; draw on a new labels layer made "
            "while that scan is open alone, or in the Correct dock."
        )
    return same[-1] if same else None


def _unplaced(meta: dict[str, Any]) -> bool:
    """Tell whether a layer lies where napari puts voxels of which nothing is known."""
    plain = {"scale": 1.0, "translate": 0.0}
    return all(np.allclose(meta.get(key, value), value) for key, value in plain.items())


def _require_unmoved(
    shape: tuple[int, ...], meta: dict[str, Any], name: str, source: Geometry
) -> None:
    """Refuse a layer that was moved in napari: what is drawn on it lies elsewhere in its file."""
    if "scale" not in meta and "translate" not in meta:
        return
    turned, affine = to_ras(np.broadcast_to(0, source.shape), source.affine)
    shown = _upright(Grid(turned.shape, affine))
    try:
        moved = not shown.same_as(Grid(turned.shape, _ras_affine(shape, meta, name)))
    except InputError:
        moved = True
    if moved:
        raise InputError(
            f"{name} was moved, scaled or turned in napari and no longer lies where "
            f"{source.path or 'its scan'} does; reset its transform, then save."
        )


def _ras_affine(shape: tuple[int, ...], meta: dict[str, Any], name: str) -> NDArray[np.float64]:
    """Affine of ``from_display`` of a layer's array, from scale and translation alone."""
    plain = {"rotate": np.eye(3), "shear": np.zeros(3), "affine": np.eye(4)}
    if not all(np.allclose(meta.get(key, value), value) for key, value in plain.items()):
        raise InputError(
            f"{name} is rotated or sheared and its file's geometry is unknown; open the file with "
            "napari-pvs, or reset the layer's transform."
        )
    mm = [_in_mm(unit) for unit in meta.get("units") or ()] or [1.0] * 3
    scale = np.multiply(meta.get("scale", (1, 1, 1)), mm)
    superior, posterior, right = np.multiply(meta.get("translate", (0, 0, 0)), mm)
    affine = np.diag([*scale[::-1], 1.0])
    affine[:3, 3] = right, -(posterior + scale[1] * (shape[1] - 1)), superior
    return affine


def _in_mm(unit: Any) -> float:
    """Length of a pint unit (or of its name) in mm; 1 for pixels and other numbers."""
    import pint

    registry: Any = pint.get_application_registry  # untyped
    unit = registry().Unit(str(unit))
    return float((1 * unit).to("mm").magnitude) if unit.dimensionality == "[length]" else 1.0
