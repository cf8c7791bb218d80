"""A cohort on disk, in BIDS: its subjects, their scans and their labels."""

import re
import warnings
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_pvs.errors import InputError, InputWarning
from napari_pvs.files import require_fetched, sentence
from napari_pvs.scans import derivative
from napari_pvs.scans.choices import REGISTER, Register
from napari_pvs.scans.derivative import MASK
from napari_pvs.scans.scan import Scan, load_scan
from napari_pvs.study import paths, registrations
from napari_pvs.study.labels import LabelStore, Revision, digest
from napari_pvs.study.paths import derived, is_image, label_folder, label_folders, require

_LISTED = 5  # names in a sentence
_LESIONS = re.compile(r"_(label|desc)-(lesion|wmh)", re.IGNORECASE)
SubjectState = Literal["new", "segmented", "corrected", "reference"]


@dataclass(frozen=True)
class StudySubject:
    """One subject (or session) of a study.

    Attributes
    ----------
    name
        ``sub-01`` or ``sub-01_ses-02``.
    t1, t2
        Scans; at least one of them is present.
    label
        PVS mask on the grid of the first scan, if labelled: the image of the current final
        revision, or a plain file that matches no final revision.
    brain
        Brain mask, if there is one.
    current
        The final revision behind the label, if there is one.
    pending
        The newest draft that is newer than the last final revision; a rater's draft takes
        precedence over a prediction.
    lesions
        Map of the lesions of white matter, if a derivative has one.
    """

    name: str
    t1: Path | None
    t2: Path | None
    label: Path | None
    brain: Path | None
    current: Revision | None = None
    pending: Revision | None = None
    lesions: Path | None = None

    @property
    def person(self) -> str:
        """``sub-01``, whatever the session: a split must not divide a person."""
        return person_of(self.name)

    @property
    def revision(self) -> int | None:
        """Number of the final revision behind the label; None for a plain file."""
        return self.current.number if self.current else None

    @property
    def state(self) -> SubjectState:
        """How far labelling has got.

        ``new``: no label. ``segmented``: a prediction, perhaps partly corrected. ``corrected``:
        drawn or corrected by a rater, and final. ``reference``: made by another tool.
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


def means_of_persons(values: Iterable[tuple[str, float]]) -> NDArray[np.float64]:
    """Average a value of each subject over the sessions of each person.

    Parameters
    ----------
    values
        Name of the subject and its value.

    Returns
    -------
    (persons,), in the order in which they first come.

    Examples
    --------
    >>> means_of_persons([("sub-1_ses-a", 1.0), ("sub-2", 5.0), ("sub-1_ses-b", 3.0)]).tolist()
    [2.0, 5.0]
    """
    persons: dict[str, list[float]] = {}
    for name, value in values:
        persons.setdefault(person_of(name), []).append(value)
    return np.array([np.mean(of_one) for of_one in persons.values()])


@dataclass(frozen=True)
class Survey:
    """The contents of a study.

    Attributes
    ----------
    found
        Its subjects, in order.
    refused
        Subjects that cannot be used, each with a sentence saying why.
    notes
        Sentences about files that were ignored, or used despite a doubt.
    """

    found: tuple[StudySubject, ...]
    refused: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Selection:
    """The subjects and sessions that are wanted, all where none is named.

    Attributes
    ----------
    persons, sessions
        With or without ``sub-`` and ``ses-``.
    """

    persons: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()

    def has(self, folder: Path) -> bool:
        """Tell whether the folder of a subject or session is wanted."""
        key, _, label = folder.name.partition("-")
        named = self.persons if key == "sub" else self.sessions
        return not named or label in (one.removeprefix(f"{key}-") for one in named)

    def missing(self, names: Iterable[str]) -> list[str]:
        """Return those that are not among subjects such as ``sub-01_ses-02``."""
        there = {part for name in names for part in name.split("_")}
        wanted = [f"sub-{one.removeprefix('sub-')}" for one in self.persons]
        wanted += [f"ses-{one.removeprefix('ses-')}" for one in self.sessions]
        return [one for one in wanted if one not in there]


EVERYBODY = Selection()


def subjects(root: Path) -> list[StudySubject]:
    """List the usable subjects of a BIDS dataset; warn about the others.

    Raises
    ------
    InputError
        As `survey`.
    """
    seen = survey(root)
    for name, why in seen.refused:
        warnings.warn(f"{name} is left out: {why}", InputWarning, stacklevel=2)
    return list(seen.found)


def survey(root: Path, wanted: Selection = EVERYBODY) -> Survey:
    """Find the subjects of a BIDS dataset, without writing anything.

    Scans are ``sub-*/[ses-*/]anat/*_T1w`` and ``*_T2w``; labels are
    ``derivatives/labels/sub-*/[ses-*/]anat/*_label-PVS_mask`` (or ``*_desc-pvs_mask``) and the
    revisions next to it (see `LabelStore`); brain masks are ``*_desc-brain_mask`` in any
    derivative. If a label names a run or an acquisition, the scans of that run or acquisition are
    used.

    Parameters
    ----------
    root
        The dataset.
    wanted
        Whose folders are looked into.

    Raises
    ------
    InputError
        The root is not a folder, or holds no usable subject; one that is wanted is not there.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; give a BIDS dataset.")
    found: list[StudySubject] = []
    refused: list[tuple[str, str]] = []
    notes: list[str] = []
    without: list[Path] = []
    for session in _sessions(root, wanted, refused, notes):
        name = "_".join(session.relative_to(root).parts)
        try:
            require_fetched(session)
            one, doubts = _subject(root, session)
        except (InputError, OSError) as error:
            refused.append((name, sentence(error)))
            continue
        found += [one] if one else []
        notes += doubts
        without += [] if one else [session]
    if wanted == EVERYBODY:
        _tell_of_labels(root, found, refused, notes, without)
    elif lost := wanted.missing([*(one.name for one in found), *(name for name, _ in refused)]):
        raise InputError(f"{root} has no scan of {', '.join(lost)}; check the names.")
    notes += [f"{path} contains no anat/*_T1w or *_T2w and is not used." for path in without]
    notes += _alone(found)
    if not found and refused:
        why = " ".join(f"{name}: {reason}" for name, reason in refused)
        raise InputError(why if len(refused) > 1 else refused[0][1])
    if not found:
        raise InputError(
            f"{root} contains no sub-*/anat/*_T1w or *_T2w; give a BIDS dataset "
            "(napari-pvs phantom makes one)."
        )
    return Survey(tuple(found), tuple(refused), tuple(notes))


def _sessions(
    root: Path, wanted: Selection, refused: list[tuple[str, str]], notes: list[str]
) -> Iterator[Path]:
    """Yield the folders of sessions, and of subjects that have none."""
    for folder in _named(filter(wanted.has, _folders(root, "sub-")), notes):
        try:
            require_fetched(folder)
            sessions = list(_named(_folders(folder, "ses-"), notes))
            if sessions and paths.scans(folder):
                notes.append(
                    f"the scans in {folder / 'anat'} are not used, because {folder.name} has "
                    "sessions; move them into one of these."
                )
        except (InputError, OSError) as error:
            refused.append((folder.name, sentence(error)))
            continue
        yield from filter(wanted.has, sessions)
        if not sessions and not wanted.sessions:
            yield folder


def _named(folders: Iterable[Path], notes: list[str]) -> Iterator[Path]:
    """Leave out folders such as ``sub-01_old``, whose name would say something else in a file."""
    for folder in folders:
        if "_" in folder.name:
            notes.append(f"{folder} is not used, because its name has a _; rename or move it.")
        else:
            yield folder


def _alone(found: Sequence[StudySubject]) -> Iterator[str]:
    """Say who lacks a T1 or a T2 that others have."""
    for kind, other, bare in (
        ("T1w", "T2w", [one.name for one in found if one.t1 is None]),
        ("T2w", "T1w", [one.name for one in found if one.t2 is None]),
    ):
        if 0 < len(bare) < len(found):
            some = ", ".join(bare[:_LISTED]) + (" …" if len(bare) > _LISTED else "")
            yield f"{len(bare)} of {len(found)} have no {kind}; only {other} is used for {some}."


def _folders(parent: Path, beginning: str) -> list[Path]:
    """List the folders whose names begin like this, and broken links that may stand for one."""
    return [
        path
        for path in paths.entries(parent)
        if path.name.startswith(beginning)
        # not sub-01.json, which may be a link too
        and (path.is_dir() or (path.is_symlink() and "." not in path.name))
    ]


def _tell_of_labels(
    root: Path,
    found: Iterable[StudySubject],
    refused: list[tuple[str, str]],
    notes: list[str],
    without: list[Path],
) -> None:
    """Report labels that no subject uses, and refuse subjects with a label but no scan."""
    known = {one.name: one for one in found}
    bare = {"_".join(path.relative_to(root).parts): path for path in without}
    used = {name for name, one in known.items() if one.label is not None}
    for name, image in _labels_without_use(root, used | {name for name, _ in refused}):
        if name in bare:
            folder = bare[name]
            without.remove(folder)
            refused.append(
                (
                    name,
                    f"{folder} contains no anat/*_T1w or *_T2w for the label {image}; put the scan "
                    "back, or move the label away.",
                )
            )
        elif name not in known:
            notes.append(f"{image} is not used: {root} has no scan of {name}.")
        elif image.parent.name != "revisions":
            notes.append(f"{image} is not used: a label is named {derivative.image(name, MASK)}.")


def _labels_without_use(root: Path, names: Container[str]) -> Iterator[tuple[str, Path]]:
    """Yield subjects other than ``names``, each with an image in the folder of its labels."""
    for name, anat in label_folders(root):
        if name in names:
            continue
        for image in [*sorted(anat.glob("[!.]*")), *sorted((anat / "revisions").glob("[!.]*"))]:
            if is_image(image):
                yield name, image
                break


def subject(root: Path, name: str) -> StudySubject:
    """Find one subject, as `subjects` does.

    Raises
    ------
    InputError
        Its scan is gone, two files compete for one role, or a revision is damaged.
    """
    root = Path(root)
    require(root)
    found, _ = _subject(root, root.joinpath(*name.split("_")))
    if found is None:
        raise InputError(f"{root} no longer has a scan of {name}; refresh the list of subjects.")
    return found


def _subject(root: Path, session: Path) -> tuple[StudySubject | None, list[str]]:
    """Return a subject (None if it has no scan) and notes about its files."""
    name = "_".join(session.relative_to(root).parts)
    scans = paths.scans(session)
    if not scans:
        return None, []
    store = LabelStore(root, name)
    images = paths.label_images(label_folder(root, name))
    plain = [path for of_name in images for path in of_name]
    paths.require_own([*scans, *plain], name)
    named = paths.first_runs(images)
    # of two, it is the one that another tool wrote
    mask = store.outside() if len(named) > 1 else None
    mask = mask or next(iter(named), None)
    t1, t2, notes = paths.choose(scans, mask)
    if mask is not None:
        unused = (path for path in plain if path not in (mask, *named))
        notes += [f"{path} is not used; {mask.name} is." for path in unused]
    reference = t1 or t2
    on_template = reference is not None and "_space-" in reference.name
    # a mask on a template's grid fits only a scan on that grid
    brain = next(
        derived(root, name, "*_desc-brain_mask", templates=on_template, scan=reference), None
    )
    for path in (t1, t2, mask, brain):
        if path is not None:
            require_fetched(path)
    lesions, doubts = _lesions(root, name, reference)
    label, pending = store.outside(), store.pending()
    current = None if label else store.current()
    if current is not None:
        label = store.path(current)
    notes += doubts
    return StudySubject(name, t1, t2, label, brain, current, pending, lesions), notes


def _lesions(root: Path, name: str, scan: Path | None) -> tuple[Path | None, list[str]]:
    """Return the map of a subject's lesions, and notes: one that cannot be used stops nothing."""
    found = derived(root, name, "*_mask", templates=False, scan=scan, named=_LESIONS)
    try:
        path = next(found, None)
        if path is not None:
            require_fetched(path)
    except InputError as error:
        return None, [f"{name} has no lesion map: {error}"]
    return path, []


def scan_of(
    subject: StudySubject,
    device: str = "cpu",
    *,
    keep_in: Path | None = None,
    register: Register = REGISTER,
) -> Scan:
    """Read the scan of a subject; see `load_scan`.

    Parameters
    ----------
    subject, device, register
        As for `load_scan`.
    keep_in
        Derivative where the registration of T1 and T2 is kept for the next time; None to forget it.

    Raises
    ------
    InputError
        As `load_scan`; if a brain mask is needed, the message says where a study keeps it.
    """
    files = (subject.t1, subject.t2, subject.brain)
    kept = known = None
    if keep_in is not None and register == "auto" and subject.t1 and subject.t2:
        kept = registrations.file_of(keep_in, subject.name, files)
        known = registrations.known(kept)
    try:
        scan = load_scan(*files, device, known or register)
    except InputError as error:
        inner = Path("masks", *subject.name.split("_"), "anat", f"{subject.name}_desc-brain_mask")
        where = f"(derivatives/{inner.as_posix()}.nii.gz)"
        raise InputError(str(error).replace("(--brain-mask)", where)) from error
    if kept is not None and known is None and scan.registration is not None:
        registrations.keep(kept, scan.registration)
    return scan


def label_of(root: Path, subject: StudySubject) -> tuple[Path | None, Revision | None]:
    """Return a subject's label or, as long as there is none, its prediction.

    Returns
    -------
    The file, or None; and its revision, or None for a plain file.
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
    """Identify the current label of each labelled subject, without decoding a volume.

    Returns
    -------
    By subject: the number of the revision (None for a plain file) and the SHA-256 of the file. If
    two fingerprints differ, a label was added, removed or changed in between.

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
