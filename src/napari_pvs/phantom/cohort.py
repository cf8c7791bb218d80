"""A synthetic cohort on disk: a BIDS dataset with scans, labels and the truth about every PVS."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import napari_pvs
from napari_pvs.errors import InputError
from napari_pvs.files import write_text
from napari_pvs.phantom.anatomy import Anatomy, icbm152, read_anatomy
from napari_pvs.phantom.config import PhantomConfig
from napari_pvs.phantom.sites import SITES
from napari_pvs.phantom.subject import Subject, make_subject
from napari_pvs.scans.nifti import Geometry, write_like

TRUTH = "truth"
LABELS = "labels"


def subject_name(index: int) -> str:
    """``sub-01`` for index 0."""
    return f"sub-{index + 1:02d}"


def make(config: PhantomConfig, index: int) -> Subject:
    """Make subject ``index`` of a cohort, in memory.

    Anatomies and sites are taken in turn; each subject has its own random stream, so that it is
    the same whatever the cohort's size.

    Raises
    ------
    InputError
        An anatomy cannot be read or is no label map.
    """
    if config.anatomy:
        anatomy: Anatomy = read_anatomy(config.anatomy[index % len(config.anatomy)])
    else:
        anatomy = icbm152()
    site = SITES[config.sites[index % len(config.sites)]]
    return make_subject(anatomy, site, config, np.random.default_rng([config.seed, index]))


def write_subject(subject: Subject, name: str, out: Path, labelled: bool) -> None:
    """Write one subject into the BIDS dataset ``out``."""
    like = Geometry.from_affine(subject.t1.shape, subject.affine)  # type: ignore[arg-type]
    anat = Path(name) / "anat"
    for modality, scan in (("T1w", subject.t1), ("T2w", subject.t2)):
        write_like(out / anat / f"{name}_{modality}.nii.gz", np.rint(scan).astype(np.int32), like)
    truth = out / "derivatives" / TRUTH / anat
    mask = subject.instances > 0
    write_like(truth / f"{name}_desc-pvs_mask.nii.gz", mask, like)
    write_like(truth / f"{name}_desc-pvs_dseg.nii.gz", subject.instances, like)
    write_like(truth / f"{name}_desc-pvs_probseg.nii.gz", subject.fraction, like, scaled=True)
    write_like(truth / f"{name}_desc-brain_mask.nii.gz", subject.brain, like)
    write_text(truth / f"{name}_desc-pvs_pvs.tsv", _tsv(subject.table, _COLUMNS))
    if labelled:
        label = out / "derivatives" / LABELS / anat / f"{name}_desc-pvs_mask.nii.gz"
        write_like(label, mask, like)


def write_cohort(
    config: PhantomConfig, out: Path, progress: Callable[[Iterator[Any], int], Iterator[Any]] | None = None
) -> Path:
    """Write a cohort as a BIDS dataset; the labelled subjects come first.

    Scans lie in ``sub-XX/anat``, the labels of the labelled subjects in ``derivatives/labels``
    and the truth of all in ``derivatives/truth``: the mask by the label rule, one number per PVS,
    the share of each voxel inside a PVS, the brain mask, and a table of the PVS.

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
        The folder holds something already or cannot be written; an anatomy is unusable.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is not an empty folder; name a new one.")
    job = partial(_make_and_write, config, out)
    pool = ProcessPoolExecutor(config.jobs, initializer=_one_thread) if config.jobs > 1 else nullcontext()
    with pool as executor:
        mapped = map if executor is None else executor.map
        rows: Iterator[Any] = iter(mapped(job, range(config.subjects)))
        rows = progress(rows, config.subjects) if progress else rows
        table = list(rows)
    write_text(out / "participants.tsv", _tsv(table, tuple(table[0])))
    generated = {"Name": "napari-pvs", "Version": napari_pvs.__version__}
    description = {
        "Name": "Synthetic perivascular spaces",
        "BIDSVersion": "1.10.0",
        "DatasetType": "raw",
        "GeneratedBy": [generated | {"Configuration": json.loads(config.model_dump_json())}],
    }
    write_text(out / "dataset_description.json", json.dumps(description, indent=2) + "\n")
    for name in (TRUTH, LABELS):
        about = description | {"Name": name, "DatasetType": "derivative", "GeneratedBy": [generated]}
        path = out / "derivatives" / name / "dataset_description.json"
        write_text(path, json.dumps(about, indent=2) + "\n")
    return out


_COLUMNS = (
    *("id", "region", "length_mm", "diameter_mm", "volume_mm3", "fluid", "voxels", "x", "y", "z"),
)


def _one_thread() -> None:
    """Keep side-by-side workers from fighting over the cores."""
    import torch

    torch.set_num_threads(1)


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


def _tsv(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> str:
    lines = ["\t".join(columns)]
    lines += ["\t".join(str(row[column]) for column in columns) for row in rows]
    return "\n".join(lines) + "\n"
