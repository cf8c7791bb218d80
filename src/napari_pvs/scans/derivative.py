"""BIDS derivatives of scans: how their files are named, and what is said of them."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

import napari_pvs
from napari_pvs import json_files
from napari_pvs.errors import InputError
from napari_pvs.files import write_text

MASK = "label-PVS_mask"
"""How the name of a mask of PVS ends, before the ending of an image."""
PROBABILITY = "label-PVS_probseg"
NUMBERED = "seg-PVS_dseg"
"""One number for each PVS; a table with this name explains them."""
FORMER_MASK = "desc-pvs_mask"
"""A mask of PVS as version 0.1 and other tools name it."""
FORMER_PROBABILITY = "desc-pvs_probseg"
MOVEMENT = "from-T2w_to-T1w_mode-image_xfm.tfm"
"""How the T2 was moved onto the T1."""
REVIEW = "desc-pvs_review.json"
SITTINGS = "desc-pvs_sittings.json"
GENERATOR = "napari-pvs"
DESCRIPTION = "dataset_description.json"
VERSION = "1.11.0"
"""Of BIDS."""
IGNORE = ".bidsignore"
RAW = "raw"
"""Name of the dataset with the scans, in ``DatasetLinks`` and ``bids:raw:…``."""
_IGNORED = (
    *("revisions", "*_review*", "*_sittings*"),
    *("roles.json", "*.lock", "*.held", "cache", "cache/**"),
    *("*.html", "burden*", "*_xfm.tfm"),
)
"""What is in our derivatives beside files that BIDS knows; without a slash, so folders match."""


def image(name: str, ending: str) -> str:
    """Name a file of a subject or session.

    Examples
    --------
    >>> image("sub-01_ses-b", MASK)
    'sub-01_ses-b_label-PVS_mask.nii.gz'
    """
    return f"{name}_{ending}.nii.gz"


def sidecar_of(path: Path) -> Path:
    """Path of the JSON file that describes an image or a table.

    Examples
    --------
    >>> sidecar_of(Path("sub-01_label-PVS_mask.nii.gz")).name
    'sub-01_label-PVS_mask.json'
    """
    return path.with_name(path.name.partition(".")[0] + ".json")


def sidecar(
    description: str,
    sources: Iterable[Path],
    raw: Path,
    *,
    manual: bool | None,
    kind: str | None = None,
    **more: Any,
) -> str:
    """Describe an image on the grid of the first of its sources, as JSON.

    Parameters
    ----------
    description
        What it shows.
    sources
        Files in the dataset ``raw`` that it was made from.
    raw
        Folder of that dataset.
    manual
        Whether a person made or corrected it; None if that is not known.
    kind
        ``Type`` of a mask, such as ``ROI``.
    **more
        Further keys.
    """
    inner = (path.absolute().relative_to(raw.absolute()) for path in sources)
    named = [f"bids:{RAW}:{path.as_posix()}" for path in inner]
    about: dict[str, Any] = {"Description": description}
    about |= {} if kind is None else {"Type": kind}
    about |= {"Sources": named, "SpatialReference": named[0]} if named else {}
    about |= {} if manual is None else {"Manual": manual}
    return json.dumps(about | more, indent=2) + "\n"


def described(columns: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Say what the columns of a table are, as its sidecar does."""
    return {name: {"Description": text} for name, text in columns.items()}


class _Description(BaseModel):
    """What is read of a dataset's description; the rest is kept."""

    model_config = ConfigDict(extra="allow")

    GeneratedBy: list[dict[str, Any]] = []
    DatasetLinks: dict[str, str] = {}

    def versions(self) -> list[str]:
        """Versions of napari-pvs that wrote into the dataset; none if it is not ours."""
        ours = (one for one in self.GeneratedBy if one.get("Name") == GENERATOR)
        return [str(one.get("Version", "unknown")) for one in ours]


def versions(folder: Path) -> list[str] | None:
    """Return the versions of napari-pvs that wrote a derivative.

    Returns
    -------
    None if the folder has no description, an empty list if others wrote it.

    Raises
    ------
    InputError
        The description is damaged.
    """
    try:
        return _read(folder).versions()
    except FileNotFoundError:
        return None


def describe(folder: Path, title: str, raw: Path) -> None:
    """Write ``dataset_description.json`` and ``.bidsignore`` of a derivative, where it has none.

    If another version of napari-pvs has written there before, this one is named beside it. What
    others have written is left alone.

    Parameters
    ----------
    folder
        The derivative.
    title
        Its name.
    raw
        Dataset with the scans, which the description links to.

    Raises
    ------
    InputError
        The folder cannot be written.
    """
    try:
        found = _read(folder)
    except FileNotFoundError:
        found = _Description(
            GeneratedBy=[], Name=title, BIDSVersion=VERSION, DatasetType="derivative"
        )
    except InputError:  # not ours to repair
        return
    else:
        if not found.versions():
            return
    about, link = found.model_dump(), _link(folder, raw)
    if napari_pvs.__version__ not in found.versions():
        generated = {"Name": GENERATOR, "Version": napari_pvs.__version__}
        about["GeneratedBy"] = [*found.GeneratedBy, generated]
    about.setdefault("SourceDatasets", [{"URL": link}])
    about["DatasetLinks"] = {RAW: link} | found.DatasetLinks
    if about != found.model_dump(exclude_unset=True):
        write_text(folder / DESCRIPTION, json.dumps(about, indent=2) + "\n")
    if not (folder / IGNORE).exists():
        write_text(folder / IGNORE, "\n".join(_IGNORED) + "\n")


def _link(folder: Path, raw: Path) -> str:
    """Return a relative path where the derivative lies in the dataset: both move together."""
    folder, raw = folder.absolute(), raw.absolute()
    if folder.is_relative_to(raw):
        return Path(os.path.relpath(raw, folder)).as_posix()
    return raw.as_uri()


def _read(folder: Path) -> _Description:
    return json_files.read(folder / DESCRIPTION, _Description, "repair it, or name another folder")
