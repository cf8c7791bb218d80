"""A cohort on disk, in BIDS: which subjects there are, their scans and their labels."""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from napari_pvs.errors import InputError, InputWarning
from napari_pvs.scans.scan import Scan, load_scan
from napari_pvs.study import paths
from napari_pvs.study.labels import LabelStore, Revision, digest
from napari_pvs.study.paths import LABEL, derived, is_image, label_folder, require

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


@dataclass(frozen=True)
class Survey:
    """What there is in a study.

    Attributes
    ----------
    found
        Its subjects, in order.
    refused
        Subjects that cannot be used, each with the sentence that says why.
    notes
        Sentences on what is passed over, or used with a doubt.
    """

    found: tuple[StudySubject, ...]
    refused: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


def subjects(root: Path) -> list[StudySubject]:
    """List the subjects of a BIDS dataset as `survey` finds them; the others only get a warning.

    Raises
    ------
    InputError
        As `survey`.
    """
    seen = survey(root)
    for name, why in seen.refused:
        warnings.warn(f"{name} is left out: {why}", InputWarning, stacklevel=2)
    return list(seen.found)


def survey(root: Path) -> Survey:
    """Look at the subjects of a BIDS dataset; nothing is written.

    Scans are ``sub-*/[ses-*/]anat/*_T1w`` and ``*_T2w``; labels are
    ``derivatives/labels/sub-*/[ses-*/]anat/*_desc-pvs_mask`` and the revisions beside it (see
    `LabelStore`); brain masks are ``*_desc-brain_mask`` in any derivative. Where a label is named
    for a run or an acquisition, the scans of that one are taken.

    Raises
    ------
    InputError
        Not a folder, or it has no subject that can be used.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; give a BIDS dataset.")
    found: list[StudySubject] = []
    refused: list[tuple[str, str]] = []
    notes: list[str] = []
    for folder in sorted(path for path in root.glob("sub-*") if path.is_dir()):
        try:
            sessions = [path for path in _entries(folder) if path.name.startswith("ses-")]
            if sessions and _scans(folder):
                notes.append(
                    f"the scans in {folder / 'anat'} lie beside the sessions of {folder.name} and "
                    "are not used; move them into a session."
                )
        except InputError as error:
            refused.append((folder.name, str(error)))
            continue
        before = len(found) + len(refused)
        for session in sessions or [folder]:
            try:
                one, doubts = _subject(root, session)
            except InputError as error:
                refused.append(("_".join(session.relative_to(root).parts), str(error)))
                continue
            found += [one] if one else []
            notes += doubts
        if len(found) + len(refused) == before:
            notes.append(f"{folder} holds no anat/*_T1w or *_T2w and is not used.")
    if not found and refused:
        raise InputError(refused[0][1])
    if not found:
        raise InputError(
            f"{root} holds no sub-*/anat/*_T1w or *_T2w; give a BIDS dataset "
            "(napari-pvs phantom makes one)."
        )
    return Survey(tuple(found), tuple(refused), tuple(notes))


def _entries(folder: Path) -> list[Path]:
    """List a folder, which globbing takes for empty where it cannot be read.

    Raises
    ------
    InputError
        It cannot.
    """
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise InputError(
            f"{folder} cannot be read ({error.strerror}); change its permissions."
        ) from error


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
    found, _ = _subject(root, root.joinpath(*name.split("_")))
    if found is None:
        raise InputError(f"{root} holds no scan of {name} any more; refresh the list of subjects.")
    return found


def _subject(root: Path, session: Path) -> tuple[StudySubject | None, list[str]]:
    """Return a subject, None where there is no scan, and what is doubtful about it."""
    name = "_".join(session.relative_to(root).parts)
    scans = _scans(session)
    if not scans:
        return None, []
    store = LabelStore(root, name)
    plain = paths.images(label_folder(root, name), LABEL)
    paths.require_own([*scans, *plain], name)
    mask = paths.first_run(plain)
    t1, t2, notes = _chosen(scans, mask)
    if mask is not None:
        notes += [f"{path} is not used; {mask.name} is." for path in plain if path != mask]
    reference = t1 or t2
    on_template = reference is not None and "_space-" in reference.name
    # else a template's brain is not theirs
    brain = next(
        derived(root, name, "*_desc-brain_mask", templates=on_template, scan=reference), None
    )
    for path in (t1, t2, mask, brain):
        if path is not None:
            paths.require_fetched(path)
    label, pending = store.outside(), store.pending()
    current = None if label else store.current()
    if current is not None:
        label = store.path(current)
    return StudySubject(name, t1, t2, label, brain, current, pending), notes


def _scans(session: Path) -> list[Path]:
    anat = session / "anat"
    if anat.is_dir():
        _entries(anat)
    return [path for kind in ("T1w", "T2w") for path in paths.images(anat, f"*_{kind}")]


def _chosen(
    scans: Iterable[Path], label: Path | None
) -> tuple[Path | None, Path | None, list[str]]:
    """Choose T1 and T2 of one run and acquisition: the label's, where it names one.

    Raises
    ------
    InputError
        Several could be meant, or none is what the label is named for.
    """
    wanted = paths.entities(label) if label is not None else {}
    chosen: list[Path | None] = []
    for kind in ("_T1w.", "_T2w."):
        there = [path for path in scans if kind in path.name]
        said = [paths.entities(path) for path in there]
        fitting = [p for p, e in zip(there, said, strict=True) if not paths.differing(e, wanted)]
        # of those that name what the label names, where there are such
        named = [p for p in fitting if paths.shared(paths.entities(p), wanted)]
        first = next((path for path in chosen if path is not None), None)
        if first is not None and not named:
            run = {"run": paths.entities(first).get("run", "")}
            named = [p for p in fitting if paths.shared(paths.entities(p), run)]
        chosen.append(paths.first_run(named or fitting))
        if label is not None and there and not fitting and (kind == "_T1w." or not chosen[0]):
            raise InputError(
                f"{label} is named for another run or acquisition than {there[0].name}; rename it, "
                "or add its scan."
            )
    t1, t2 = chosen
    notes = []
    if label is not None and (extra := _unnamed(wanted, (t1, t2))):
        notes.append(
            f"{label} is named for {extra}, and no scan is; {(t1 or t2 or label).name} is taken "
            "for its scan."
        )
    if t1 and t2 and "run" in paths.differing(paths.entities(t1), paths.entities(t2)):
        notes.append(f"{t1.name} and {t2.name} are of two runs; check that they belong together.")
    return t1, t2, notes


def _unnamed(wanted: Mapping[str, str], scans: Iterable[Path | None]) -> str:
    """Return what a label is named for and neither scan is, such as ``run-2``."""
    known = {key for path in scans if path is not None for key in paths.entities(path)}
    return ", ".join(f"{k}-{wanted[k]}" for k in paths.OF_A_SCAN if k in wanted and k not in known)


def scan_of(subject: StudySubject, device: str = "cpu") -> Scan:
    """Read the scan of a subject, as `load_scan`.

    Raises
    ------
    InputError
        As `load_scan`; where a brain mask is wanted, it says where a study keeps it.
    """
    try:
        return load_scan(subject.t1, subject.t2, subject.brain, device)
    except InputError as error:
        inner = Path("masks", *subject.name.split("_"), "anat", f"{subject.name}_desc-brain_mask")
        where = f"(derivatives/{inner.as_posix()}.nii.gz)"
        raise InputError(str(error).replace("(--brain-mask)", where)) from error


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
