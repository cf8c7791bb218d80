"""Matching the files of one folder to those of another, by subject."""

import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from napari_pvs.errors import InputError

Finder = tuple[re.Pattern[str], ...]

_NIFTI = r"\.nii(\.gz)?$"
_NO_MASK = r"^(?!.*(brain|prob|_(t1w|t2w|flair)\.))"


def _finder(*patterns: str) -> Finder:
    return tuple(re.compile(pattern + _NIFTI, re.IGNORECASE) for pattern in patterns)


# a later pattern is tried only if the earlier ones match no file of the subject
MASKS = _finder(_NO_MASK + ".*pvs.*mask", _NO_MASK + ".*(mask|pvs.*)", _NO_MASK + ".*")
REGIONS = _finder("brain.*mask", "mask", "")
PROBABILITIES = _finder("prob.*")


@dataclass(frozen=True)
class Found:
    """The files of a folder by subject, and the reasons why some subjects have none."""

    files: dict[str, Path]
    refused: dict[str, str]


@dataclass(frozen=True)
class Matched:
    """Subjects (``sub-01``, ``sub-01_ses-2``) found on both sides, and on one side only."""

    pairs: dict[str, tuple[Path, Path]]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]


def subject_of(path: Path) -> str | None:
    """``sub-XX`` or ``sub-XX_ses-YY`` from the file name or the nearest parent that has it."""
    subject, session = _entity(path, "sub"), _entity(path, "ses")
    if subject is None:
        return None
    return f"sub-{subject}" if session is None else f"sub-{subject}_ses-{session}"


def find(folder: Path, finder: Finder) -> Found:
    """Find one NIfTI file per subject in a folder and its subfolders.

    Parameters
    ----------
    folder
        Searched recursively; hidden files are passed over.
    finder
        ``MASKS``, ``REGIONS`` or ``PROBABILITIES``.

    Raises
    ------
    InputError
        The folder does not exist or has no file of a named subject.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; name the folder with the masks.")
    candidates: dict[str, list[Path]] = defaultdict(list)
    refused: dict[str, str] = {}

    def closed(error: OSError) -> None:
        where = Path(error.filename)
        why = f"{where} cannot be read ({error.strerror}); change its permissions."
        subject = subject_of(where.absolute())
        if subject is None:
            raise InputError(why) from error
        refused[subject] = why

    for place, inner, names in os.walk(folder, onerror=closed):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        # broken links and folders are refused when they are read
        for path in (Path(place, name) for name in sorted([*names, *inner])):
            subject = subject_of(path.absolute())
            if subject and not path.name.startswith(".") and _fits(path, finder[-1]):
                candidates[subject].append(path)
    if not candidates and not refused:
        raise InputError(
            f"{folder} contains no suitable NIfTI file with a subject in its path; "
            "name the files sub-XX_..._mask.nii.gz."
        )
    files: dict[str, Path] = {}
    for subject in sorted(candidates.keys() - refused.keys()):
        try:
            files[subject] = _choose(subject, candidates[subject], finder)
        except InputError as error:
            refused[subject] = str(error)
    return Found(files, refused)


def match(first: dict[str, Path], second: dict[str, Path]) -> Matched:
    """Pair subjects; one side may leave out the session if the other has only one.

    Keys of ``pairs`` are those of ``first``.
    """
    partner = {subject: subject for subject in first if subject in second}
    for mine, theirs in (
        (mine, theirs)
        for mine in first.keys() - second.keys()
        for theirs in second.keys() - first.keys()
    ):
        lone = all(len(_sessions(side, mine)) == 1 for side in (first, second))
        if lone and _sessions(second, mine) == [theirs] and not ("_" in mine and "_" in theirs):
            partner[mine] = theirs
    return Matched(
        pairs={subject: (first[subject], second[partner[subject]]) for subject in sorted(partner)},
        only_first=tuple(sorted(first.keys() - partner.keys())),
        only_second=tuple(sorted(second.keys() - set(partner.values()))),
    )


def _entity(path: Path, name: str) -> str | None:
    pattern = re.compile(rf"(?:^|_){name}-([A-Za-z0-9]+)")
    for part in reversed(path.parts):
        found = pattern.search(part)
        if found:
            return found[1]
    return None


def _sessions(files: dict[str, Path], subject: str) -> list[str]:
    """All keys of the subject, whatever the session."""
    name = subject.partition("_")[0]
    return [key for key in files if key.partition("_")[0] == name]


def _fits(path: Path, pattern: re.Pattern[str]) -> bool:
    """Match the file name without the subject, which may mislead (``sub-proband01``)."""
    return pattern.search(re.sub(r"^sub-[A-Za-z0-9]+", "", path.name)) is not None


def _choose(subject: str, paths: list[Path], finder: Finder) -> Path:
    """Return the only file that fits the first pattern that fits any; the last pattern fits all."""
    fitting: list[Path] = []
    for pattern in finder:
        fitting = fitting or [path for path in paths if _fits(path, pattern)]
    if len(fitting) > 1:
        raise InputError(
            f"{fitting[0]} and {fitting[1]} could both be the mask of {subject}; "
            "keep one per subject in the folder, or name the two files to compare."
        )
    return fitting[0]
