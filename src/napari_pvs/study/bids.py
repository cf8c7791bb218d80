"""A cohort on disk, in BIDS: its subjects, their scans and their labels."""

import os
import warnings
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from napari_pvs.errors import InputError, InputWarning
from napari_pvs.files import require_fetched, sentence
from napari_pvs.scans.choices import REGISTER, Register
from napari_pvs.scans.scan import Scan, load_scan
from napari_pvs.study import paths, registrations
from napari_pvs.study.labels import LabelStore, Revision, digest
from napari_pvs.study.paths import LABEL, derived, is_image, label_folder, label_folders, require

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


def survey(root: Path) -> Survey:
    """Find the subjects of a BIDS dataset, without writing anything.

    Scans are ``sub-*/[ses-*/]anat/*_T1w`` and ``*_T2w``; labels are
    ``derivatives/labels/sub-*/[ses-*/]anat/*_desc-pvs_mask`` and the revisions next to it (see
    `LabelStore`); brain masks are ``*_desc-brain_mask`` in any derivative. If a label names a run
    or an acquisition, the scans of that run or acquisition are used.

    Raises
    ------
    InputError
        The root is not a folder, or holds no usable subject.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; give a BIDS dataset.")
    found: list[StudySubject] = []
    refused: list[tuple[str, str]] = []
    notes: list[str] = []
    without: list[Path] = []
    for folder in _folders(root, "sub-"):
        try:
            require_fetched(folder)
            sessions = _folders(folder, "ses-")
            if sessions and _scans(folder):
                notes.append(
                    f"the scans in {folder / 'anat'} are not used, because {folder.name} has "
                    "sessions; move them into one of these."
                )
        except (InputError, OSError) as error:
            refused.append((folder.name, sentence(error)))
            continue
        for session in sessions or [folder]:
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
    _tell_of_labels(root, found, refused, notes, without)
    notes += [f"{path} contains no anat/*_T1w or *_T2w and is not used." for path in without]
    if not found and refused:
        why = " ".join(f"{name}: {reason}" for name, reason in refused)
        raise InputError(why if len(refused) > 1 else refused[0][1])
    if not found:
        raise InputError(
            f"{root} contains no sub-*/anat/*_T1w or *_T2w; give a BIDS dataset "
            "(napari-pvs phantom makes one)."
        )
    return Survey(tuple(found), tuple(refused), tuple(notes))


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
            notes.append(f"{image} is not used: a label is named {name}{LABEL[1:]}.nii.gz.")


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
    # a mask on a template's grid fits only a scan on that grid
    brain = next(
        derived(root, name, "*_desc-brain_mask", templates=on_template, scan=reference), None
    )
    for path in (t1, t2, mask, brain):
        if path is not None:
            require_fetched(path)
    label, pending = store.outside(), store.pending()
    current = None if label else store.current()
    if current is not None:
        label = store.path(current)
    return StudySubject(name, t1, t2, label, brain, current, pending), notes


def _scans(session: Path) -> list[Path]:
    anat = session / "anat"
    if os.path.lexists(anat) and not anat.is_dir():
        raise InputError(f"{anat} is not a folder; replace it by the folder with the scans.")
    return [path for kind in ("T1w", "T2w") for path in paths.images(anat, f"*_{kind}")]


def _chosen(
    scans: Iterable[Path], label: Path | None
) -> tuple[Path | None, Path | None, list[str]]:
    """Choose the T1 and T2 of one run and acquisition: the label's, if it names one.

    Raises
    ------
    InputError
        The choice is ambiguous, or no scan matches the label's name.
    """
    wanted = paths.entities(label) if label is not None else {}
    chosen: list[Path | None] = []
    for kind in ("_T1w.", "_T2w."):
        there = [path for path in scans if kind in path.name]
        said = [paths.entities(path) for path in there]
        fitting = [p for p, e in zip(there, said, strict=True) if not paths.differing(e, wanted)]
        # prefer scans that name what the label names
        named = [p for p in fitting if paths.shared(paths.entities(p), wanted)]
        first = next((path for path in chosen if path is not None), None)
        if first is not None and not named:
            run = {"run": paths.entities(first).get("run", "")}
            named = [p for p in fitting if paths.shared(paths.entities(p), run)]
        chosen.append(paths.first_run(named or fitting))
        if label is not None and there and not fitting and (kind == "_T1w." or not chosen[0]):
            raise InputError(
                f"{label} names another run or acquisition than {there[0].name}; rename it, or add "
                "its scan."
            )
    t1, t2 = chosen
    notes = []
    if label is not None and (extra := _unnamed(wanted, (t1, t2))):
        notes.append(
            f"{label} names {extra}, but no scan does; {(t1 or t2 or label).name} is used as its "
            "scan."
        )
    if t1 and t2 and "run" in paths.differing(paths.entities(t1), paths.entities(t2)):
        notes.append(
            f"{t1.name} and {t2.name} are from different runs; check that they belong together."
        )
    return t1, t2, notes


def _unnamed(wanted: Mapping[str, str], scans: Iterable[Path | None]) -> str:
    """Return what a label's name says and neither scan's does, such as ``run-2``."""
    known = {key for path in scans if path is not None for key in paths.entities(path)}
    return ", ".join(f"{k}-{wanted[k]}" for k in paths.OF_A_SCAN if k in wanted and k not in known)


def scan_of(
    subject: StudySubject,
    device: str = "cpu",
    *,
    study: Path | None = None,
    register: Register = REGISTER,
) -> Scan:
    """Read the scan of a subject; see `load_scan`.

    Parameters
    ----------
    subject, device, register
        As for `load_scan`.
    study
        Where the registration of T1 and T2 is kept for the next time; None to forget it.

    Raises
    ------
    InputError
        As `load_scan`; if a brain mask is needed, the message says where a study keeps it.
    """
    files = (subject.t1, subject.t2, subject.brain)
    kept = known = None
    if study is not None and register == "auto" and subject.t1 and subject.t2:
        kept = registrations.file_of(study, subject.name, files)
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
