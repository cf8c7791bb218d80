import numpy as np
import pytest

from napari_pvs.scans.registration import Registration
from napari_pvs.study import bids
from napari_pvs.study.bids import scan_of, subjects
from napari_pvs.study.registrations import FOLDER, file_of, keep, known

FOUND = Registration(np.eye(4) + np.pi / 1e3, 5.25, 0.05, 0.31, True, 3.5)


@pytest.fixture
def loads(monkeypatch):
    """Give every loaded scan a registration; list how each was asked for."""
    asked = []
    read = bids.load_scan

    def load(t1, t2, brain, device, register):
        asked.append(register)
        scan = read(t1, t2, brain, device, "off")
        object.__setattr__(scan, "registration", FOUND)
        return scan

    monkeypatch.setattr(bids, "load_scan", load)
    return asked


def test_it_is_found_once_for_each_pair_of_scans(make_study, loads):
    root = make_study(1)
    (one,) = subjects(root)
    scan_of(one, keep_in=root)
    scan_of(one, keep_in=root)
    assert loads[0] == "auto"
    np.testing.assert_array_equal(loads[1].to_t1, FOUND.to_t1)
    assert loads[1].as_json() == FOUND.as_json()
    (kept,) = (root / FOLDER).iterdir()
    assert kept.name.startswith("sub-01-")
    one.t2.write_bytes(one.t2.read_bytes() + b"\0")  # another T2
    scan_of(one, keep_in=root)
    assert loads[2] == "auto"
    assert len(list((root / FOLDER).iterdir())) == 2


def test_off_and_a_study_that_is_not_named_keep_nothing(make_study, loads):
    root = make_study(1)
    (one,) = subjects(root)
    scan_of(one, keep_in=root, register="off")
    scan_of(one)
    assert loads == ["off", "auto"]
    assert not (root / FOLDER).exists()


@pytest.mark.parametrize(
    "content", ["", "{}", '{"to_t1": [[1]], "shift_mm": 0, "before": 0, "after": 0}', "[" * 500]
)
def test_a_damaged_file_is_made_again(tmp_path, content):
    path = file_of(tmp_path, "sub-01", (None, None, None))
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert known(path) is None
    keep(path, FOUND)
    assert known(path).as_json() == FOUND.as_json()


def test_a_study_that_cannot_be_written_is_no_failure(tmp_path):
    path = file_of(tmp_path, "sub-01", (None, None, None))
    path.parent.parent.mkdir(parents=True)
    path.parent.write_text("a file where the folder would be")
    keep(path, FOUND)
    assert known(path) is None
