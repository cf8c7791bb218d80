"""What the name of a file says of its content."""

import re
from pathlib import Path

SUFFIXES = (".nii", ".nii.gz", ".mgz")
_SCAN = re.compile(r"(^|_)(t1w?|t2w?|flair)$")
_LABELS = re.compile(r"(^|_)(mask|dseg|labels)$")


def stem_of(path: Path) -> str:
    """Return a file's name without the ending of an image.

    Examples
    --------
    >>> stem_of(Path("sub-01_T1w.nii.gz"))
    'sub-01_T1w'
    """
    ending = max((end for end in SUFFIXES if path.name.lower().endswith(end)), key=len, default="")
    return path.name[: len(path.name) - len(ending)]


def is_scan_name(path: Path) -> bool:
    """Whether it says that the file holds a scan."""
    return _SCAN.search(stem_of(path).lower()) is not None


def is_label_name(path: Path) -> bool:
    """Whether it says that the file holds labels.

    Examples
    --------
    >>> is_label_name(Path("pvs_mask.nii.gz")), is_label_name(Path("masked_T1w.nii"))
    (True, False)
    """
    return _LABELS.search(stem_of(path).lower()) is not None
