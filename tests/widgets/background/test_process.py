"""Jobs in a process of their own: how they go well, fail, die and are cancelled."""

import gc
import os
import signal
import sys
import time

import numpy as np
import pytest

pytest.importorskip("napari")

from qtpy.QtWidgets import QWidget

from napari_pvs.errors import InputError
from napari_pvs.jobs import exchange
from napari_pvs.jobs.protocol import LoadScan, MakeSample, ReadMask
from napari_pvs.scans.scan import Scan, load_scan
from napari_pvs.widgets.background import process
from napari_pvs.widgets.background.process import Job

LONG = 300_000  # ms; processes start slowly on a busy machine


@pytest.fixture
def follow(qtbot):
    """Function that starts a job, waits for its end or a signal, and returns all signals."""

    def run(job, until="ended"):
        said = []
        for name in ("progressed", "said", "row", "finished", "failed", "ended"):
            getattr(job, name).connect(lambda *values, name=name: said.append((name, *values)))
        # asking again and again would take the processor from the process
        with qtbot.waitSignal(getattr(job, until), timeout=LONG):
            job.start()
        return said

    return run


def test_a_scan_comes_back_and_its_folder_goes_with_it(parent, follow, head_files, qtbot):
    t1, t2, brain = head_files
    job = Job(LoadScan(t1=t1, t2=t2, brain=brain), parent)
    said = follow(job)
    assert [one[0] for one in said] == ["said", "finished", "ended"]
    assert not job.running
    result = said[1][1]
    scan = process.load_stored(result)
    np.testing.assert_array_equal(scan.t1, load_scan(*head_files).t1)
    folder = process.stored(scan)
    assert folder == result.path
    assert folder.is_dir()
    # a request on this scan names its folder, and copies nothing
    assert process.scan_folder(scan, folder / "nowhere") == folder
    del scan, result, said, job
    qtbot.wait(10)  # Qt lets go of the job's slots
    gc.collect()
    assert not folder.exists()


def test_a_scan_in_memory_is_written_for_the_process(parent, follow, head, write_image, tmp_path):
    scan = Scan.from_arrays(head.t1, head.t2, np.diag([0.8, 0.8, 0.8, 1]), head.brain)
    path = write_image(tmp_path / "m.nii.gz", head.label, scan.grid.affine)
    job = Job(lambda folder: ReadMask(scan=process.scan_folder(scan, folder), path=path), parent)
    result = next(one[1] for one in follow(job) if one[0] == "finished")
    mask = exchange.load_array(result.path, "mask")
    np.testing.assert_array_equal(mask, head.label)


def test_wrong_input_fails_in_a_sentence(parent, follow, tmp_path):
    job = Job(LoadScan(t1=tmp_path / "no.nii"), parent)
    said = follow(job)
    assert said[-2:] == [("failed", f"{tmp_path / 'no.nii'} does not exist; check the path."),
                         ("ended",)]  # fmt: skip


def refuse(folder):
    raise InputError("the layer is flat; choose another.")


def fill_disk(folder):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("make", "text"),
    [(refuse, "the layer is flat; choose another."), (fill_disk, "No space left on device")],
)
def test_a_failed_preparation_starts_nothing(parent, follow, make, text):
    said = follow(Job(make, parent))
    assert [one[0] for one in said] == ["failed", "ended"]
    assert text in said[0][1]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals")
def test_a_killed_process_is_explained(parent, follow, qtbot):
    job = Job(MakeSample(), parent)
    said = follow(job, until="said")
    with qtbot.waitSignal(job.ended, timeout=LONG):
        os.kill(job._process.processId(), signal.SIGKILL)
    assert [one[0] for one in said] == ["said", "failed", "ended"]
    assert "memory ran out; close other programs" in said[1][1]


def test_cancelling_ends_the_process_and_says_nothing_but_that(parent, follow, qtbot):
    job = Job(MakeSample(), parent)
    said = follow(job, until="said")
    folder = job._folder.path
    job.cancel()
    assert [one[0] for one in said] == ["said", "ended"]
    job.cancel()
    assert len(said) == 2
    del job, said
    qtbot.wait(1)  # what is deleted later is deleted now
    gc.collect()
    assert not folder.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals")
def test_a_dock_may_go_while_a_folder_is_prepared(qtbot, tmp_path):
    ended = []

    def make(folder):
        time.sleep(0.004)
        (folder / "scan").touch()  # the folder stays until it is written
        ended.append(folder)
        return MakeSample()

    for n in range(40):
        parent = QWidget()
        Job(make, parent).start()
        parent.deleteLater()
        del parent
        qtbot.wait(n % 8)
    qtbot.waitUntil(lambda: len(ended) == 40)
    assert len(set(ended)) == 40


def test_a_process_ends_with_its_dock(follow, qtbot, qtlog):
    dock = QWidget()
    job = Job(MakeSample(), dock)
    follow(job, until="said")
    process = job._process.processId()
    with qtbot.waitSignal(dock.destroyed):
        dock.deleteLater()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    assert [record.message for record in qtlog.records] == []


def test_a_job_without_a_temporary_folder_fails_in_a_sentence(parent, follow, monkeypatch):
    import tempfile

    def none():
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    for request in (MakeSample(), lambda folder: MakeSample()):
        said = follow(Job(request, parent))
        assert [one[0] for one in said] == ["failed", "ended"]
        assert "no temporary folder can be written (No usable" in said[0][1]
