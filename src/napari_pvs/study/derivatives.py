"""Segmentations of a study as a BIDS derivative: mask, probabilities, numbered PVS and their table.

They are in ``derivatives/napari-pvs`` of a study, or in the output folder of ``napari-pvs run``.
"""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

import napari_pvs
from napari_pvs import json_files
from napari_pvs.errors import InputError
from napari_pvs.files import atomic_set, write_text
from napari_pvs.inference import outputs
from napari_pvs.inference.config import SegmentConfig
from napari_pvs.inference.segment import Segmentation
from napari_pvs.scans import derivative
from napari_pvs.scans.derivative import MASK, MOVEMENT, NUMBERED, PROBABILITY, sidecar_of
from napari_pvs.scans.registration import write_movement
from napari_pvs.study.bids import StudySubject
from napari_pvs.study.paths import DERIVATIVE, anat_folder, label_dataset

TITLE = "PVS segmentations"
_ABOUT = "NapariPvs"
"""Key of a mask's sidecar: how it was made, as in ``summary.json``."""


def folder_of(study: Path) -> Path:
    """Return the derivative in which a study keeps its segmentations."""
    return Path(study) / DERIVATIVE


def mask_of(out: Path, name: str) -> Path:
    """Path of the mask of ``sub-01`` or ``sub-01_ses-02`` in a derivative."""
    return anat_folder(out, name) / derivative.image(name, MASK)


def page_of(out: Path, name: str) -> Path:
    """Path of a subject's report in a derivative."""
    return Path(out) / f"{name}.html"


def write(
    result: Segmentation,
    out: Path,
    study: Path,
    subject: StudySubject,
    config: SegmentConfig,
    page: str | None = None,
) -> None:
    """Write a segmentation into a derivative, as one set; the mask comes last.

    Parameters
    ----------
    result
        Of the subject's scan.
    out
        The derivative.
    study
        Where the scans are.
    subject
        Whose they are.
    config
        How it was made.
    page
        The report; None removes an older one, which showed another mask.

    Raises
    ------
    InputError
        It cannot be written, or there is a mask that was not made by segmenting.
    """
    name = subject.name
    if (mask := mask_of(out, name)).exists() and weights_of(out, name) is None:
        raise InputError(
            f"{mask} was not made by segmenting and is not replaced; move it away, or name another "
            "folder."
        )
    sources = [path for path in (subject.t1, subject.t2, subject.brain) if path is not None]
    images = {ending: derivative.image(name, ending) for ending in (PROBABILITY, NUMBERED, MASK)}
    sidecars = {ending: sidecar_of(Path(file)).name for ending, file in images.items()}
    table = f"{name}_{NUMBERED}.tsv"
    about = outputs.summary(result, config)
    del about["command"]  # of the process that happened to do it
    said: dict[str, tuple[str, dict[str, Any]]] = {
        PROBABILITY: ("Probability of perivascular spaces.", {}),
        NUMBERED: (
            "Perivascular spaces, one number each, the largest first.",
            derivative.described(outputs.COLUMNS),
        ),
        MASK: ("Perivascular spaces.", {"kind": "ROI", _ABOUT: about}),
    }
    mask_image = images[MASK]  # last, since a mask without its sidecar is nobody's
    others = [file for file in images.values() if file != mask_image]
    names = (*others, table, *sidecars.values(), mask_image)
    movement, file = result.scan.movement, f"{name}_{MOVEMENT}"
    there, gone = (names, (file,)) if movement is None else ((file, *names), ())
    with atomic_set(anat_folder(out, name), there, gone) as folder:
        if movement is not None:
            write_movement(movement, folder / file)
        outputs.write_images(result, *(folder / images[e] for e in (MASK, PROBABILITY, NUMBERED)))
        write_text(folder / table, outputs.dseg_tsv(result))
        for ending, (text, more) in said.items():
            whole = derivative.sidecar(text, sources, Path(study), manual=False, **more)
            write_text(folder / sidecars[ending], whole)
    if page is None:
        page_of(out, name).unlink(missing_ok=True)
    else:
        write_text(page_of(out, name), page)


class _About(BaseModel):
    model_config = ConfigDict(extra="ignore")

    weights_id: str | None = None


class _Sidecar(BaseModel):
    """What is read of a mask's sidecar."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    about: _About = Field(_About(), alias=_ABOUT)


def weights_of(out: Path, name: str) -> str | None:
    """Return the id of the weights that made the mask of a subject in a derivative.

    Returns
    -------
    None if there is no mask, or nobody knows how it was made.

    Raises
    ------
    InputError
        The sidecar is damaged.
    """
    path = mask_of(out, name)
    if not path.is_file():
        return None
    try:
        found = json_files.read(sidecar_of(path), _Sidecar, "add --overwrite to make it again")
    except FileNotFoundError:
        return None
    return found.about.weights_id


def require_ours(out: Path, study: Path, again: bool) -> None:
    """Refuse a folder whose files do not go with what would be written beside them.

    Parameters
    ----------
    out
        Output folder; it need not exist.
    study
        Whose labels are not to be replaced by segmentations.
    again
        What is there may be replaced.

    Raises
    ------
    InputError
        It is the folder of the labels; another tool, or another version, wrote a derivative there,
        or its description is damaged.
    """
    if out.resolve() == label_dataset(study).resolve():
        raise InputError(f"{out} holds the labels of {study}; name another folder.")
    versions = derivative.versions(out)
    if versions is None:
        return
    if not versions:
        raise InputError(
            f"{out} is a derivative of another tool, as its {derivative.DESCRIPTION} says; name "
            "another folder."
        )
    ours = napari_pvs.__version__
    if ours not in versions and not again:
        raise InputError(
            f"{out} was written by napari-pvs {versions[-1]}, and this is {ours}; name another "
            "folder, or add --overwrite to go on in it."
        )
