"""The list of weights of the Segment dock: the study's own, as its runs make them."""

import shutil

import pytest

pytest.importorskip("napari")

from napari_pvs.study.bids import subjects
from napari_pvs.widgets.segment.dock import Segment

LONG = 300_000


def listed(dock):
    box = dock.weights
    return [(box.itemText(at), box.itemData(at)) for at in range(box.count())]


def test_the_list_follows_the_study_and_its_runs(
    make_dock, make_study, tmp_path, publish, qtbot, add_scan, tiny_weights, click, wait
):
    study = make_study(1, labelled=0)
    (subject,) = subjects(study)
    own = publish(study, "run-1", 0.5)
    dock = make_dock(Segment)
    assert [data for _, data in listed(dock)] == [None]
    add_scan(dock.viewer, subject.t1, subject.t2, subject.brain)
    dock.session.set_study(study, subject)
    qtbot.waitUntil(lambda: listed(dock)[1:] == [("DSC 0.50: run-1", own)], timeout=LONG)
    assert dock.config().weights is None  # the starter's, until the user chooses

    # a file of the user's stays last; what is chosen stays chosen
    dock.add_weights(tiny_weights)
    dock.device.set("cpu")
    dock.weights.setCurrentIndex(1)
    assert dock.config().weights == own
    publish(study, "run-1", 0.6)  # better ones
    newer = publish(study, "run-2", 0.55)
    with qtbot.waitExposed(dock, timeout=LONG):
        dock.show()
    wanted = [("DSC 0.55: run-2", newer), ("DSC 0.60: run-1", own)]
    file = (tiny_weights.name, tiny_weights)
    qtbot.waitUntil(lambda: listed(dock)[1:] == [*wanted, file], timeout=LONG)
    assert dock.config().weights == own
    # by itself, as long as it is seen
    newest = publish(study, "run-3", 0.3)
    qtbot.waitUntil(lambda: listed(dock)[1] == ("DSC 0.30: run-3", newest), timeout=LONG)
    click(dock.start)
    wait(dock)
    assert dock.session.prediction.file == own

    # its run is deleted: nothing else is chosen in its place
    shutil.rmtree(own.parent)
    shutil.rmtree(newest.parent)
    qtbot.waitUntil(lambda: newest not in dict(map(reversed, listed(dock))), timeout=LONG)
    assert dock.config().weights == own
    assert [data for _, data in listed(dock)] == [None, newer, own, tiny_weights]
    click(dock.start)
    wait(dock)
    assert f"weights {own} do not exist" in dock.notice.text()
    # and it may come back
    publish(study, "run-1", 0.61)
    wanted = [("DSC 0.55: run-2", newer), ("DSC 0.61: run-1", own), file]
    qtbot.waitUntil(lambda: listed(dock)[1:] == wanted, timeout=LONG)

    # another study; it stays the one that is worked on when a scan from elsewhere is shown
    dock.weights.setCurrentIndex(0)
    other = tmp_path / "other"
    theirs = publish(other, "run-9", 0.9)
    dock.session.set_study(other, subject)
    qtbot.waitUntil(lambda: listed(dock)[1:] == [("DSC 0.90: run-9", theirs), file], timeout=LONG)
    dock.session.set_study(None, None)
    dock.weights.look()
    qtbot.wait(50)
    assert listed(dock)[1:] == [("DSC 0.90: run-9", theirs), file]
