"""A cohort on disk, in BIDS: which subjects there are, their scans and their labels."""

import re
from dataclasses import dataclass
from pathlib import Path

from napari_pvs.errors import InputError

_SUFFIXES = (".nii.gz", ".nii", ".mgz")


@dataclass(frozen=True)
class StudySubject:
    """One subject (or session) of a study.

    Attributes
    ----------
    name
        ``sub-01`` or ``sub-01_ses-02``.
    t1, t2
        Scans; at least one is there.
    label
        PVS mask on the grid of the first scan, if labelled.
    brain
        Brain mask, if there is one.
    """

    name: str
    t1: Path | None
    t2: Path | None
    label: Path | None
    brain: Path | None

    @property
    def person(self) -> str:
        """``sub-01``, whatever the session: the unit that a split must not divide."""
        return self.name.split("_")[0]


def subjects(root: Path) -> list[StudySubject]:
    """List the subjects of a BIDS dataset, in order.

    Scans are ``sub-*/[ses-*/]anat/*_T1w`` and ``*_T2w``; labels are
    ``derivatives/labels/sub-*/[ses-*/]anat/*_desc-pvs_mask``; brain masks are
    ``*_desc-brain_mask`` in any derivative.

    Raises
    ------
    InputError
        Not a folder, no subject with a scan, or two candidates for one file.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; give a BIDS dataset.")
    found = []
    for folder in sorted(root.glob("sub-*")):
        sessions = sorted(folder.glob("ses-*")) or [folder]
        for session in sessions:
            relative = session.relative_to(root)
            name = "_".join(relative.parts)
            t1, t2 = (_one(session / "anat", f"*_{kind}") for kind in ("T1w", "T2w"))
            if t1 is None and t2 is None:
                continue
            label = _one(root / "derivatives" / "labels" / relative / "anat", "*_desc-pvs_mask")
            brain = None
            for derivative in sorted((root / "derivatives").glob("*")):
                brain = brain or _one(derivative / relative / "anat", "*_desc-brain_mask")
            found.append(StudySubject(name, t1, t2, label, brain))
    if not found:
        raise InputError(
            f"{root} holds no sub-*/anat/*_T1w or *_T2w; give a BIDS dataset "
            "(napari-pvs phantom makes one)."
        )
    return found


def _one(folder: Path, stem: str) -> Path | None:
    candidates = [path for suffix in _SUFFIXES for path in sorted(folder.glob(stem + suffix))]
    # fMRIPrep writes each mask on a template's grid too
    candidates = [path for path in candidates if "_space-" not in path.name] or candidates
    # runs of one protocol: the first counts
    runs = [re.sub(r"_run-\d+", "", path.name) for path in candidates]
    if len(set(runs)) > 1:
        raise InputError(
            f"{folder} holds {candidates[0].name} and {candidates[1].name}; keep one of them."
        )
    return candidates[0] if candidates else None
