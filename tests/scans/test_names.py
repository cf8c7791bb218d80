"""What names of files say."""

from pathlib import Path

import pytest

from napari_pvs.scans.names import is_label_name, is_scan_name, stem_of


@pytest.mark.parametrize(
    ("name", "stem", "scan", "labels"),
    [
        ("sub-01_T1w.nii.gz", "sub-01_T1w", True, False),
        ("T2.NII", "T2", True, False),
        ("pvs_mask.mgz", "pvs_mask", False, True),
        ("sub-01.a_dseg.nii", "sub-01.a_dseg", False, True),
        ("masked_brain.nii", "masked_brain", False, False),
        ("labels.txt", "labels.txt", False, False),
    ],
)
def test_a_name_says_what_a_file_holds(name, stem, scan, labels):
    path = Path("folder") / name
    assert (stem_of(path), is_scan_name(path), is_label_name(path)) == (stem, scan, labels)
