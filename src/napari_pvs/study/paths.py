"""Where a BIDS study keeps a subject's files."""

import re
from collections.abc import Iterator
from pathlib import Path

from napari_pvs.errors import InputError

_SUFFIXES = (".nii.gz", ".nii", ".mgz")
LABEL = "*_desc-pvs_mask"
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


def derived(root: Path, name: str, stem: str, *, templates: bool) -> Iterator[Path]:
    """Return each derivative's image of a subject with this stem, as `one` finds it."""
    for derivative in sorted((Path(root) / "derivatives").glob("*")):
        found = one(_derived(root, derivative.name, name), stem, templates=templates)
        if found is not None:
            yield found


def one(folder: Path, stem: str, *, templates: bool = True) -> Path | None:
    """Find the one image in a folder with this stem, such as ``*_T1w``.

    Parameters
    ----------
    folder, stem
        Where, and what.
    templates
        Take what lies on a template's grid where there is nothing else; never of labels.

    Raises
    ------
    InputError
        There are two.
    """
    candidates = [path for suffix in _SUFFIXES for path in sorted(folder.glob(stem + suffix))]
    # hidden: what a killed writer left, and macOS's doubles on foreign disks
    candidates = [path for path in candidates if not path.name.startswith(".")]
    # fMRIPrep writes each mask on a template's grid too; no label of a template is a subject's
    own = [path for path in candidates if "_space-" not in path.name]
    native = [path for path in candidates if _NATIVE.search(path.name)]
    candidates = own or (candidates if templates and stem != LABEL else native)
    # runs of one protocol: the first counts
    runs = [re.sub(r"_run-\d+", "", path.name) for path in candidates]
    if len(set(runs)) > 1:
        raise InputError(
            f"{folder} holds {candidates[0].name} and {candidates[1].name}; keep one of them."
        )
    return candidates[0] if candidates else None
