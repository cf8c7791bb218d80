"""What the plugin notes on a layer, and from what its labels were made.

The notes are the layer's metadata, so they go where the layer goes, into a duplicate too. They are
replaced and never changed: the duplicate's are its own from then on.
"""

import weakref
from pathlib import Path
from typing import Any, Literal

from napari_pvs.scans.nifti import Geometry

KEY = "napari_pvs"
"""Where a layer's metadata hold ``{"source": Geometry}``, the file that it is to be saved like,
and what the layer is to the plugin: ``"role"`` and, for T1 and T2, the ``"scan"`` they show.
Labels that were loaded as a prediction have its ``"weights_id"``, those of a study the ``"loaded"``
revision, its number by study, or nothing for another tool's file. What was corrected has
``"corrected_from"``: the weights of the prediction that last went into it, None for a label."""
Role = Literal["T1", "T2", "prediction", "labels", "reference"]
Parents = dict[Path, int]
"""By study, or folder of drafts: the revision that labels were made from."""

_parents: "weakref.WeakKeyDictionary[Any, Parents]" = weakref.WeakKeyDictionary()


def role_of(layer: Any) -> Role | None:
    """Tell what a layer is to the plugin, None for a layer of the user's own."""
    role: Role | None = _notes(layer).get("role")
    return role


def source_of(layer: Any) -> Geometry | None:
    """Tell the file that a layer is to be saved like; None where that is not known."""
    source: Geometry | None = _notes(layer).get("source")
    return source


def note_source(layer: Any, source: Geometry) -> None:
    """Note the scan's file on a layer that another made on its voxels; one of a file keeps that."""
    if source_of(layer) is None:
        _note(layer, source=source)


def made_by(layer: Any) -> str | None:
    """Tell which weights have made labels that were loaded as a prediction, by their id."""
    weights: str | None = _notes(layer).get("weights_id")
    return weights


def note_origin(layer: Any, weights_id: str | None) -> None:
    """Note on a user's labels that a prediction of these weights, or a label, went into them."""
    _note(layer, corrected_from=weights_id)


def origin_of(layer: Any) -> tuple[Literal["drawn", "corrected"], str | None]:
    """Tell how labels were made, and the weights whose prediction last went into them, by id."""
    notes = _notes(layer)
    return "corrected" if "corrected_from" in notes else "drawn", notes.get("corrected_from")


def parents_of(layer: Any) -> Parents:
    """Return what a layer's labels were made from; whoever saves a revision of them notes it."""
    return _parents.setdefault(layer, dict(_notes(layer).get("loaded", {})))


def set_parent(layer: Any, root: Path, number: int) -> None:
    """Note that another revision was brought into a layer."""
    _parents[layer] = {root: number}


def forget(layer: Any) -> None:
    """Know nothing of what was saved from a layer that is filled with other labels."""
    _parents.pop(layer, None)


def _notes(layer: Any) -> dict[str, Any]:
    notes: dict[str, Any] = layer.metadata.get(KEY, {})
    return notes


def _note(layer: Any, **values: Any) -> None:
    layer.metadata[KEY] = _notes(layer) | values
