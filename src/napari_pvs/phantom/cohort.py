"""A synthetic cohort on disk: a BIDS dataset of scans and labels, with the truth of every PVS."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

import napari_pvs
from napari_pvs import json_files
from napari_pvs.errors import InputError
from napari_pvs.files import write_text
from napari_pvs.phantom.anatomy import Anatomy, icbm152, read_anatomy
from napari_pvs.phantom.config import PhantomConfig
from napari_pvs.phantom.sites import SITES
from napari_pvs.phantom.subject import Subject, make_subject
from napari_pvs.scans import derivative
from napari_pvs.scans.derivative import GENERATOR, MASK, NUMBERED, PROBABILITY
from napari_pvs.scans.nifti import Geometry, write_like
from napari_pvs.workers import Outcome, Workers, each

TRUTH = "truth"
LABELS = "labels"
_COLUMNS = {
    "region": "Of the brain.",
    "length_mm": "Length of the tube's axis.",
    "diameter_mm": "Mean diameter of the tube.",
    "volume_mm3": "Volume of the tube.",
    "fluid": "Fluid in the tube, 0 to 1; the rest is tissue.",
    "faded": "Share of it that T1 does not show.",
    "voxels": "Number of voxels by the label rule.",
    "x": "Centre, scanner RAS+ mm.",
    "y": "Centre, scanner RAS+ mm.",
    "z": "Centre, scanner RAS+ mm.",
}
_PARTICIPANTS = {
    "site": "Scanner, with its contrast, noise and voxels.",
    "anatomy": "Head that it was made from.",
    "labelled": "Whether derivatives/labels holds its label.",
    "pvs": "Number of PVS.",
    "volume_mm3": "Their volume.",
}
_README = """# Synthetic perivascular spaces

T1- and T2-weighted scans of heads that do not exist, made by napari-pvs {version}. Every
perivascular space is known: `derivatives/truth` has the truth about all subjects,
`derivatives/labels` the labels of those that count as labelled. `dataset_description.json` has the
settings and the seed.
"""


def subject_name(index: int) -> str:
    """``sub-01`` for index 0."""
    return f"sub-{index + 1:02d}"


def make(config: PhantomConfig, index: int) -> Subject:
    """Make subject ``index`` of a cohort, in memory.

    Anatomies and sites are taken in turn. Each subject has its own random stream, so that it does
    not depend on the cohort's size.

    Raises
    ------
    InputError
        An anatomy cannot be read or is not a label map.
    """
    anatomy = _anatomy_of(config, index)
    site = SITES[config.sites[index % len(config.sites)]]
    return make_subject(anatomy, site, config, np.random.default_rng([config.seed, index]))


def _anatomy_of(config: PhantomConfig, index: int) -> Anatomy:
    path = config.anatomy[index % len(config.anatomy)] if config.anatomy else None
    changed = path.stat().st_mtime_ns if path and path.exists() else 0
    return _anatomy(path, config.head, changed)


@lru_cache(maxsize=16)
def _anatomy(path: Path | None, head: bool, changed: int) -> Anatomy:
    """Read an anatomy once per process and state of its file; a brain alone takes 15 MB."""
    anatomy = read_anatomy(path) if path else icbm152()
    return anatomy if head else anatomy.without_head()


def write_subject(subject: Subject, name: str, out: Path, labelled: bool) -> None:
    """Write one subject into the BIDS dataset ``out``."""
    like = Geometry.from_affine(subject.t1.shape, subject.affine)
    anat = Path(name) / "anat"
    for modality, scan in (("T1w", subject.t1), ("T2w", subject.t2)):
        write_like(out / anat / f"{name}_{modality}.nii.gz", np.rint(scan).astype(np.int32), like)
    truth = out / "derivatives" / TRUTH / anat
    scans = [out / anat / f"{name}_{modality}.nii.gz" for modality in ("T1w", "T2w")]
    mask = subject.instances > 0
    images: tuple[tuple[str, Any, str, dict[str, Any]], ...] = (
        (MASK, mask, "PVS by the label rule.", {"kind": "ROI"}),
        (
            NUMBERED,
            subject.instances,
            "PVS by the label rule, one number each.",
            derivative.described(_COLUMNS),
        ),
        (PROBABILITY, subject.fraction, "Share of each voxel inside a PVS.", {}),
        ("desc-brain_mask", subject.brain, "Brain.", {"kind": "Brain"}),
    )
    for ending, image, text, more in images:
        path = truth / derivative.image(name, ending)
        write_like(path, image, like, scaled=ending == PROBABILITY)
        _write_sidecar(path, text, scans, out, **more)
    rows = [row | {"index": row["id"], "name": f"PVS {row['id']}"} for row in subject.table]
    write_text(truth / f"{name}_{NUMBERED}.tsv", _tsv(rows, ("index", "name", *_COLUMNS)))
    if labelled:
        label = out / "derivatives" / LABELS / anat / derivative.image(name, MASK)
        write_like(label, mask, like)
        _write_sidecar(label, "PVS by the label rule.", scans, out, kind="ROI")


def _write_sidecar(path: Path, text: str, scans: list[Path], out: Path, **more: Any) -> None:
    said = derivative.sidecar(text, scans, out, manual=False, **more)
    write_text(derivative.sidecar_of(path), said)


def write_cohort(
    config: PhantomConfig,
    out: Path,
    progress: Callable[[Iterator[Any], int], Iterator[Any]] | None = None,
) -> Path:
    """Write a cohort as a BIDS dataset; the labelled subjects come first.

    Scans are in ``sub-XX/anat``, the labels of the labelled subjects in ``derivatives/labels``,
    and the truth of all subjects in ``derivatives/truth``: the mask by the label rule, numbered
    PVS, the share of each voxel inside a PVS, the brain mask, and a table of the PVS. The table of
    participants is written last: where it exists, the cohort is complete.

    Parameters
    ----------
    config
        What to make.
    out
        A new or empty folder.
    progress
        Wraps the iteration over subjects: gets an iterator and its length.

    Returns
    -------
    The folder.

    Raises
    ------
    InputError
        The folder is not empty or cannot be written; an anatomy is unusable.
    """
    out = Path(out)
    _claim(out)
    for path in config.anatomy:
        if not path.is_file():  # better now than after an hour of other subjects
            raise InputError(f"{path} is not a file; give a FreeSurfer or SynthSeg label map.")
    _anatomy_of(config, 0)  # a wrong file leaves the folder empty, for another try
    # the number of processes changes nothing in the cohort
    settings = json.loads(config.model_dump_json(exclude={"jobs"}))
    generated = {"Name": GENERATOR, "Version": napari_pvs.__version__}
    description = {
        "Name": "Synthetic perivascular spaces",
        "BIDSVersion": derivative.VERSION,
        "DatasetType": "raw",
        "Authors": [GENERATOR],
        "GeneratedBy": [generated | {"Configuration": settings}],
    }
    # before the subjects, so that what a kill leaves can be recognised as a cohort
    write_text(out / "dataset_description.json", json.dumps(description, indent=2) + "\n")
    write_text(out / "README.md", _README.format(version=napari_pvs.__version__))
    write_text(
        out / "participants.json", json.dumps(derivative.described(_PARTICIPANTS), indent=2) + "\n"
    )
    for name in (TRUTH, LABELS):
        derivative.describe(out / "derivatives" / name, name, out)
    job, numbers = partial(_make_and_write, config, out), range(config.subjects)
    rows: Iterator[Any] = map(Outcome.required, each(job, numbers, Workers(config.jobs)))
    rows = progress(rows, config.subjects) if progress else rows
    table = list(rows)
    write_text(out / "participants.tsv", _tsv(table, tuple(table[0])))
    return out


class _Description(BaseModel):
    """The part of a dataset's description that is read."""

    GeneratedBy: list[dict[str, Any]]


def remove_cohort(folder: Path, overwrite: bool) -> None:
    """Remove a cohort that `write_cohort` made or began.

    Raises
    ------
    InputError
        ``overwrite`` is false, or the folder is something else.
    """
    import shutil

    if not overwrite:
        raise InputError(f"{folder} exists; add --overwrite, or name another folder.")
    try:
        about = json_files.read(folder / "dataset_description.json", _Description, "")
        ours = about.GeneratedBy[0]["Name"] == GENERATOR
    except (OSError, InputError, LookupError):
        ours = False
    if not ours:
        raise InputError(f"{folder} is not a cohort made by napari-pvs; name another folder.")
    shutil.rmtree(folder)


def _claim(out: Path) -> None:
    """Make the folder, or check that it is empty, before anything is computed."""
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f"{out} exists and is not an empty folder; name a new one.")
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{out} cannot be written ({error.strerror}); choose another folder."
        ) from error


def _make_and_write(config: PhantomConfig, out: Path, index: int) -> dict[str, Any]:
    subject = make(config, index)
    name, labelled = subject_name(index), index < config.labelled
    write_subject(subject, name, out, labelled)
    return {
        "participant_id": name,
        "site": subject.site,
        "anatomy": subject.anatomy,
        "labelled": str(labelled).lower(),
        "pvs": len(subject.table),
        "volume_mm3": round(sum(float(row["volume_mm3"]) for row in subject.table), 1),
    }


def _tsv(rows: Sequence[Mapping[str, Any]], columns: tuple[str, ...]) -> str:
    lines = ["\t".join(columns)]
    lines += ["\t".join(str(row[column]) for column in columns) for row in rows]
    return "\n".join(lines) + "\n"
