"""A cohort on disk, in BIDS: which subjects there are, their scans and their labels."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from napari_pvs.errors import InputError
from napari_pvs.study.labels import LabelStore, Revision, digest
from napari_pvs.study.paths import derived, is_image, one, require

SubjectState = Literal["new", "segmented", "corrected", "reference"]


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
        PVS mask on the grid of the first scan, if labelled: the image of the current final
        revision, or a plain file that is of no final one.
    brain
        Brain mask, if there is one.
    current
        The final revision that the label is, if it is one.
    pending
        The newest draft, if no final revision came after it; a rater's before a prediction.
    """

    name: str
    t1: Path | None
    t2: Path | None
    label: Path | None
    brain: Path | None
    current: Revision | None = None
    pending: Revision | None = None

    @property
    def person(self) -> str:
        """``sub-01``, whatever the session: the unit that a split must not divide."""
        return person_of(self.name)

    @property
    def revision(self) -> int | None:
        """Number of the final revision that the label is; None for a plain file."""
        return self.current.number if self.current else None

    @property
    def state(self) -> SubjectState:
        """How far the label is.

        ``new``: there is none. ``segmented``: a prediction, be its correction under way.
        ``corrected``: drawn or corrected to the end. ``reference``: made by another tool.
        """
        if self.label is None:
            started = self.pending is not None and self.pending.origin != "drawn"
            return "segmented" if started else "new"
        if self.current is None or self.current.origin == "imported":
            return "reference"
        return "segmented" if self.current.origin == "predicted" else "corrected"


def person_of(name: str) -> str:
    """``sub-01`` of ``sub-01_ses-02``."""
    return name.split("_")[0]


def subjects(root: Path) -> list[StudySubject]:
    """List the subjects of a BIDS dataset, in order; nothing is written.

    Scans are ``sub-*/[ses-*/]anat/*_T1w`` and ``*_T2w``; labels are
    ``derivatives/labels/sub-*/[ses-*/]anat/*_desc-pvs_mask`` and the revisions beside it (see
    `LabelStore`); brain masks are ``*_desc-brain_mask`` in any derivative.

    Raises
    ------
    InputError
        Not a folder, no subject with a scan, two candidates for one file, or a damaged revision.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; give a BIDS dataset.")
    found = []
    for folder in sorted(root.glob("sub-*")):
        sessions = sorted(folder.glob("ses-*")) or [folder]
        found += [_subject(root, session) for session in sessions]
    there = [subject for subject in found if subject is not None]
    if not there:
        raise InputError(
            f"{root} holds no sub-*/anat/*_T1w or *_T2w; give a BIDS dataset "
            "(napari-pvs phantom makes one)."
        )
    return there


def stray_labels(root: Path, found: Iterable[StudySubject]) -> list[Path]:
    """Return labels, one of each subject, that nobody has who was ``found``.

    There is no scan beside them, or their names are not those of labels.
    """
    scanned = {one.name: one for one in found}
    folder = Path(root) / "derivatives" / "labels"
    stray = []
    for anat in sorted([*folder.glob("sub-*/anat"), *folder.glob("sub-*/ses-*/anat")]):
        name = "_".join(anat.relative_to(folder).parts[:-1])
        if name in scanned and scanned[name].label is not None:
            continue
        places = [anat] if name in scanned else [anat, anat / "revisions"]
        images = [p for place in places for p in sorted(place.glob("[!.]*")) if is_image(p)]
        stray += images[:1]
    return stray


def subject(root: Path, name: str) -> StudySubject:
    """Look at one subject, as `subjects` does.

    Raises
    ------
    InputError
        It has no scan any more, two candidates for one file, or a damaged revision.
    """
    root = Path(root)
    require(root)
    found = _subject(root, root.joinpath(*name.split("_")))
    if found is None:
        raise InputError(f"{root} holds no scan of {name} any more; refresh the list of subjects.")
    return found


def _subject(root: Path, session: Path) -> StudySubject | None:
    relative = session.relative_to(root)
    name = "_".join(relative.parts)
    t1, t2 = (one(session / "anat", f"*_{kind}") for kind in ("T1w", "T2w"))
    if t1 is None and t2 is None:
        return None
    on_template = "_space-" in (t1 or t2 or session).name  # else a template's brain is not theirs
    brain = next(derived(root, name, "*_desc-brain_mask", templates=on_template), None)
    store = LabelStore(root, name)
    label, pending = store.outside(), store.pending()
    current = None if label else store.current()
    if current is not None:
        label = store.path(current)
    return StudySubject(name, t1, t2, label, brain, current, pending)


def label_of(root: Path, subject: StudySubject) -> tuple[Path | None, Revision | None]:
    """Return what there is of a subject's PVS: its label or, before there is one, its prediction.

    Returns
    -------
    The file, and the revision that it is; None where there is nothing, or a plain file.
    """
    made = subject.current
    if subject.label is not None:
        path: Path | None = subject.label
    else:
        made = subject.pending
        if made is None or made.origin != "predicted":
            return None, None
        path = LabelStore(root, subject.name).path(made)
    return path, made


def fingerprint(subjects: Iterable[StudySubject]) -> dict[str, tuple[int | None, str]]:
    """Return what the labels are, by the name of each labelled subject; no volume is decoded.

    Returns
    -------
    Number of the revision (None for a plain file) and SHA-256 of the label's file. Two that differ
    mean that a label came, went or changed in between.

    Raises
    ------
    InputError
        A plain file cannot be read.
    """
    return {
        s.name: (s.revision, s.current.sha256 if s.current else digest(s.label))
        for s in subjects
        if s.label is not None
    }
