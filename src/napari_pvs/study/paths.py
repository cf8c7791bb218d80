"""Where a BIDS study keeps a subject's files."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from napari_pvs.errors import InputError
from napari_pvs.scans.derivative import FORMER_MASK, MASK, NUMBERED
from napari_pvs.scans.names import stem_of

_SUFFIXES = (".nii.gz", ".nii", ".mgz")
LABELS = (f"*_{MASK}", f"*_{FORMER_MASK}")
"""Stems of a label, that of today first; a file of either is used and kept up to date."""
OF_A_SCAN = ("acq", "ce", "rec", "run", "echo", "inv")
"""Entities that distinguish the scans of one subject and session."""
_RUN = re.compile(r"_run-\d+")
_NATIVE = re.compile(r"_space-(T1w|T2w|orig|individual|native)_")


def is_image(path: Path) -> bool:
    """Tell whether a file name is that of a supported image."""
    return path.name.endswith(_SUFFIXES)


def require(root: Path) -> None:
    """Refuse a study that was moved, because writing would create empty folders in its place.

    Raises
    ------
    InputError
        The folder does not exist.
    """
    if not Path(root).is_dir():
        raise InputError(f"{root} is no longer there; open the study where it is now.")


DERIVATIVE = Path("derivatives") / "napari-pvs"
"""In a study: its segmentations, and what can be made again from its scans."""


def label_dataset(root: Path) -> Path:
    """Folder with the labels of a study, a BIDS derivative."""
    return Path(root) / "derivatives" / "labels"


def label_folder(root: Path, name: str) -> Path:
    """Folder with the labels of ``sub-01`` or ``sub-01_ses-02``."""
    return anat_folder(label_dataset(root), name)


def label_folders(root: Path) -> list[tuple[str, Path]]:
    """List the subjects that have a folder of labels, with it, sorted by folder."""
    folder = label_dataset(root)
    found = sorted([*folder.glob("sub-*/anat"), *folder.glob("sub-*/ses-*/anat")])
    return [("_".join(anat.relative_to(folder).parts[:-1]), anat) for anat in found]


def truth_folder(root: Path, name: str) -> Path:
    """Folder with the ground truth of a synthetic subject."""
    return _derived(root, "truth", name)


def anat_folder(dataset: Path, name: str) -> Path:
    """Folder of the anatomical images of ``sub-01`` or ``sub-01_ses-02`` in a dataset."""
    subject, _, session = name.partition("_ses-")
    folder = Path(dataset) / subject
    return folder / f"ses-{session}" / "anat" if session else folder / "anat"


def _derived(root: Path, derivative: str, name: str) -> Path:
    return anat_folder(Path(root) / "derivatives" / derivative, name)


def labels(folder: Path) -> list[Path]:
    """Find the label in a folder under each of its names, that of today first.

    Raises
    ------
    InputError
        As `one`.
    """
    return first_runs(label_images(folder))


def label_images(folder: Path) -> list[list[Path]]:
    """List the images of labels in a folder, by their names as in `LABELS`.

    Raises
    ------
    InputError
        The folder cannot be read.
    """
    there = entries(folder)
    return [_matching(there, stem, templates=False) for stem in LABELS]


def first_runs(named: Iterable[Sequence[Path]]) -> list[Path]:
    """Return the first run under each name, as `first_run`."""
    found = (first_run(paths) for paths in named)
    return [path for path in found if path is not None]


def derived(
    root: Path,
    name: str,
    stem: str,
    *,
    templates: bool,
    scan: Path | None = None,
    named: re.Pattern[str] | None = None,
) -> Iterator[Path]:
    """Find a subject's image with this stem in each derivative; see `one`.

    Parameters
    ----------
    root, name
        Study and subject.
    stem, templates
        As for `one`.
    scan
        Leave out images whose name says another run or acquisition than this scan's.
    named
        What else must be found in an image's name.
    """
    for derivative in entries(Path(root) / "derivatives"):
        found = one(
            _derived(root, derivative.name, name),
            stem,
            templates=templates,
            scan=scan,
            name=name,
            named=named,
        )
        if found is not None:
            yield found


def one(
    folder: Path,
    stem: str,
    *,
    templates: bool = True,
    scan: Path | None = None,
    name: str | None = None,
    named: re.Pattern[str] | None = None,
) -> Path | None:
    """Find the one image in a folder with this stem, such as ``*_T1w``.

    If a protocol has several runs, the first is used.

    Parameters
    ----------
    folder, stem
        Where to look, and for what.
    templates
        Fall back on an image on a template's grid, except for labels.
    scan, named
        As for `derived`.
    name
        The folder's owner, ``sub-01`` or ``sub-01_ses-02``.

    Raises
    ------
    InputError
        There are two, or the file name is that of another subject.
    """
    found = images(folder, stem, templates=templates)
    if named is not None:
        found = [path for path in found if named.search(path.name)]
    if name is not None:
        require_own(found, name)
    if scan is not None:
        wanted = entities(scan)
        found = [path for path in found if not differing(entities(path), wanted)]
    return first_run(found)


def entries(folder: Path) -> list[Path]:
    """List a folder; globbing would take an unreadable one for empty.

    Returns
    -------
    Its files and folders, sorted; none if there is no such folder.

    Raises
    ------
    InputError
        It cannot be read.
    """
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise InputError(
            f"{folder} cannot be read ({error.strerror}); change its permissions."
        ) from error


def images(folder: Path, stem: str, *, templates: bool = True) -> list[Path]:
    """List the images in a folder with this stem; parameters as for `one`.

    Raises
    ------
    InputError
        The folder cannot be read.
    """
    return _matching(entries(folder), stem, templates)


def _matching(there: Sequence[Path], stem: str, templates: bool) -> list[Path]:
    found = [
        path for suffix in _SUFFIXES for path in there if fnmatchcase(path.name, stem + suffix)
    ]
    # hidden files: remains of a killed writer, and macOS's metadata on foreign disks
    found = [path for path in found if not path.name.startswith(".")]
    # fMRIPrep also writes each mask on a template's grid; a label there is never the subject's
    own = [path for path in found if "_space-" not in path.name]
    native = [path for path in found if _NATIVE.search(path.name)]
    found = own or (found if templates and stem not in LABELS else native)
    if not stem.endswith(NUMBERED):  # the PVS of a segmentation are no regions
        found = [path for path in found if not stem_of(path).endswith(NUMBERED)]
    # the phase of a complex image shows no anatomy
    return [path for path in found if entities(path).get("part", "mag") == "mag"]


def first_run(paths: Sequence[Path]) -> Path | None:
    """Return the first run among files whose names otherwise agree.

    Raises
    ------
    InputError
        Their names differ in something else.
    """
    named: dict[str, Path] = {}
    for path in sorted(paths, key=lambda path: _number(entities(path).get("run", "0"))):
        named.setdefault(_RUN.sub("", path.name), path)
    if len(named) > 1:
        one, two, *_ = named.values()
        raise InputError(f"{one.parent} contains {one.name} and {two.name}; keep one of them.")
    return next(iter(named.values()), None)


def entities(path: Path) -> dict[str, str]:
    """Return the BIDS entities in a file name.

    Examples
    --------
    >>> entities(Path("sub-01_ses-b_run-02_T1w.nii.gz"))
    {'sub': '01', 'ses': 'b', 'run': '02'}
    """
    parts = (part.split("-", 1) for part in path.name.split("_")[:-1])
    return {part[0]: part[1] for part in parts if len(part) == 2}


def differing(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Return the entities of `OF_A_SCAN` in which two images differ, such as ``["run"]``.

    Both must name the entity.
    """
    alike = shared(one, other)
    return [key for key in OF_A_SCAN if key in one and key in other and key not in alike]


def scans(session: Path) -> list[Path]:
    """List the T1 and T2 in the folder of a subject or session.

    Raises
    ------
    InputError
        It cannot be read.
    """
    anat = session / "anat"
    if os.path.lexists(anat) and not anat.is_dir():
        raise InputError(f"{anat} is not a folder; replace it by the folder with the scans.")
    return [path for kind in ("T1w", "T2w") for path in images(anat, f"*_{kind}")]


def choose(scans: Iterable[Path], label: Path | None) -> tuple[Path | None, Path | None, list[str]]:
    """Choose the T1 and T2 of one run and acquisition: the label's, if it names one.

    Returns
    -------
    T1, T2, and notes on what was doubtful.

    Raises
    ------
    InputError
        The choice is ambiguous, or no scan matches the label's name.
    """
    wanted = entities(label) if label is not None else {}
    chosen: list[Path | None] = []
    notes = []
    for kind in ("_T1w.", "_T2w."):
        there = [path for path in scans if kind in path.name]
        said = [entities(path) for path in there]
        fitting = [p for p, e in zip(there, said, strict=True) if not differing(e, wanted)]
        # prefer scans that name what the label names
        named = [p for p in fitting if shared(entities(p), wanted)]
        first = next((path for path in chosen if path is not None), None)
        if first is not None and not named:
            run = {"run": entities(first).get("run", "")}
            named = [p for p in fitting if shared(entities(p), run)]
        used = first_run(named or fitting)
        chosen.append(used)
        if used is not None:
            rest = (path for path in named or fitting if path != used)
            notes += [f"{path} is not used; {used.name} is." for path in rest]
        if label is not None and there and not fitting and (kind == "_T1w." or not chosen[0]):
            raise InputError(
                f"{label} names another run or acquisition than {there[0].name}; rename it, or add "
                "its scan."
            )
    t1, t2 = chosen
    if label is not None and (extra := _unnamed(wanted, (t1, t2))):
        notes.append(
            f"{label} names {extra}, but no scan does; {(t1 or t2 or label).name} is used as its "
            "scan."
        )
    if t1 and t2 and "run" in differing(entities(t1), entities(t2)):
        notes.append(
            f"{t1.name} and {t2.name} are from different runs; check that they belong together."
        )
    return t1, t2, notes


def _unnamed(wanted: Mapping[str, str], scans: Iterable[Path | None]) -> str:
    """Return what a label's name says and neither scan's does, such as ``run-2``."""
    known = {key for path in scans if path is not None for key in entities(path)}
    return ", ".join(f"{k}-{wanted[k]}" for k in OF_A_SCAN if k in wanted and k not in known)


def shared(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Return the entities of `OF_A_SCAN` in which two images agree."""
    both = [key for key in OF_A_SCAN if key in one and key in other]
    return [key for key in both if _number(one[key]) == _number(other[key])]


def require_own(paths: Iterable[Path], name: str) -> None:
    """Refuse files whose name says another subject or session than their folder.

    Raises
    ------
    InputError
        There is such a file.
    """
    own = dict(part.split("-", 1) for part in name.split("_"))
    for path in paths:
        said = entities(path)
        wrong = [f"{key}-{said[key]}" for key in ("sub", "ses") if key in said]
        if any(key in said and said[key] != own.get(key) for key in ("sub", "ses")):
            raise InputError(
                f"{path} is named {'_'.join(wrong)} but is in the folder of {name}; rename or move "
                "it."
            )


def _number(value: str) -> int | str:
    """Make ``01`` and ``1`` compare as equal."""
    return int(value) if value.isdecimal() else value
