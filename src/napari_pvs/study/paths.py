"""Where a BIDS study keeps a subject's files."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from napari_pvs.errors import InputError

_SUFFIXES = (".nii.gz", ".nii", ".mgz")
LABEL = "*_desc-pvs_mask"
OF_A_SCAN = ("acq", "ce", "rec", "run", "echo", "inv")
"""What tells scans of one subject and session apart."""
_RUN = re.compile(r"_run-\d+")
_NATIVE = re.compile(r"_space-(T1w|T2w|orig|individual|native)_")


def is_image(path: Path) -> bool:
    """Tell whether a file is named like an image that is read here."""
    return path.name.endswith(_SUFFIXES)


def require(root: Path) -> None:
    """Refuse a study that was moved: writing would make empty folders in its place.

    Raises
    ------
    InputError
        The folder is not there.
    """
    if not Path(root).is_dir():
        raise InputError(f"{root} is no longer there; open the study where it is now.")


def label_folder(root: Path, name: str) -> Path:
    """Folder of the labels of ``sub-01`` or ``sub-01_ses-02``."""
    return _derived(root, "labels", name)


def truth_folder(root: Path, name: str) -> Path:
    """Folder of what is known of a synthetic subject."""
    return _derived(root, "truth", name)


def _derived(root: Path, derivative: str, name: str) -> Path:
    subject, _, session = name.partition("_ses-")
    folder = Path(root) / "derivatives" / derivative / subject
    return folder / f"ses-{session}" / "anat" if session else folder / "anat"


def derived(
    root: Path, name: str, stem: str, *, templates: bool, scan: Path | None = None
) -> Iterator[Path]:
    """Return each derivative's image of a subject with this stem, as `one` finds it.

    Parameters
    ----------
    root, name, stem, templates
        Study, subject, and as for `one`.
    scan
        What is named for another run or acquisition than this one is left out.
    """
    for derivative in sorted((Path(root) / "derivatives").glob("*")):
        found = one(
            _derived(root, derivative.name, name), stem, templates=templates, scan=scan, name=name
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
) -> Path | None:
    """Find the one image in a folder with this stem, such as ``*_T1w``.

    Of several runs of one protocol the first counts.

    Parameters
    ----------
    folder, stem
        Where, and what.
    templates
        Take what lies on a template's grid where there is nothing else; never of labels.
    scan
        As for `derived`.
    name
        ``sub-01`` or ``sub-01_ses-02``, whose folder it is.

    Raises
    ------
    InputError
        There are two, or it is named for somebody else.
    """
    found = images(folder, stem, templates=templates)
    if name is not None:
        require_own(found, name)
    if scan is not None:
        wanted = entities(scan)
        found = [path for path in found if not differing(entities(path), wanted)]
    return first_run(found)


def images(folder: Path, stem: str, *, templates: bool = True) -> list[Path]:
    """List the images in a folder with this stem; parameters are those of `one`."""
    found = [path for suffix in _SUFFIXES for path in sorted(folder.glob(stem + suffix))]
    # hidden: what a killed writer left, and macOS's doubles on foreign disks
    found = [path for path in found if not path.name.startswith(".")]
    # fMRIPrep writes each mask on a template's grid too; no label of a template is a subject's
    own = [path for path in found if "_space-" not in path.name]
    native = [path for path in found if _NATIVE.search(path.name)]
    found = own or (found if templates and stem != LABEL else native)
    # the phase of a complex image is no anatomy
    return [path for path in found if entities(path).get("part", "mag") == "mag"]


def first_run(paths: Sequence[Path]) -> Path | None:
    """Return the first run of what else is called alike.

    Raises
    ------
    InputError
        There are other differences.
    """
    named: dict[str, Path] = {}
    for path in sorted(paths, key=lambda path: _number(entities(path).get("run", "0"))):
        named.setdefault(_RUN.sub("", path.name), path)
    if len(named) > 1:
        one, two, *_ = named.values()
        raise InputError(f"{one.parent} holds {one.name} and {two.name}; keep one of them.")
    return next(iter(named.values()), None)


def entities(path: Path) -> dict[str, str]:
    """Return what the name of a file says of its scan.

    Examples
    --------
    >>> entities(Path("sub-01_ses-b_run-02_T1w.nii.gz"))
    {'sub': '01', 'ses': 'b', 'run': '02'}
    """
    parts = (part.split("-", 1) for part in path.name.split("_")[:-1])
    return {part[0]: part[1] for part in parts if len(part) == 2}


def differing(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Return in what two images differ that both name, such as ``["run"]``."""
    alike = shared(one, other)
    return [key for key in OF_A_SCAN if key in one and key in other and key not in alike]


def shared(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Return what two images name alike of `OF_A_SCAN`."""
    both = [key for key in OF_A_SCAN if key in one and key in other]
    return [key for key in both if _number(one[key]) == _number(other[key])]


def require_own(paths: Iterable[Path], name: str) -> None:
    """Refuse what is named for another subject or session than that whose folder it lies in.

    Raises
    ------
    InputError
        One is.
    """
    own = dict(part.split("-", 1) for part in name.split("_"))
    for path in paths:
        said = entities(path)
        wrong = [f"{key}-{said[key]}" for key in ("sub", "ses") if key in said]
        if any(key in said and said[key] != own.get(key) for key in ("sub", "ses")):
            raise InputError(
                f"{path} is named for {'_'.join(wrong)} and lies in the folder of {name}; rename "
                "or move it."
            )


def require_fetched(path: Path) -> None:
    """Refuse a link to nothing, as DataLad and git-annex leave in the place of what is elsewhere.

    Raises
    ------
    InputError
        It is one.
    """
    if path.is_symlink() and not path.exists():
        raise InputError(
            f"{path} is a link to a file that is not there; fetch it (datalad get, git annex get) "
            "or remove the link."
        )


def _number(value: str) -> int | str:
    """Compare ``01`` and ``1`` as equal."""
    return int(value) if value.isdecimal() else value
